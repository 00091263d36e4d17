/**
 * One WebSocket to the server that is replaced when it is lost: first frame, heartbeat, renewal of the token, answers to commands,
 * and the wait before coming back. What the events mean is the business of others.
 */

import type { Position } from './api-types';
import { afterClose, askedDelay, retryDelay, type StopReason } from './backoff';
import type { Environment, LifecycleEvent, Socket, Timer } from './environment';
import { type Answer, type Bye, type CommandFailure, parseFrame, type ServerEvent, type Welcome } from './frames';
import type { Activity } from './presence';
import { hasEnded, RENEW_BEFORE_MS, type SessionKeeper } from './session';

export type Status =
  | { kind: 'connecting' }
  /** The replay is over; commands work. `conn` differs for every socket. */
  | { kind: 'live'; conn: string }
  | { kind: 'waiting' }
  | { kind: 'stopped'; why: StopReason };

/** A command failed; when it is not fatal the same one may be sent again. */
export class CommandError extends Error {
  constructor(readonly failure: CommandFailure) {
    super(failure.msg);
    this.name = 'CommandError';
  }
}

/** The outcome is unknown: no answer came. */
export const lost = (code: 'disconnected' | 'timeout'): CommandError =>
  new CommandError({ code, msg: 'no answer came', fatal: false });

export interface ConnectionEvents {
  status(status: Status): void;
  /** Before the replay. */
  welcome(welcome: Welcome): void;
  event(event: ServerEvent): void;
}

export interface ConnectionOptions {
  sessions: SessionKeeper;
  device: string;
  resume: () => Record<string, Position>;
  /** Whether somebody is at it when a socket says hello. */
  activity: () => Activity;
  events: ConnectionEvents;
}

const PATH = '/ws/v1';
const HANDSHAKE_MS = 10_000;
const ANSWER_MS = 15_000;
const CHECK_MS = 5_000;
/** Beyond the server's own interval and patience, before silence counts as loss. */
const SLACK_MS = 5_000;
/** A socket that lived this long was a success, and the waits start small again. */
const STEADY_MS = 10_000;
const DEFAULT_HEARTBEAT = { every_ms: 25_000, timeout_ms: 10_000 };
const DEFAULT_FRAME = 64 * 1024;

interface Waiter {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  timer: Timer;
}

export class Connection {
  readonly #env: Environment;
  readonly #options: ConnectionOptions;
  readonly #waiters = new Map<number, Waiter>();
  readonly #unwatch: (() => void)[];
  #status: Status = { kind: 'connecting' };
  #socket: Socket | null = null;
  #welcome: Welcome | null = null;
  #bye: Bye | null = null;
  #lastId = 0;
  #attempt = 0;
  #liveSince = 0;
  #dropPositions = false;
  #renewFirst = false;
  #closed = false;
  #retryTimer: Timer = null;
  #silenceTimer: Timer = null;
  #renewTimer: Timer = null;
  #checking = false;

  constructor(env: Environment, options: ConnectionOptions) {
    this.#env = env;
    this.#options = options;
    this.#unwatch = [
      env.lifecycle.watch((event) => this.#lifecycle(event)),
      options.sessions.watch((session) => {
        if (session !== null) this.#presentToken(session.access_token);
      }),
    ];
  }

  start(): void {
    this.#connect();
  }

