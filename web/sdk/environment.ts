/** What the SDK needs of the world around it. Tests bring their own; `browserEnvironment` is the real one. */

import type { OutboxStore } from './outbox';
import { journaled, memoryOutboxStore, openOutboxStore } from './store';

export type Timer = unknown;

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  setTimeout(work: () => void, ms: number): Timer;
  clearTimeout(timer: Timer): void;
}

export interface Socket {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: (() => void) | null;
  onmessage: ((data: string) => void) | null;
  onclose: ((code: number, reason: string) => void) | null;
}

/** Tells every other tab; never the one that posts. */
export interface Channel {
  post(message: unknown): void;
  onmessage: ((message: unknown) => void) | null;
  close(): void;
}

export interface Locks {
  /** Runs `work` while this tab alone holds `name`; waits for its turn until `signal` aborts. */
  hold<T>(name: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

export type LifecycleEvent = 'visible' | 'hidden' | 'online' | 'offline';

export interface Lifecycle {
  watch(listener: (event: LifecycleEvent) => void): () => void;
}

export type Memory = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

export interface Environment {
  clock: Clock;
  /** A number from 0 (inclusive) to 1 (exclusive). */
  random: () => number;
  fetch: typeof fetch;
  openSocket: (path: string) => Socket;
  openChannel: (name: string) => Channel;
  locks: Locks;
  lifecycle: Lifecycle;
  outbox: OutboxStore;
  /** Outlives the page; all tabs see the same. */
  memory: Memory;
}

/** Waits on the injected clock. */
export const pause = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.setTimeout(resolve, ms);
  });

function browserSocket(path: string): Socket {
  const url = new URL(path, window.location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  const raw = new WebSocket(url);
  const socket: Socket = {
    send: (data) => raw.send(data),
    close: (code, reason) => raw.close(code, reason),
    onopen: null,
    onmessage: null,
    onclose: null,
  };
  raw.onopen = () => socket.onopen?.();
  raw.onmessage = (event) => {
    if (typeof event.data === 'string') socket.onmessage?.(event.data);
  };
  raw.onclose = (event) => socket.onclose?.(event.code, event.reason);
  return socket;
}

function browserChannel(name: string): Channel {
  const raw = new BroadcastChannel(name);
  const channel: Channel = { post: (message) => raw.postMessage(message), onmessage: null, close: () => raw.close() };
  raw.onmessage = (event) => channel.onmessage?.(event.data);
  return channel;
}

/** Without a secure context there are no locks and so no shared socket: each tab then stands for itself, and talks to nobody. */
const lonelyChannel = (): Channel => ({ post: () => {}, onmessage: null, close: () => {} });
const lonelyLocks: Locks = { hold: (_name, work) => work() };

const browserLocks: Locks = {
  hold: (name, work, signal) =>
    navigator.locks.request(name, signal === undefined ? {} : { signal }, work) as ReturnType<typeof work>,
};

const browserLifecycle: Lifecycle = {
  watch(listener) {
    const stop = new AbortController();
    const { signal } = stop;
    document.addEventListener('visibilitychange', () => listener(document.hidden ? 'hidden' : 'visible'), { signal });
    window.addEventListener('online', () => listener('online'), { signal });
    window.addEventListener('offline', () => listener('offline'), { signal });
    return () => stop.abort();
  },
};

/** The page's own world. Where the browser refuses storage, unsent messages live as long as the page. */
export async function browserEnvironment(): Promise<Environment> {
  const shared = 'locks' in navigator && navigator.locks !== undefined;
  return {
    clock: {
      now: () => Date.now(),
      setTimeout: (work, ms) => window.setTimeout(work, ms),
      clearTimeout: (timer) => window.clearTimeout(timer as number),
    },
    random: () => (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) / 2 ** 32,
    fetch: (input, init) => window.fetch(input, init),
    openSocket: browserSocket,
    openChannel: shared ? browserChannel : lonelyChannel,
    locks: shared ? browserLocks : lonelyLocks,
    lifecycle: browserLifecycle,
    outbox: journaled(await openOutboxStore().catch(() => memoryOutboxStore()), window.localStorage),
    memory: window.localStorage,
  };
}
