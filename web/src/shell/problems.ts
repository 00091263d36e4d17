/** Errors in the person's words. */

import { ApiError } from '../../sdk';
import type { Strings } from '../text';

export function problemText(t: Strings, error: unknown): string {
  const code = error instanceof ApiError ? error.code : 'other';
  const detail = error instanceof ApiError && typeof error.detail === 'string' ? error.detail : String(code);
  return codeText(t, code) ?? t.errors.other(detail);
}

/** The sentence of a code that has one of its own. */
export function codeText(t: Strings, code: string): string | undefined {
  if (code === 'timeout') return t.errors.unavailable;
  if (code === 'quota_exceeded') return t.errors.quota;
  const text = Object.hasOwn(t.errors, code) ? t.errors[code as keyof Strings['errors']] : undefined;
  return typeof text === 'string' ? text : undefined;
}

/** Why a run waits or ended as it did; the words of a provider are told as they are. */
export function whyText(t: Strings, why: string): string {
  return Object.hasOwn(t.assistant.whys, why) ? t.assistant.whys[why as keyof Strings['assistant']['whys']] : why;
}
