/**
 * The positions of the chats that one tab follows, and the one rule about them: an event is applied exactly once and in its place.
 *
 * `o == position + 1` is applied, `o <= position` is known already, anything else waits half a second for what is missing and then
 * pulls it. Where the server cannot replay, the newest page is read over HTTP and the stream goes on from its position.
 */

import type { History, Id, Position } from './api-types';
import { CommandError } from './connection';
import type { Clock, Timer } from './environment';
import { type DurableEvent, type EventContents, type ServerEvent, streamOf, type Welcome } from './frames';
import { ApiError } from './problem';

export const HOLD_BACK_MS = 500;
const PULL_LIMIT = 200;
const RETRY_MS = 2_000;
/** Events that wait for a missing one; beyond it they are dropped, the pull brings them again. */
const MOST_HELD = 500;
/** Chats that one tab follows at once; the least recently opened is given up. */
const MOST_FOLLOWED = 50;

export interface StreamsHost {
  request(t: string, d: unknown): Promise<unknown>;
  isLive(): boolean;
  /** The newest page; its `pos` was read before its messages. */
  snapshot(chat: Id): Promise<History>;
  apply(chat: Id, event: DurableEvent): void;
  /** A page that takes the place of what was known. */
  reset(chat: Id, page: History): void;
  /** The chat is not, or no longer, readable. */
  gone(chat: Id): void;
}

/** What the next step of a stream is. One step at a time runs for each stream; a later need overrides a smaller one. */
type Need = 'none' | 'subscribe' | 'pull' | 'pull_and_subscribe' | 'snapshot';
const RANK: Record<Need, number> = { none: 0, subscribe: 1, pull: 2, pull_and_subscribe: 3, snapshot: 4 };

interface Stream {
  chat: Id;
  position: Position | null;
  held: Map<number, DurableEvent>;
  /** The highest place that the server is known to have reached. */
  head: number;
  holdTimer: Timer;
  need: Need;
  running: Need;
  /** Subscriptions in a row that the server could not go on with. */
  refused: number;
  retryTimer: Timer;
}

export class Streams {
  readonly #clock: Clock;
  readonly #host: StreamsHost;
  /** In the order of their last opening. */
  readonly #streams = new Map<string, Stream>();

