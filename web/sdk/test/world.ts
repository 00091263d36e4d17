/**
 * A world for the SDK's own tests: a clock that only tests move, tabs that share channel, lock and store, and a small server that keeps
 * the rules of docs/protocol.md. The real server is met in `e2e/`.
 */

import type { ChatView, History, Message, Run, Stored } from '../api-types';
import { Messenger } from '../client';
import type { Channel, Clock, Environment, LifecycleEvent, Locks, Memory, Socket, Timer } from '../environment';
import type { DurableEvent, ServerEvent } from '../frames';
import type { OutboxStore } from '../outbox';
import { SessionKeeper } from '../session';
import { memoryOutboxStore } from '../store';

export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class TestClock implements Clock {
  #now = Date.parse('2026-11-21T10:00:00Z');
  #timers = new Map<number, { at: number; work: () => void }>();
  #last = 0;

  now = (): number => this.#now;

  setTimeout(work: () => void, ms: number): Timer {
    this.#last += 1;
    this.#timers.set(this.#last, { at: this.#now + Math.max(0, ms), work });
    return this.#last;
  }

  clearTimeout(timer: Timer): void {
    this.#timers.delete(timer as number);
  }

  /** Lets the time pass, each timer in its turn. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settle();
    for (;;) {
      let due: [number, { at: number; work: () => void }] | undefined;
      for (const entry of this.#timers) if (entry[1].at <= end && (!due || entry[1].at < due[1].at)) due = entry;
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].work();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

/** A small generator with a seed (mulberry32), so that a failing run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class TestLocks implements Locks {
  #queues = new Map<string, Promise<unknown>>();

  async hold<T>(name: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const turn = this.#queues.get(name) ?? Promise.resolve();
    const done = turn.then(() => {
      if (signal?.aborted) throw new Error('aborted');
      return work();
    });
    this.#queues.set(
      name,
      done.catch(() => {}),
    );
    return done;
  }
}

export class TestBus {
  #channels = new Map<string, Set<Channel>>();

  open(name: string): Channel {
    const peers = this.#channels.get(name) ?? new Set();
    this.#channels.set(name, peers);
    const channel: Channel = {
      post: (message) => {
        const copy: unknown = structuredClone(message);
        for (const peer of peers) if (peer !== channel) queueMicrotask(() => peers.has(peer) && peer.onmessage?.(copy));
      },
      onmessage: null,
      close: () => peers.delete(channel),
    };
    peers.add(channel);
    return channel;
  }
}

export function testMemory(): Memory {
  const kept = new Map<string, string>();
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
  };
}

export const ME = 'ann';
export const OTHER = 'bob';

interface Command {
  id?: number;
  t?: string;
  d?: Record<string, unknown>;
}

export class TestSocket implements Socket {
  onopen: (() => void) | null = null;
  onmessage: ((data: string) => void) | null = null;
  onclose: ((code: number, reason: string) => void) | null = null;
  readonly received: Command[] = [];
  readonly subscribed = new Set<string>();
  readonly lagging = new Set<string>();
  open = true;

  constructor(readonly server: TestServer) {}

  send(data: string): void {
    if (!this.open) return;
    const command = JSON.parse(data) as Command;
    this.received.push(command);
    queueMicrotask(() => this.open && this.server.onCommand(this, command));
  }

  close(): void {
    this.open = false;
  }

  /** The server, or the network, ends it. */
  cut(code = 1006): void {
    if (!this.open) return;
    this.open = false;
    queueMicrotask(() => this.onclose?.(code, ''));
  }

  push(frame: object): void {
    const data = JSON.stringify(frame);
    queueMicrotask(() => this.open && this.onmessage?.(data));
  }
}

interface Chat {
  e: string;
  /** Events before this one cannot be replayed. */
  keptFrom: number;
  log: DurableEvent[];
}

