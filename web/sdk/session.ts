/**
 * The access token of this login: kept in memory, renewed by the cookie, shared by the tabs of a browser.
 *
 * Rotation happens inside a lock, so that two tabs never present the same refresh token at once, and a tab that waited for the
 * lock takes the token that the other one got.
 */

import type { Session, User } from './api-types';
import type { Channel, Environment } from './environment';
import { ApiError, readAnswer } from './problem';

/** A token is renewed this long before it ends. */
export const RENEW_BEFORE_MS = 90_000;

interface Held {
  session: Session;
  /** By the local clock. */
  endsAt: number;
}

type SharedNotice = { kind: 'session'; session: Session; endsAt: number } | { kind: 'ended' };

/** Whether a refused renewal means that the person has to sign in again. */
export const hasEnded = (error: unknown): boolean =>
  error instanceof ApiError && (error.status === 401 || error.status === 403);

export class SessionKeeper {
  readonly #env: Environment;
  readonly #channel: Channel;
  readonly #listeners = new Set<(session: Session | null) => void>();
  #held: Held | null = null;
  #renewal: Promise<Session> | null = null;

  constructor(env: Environment) {
    this.#env = env;
    this.#channel = env.openChannel('messenger:session');
    this.#channel.onmessage = (message) => this.#heard(message as SharedNotice);
  }

  get session(): Session | null {
    return this.#held?.session ?? null;
  }

  get user(): User | null {
    return this.#held?.session.user ?? null;
  }

  /** When the token ends by the local clock, in milliseconds since 1970; 0 without one. */
  get endsAt(): number {
    return this.#held?.endsAt ?? 0;
  }

  /** Tells of every new token, and of `null` when the login has ended, here or in another tab. */
  watch(listener: (session: Session | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A token that is good for a while. Refused with `ApiError` 401 when the login has ended. */
  async token(): Promise<string> {
    const { session } = this;
    if (session !== null && this.endsAt - this.#env.clock.now() > RENEW_BEFORE_MS) return session.access_token;
    return (await this.renew()).access_token;
  }

  /** Gets a new token, whatever the age of the present one; several callers share one request. */
  renew(): Promise<Session> {
    this.#renewal ??= this.#renewInTurn().finally(() => {
      this.#renewal = null;
    });
    return this.#renewal;
  }

  register(fields: { username: string; email: string; password: string; device: string }): Promise<Session> {
    return this.#open('/api/register', fields);
  }

  login(fields: { login: string; password: string; device: string }): Promise<Session> {
    return this.#open('/api/login', fields);
  }

  /** Ends the login at the server, then here and in the other tabs. A server that cannot be reached keeps nobody signed in here. */
  async logout(): Promise<void> {
    const token = this.session?.access_token;
    try {
      if (token !== undefined) {
        await this.#env.fetch('/api/logout', { method: 'POST', headers: { authorization: `Bearer ${token}` } });
      }
    } finally {
      this.end();
    }
  }

  /** The login is over. */
  end(): void {
    if (this.#held === null) return;
    this.#channel.post({ kind: 'ended' } satisfies SharedNotice);
    this.#set(null);
  }

  close(): void {
    this.#listeners.clear();
    this.#channel.close();
  }

  async #renewInTurn(): Promise<Session> {
    const before = this.session?.access_token;
    return this.#env.locks.hold('messenger:refresh', async () => {
      const { session } = this;
      if (session !== null && session.access_token !== before) return session;
      try {
        return await this.#open('/api/refresh', {});
      } catch (error) {
        if (hasEnded(error)) this.end();
        throw error;
      }
    });
  }

  async #open(path: string, body: object): Promise<Session> {
    const sentAt = this.#env.clock.now();
    const { value, date } = await readAnswer<Session>(() =>
      this.#env.fetch(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        credentials: 'same-origin',
      }),
    );
    // The local clock may be wrong: what counts is how long the token lives from the server's own time on.
    const lifetime = Date.parse(value.expires_at) - (date ?? sentAt);
    const endsAt = sentAt + lifetime;
    this.#set({ session: value, endsAt });
    this.#channel.post({ kind: 'session', session: value, endsAt } satisfies SharedNotice);
    return value;
  }

  #heard(notice: SharedNotice): void {
    if (notice.kind === 'ended') {
      if (this.#held !== null) this.#set(null);
      return;
    }
    // Before this tab has a login of its own it takes none over: it asks with the cookie, as a new page does.
    if (this.#held === null) return;
    if (this.#held.session.user.id !== notice.session.user.id) this.#set(null);
    else this.#set({ session: notice.session, endsAt: notice.endsAt });
  }

  #set(held: Held | null): void {
    this.#held = held;
    for (const listener of this.#listeners) listener(held?.session ?? null);
  }
}
