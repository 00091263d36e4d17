/**
 * Who is on screen, and whether the person is at it, as the server is told: merged over the tabs of a browser by the one that owns
 * the socket, which also keeps what the server says of those people for tabs that ask later.
 */

import type { Id } from './api-types';
import type { Clock, Timer } from './environment';
import type { Presence } from './frames';

/** Whoever touched no tab for so long is idle. */
export const IDLE_AFTER_MS = 5 * 60_000;
/** The list of people goes to the server at most so often. */
export const WATCH_EVERY_MS = 500;
/** The server takes no longer list. */
const MOST_WATCHED = 200;

export type Activity = 'active' | 'idle';

export interface PresenceHost {
  isLive(): boolean;
  post(t: string, d: unknown): void;
  /** Tells all tabs what is known already. */
  retell(known: Presence[]): void;
}

export class PresenceSender {
  readonly #clock: Clock;
  readonly #host: PresenceHost;
  readonly #lists = new Map<string, readonly Id[]>();
  /** When each tab was last touched; one that is hidden is not here. */
  readonly #touched = new Map<string, number>();
  readonly #known = new Map<Id, Presence>();
  #told: ReadonlySet<Id> = new Set();
  #toldActivity: Activity = 'active';
  #pause: Timer = null;
  #idle: Timer = null;

  constructor(clock: Clock, host: PresenceHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** A tab has these people on screen. */
  watch(tab: string, users: readonly Id[]): void {
    const before = new Set(this.#lists.get(tab));
    if (users.length === 0) this.#lists.delete(tab);
    else this.#lists.set(tab, users);
    const known = users.filter((user) => !before.has(user)).flatMap((user) => this.#known.get(user) ?? []);
    if (known.length > 0) this.#host.retell(known);
    this.#tellList();
  }

  /** The person did something in a tab, at this time. */
  touch(tab: string, at: number): void {
    this.#touched.set(tab, at);
    this.#tellActivity();
  }

  /** A tab is hidden, or goes. */
  rest(tab: string): void {
    this.#touched.delete(tab);
    this.#tellActivity();
  }

  /** What the server says. */
  heard(news: readonly Presence[]): void {
    for (const presence of news) if (this.#told.has(presence.user)) this.#known.set(presence.user, presence);
  }

  /** What a new socket says first. */
  greeting(): Activity {
    this.#toldActivity = this.#activity();
    return this.#toldActivity;
  }

  /** A new socket is live: it knows of no list. */
  restart(): void {
    this.#known.clear();
    this.#told = new Set();
    this.#tellList();
    this.#tellActivity();
  }

  close(): void {
    for (const timer of [this.#pause, this.#idle]) this.#clock.clearTimeout(timer);
  }

  #tellList(): void {
    if (this.#pause !== null || !this.#host.isLive()) return;
    const wanted = new Set([...this.#lists.values()].flat().slice(0, MOST_WATCHED));
    if (wanted.size === this.#told.size && [...wanted].every((user) => this.#told.has(user))) return;
    this.#told = wanted;
    for (const user of this.#known.keys()) if (!wanted.has(user)) this.#known.delete(user);
    this.#host.post('presence.watch', { users: [...wanted] });
    this.#pause = this.#clock.setTimeout(() => {
      this.#pause = null;
      this.#tellList();
    }, WATCH_EVERY_MS);
  }

  #activity(): Activity {
    return this.#clock.now() < this.#idleAt() ? 'active' : 'idle';
  }

  #idleAt(): number {
    return Math.max(0, ...this.#touched.values()) + IDLE_AFTER_MS;
  }

  #tellActivity(): void {
    this.#clock.clearTimeout(this.#idle);
    const activity = this.#activity();
    if (activity === 'active') {
      this.#idle = this.#clock.setTimeout(() => this.#tellActivity(), this.#idleAt() - this.#clock.now());
    }
    if (activity === this.#toldActivity || !this.#host.isLive()) return;
    this.#toldActivity = activity;
    this.#host.post('activity', { state: activity });
  }
}