  constructor(clock: Clock, host: StreamsHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** Follows a chat: reads its newest page, then everything after it. Does nothing but count as a use when it is followed already. */
  follow(chat: Id): void {
    const name = streamOf(chat);
    const known = this.#streams.get(name);
    if (known !== undefined) {
      this.#streams.delete(name);
      this.#streams.set(name, known);
      return;
    }
    const stream: Stream = {
      chat,
      position: null,
      held: new Map(),
      head: 0,
      holdTimer: null,
      need: 'none',
      running: 'none',
      refused: 0,
      retryTimer: null,
    };
    this.#streams.set(name, stream);
    this.#giveUpOldest();
    this.#want(stream, 'snapshot');
  }

  isFollowed(chat: Id): boolean {
    return this.#streams.has(streamOf(chat));
  }

  /** The chat is gone; should it come back, it begins with its newest page. */
  unfollow(chat: Id): void {
    this.#forget(streamOf(chat));
  }

  /** For `hello`. */
  positions(): Record<string, Position> {
    const positions: Record<string, Position> = {};
    for (const [name, { position }] of this.#streams) if (position !== null) positions[name] = { ...position };
    return positions;
  }

  close(): void {
    for (const name of [...this.#streams.keys()]) this.#forget(name);
  }

  /** The socket of this tab is new and its positions were in the `hello`; the replay follows. */
  onWelcome(welcome: Welcome): void {
    for (const [name, stream] of this.#streams) {
      const answer = welcome.streams[name];
      if (answer === undefined) this.#want(stream, 'subscribe');
      else if (!answer.recovered) this.#want(stream, 'snapshot');
    }
  }

  /** Another tab's socket is new to this one; nothing is subscribed there on behalf of this tab. */
  onJoined(): void {
    for (const stream of this.#streams.values()) this.#want(stream, 'subscribe');
  }

  /** Commands work again. */
  onLive(): void {
    for (const stream of this.#streams.values()) this.#run(stream);
  }

  /** Another tab gave this stream up for the shared socket. */
  onUnsubscribed(name: string): void {
    const stream = this.#streams.get(name);
    if (stream !== undefined) this.#want(stream, 'subscribe');
  }

  onEvent(event: DurableEvent): void {
    const stream = this.#streams.get(event.s);
    if (stream === undefined) return;
    // Before its first page is there everything waits, and whatever the page holds already is dropped then.
    this.#take(stream, event);
  }

  onGap({ s }: EventContents['gap']): void {
    const stream = this.#streams.get(s);
    // The answer to `sub` says the same just before; one page is enough for both.
    if (stream === undefined || stream.running === 'snapshot' || stream.refused > 0) return;
    this.#want(stream, 'snapshot');
  }

  onLag({ s }: EventContents['lag']): void {
    const stream = this.#streams.get(s);
    if (stream !== undefined) this.#want(stream, 'pull_and_subscribe');
  }

  /** The server's heads, by `pos` or by a hint: whoever is behind pulls, unless the events are on their way. */
  onHead(name: string, o: number): void {
    const stream = this.#streams.get(name);
    if (stream?.position && o > stream.position.o) this.#holdBack(stream, o);
  }

  #take(stream: Stream, event: DurableEvent): void {
    const at = stream.position?.o ?? Number.NEGATIVE_INFINITY;
    if (event.o <= at) return;
    if (event.o === at + 1) {
      this.#apply(stream, event);
      this.#drain(stream);
      return;
    }
    if (stream.held.size < MOST_HELD) stream.held.set(event.o, event);
    this.#holdBack(stream, event.o);
  }

  #apply(stream: Stream, event: DurableEvent): void {
    if (stream.position !== null) stream.position.o = event.o;
    this.#host.apply(stream.chat, event);
  }

  #drain(stream: Stream): void {
    if (stream.position === null) return;
    for (const o of stream.held.keys()) if (o <= stream.position.o) stream.held.delete(o);
    for (;;) {
      const next = stream.held.get(stream.position.o + 1);
      if (next === undefined) break;
      stream.held.delete(next.o);
      this.#apply(stream, next);
    }
    if (stream.head > stream.position.o) this.#holdBack(stream, stream.head);
  }

  /** Half a second for what is on its way, then a pull. */
  #holdBack(stream: Stream, head: number): void {
    stream.head = Math.max(stream.head, head);
    if (stream.holdTimer !== null || stream.running !== 'none') return;
    stream.holdTimer = this.#clock.setTimeout(() => {
      stream.holdTimer = null;
      if (stream.position !== null && stream.position.o < stream.head) this.#want(stream, 'pull');
    }, HOLD_BACK_MS);
  }

