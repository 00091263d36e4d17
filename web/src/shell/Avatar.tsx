/** The first letter of a name on a colour that belongs to it. Decoration: the name itself always stands beside it. */

const COLOURS = 6;

export function Avatar({ name }: { name: string }) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 997;
  return (
    <span className={`avatar avatar-${sum % COLOURS}`} aria-hidden="true">
      {[...name][0]?.toUpperCase() ?? '·'}
    </span>
  );
}