  /** Ends for good; nothing is told any more. */
  close(): void {
    this.#closed = true;
    for (const stop of this.#unwatch) stop();
    this.#clearTimers();
    this.#dropSocket();
    this.#rejectWaiters();
  }

  /** Sends a command and waits for its answer. Rejects with `CommandError`. */
  request(t: string, d: unknown): Promise<unknown> {
    const socket = this.#socket;
    if (socket === null || this.#status.kind !== 'live') return Promise.reject(lost('disconnected'));
    return this.#ask(socket, t, d);
  }

  /** Sends a command that needs no answer; lost when there is no live socket. */
  post(t: string, d: unknown): void {
    if (this.#status.kind === 'live') this.#socket?.send(JSON.stringify({ t, d }));
  }

  #ask(socket: Socket, t: string, d: unknown): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const frame = JSON.stringify({ id, t, d });
    if (new TextEncoder().encode(frame).length > (this.#welcome?.limits.frame ?? DEFAULT_FRAME)) {
      return Promise.reject(new CommandError({ code: 'too_large', msg: 'the frame is too large', fatal: true }));
    }
    return new Promise((resolve, reject) => {
      const timer = this.#env.clock.setTimeout(() => {
        this.#waiters.delete(id);
        reject(lost('timeout'));
      }, ANSWER_MS);
      this.#waiters.set(id, { resolve, reject, timer });
      socket.send(frame);
    });
  }

  async #connect(): Promise<void> {
    this.#clearTimers();
    this.#setStatus({ kind: 'connecting' });
    const { sessions } = this.#options;
    let token: string;
    try {
      token = this.#renewFirst ? (await sessions.renew()).access_token : await sessions.token();
      this.#renewFirst = false;
    } catch (error) {
      if (this.#closed) return;
      if (hasEnded(error)) this.#setStatus({ kind: 'stopped', why: 'signed_out' });
      else this.#retryAfter(retryDelay(this.#attempt++, this.#env.random));
      return;
    }
    if (!this.#closed) this.#open(token);
  }

  #open(token: string): void {
    const socket = this.#env.openSocket(PATH);
    this.#socket = socket;
    this.#welcome = null;
    this.#bye = null;
    this.#expectWithin(HANDSHAKE_MS);
    socket.onopen = () => {
      const { device, activity } = this.#options;
      const resume = this.#dropPositions ? {} : this.#options.resume();
      this.#dropPositions = false;
      const hello = { proto: 1, token, device, resume, activity: activity() };
      socket.send(JSON.stringify({ t: 'hello', d: hello }));
    };
    socket.onmessage = (data) => {
      for (const frame of parseFrame(data)) if (this.#socket === socket) this.#receive(socket, frame);
    };
    socket.onclose = (code) => {
      if (this.#socket === socket) this.#lostSocket(code);
    };
  }

  #receive(socket: Socket, frame: Record<string, unknown>): void {
    const heartbeat = this.#welcome?.hb ?? DEFAULT_HEARTBEAT;
    if (this.#welcome !== null) this.#expectWithin(heartbeat.every_ms + heartbeat.timeout_ms + SLACK_MS);
    if (typeof frame.id === 'number' && typeof frame.t !== 'string') {
      this.#answered(frame as unknown as Answer);
      return;
    }
    if (typeof frame.t !== 'string') {
      if (Object.keys(frame).length === 0) socket.send('{}');
      return;
    }
    switch (frame.t) {
      case 'welcome':
        this.#welcome = (frame.d ?? frame) as Welcome;
        this.#options.events.welcome(this.#welcome);
        break;
      case 'ready':
        this.#becomeLive();
        break;
      case 'auth.expiring':
        this.#renew();
        break;
      case 'bye':
        this.#bye = (frame.d ?? frame) as Bye;
        break;
      default:
        this.#options.events.event(frame as unknown as ServerEvent);
    }
  }

  #answered({ id, ok, err }: Answer): void {
    const waiter = this.#waiters.get(id);
    if (waiter === undefined) return;
    this.#waiters.delete(id);
    this.#env.clock.clearTimeout(waiter.timer);
    if (err === undefined) waiter.resolve(ok);
    else waiter.reject(new CommandError(err));
  }

  #becomeLive(): void {
    this.#liveSince = this.#env.clock.now();
    this.#armRenewal();
    this.#setStatus({ kind: 'live', conn: this.#welcome?.conn ?? '' });
  }

  #lostSocket(code: number): void {
    const bye = this.#bye;
    this.#dropSocket();
    this.#clearTimers();
    this.#rejectWaiters();
    const after = afterClose(code);
    if (after.kind === 'stop') {
      this.#setStatus({ kind: 'stopped', why: after.why });
      if (after.why === 'signed_out') this.#options.sessions.end();
      return;
    }
    if (this.#liveSince > 0 && this.#env.clock.now() - this.#liveSince >= STEADY_MS) this.#attempt = 0;
    this.#liveSince = 0;
    this.#dropPositions = !after.resume || bye?.resume === false;
    const delay = bye?.retry_ms
      ? askedDelay(bye.retry_ms, this.#env.random)
      : retryDelay(this.#attempt++, this.#env.random);
    this.#renewFirst = after.renew;
    this.#retryAfter(delay);
  }

  #retryAfter(delay: number): void {
    this.#setStatus({ kind: 'waiting' });
    this.#retryTimer = this.#env.clock.setTimeout(() => this.#connect(), delay);
  }

  /** Something must arrive within `ms`, else the socket counts as lost. */
  #expectWithin(ms: number): void {
    this.#env.clock.clearTimeout(this.#silenceTimer);
    this.#silenceTimer = this.#env.clock.setTimeout(() => {
      this.#dropSocket();
      this.#lostSocket(1006);
    }, ms);
  }

  #armRenewal(): void {
    const { clock } = this.#env;
    clock.clearTimeout(this.#renewTimer);
    const wait = this.#options.sessions.endsAt - RENEW_BEFORE_MS - clock.now();
    if (wait > 0) this.#renewTimer = clock.setTimeout(() => this.#renew(), wait);
  }

  /** The new token reaches the socket by the session's own notice. */
  #renew(): void {
    this.#options.sessions.renew().catch(() => {
      // The server closes with 4100 when the token ends, and the way back starts with a renewal.
    });
  }

  #presentToken(token: string): void {
    const socket = this.#socket;
    if (socket === null || this.#status.kind !== 'live') return;
    this.#armRenewal();
    this.#ask(socket, 'auth', { token }).catch(() => {
      // Refused or lost: the server's own deadline for the old token decides.
    });
  }

  #lifecycle(event: LifecycleEvent): void {
    if (event !== 'visible' && event !== 'online') return;
    if (this.#status.kind === 'waiting') this.#connect();
    else if (this.#status.kind === 'live') this.#check();
  }

  /** Asks for a sign of life after the page slept or the network changed; any frame is one. */
  #check(): void {
    const socket = this.#socket;
    const token = this.#options.sessions.session?.access_token;
    if (socket === null || token === undefined || this.#checking) return;
    this.#checking = true;
    this.#expectWithin(CHECK_MS);
    this.#ask(socket, 'auth', { token })
      .catch(() => {})
      .finally(() => {
        this.#checking = false;
      });
  }

  #dropSocket(): void {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close(1000);
  }

  #rejectWaiters(): void {
    const waiters = [...this.#waiters.values()];
    this.#waiters.clear();
    for (const { reject, timer } of waiters) {
      this.#env.clock.clearTimeout(timer);
      reject(lost('disconnected'));
    }
  }

  #clearTimers(): void {
    for (const timer of [this.#retryTimer, this.#silenceTimer, this.#renewTimer]) this.#env.clock.clearTimeout(timer);
  }

  #setStatus(status: Status): void {
    this.#status = status;
    if (!this.#closed) this.#options.events.status(status);
  }
}
