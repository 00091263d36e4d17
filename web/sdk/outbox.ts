/**
 * Messages that are on their way to being stored. An item is written down before it is sent and leaves only with the server's `ok`
 * or when the person gives it up; every try repeats the same key. Within a chat the next one waits for the one before it, so that
 * neither a rate limit nor a lost answer changes the order.
 */

import type { Id, SendRequest, Stored } from './api-types';
import { CommandError } from './connection';
import type { Clock, Timer } from './environment';

export interface OutboxItem extends SendRequest {
  user: Id;
  /** Milliseconds since 1970. */
  created: number;
  state: 'pending' | 'failed';
  /** The server's code, for failed ones. */
  error?: string;
}

export interface OutboxStore {
  /** In the order of their keys, which is the order of the intents. */
  all(user: Id): Promise<OutboxItem[]>;
  put(item: OutboxItem): Promise<void>;
  remove(key: Id): Promise<void>;
}

/** Sends that may be without an answer at once, over all chats. */
export const MOST_UNANSWERED = 32;
const RETRY_LEAST_MS = 1_000;
const RETRY_MOST_MS = 30_000;

export interface OutboxHost {
  isLive(): boolean;
  request(t: string, d: unknown): Promise<unknown>;
  /** The item is new, or its state has changed. */
  changed(item: OutboxItem): void;
  /** The item is stored as this message, or given up (`null`). */
  settled(item: OutboxItem, stored: Stored | null): void;
}

/** The sending side; runs in the one tab that owns the socket. */
export class Outbox {
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #store: OutboxStore;
  readonly #user: Id;
  readonly #host: OutboxHost;
  readonly #items = new Map<Id, OutboxItem>();
  readonly #unanswered = new Set<Id>();
  /** Settled, while the store may still show them. */
  readonly #leaving = new Set<Id>();
  /** Chats that wait before their next try, and how often they did. */
  readonly #waits = new Map<Id, { timer: Timer; tries: number }>();
  #closed = false;

  constructor(env: { clock: Clock; random: () => number; outbox: OutboxStore }, user: Id, host: OutboxHost) {
    this.#clock = env.clock;
    this.#random = env.random;
    this.#store = env.outbox;
    this.#user = user;
    this.#host = host;
  }

  get items(): OutboxItem[] {
    return [...this.#items.values()];
  }

  /** Takes in what the store holds: after a start, a take-over, or when another tab wrote something down. */
  async load(): Promise<void> {
    const stored = await this.#store.all(this.#user);
    if (this.#closed) return;
    const keys = new Set(stored.map(({ key }) => key));
    for (const [key, item] of this.#items) {
      if (!keys.has(key) && !this.#unanswered.has(key)) {
        this.#items.delete(key);
        this.#host.settled(item, null);
      }
    }
    for (const item of stored) {
      if (this.#leaving.has(item.key) || this.#unanswered.has(item.key)) continue;
      const known = this.#items.get(item.key);
      if (known?.state === item.state) continue;
      this.#items.set(item.key, item);
      this.#host.changed(item);
    }
    this.pump();
  }

  /** Sends whatever may be sent now. */
  pump(): void {
    if (this.#closed || !this.#host.isLive()) return;
    const busy = new Set([...this.#unanswered].map((key) => this.#items.get(key)?.chat));
    const inOrder = [...this.#items.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const item of inOrder) {
      if (this.#unanswered.size >= MOST_UNANSWERED) return;
      if (item.state !== 'pending' || busy.has(item.chat)) continue;
      busy.add(item.chat);
      const wait = this.#waits.get(item.chat);
      if (wait === undefined || wait.timer === null) void this.#send(item, wait?.tries ?? 0);
    }
  }

  /** The socket is new: nothing waits any longer. */
  restart(): void {
    for (const { timer } of this.#waits.values()) this.#clock.clearTimeout(timer);
    this.#waits.clear();
    this.pump();
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#waits.values()) this.#clock.clearTimeout(timer);
  }

  async #send(item: OutboxItem, tries: number): Promise<void> {
    this.#unanswered.add(item.key);
    const { chat, key, text, reply_to, from_run } = item;
    const request: SendRequest = { chat, key, text };
    if (reply_to !== undefined) request.reply_to = reply_to;
    if (from_run !== undefined) request.from_run = from_run;
    try {
      const stored = (await this.#host.request('msg.send', request)) as Stored;
      this.#waits.delete(chat);
      await this.#settle(item, stored);
    } catch (error) {
      if (error instanceof CommandError && error.failure.fatal) await this.#fail(item, error.failure.code);
      else if (!this.#closed)
        this.#wait(item, tries, error instanceof CommandError ? error.failure.retry_ms : undefined);
    } finally {
      this.#unanswered.delete(key);
    }
    this.pump();
  }

  async #settle(item: OutboxItem, stored: Stored): Promise<void> {
    this.#leaving.add(item.key);
    this.#items.delete(item.key);
    this.#unanswered.delete(item.key);
    this.#host.settled(item, stored);
    this.pump();
    // A store that refuses leaves the item behind; after a reload it is sent again and answered as a duplicate.
    await this.#store.remove(item.key).catch(() => {});
    this.#leaving.delete(item.key);
  }

  async #fail(item: OutboxItem, error: string): Promise<void> {
    this.#waits.delete(item.chat);
    const failed: OutboxItem = { ...item, state: 'failed', error };
    this.#items.set(item.key, failed);
    this.#host.changed(failed);
    await this.#store.put(failed).catch(() => {});
  }

  #wait(item: OutboxItem, tries: number, asked: number | undefined): void {
    const ceiling = Math.min(RETRY_MOST_MS, RETRY_LEAST_MS * 2 ** Math.min(tries, 10));
    const delay = asked ?? ceiling / 2 + (this.#random() * ceiling) / 2;
    const wait = { tries: tries + 1, timer: null as Timer };
    wait.timer = this.#clock.setTimeout(() => {
      wait.timer = null;
      this.pump();
    }, delay);
    this.#waits.set(item.chat, wait);
  }
}