  #want(stream: Stream, need: Need): void {
    if (RANK[need] > RANK[stream.need]) stream.need = need;
    this.#run(stream);
  }

  #run(stream: Stream): void {
    if (stream.running !== 'none' || stream.need === 'none') return;
    // A page can be read without a socket; everything else waits for one.
    if (stream.need !== 'snapshot' && !this.#host.isLive()) return;
    this.#clock.clearTimeout(stream.retryTimer);
    this.#clock.clearTimeout(stream.holdTimer);
    stream.retryTimer = null;
    stream.holdTimer = null;
    const { need } = stream;
    stream.running = need;
    stream.need = 'none';
    this.#step(stream, need)
      .catch((error: unknown) => this.#failed(stream, need, error))
      .finally(() => {
        stream.running = 'none';
        this.#drain(stream);
        if (stream.retryTimer === null) this.#run(stream);
      });
  }

  async #step(stream: Stream, need: Need): Promise<void> {
    switch (need) {
      case 'snapshot':
        return this.#snapshot(stream);
      case 'pull':
        return this.#pull(stream);
      case 'pull_and_subscribe':
        await this.#pull(stream);
        return this.#subscribe(stream);
      case 'subscribe':
        return this.#subscribe(stream);
      case 'none':
        return;
    }
  }

  async #snapshot(stream: Stream): Promise<void> {
    const page = await this.#host.snapshot(stream.chat);
    if (!this.#isCurrent(stream)) return;
    stream.position = { ...page.pos };
    stream.head = 0;
    this.#host.reset(stream.chat, page);
    this.#want(stream, 'subscribe');
  }

  async #subscribe(stream: Stream): Promise<void> {
    const { position } = stream;
    if (position === null) return this.#want(stream, 'snapshot');
    const name = streamOf(stream.chat);
    const answer = (await this.#host.request('sub', { s: name, since: { ...position } })) as {
      e: string;
      o: number;
      recovered: boolean;
    };
    if (answer.recovered && answer.e === position.e) {
      stream.refused = 0;
      return;
    }
    stream.refused += 1;
    // A page is the cure; a server that refuses the page's own position as well is asked again later.
    if (stream.refused > 1) this.#later(stream, 'snapshot', RETRY_MS);
    else this.#want(stream, 'snapshot');
  }

  async #pull(stream: Stream): Promise<void> {
    for (;;) {
      const { position } = stream;
      if (position === null) return this.#want(stream, 'snapshot');
      const after = position.o;
      const answer = (await this.#host.request('pull', {
        s: streamOf(stream.chat),
        e: position.e,
        after,
        limit: PULL_LIMIT,
      })) as { events: ServerEvent[]; e: string; o: number; more: boolean };
      if (!this.#isCurrent(stream)) return;
      if (answer.e !== position.e) return this.#want(stream, 'snapshot');
      for (const event of answer.events) this.#take(stream, event as DurableEvent);
      if (position.o >= answer.o && !answer.more) return;
      // The server's history has a hole where this tab stands: only a page can help.
      if (position.o === after) return this.#want(stream, 'snapshot');
    }
  }

  #failed(stream: Stream, need: Need, error: unknown): void {
    if (!this.#isCurrent(stream)) return;
    const notFound =
      (error instanceof ApiError && error.status === 404) ||
      (error instanceof CommandError && error.failure.code === 'not_found');
    if (notFound) {
      this.#forget(streamOf(stream.chat));
      this.#host.gone(stream.chat);
      return;
    }
    // A pull that the server refuses for good cannot be repeated; a page can always be read.
    const refused = error instanceof CommandError && error.failure.fatal;
    const wait = error instanceof CommandError ? (error.failure.retry_ms ?? RETRY_MS) : RETRY_MS;
    this.#later(stream, refused ? 'snapshot' : need, wait);
  }

  #later(stream: Stream, need: Need, ms: number): void {
    if (RANK[need] > RANK[stream.need]) stream.need = need;
    this.#clock.clearTimeout(stream.retryTimer);
    stream.retryTimer = this.#clock.setTimeout(() => {
      stream.retryTimer = null;
      this.#run(stream);
    }, ms);
  }

  #giveUpOldest(): void {
    if (this.#streams.size <= MOST_FOLLOWED) return;
    const [oldest] = this.#streams.keys();
    if (oldest === undefined) return;
    this.#forget(oldest);
    if (this.#host.isLive()) this.#host.request('unsub', { s: oldest }).catch(() => {});
  }

  #forget(name: string): void {
    const stream = this.#streams.get(name);
    if (stream === undefined) return;
    this.#clock.clearTimeout(stream.holdTimer);
    this.#clock.clearTimeout(stream.retryTimer);
    this.#streams.delete(name);
  }

  #isCurrent(stream: Stream): boolean {
    return this.#streams.get(streamOf(stream.chat)) === stream;
  }
}