export class TestServer {
  readonly chats = new Map<string, Chat>();
  readonly sockets: TestSocket[] = [];
  readonly byKey = new Map<string, Stored>();
  readonly requests: string[] = [];
  runs: Run[] = [];
  reachable = true;
  /** Answers to sends that the test decides: `null` keeps the ordinary one. */
  onSend: (command: Command) => object | 'silence' | null = () => null;
  /** Durable frames for which this says true never reach a socket. */
  loses: (event: DurableEvent) => boolean = () => false;
  tokens = 0;
  tokenLifetimeMs = 15 * 60_000;
  refreshStatus = 200;
  logoutStatus = 204;
  /** The status of everything but the login. */
  apiStatus = 200;
  /** The browser's refresh cookie: whether the login that it stands for lives. */
  cookie = true;
  /** Logins are counted from 1; the cookie is the newest one's. */
  login = 1;
  /** Logins that were told to end. */
  readonly ended = new Set<number>();
  readonly #loginOf = new Map<string, number>();

  constructor(readonly clock: TestClock) {}

  get live(): TestSocket[] {
    return this.sockets.filter(({ open }) => open);
  }

  addChat(id: string): Chat {
    const chat: Chat = { e: 'e1', keptFrom: 1, log: [] };
    this.chats.set(id, chat);
    this.#append(id, 'chat.created', { version: 1, actor: OTHER });
    return chat;
  }

  say(chat: string, author: string, text: string, key = `k-${this.byKey.size}-${text}`, run?: unknown): Stored {
    const known = this.byKey.get(key);
    if (known !== undefined) return { ...known, dup: true };
    const log = this.#chat(chat).log;
    const seq = log.filter(({ t }) => t === 'msg.new').length + 1;
    const o = log.length + 1;
    const ts = new Date(this.clock.now()).toISOString();
    const message: Message = { id: `m-${key}`, chat, seq, o, author, key, ts, text, auto: 'no' };
    if (run !== undefined) message.via = { mode: 'advice', run: String(run) };
    const stored = { msg: message.id, seq, o, ts };
    this.byKey.set(key, stored);
    this.#append(chat, 'msg.new', message);
    return stored;
  }

  messages(chat: string): Message[] {
    return this.#chat(chat)
      .log.filter(({ t }) => t === 'msg.new')
      .map(({ d }) => d as Message);
  }

  tell(event: object): void {
    for (const socket of this.live) socket.push({ e: 1, ...event });
  }

  /** History was restored from elsewhere: old positions mean nothing. */
  newEpoch(chat: string): void {
    this.#chat(chat).e += "'";
    for (const socket of this.live) socket.cut(4101);
  }

  readonly openSocket = (): Socket => {
    const socket = new TestSocket(this);
    this.sockets.push(socket);
    queueMicrotask(() => {
      if (this.reachable) socket.onopen?.();
      else socket.cut();
    });
    return socket;
  };

  onCommand(socket: TestSocket, { id, t, d = {} }: Command): void {
    const answer = (ok: object) => id !== undefined && socket.push({ id, ok });
    switch (t) {
      case 'hello':
        this.#hello(socket, (d.resume ?? {}) as Record<string, { e: string; o: number }>);
        return;
      case 'sub': {
        const name = d.s as string;
        const chat = this.#chat(name.slice(2));
        const since = d.since as { e: string; o: number };
        const missed = this.#replay(chat, since);
        socket.subscribed.add(name);
        socket.lagging.delete(name);
        answer({ e: chat.e, o: chat.log.length, recovered: missed !== null, n: missed?.length ?? 0 });
        for (const event of missed ?? []) socket.push(event);
        if (missed === null) this.#gap(socket, name, chat);
        return;
      }
      case 'unsub':
        socket.subscribed.delete(d.s as string);
        answer({});
        return;
      case 'pull': {
        const chat = this.#chat((d.s as string).slice(2));
        if (chat.keptFrom > (d.after as number) + 1)
          return void answer({ events: [], e: chat.e, o: chat.log.length, more: false });
        const events = chat.log.slice(d.after as number, (d.after as number) + 5);
        answer({ events, e: chat.e, o: chat.log.length, more: (d.after as number) + 5 < chat.log.length });
        return;
      }
      case 'msg.send': {
        const decided = this.onSend({ id: id ?? 0, t, d });
        if (decided === 'silence') return;
        if (decided !== null) socket.push({ id, ...decided });
        else answer(this.say(d.chat as string, ME, d.text as string, d.key as string, d.from_run));
        return;
      }
      case 'auth':
        answer({});
        return;
    }
  }

