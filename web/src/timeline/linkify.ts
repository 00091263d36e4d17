/** Finds http(s) addresses in plain text. Nothing else of a text is ever more than text. */

export type Piece = { kind: 'text'; text: string } | { kind: 'link'; text: string; href: string };

const ADDRESS = /https?:\/\/[^\s<>"'`]+/gi;
/** Punctuation that ends a sentence rather than an address. */
const TRAILING = /[.,!?;:…)\]}»”]+$/;

export function linkify(text: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const shown = trimmed(match[0]);
    const href = addressOf(shown);
    if (href === null) continue;
    if (match.index > at) pieces.push({ kind: 'text', text: text.slice(at, match.index) });
    pieces.push({ kind: 'link', text: shown, href });
    at = match.index + shown.length;
  }
  if (at < text.length) pieces.push({ kind: 'text', text: text.slice(at) });
  return pieces;
}

/** A closing bracket stays when the address opened it. */
function trimmed(found: string): string {
  const end = TRAILING.exec(found)?.[0] ?? '';
  const cut = found.slice(0, found.length - end.length);
  return end.startsWith(')') && cut.includes('(') ? `${cut})` : cut;
}

function addressOf(text: string): string | null {
  try {
    const url = new URL(text);
    const plain = url.username === '' && url.password === '';
    return plain && (url.protocol === 'http:' || url.protocol === 'https:') ? url.href : null;
  } catch {
    return null;
  }
}
