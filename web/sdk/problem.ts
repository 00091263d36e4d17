/** Errors of HTTP: RFC 9457 problems, and a network that is away. */

import type { Problem } from './api-types';

export class ApiError extends Error {
  constructor(
    /** 0 when no answer came. */
    readonly status: number,
    /** Stable; decide by it. `network` when no answer came. */
    readonly code: string,
    readonly detail: unknown,
    readonly retryAfterMs: number | undefined,
  ) {
    super(typeof detail === 'string' && detail !== '' ? detail : code);
    this.name = 'ApiError';
  }
}

/** Makes a request and reads its JSON; `date` is the server's time by its header, in milliseconds since 1970. */
export async function readAnswer<T>(request: () => Promise<Response>): Promise<{ value: T; date: number | undefined }> {
  let response: Response;
  let text: string;
  try {
    response = await request();
    text = await response.text();
  } catch {
    throw new ApiError(0, 'network', undefined, undefined);
  }
  const parsed = parse(text);
  if (!response.ok) {
    const problem = (parsed ?? {}) as Partial<Problem>;
    const seconds = Number(response.headers.get('retry-after'));
    const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined;
    throw new ApiError(response.status, problem.code ?? `http_${response.status}`, problem.detail, retryAfterMs);
  }
  const date = Date.parse(response.headers.get('date') ?? '');
  return { value: parsed as T, date: Number.isNaN(date) ? undefined : date };
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