  readonly fetch = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const url = new URL(String(input), 'http://server');
    this.requests.push(`${init?.method ?? 'GET'} ${url.pathname}`);
    if (!this.reachable) throw new TypeError('network');
    const json = (value: unknown, status = 200) =>
      new Response(JSON.stringify(value), { status, headers: { date: new Date(this.clock.now()).toUTCString() } });
    if (url.pathname === '/api/logout') {
      if (this.logoutStatus !== 204) return json({}, this.logoutStatus);
      const byToken = this.#loginOf.get(new Headers(init?.headers).get('authorization')?.slice('Bearer '.length) ?? '');
      if (byToken !== undefined) this.ended.add(byToken);
      if (init?.credentials === 'same-origin' && this.cookie) this.ended.add(this.login);
      this.cookie &&= init?.credentials !== 'same-origin';
      return new Response(null, { status: 204 });
    }
    if (url.pathname === '/api/login') {
      this.cookie = true;
      this.login += 1;
    }
    if (url.pathname === '/api/refresh' || url.pathname === '/api/login') {
      const status = this.cookie ? this.refreshStatus : 401;
      if (status !== 200) return json({ status, code: 'unauthorized' }, status);
      this.tokens += 1;
      this.#loginOf.set(`t${this.tokens}`, this.login);
      const user = { id: ME, username: 'Ann', created_at: '', updated_at: '' };
      const expires_at = new Date(this.clock.now() + this.tokenLifetimeMs).toISOString();
      return json({ user, session: `s${this.login}`, access_token: `t${this.tokens}`, expires_at });
    }
    if (this.apiStatus !== 200) return json({ status: this.apiStatus, code: 'unavailable' }, this.apiStatus);
    if (url.pathname === '/api/chats') return json({ chats: [...this.chats.keys()].map((id) => this.#view(id)) });
    if (url.pathname === '/api/ai/runs') return json({ runs: this.runs });
    const chat = /^\/api\/chats\/([^/]+)$/.exec(url.pathname)?.[1];
    if (chat !== undefined && this.chats.has(chat)) return json(this.#view(chat));
    const history = /^\/api\/messages\/([^/]+)$/.exec(url.pathname)?.[1];
    if (history !== undefined && this.chats.has(history)) return json(this.#history(history, url.searchParams));
    return json({ status: 404, code: 'not_found' }, 404);
  };

  #hello(socket: TestSocket, resume: Record<string, { e: string; o: number }>): void {
    const streams: Record<string, object> = {};
    const replay: DurableEvent[] = [];
    for (const [name, since] of Object.entries(resume)) {
      const chat = this.#chat(name.slice(2));
      const missed = this.#replay(chat, since);
      streams[name] = { recovered: missed !== null, e: chat.e, o: chat.log.length };
      socket.subscribed.add(name);
      replay.push(...(missed ?? []));
    }
    const hb = { every_ms: 25_000, timeout_ms: 10_000 };
    const limits = { frame: 65_536, cmds_per_10s: 100, subs: 200 };
    socket.push({ t: 'welcome', d: { conn: `c${this.sockets.length}`, user: ME, now: '', hb, limits, streams } });
    for (const event of replay) socket.push(event);
    socket.push({ t: 'ready', d: {} });
  }

  #replay(chat: Chat, since: { e: string; o: number }): DurableEvent[] | null {
    if (since.e !== chat.e || since.o + 1 < chat.keptFrom) return null;
    return chat.log.slice(since.o);
  }

  #gap(socket: TestSocket, s: string, chat: Chat): void {
    socket.push({ t: 'gap', e: 1, d: { s, e: chat.e, o: chat.log.length, why: 'too_long' } });
  }

  #append(chat: string, t: string, d: unknown): void {
    const log = this.#chat(chat).log;
    const event: DurableEvent = { t, s: `c:${chat}`, o: log.length + 1, d };
    log.push(event);
    for (const socket of this.live) {
      if (socket.lagging.has(event.s)) continue;
      if (socket.subscribed.has(event.s) && !this.loses(event)) socket.push(event satisfies ServerEvent);
    }
  }

