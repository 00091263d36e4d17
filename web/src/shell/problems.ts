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
  const { errors } = t;
  switch (code) {
    case 'network':
    case 'unauthorized':
    case 'conflict':
    case 'rate_limited':
    case 'unavailable':
    case 'not_found':
    case 'too_large':
    case 'storage':
      return errors[code];
    case 'timeout':
      return errors.unavailable;
    case 'quota':
    case 'quota_exceeded':
      return errors.quota;
    default:
      return undefined;
  }
}
