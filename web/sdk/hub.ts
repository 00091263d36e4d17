/**
 * The tabs of one person in one browser share a socket. The tab that holds the lock owns it, with the outbox and the marks; the others
 * hear every event and send their commands over a broadcast channel. When the owner closes, the lock and with it the socket pass on.
 */

import type { Id, Position, Stored } from './api-types';
import { CommandError, Connection, lost, type Status } from './connection';
import type { Channel, Environment, Timer } from './environment';
import type { CommandFailure, Presence, ServerEvent, Welcome } from './frames';
import { MarkSender } from './marks';
import { Outbox, type OutboxItem } from './outbox';
import { PresenceSender } from './presence';
import type { SessionKeeper } from './session';

export interface HubEvents {
  status(status: Status): void;
  /** This tab owns a new socket; the replay of its own positions follows. */
  welcome(welcome: Welcome): void;
  /** Another tab's socket is new to this one: nothing of it has been subscribed for this tab. */
  joined(): void;
  event(event: ServerEvent): void;
  /** Some tab gave this stream up. */
  unsubscribed(stream: string): void;
  outboxChanged(item: OutboxItem): void;
  outboxSettled(item: OutboxItem, stored: Stored | null): void;
}

export interface HubOptions {
  sessions: SessionKeeper;
  user: Id;
  device: string;
  resume: () => Record<string, Position>;
  events: HubEvents;
}

/** What goes over the channel. */
type Notice =
  | { k: 'hi' }
  | { k: 'owner' }
  | { k: 'status'; status: Status }
  | { k: 'event'; event: ServerEvent }
  | { k: 'unsubscribed'; stream: string }
  | { k: 'item'; item: OutboxItem }
  | { k: 'settled'; item: OutboxItem; stored: Stored | null }
  | { k: 'ask'; tab: string; id: number; t: string; d: unknown }
  | { k: 'answer'; tab: string; id: number; ok?: unknown; err?: CommandFailure }
  | { k: 'post'; t: string; d: unknown }
  | { k: 'mark'; chat: Id; delivered: number; read: number }
  | { k: 'watch'; tab: string; users: readonly Id[] }
  | { k: 'touch'; tab: string; at: number }
  | { k: 'rest'; tab: string }
  | { k: 'outbox' }
  | { k: 'again' };

/** Longer than the socket's own deadline, so that the owner's answer comes first. */
const ANSWER_MS = 20_000;
/** A tab says at most so often that it was touched. */
const TOUCH_EVERY_MS = 30_000;

interface Owned {
  connection: Connection;
  outbox: Outbox;
  marks: MarkSender;
  presence: PresenceSender;
}

export class Hub {
  readonly #env: Environment;
  readonly #options: HubOptions;
  readonly #channel: Channel;
  readonly #tab: string;
  readonly #waiters = new Map<number, { resolve: (ok: unknown) => void; reject: (e: unknown) => void; timer: Timer }>();
  readonly #closing = new AbortController();
  #release: () => void = () => {};
  #owned: Owned | null = null;
  #status: Status = { kind: 'connecting' };
  #lastId = 0;
  /** The people on the screen of this tab; nobody is while it is hidden. */
  #watched: readonly Id[] = [];
  #hidden = false;
  #touchedAt: number;
  readonly #unwatch: () => void;