  #history(chat: string, query: URLSearchParams): History {
    const { e, log } = this.#chat(chat);
    const before = Number(query.get('before') ?? Number.POSITIVE_INFINITY);
    const limit = Number(query.get('limit'));
    const all = this.messages(chat).filter(({ seq }) => seq < before);
    return { pos: { e, o: log.length }, messages: all.slice(-limit), more: all.length > limit };
  }

  #view(id: string): ChatView {
    const { e, log } = this.#chat(id);
    const messages = this.messages(id);
    const members = [
      { id: ME, username: 'Ann' },
      { id: OTHER, username: 'Bob' },
    ];
    return {
      id,
      kind: 'private',
      creator: ME,
      created_at: new Date(0).toISOString(),
      members,
      bindings: [],
      pos: { e, o: log.length },
      seq: messages.length,
      unread: messages.filter(({ author }) => author !== ME).length,
      read: 0,
      from_o: 1,
      last: messages.at(-1) ?? null,
    };
  }

  #chat(id: string): Chat {
    const chat = this.chats.get(id);
    if (chat === undefined) throw new Error(`the test has no chat ${id}`);
    return chat;
  }
}

export interface Tab {
  env: Environment;
  sessions: SessionKeeper;
  messenger: Messenger;
  lifecycle: (event: LifecycleEvent) => void;
  close(): void;
}

/** One browser with any number of tabs, and the server that they talk to. */
export class World {
  readonly clock = new TestClock();
  readonly server = new TestServer(this.clock);
  readonly bus = new TestBus();
  readonly locks = new TestLocks();
  readonly outbox: OutboxStore = memoryOutboxStore();
  readonly memory: Memory = testMemory();
  readonly random: () => number;

  constructor(seed = 1) {
    this.random = seeded(seed);
  }

  environment(): { env: Environment; lifecycle: (event: LifecycleEvent) => void } {
    const watchers = new Set<(event: LifecycleEvent) => void>();
    const env: Environment = {
      clock: this.clock,
      random: this.random,
      fetch: this.server.fetch as typeof fetch,
      openSocket: this.server.openSocket,
      openChannel: (name) => this.bus.open(name),
      locks: this.locks,
      lifecycle: {
        watch: (listener) => {
          watchers.add(listener);
          return () => watchers.delete(listener);
        },
      },
      outbox: this.outbox,
      memory: this.memory,
    };
    return { env, lifecycle: (event) => watchers.forEach((watcher) => void watcher(event)) };
  }

  /** A page that is open and signed in. */
  async tab(): Promise<Tab> {
    const { env, lifecycle } = this.environment();
    const sessions = new SessionKeeper(env);
    const { user } = await sessions.renew();
    const messenger = new Messenger(env, sessions, user, 'test');
    await messenger.start();
    await this.clock.advance(10);
    const close = () => {
      messenger.close();
      sessions.close();
    };
    return { env, sessions, messenger, lifecycle, close };
  }
}

export const texts = (tab: Tab, chat: string): string[] =>
  (tab.messenger.getState().timelines.get(chat)?.messages ?? []).map(({ text }) => text);
