/**
 * The access token of this login: kept in memory, renewed by the cookie, shared by the tabs of a browser.
 *
 * Whatever changes the cookie happens inside a lock, so that two tabs never present the same refresh token at once, a tab that
 * waited for the lock takes the token that the other one got, and a late logout never ends a newer login.
 */

import type { Session, User } from './api-types';
import { retryDelay } from './backoff';
import type { Channel, Environment, Timer } from './environment';
import { ApiError, readAnswer } from './problem';

/** A token is renewed this long before it ends. */
export const RENEW_BEFORE_MS = 90_000;

const LOCK = 'messenger:refresh';
/** Stands from the moment of a logout until the server has heard of it, or somebody signs in. */
const LOGGED_OUT = 'messenger.logged-out';

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
  #logout: Promise<void> | null = null;
  #logoutTimer: Timer = null;
  /** The login that was left, until the server has heard of it. */
  #left: Session | undefined;
  /** Stands for `LOGGED_OUT` where there is no room for it. */
  #loggedOut = false;
  #closed = false;
  readonly #unwatch: () => void;

  constructor(env: Environment) {
    this.#env = env;
    this.#channel = env.openChannel('messenger:session');
    this.#channel.onmessage = (message) => this.#heard(message as SharedNotice);
    this.#unwatch = env.lifecycle.watch((event) => {
      if (event === 'online' && this.#isLoggedOut()) void this.#tellLogout();
    });
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
    return this.#enter('/api/register', fields);
  }

  login(fields: { login: string; password: string; device: string }): Promise<Session> {
    return this.#enter('/api/login', fields);
  }

  /**
   * Ends the login here and in the other tabs at once, then at the server. While the server has not heard of it, the cookie that is
   * still there is not used, and the server is told again: soon, when the network is back, and by the next page.
   */
  async logout(): Promise<void> {
    this.#left = this.session ?? this.#left;
    this.end();
    try {
      this.#env.memory.setItem(LOGGED_OUT, 'yes');
    } catch {
      // No room to remember it: the server is told all the same, as long as this page lives.
      this.#loggedOut = true;
    }
    await this.#tellLogout();
  }

  /** The login is over. */
  end(): void {
    if (this.#held === null) return;
    this.#channel.post({ kind: 'ended' } satisfies SharedNotice);
    this.#set(null);
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#env.clock.clearTimeout(this.#logoutTimer);
    this.#listeners.clear();
    this.#channel.close();
  }

  async #renewInTurn(): Promise<Session> {
    const before = this.session?.access_token;
    return this.#env.locks.hold(LOCK, async () => {
      const { session } = this;
      if (session !== null && session.access_token !== before) return session;
      try {
        this.#refuseLoggedOut();
        const held = await this.#ask('/api/refresh', {});
        this.#refuseLoggedOut();
        return this.#accept(held);
      } catch (error) {
        if (hasEnded(error)) this.end();
        throw error;
      }
    });
  }

  #enter(path: string, fields: object): Promise<Session> {
    return this.#env.locks.hold(LOCK, async () => {
      // The new cookie takes the place of the one that an unheard logout needs.
      await this.#tellLogoutOnce();
      const held = await this.#ask(path, fields);
      this.#forgetLogout();
      return this.#accept(held);
    });
  }

  #isLoggedOut(): boolean {
    return this.#loggedOut || this.#env.memory.getItem(LOGGED_OUT) !== null;
  }

  #forgetLogout(): void {
    this.#loggedOut = false;
    this.#env.memory.removeItem(LOGGED_OUT);
  }

  #refuseLoggedOut(): void {
    if (!this.#isLoggedOut()) return;
    void this.#tellLogout();
    throw new ApiError(401, 'logged_out', undefined, undefined);
  }

  /** Tells the server of a logout until it has heard; one attempt at a time. */
  #tellLogout(attempt = 0): Promise<void> {
    this.#env.clock.clearTimeout(this.#logoutTimer);
    this.#logout ??= this.#env.locks
      .hold(LOCK, () => this.#tellLogoutOnce())
      .finally(() => {
        this.#logout = null;
        if (!this.#isLoggedOut()) this.#endLeft();
        if (this.#closed || !this.#isLoggedOut()) return;
        const { clock, random } = this.#env;
        this.#logoutTimer = clock.setTimeout(() => this.#tellLogout(attempt + 1), retryDelay(attempt, random));
      });
    return this.#logout;
  }

  async #tellLogoutOnce(): Promise<void> {
    if (this.#isLoggedOut() && (await this.#isHeard(this.#left?.access_token, 'same-origin'))) {
      this.#left = undefined;
      this.#forgetLogout();
    }
  }

  /** Somebody signed in before the server heard of the logout: the cookie is another login's now. */
  #endLeft(): void {
    void this.#endByToken(this.#left?.access_token);
    this.#left = undefined;
  }

  /** Ends a login whose cookie is gone already, as long as its access token holds. */
  async #endByToken(token: string | undefined, attempt = 0): Promise<void> {
    if (token === undefined || this.#closed || (await this.#isHeard(token, 'omit'))) return;
    const { clock, random } = this.#env;
    clock.setTimeout(() => this.#endByToken(token, attempt + 1), retryDelay(attempt, random));
  }

  /** Whether the server took note of a logout. 401: it knows of no login, neither by the token nor by the cookie. */
  async #isHeard(token: string | undefined, credentials: RequestCredentials): Promise<boolean> {
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    try {
      const request: RequestInit = { method: 'POST', headers, credentials, keepalive: true };
      const { ok, status } = await this.#env.fetch('/api/logout', request);
      return ok || status === 401;
    } catch {
      return false;
    }
  }

  async #ask(path: string, body: object): Promise<Held> {
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
    return { session: value, endsAt: sentAt + lifetime };
  }

  #accept(held: Held): Session {
    this.#endLeft();
    this.#set(held);
    this.#channel.post({ kind: 'session', ...held } satisfies SharedNotice);
    return held.session;
  }

  #heard(notice: SharedNotice): void {
    if (notice.kind === 'ended') {
      if (this.#held !== null) this.#set(null);
      return;
    }
    if (this.#left?.session !== notice.session.session) this.#loggedOut = false;
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