  constructor(env: Environment, options: HubOptions) {
    this.#env = env;
    this.#options = options;
    this.#tab = `${env.clock.now().toString(36)}-${env.random().toString(36).slice(2)}`;
    this.#touchedAt = env.clock.now();
    this.#channel = env.openChannel(`messenger:${options.user}`);
    this.#channel.onmessage = (message) => this.#heard(message as Notice);
    this.#unwatch = env.lifecycle.watch((event) => {
      if (event === 'hidden') this.hide();
      else if (event === 'visible') this.#show();
    });
  }

  isLive(): boolean {
    return this.#status.kind === 'live';
  }

  start(): void {
    this.#tell({ k: 'hi' });
    this.#introduce();
    const held = () =>
      new Promise<void>((release) => {
        this.#release = release;
        if (this.#closing.signal.aborted) release();
        else this.#own();
      });
    this.#env.locks.hold(`messenger:socket:${this.#options.user}`, held, this.#closing.signal).catch(() => {
      // Closed while it waited for its turn.
    });
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#unwatch();
    this.hide();
    this.#closing.abort();
    this.#owned?.connection.close();
    this.#owned?.outbox.close();
    this.#owned?.marks.close();
    this.#owned?.presence.close();
    this.#rejectWaiters();
    this.#channel.close();
    this.#release();
  }

  request(t: string, d: unknown): Promise<unknown> {
    if (this.#owned !== null) return this.#ownRequest(this.#owned, t, d);
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = this.#env.clock.setTimeout(() => {
        this.#waiters.delete(id);
        reject(lost('timeout'));
      }, ANSWER_MS);
      this.#waiters.set(id, { resolve, reject, timer });
      this.#tell({ k: 'ask', tab: this.#tab, id, t, d });
    });
  }

  post(t: string, d: unknown): void {
    if (this.#owned !== null) this.#owned.connection.post(t, d);
    else this.#tell({ k: 'post', t, d });
  }

  /** These people are on the screen of this tab, and nobody else. */
  watch(users: readonly Id[]): void {
    this.#watched = users;
    if (!this.#hidden) this.#tellWatched();
  }

  /** The person did something in this tab. */
  touch(): void {
    const now = this.#env.clock.now();
    if (this.#hidden || now - this.#touchedAt < TOUCH_EVERY_MS) return;
    this.#touchedAt = now;
    this.#tellTouched();
  }

  /** Nobody sees this tab: it has nobody on screen, and nobody is at it. */
  hide(): void {
    this.#hidden = true;
    this.#tellWatched();
    if (this.#owned !== null) this.#owned.presence.rest(this.#tab);
    else this.#tell({ k: 'rest', tab: this.#tab });
  }

  #show(): void {
    this.#hidden = false;
    this.#touchedAt = this.#env.clock.now();
    this.#introduce();
  }

  /** Whoever owns the socket learns of this tab. */
  #introduce(): void {
    this.#tellWatched();
    if (!this.#hidden) this.#tellTouched();
  }

  #tellWatched(): void {
    const users = this.#hidden ? [] : this.#watched;
    if (this.#owned !== null) this.#owned.presence.watch(this.#tab, users);
    else this.#tell({ k: 'watch', tab: this.#tab, users });
  }

  #tellTouched(): void {
    const at = this.#touchedAt;
    if (this.#owned !== null) this.#owned.presence.touch(this.#tab, at);
    else this.#tell({ k: 'touch', tab: this.#tab, at });
  }

  mark(chat: Id, delivered: number, read: number): void {
    if (this.#owned !== null) this.#owned.marks.mark(chat, delivered, read);
    else this.#tell({ k: 'mark', chat, delivered, read });
  }

  /** The store of unsent messages has changed. */
  outboxWritten(): void {
    if (this.#owned !== null) void this.#owned.outbox.load();
    else this.#tell({ k: 'outbox' });
  }

  /** Tries once more after a stop that the person can end. */
  again(): void {
    if (this.#owned === null) this.#tell({ k: 'again' });
    else if (this.#status.kind === 'stopped') this.#owned.connection.start();
  }

  #own(): void {
    const { sessions, device, resume, events } = this.#options;
    this.#rejectWaiters();
    this.#tell({ k: 'owner' });
    const link = {
      isLive: () => this.isLive(),
      request: (t: string, d: unknown) => connection.request(t, d),
      post: (t: string, d: unknown) => connection.post(t, d),
    };
    const happened = (event: ServerEvent) => {
      this.#tell({ k: 'event', event });
      events.event(event);
    };
    const presence = new PresenceSender(this.#env.clock, {
      ...link,
      retell: (known) => happened({ t: 'presence', e: 1, d: known }),
    });
    const connection = new Connection(this.#env, {
      sessions,
      device,
      resume,
      activity: () => presence.greeting(),
      events: {
        status: (status) => this.#ownStatus(status),
        welcome: (welcome) => events.welcome(welcome),
        event: (event) => {
          if (event.t === 'presence') presence.heard(event.d as Presence[]);
          happened(event);
        },
      },
    });
    const outbox = new Outbox(this.#env, this.#options.user, {
      ...link,
      changed: (item) => {
        this.#tell({ k: 'item', item });
        events.outboxChanged(item);
      },
      settled: (item, stored) => {
        this.#tell({ k: 'settled', item, stored });
        events.outboxSettled(item, stored);
      },
    });
    this.#owned = { connection, outbox, marks: new MarkSender(this.#env.clock, link), presence };
    this.#introduce();
    void outbox.load();
    connection.start();
  }

  #ownStatus(status: Status): void {
    this.#status = status;
    this.#tell({ k: 'status', status });
    this.#options.events.status(status);
    if (status.kind !== 'live') return;
    this.#owned?.outbox.restart();
    this.#owned?.marks.restart();
    this.#owned?.presence.restart();
  }

  async #ownRequest(owned: Owned, t: string, d: unknown): Promise<unknown> {
    const ok = await owned.connection.request(t, d);
    if (t === 'unsub') {
      const { s: stream } = d as { s: string };
      this.#tell({ k: 'unsubscribed', stream });
      this.#options.events.unsubscribed(stream);
    }
    return ok;
  }

  #heard(notice: Notice): void {
    const { events } = this.#options;
    if (this.#owned !== null) {
      this.#serve(this.#owned, notice);
      return;
    }
    switch (notice.k) {
      case 'owner':
        this.#rejectWaiters();
        this.#follow({ kind: 'connecting' });
        this.#introduce();
        break;
      case 'status':
        this.#follow(notice.status);
        break;
      case 'event':
        events.event(notice.event);
        break;
      case 'unsubscribed':
        events.unsubscribed(notice.stream);
        break;
      case 'item':
        events.outboxChanged(notice.item);
        break;
      case 'settled':
        events.outboxSettled(notice.item, notice.stored);
        break;
      case 'answer':
        if (notice.tab === this.#tab) this.#answered(notice.id, notice.ok, notice.err);
        break;
    }
  }

  /** The owner's side of the channel. */
  #serve(owned: Owned, notice: Notice): void {
    switch (notice.k) {
      case 'hi':
        this.#tell({ k: 'status', status: this.#status });
        break;
      case 'ask': {
        const { tab, id } = notice;
        this.#ownRequest(owned, notice.t, notice.d).then(
          (ok) => this.#tell({ k: 'answer', tab, id, ok }),
          (error: unknown) => {
            const { failure } = error instanceof CommandError ? error : lost('disconnected');
            this.#tell({ k: 'answer', tab, id, err: failure });
          },
        );
        break;
      }
      case 'post':
        owned.connection.post(notice.t, notice.d);
        break;
      case 'mark':
        owned.marks.mark(notice.chat, notice.delivered, notice.read);
        break;
      case 'watch':
        owned.presence.watch(notice.tab, notice.users);
        break;
      case 'touch':
        owned.presence.touch(notice.tab, notice.at);
        break;
      case 'rest':
        owned.presence.rest(notice.tab);
        break;
      case 'outbox':
        void owned.outbox.load();
        break;
      case 'again':
        this.again();
        break;
    }
  }

  #follow(status: Status): void {
    const before = this.#status;
    this.#status = status;
    if (status.kind === 'live' && !(before.kind === 'live' && before.conn === status.conn))
      this.#options.events.joined();
    this.#options.events.status(status);
  }

  #answered(id: number, ok: unknown, err: CommandFailure | undefined): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    this.#env.clock.clearTimeout(waiter.timer);
    if (err === undefined) waiter.resolve(ok);
    else waiter.reject(new CommandError(err));
  }

  #rejectWaiters(): void {
    const waiters = [...this.#waiters.values()];
    this.#waiters.clear();
    for (const { reject, timer } of waiters) {
      this.#env.clock.clearTimeout(timer);
      reject(lost('disconnected'));
    }
  }

  #tell(notice: Notice): void {
    if (!this.#closing.signal.aborted) this.#channel.post(notice);
  }
}
