/** Errors in the person's words: never a code, never a sentence of the server, which has one language only. */

import { ApiError } from '../../sdk';
import type { Strings } from '../text';

type Sentence = keyof Strings['errors'];

/** Codes that mean the same to a person as another one. */
const LIKE: Readonly<Record<string, Sentence>> = {
  binding_gone: 'conflict',
  logged_out: 'unauthorized',
  method_not_allowed: 'bad_request',
  other_site: 'forbidden',
  refresh_invalid: 'unauthorized',
  session_ended: 'unauthorized',
  superseded: 'conflict',
  timeout: 'unavailable',
  token_expired: 'unauthorized',
  upgrade_required: 'bad_request',
};

export const problemText = (t: Strings, error: unknown): string =>
  (error instanceof ApiError ? codeText(t, error.code) : undefined) ?? t.errors.other;

/** The sentence of a code; none for a code that this page does not know. */
export function codeText(t: Strings, code: string): string | undefined {
  const known = LIKE[code] ?? code;
  return Object.hasOwn(t.errors, known) ? t.errors[known as Sentence] : undefined;
}

/** What follows a sentence about a run or a binding: a colon and why, where the page knows. */
export function because(t: Strings, why: string | undefined): string {
  const { whys } = t.assistant;
  return why !== undefined && Object.hasOwn(whys, why) ? `: ${whys[why as keyof typeof whys]}` : '';
}
