/** A short name for this browser, for the list of sign-ins. */

const BROWSERS: [RegExp, string][] = [
  [/Edg\//, 'Edge'],
  [/OPR\//, 'Opera'],
  [/Firefox\//, 'Firefox'],
  [/Chrome\//, 'Chrome'],
  [/Safari\//, 'Safari'],
];
const SYSTEMS: [RegExp, string][] = [
  [/Android/, 'Android'],
  [/iPhone|iPad/, 'iOS'],
  [/Windows/, 'Windows'],
  [/Mac OS X/, 'macOS'],
  [/Linux/, 'Linux'],
];

export function deviceName(agent: string = navigator.userAgent): string {
  const first = (from: [RegExp, string][]) => from.find(([pattern]) => pattern.test(agent))?.[1];
  return [first(BROWSERS) ?? 'Browser', first(SYSTEMS)].filter(Boolean).join(' · ');
}
