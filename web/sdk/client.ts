/**
 * The messenger of one signed-in person in one tab: wires the shared socket, the streams and HTTP to one observable state.
 *
 * Start reading at `start`, then `#event`.
 */

import { Api } from './api';
import type { ChatView, History, Id, Marks, Message, Run, SendRequest, Stored, User } from './api-types';
import { Assistant } from './assistant';
import { retryDelay } from './backoff';
import type { Environment } from './environment';
import { type DurableEvent, type EventContents, isDurable, type ServerEvent, streamOf } from './frames';
import { Hub } from './hub';
import type { OutboxItem } from './outbox';
import { RunBook } from './runs';
import type { SessionKeeper } from './session';
import * as step from './state';
import { initialState, type State } from './state';
import { Streams } from './streams';
import { keyMaker } from './uuid';

/** At the start, delivered marks are told for at most this many chats. */
const MOST_MARKED_AT_START = 20;

export class Messenger {
  readonly api: Api;
  readonly assistant: Assistant;
  readonly me: User;
  readonly #env: Environment;
  readonly #hub: Hub;
  readonly #streams: Streams;
  readonly #runs: RunBook;
  readonly #makeKey: () => string;
  readonly #listeners = new Set<() => void>();
  readonly #hearers = new Set<(message: Message) => void>();
  readonly #refreshing = new Map<Id, 'once' | 'again'>();
  readonly #paging = new Set<Id>();
  #watched: ReadonlySet<Id> = new Set();
  /** Counts the readings of everything; only the newest one goes on trying. */
  #rereads = 0;
  #state: State;

  constructor(env: Environment, sessions: SessionKeeper, me: User, device: string) {
    this.#env = env;
    this.me = me;
    this.#state = initialState(me.id);
    this.#makeKey = keyMaker(env.clock, env.random);
    this.api = new Api(env, sessions);
    this.#streams = new Streams(env.clock, {
      request: (t, d) => this.#hub.request(t, d),
      isLive: () => this.#hub.isLive(),
      snapshot: (chat) => this.api.latest(chat),
      apply: (chat, event) => this.#apply(chat, event),
      reset: (chat, page) => this.#reset(chat, page),
      gone: (chat) => this.#set(step.withoutChat(this.#state, chat)),
    });
    this.#runs = new RunBook(env.clock, {
      follow: (run) => this.#hub.post('ai.follow', { run }),
      changed: (runs) => this.#set({ ...this.#state, runs }),
      kindOf: (chat) => this.assistant.ownBinding(chat)?.mode ?? 'advice',
    });
    this.assistant = new Assistant({
      api: this.api,
      makeKey: this.#makeKey,
      runs: this.#runs,
      state: () => this.#state,
      set: (state) => this.#set(state),
    });
    this.#hub = new Hub(env, {
      sessions,
      user: me.id,
      device,
      resume: () => this.#streams.positions(),
      events: {
        status: (status) => this.#status(status),
        welcome: (welcome) => this.#streams.onWelcome(welcome),
        joined: () => this.#streams.onJoined(),
        event: (event) => this.#event(event),
        unsubscribed: (stream) => this.#streams.onUnsubscribed(stream),
        outboxChanged: (item) => this.#outboxChanged(item),
        outboxSettled: (item, stored) => this.#outboxSettled(item, stored),
      },
    });
  }

  getState = (): State => this.#state;

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Tells of messages of others as they happen; never of history. */
  hear(listener: (message: Message) => void): () => void {
    this.#hearers.add(listener);
    return () => this.#hearers.delete(listener);
  }

  async start(): Promise<void> {
    this.#hub.start();
    for (const item of await this.#env.outbox.all(this.me.id)) this.#outboxChanged(item);
  }

  close(): void {
    this.#rereads += 1;
    this.#hub.close();
    this.#streams.close();
    this.#listeners.clear();
    this.#hearers.clear();
  }

  /** Comes back after the person was told why it stopped. */
  reconnect(): void {
    this.#hub.again();
  }

  /** Shows a chat: reads its newest page and follows it from there. */
  open(chat: Id): void {
    this.#streams.follow(chat);
  }

  /** Reads the page before the oldest message at hand; one at a time for each chat. */
  async loadOlder(chat: Id): Promise<void> {
    const timeline = this.#state.timelines.get(chat);
    const first = timeline?.messages[0];
    if (!timeline?.more || first === undefined || this.#paging.has(chat)) return;
    this.#paging.add(chat);
    try {
      const page = await this.api.before(chat, first.seq);
      this.#set(step.withOlderPage(this.#state, chat, page));
    } finally {
      this.#paging.delete(chat);
    }
  }

  /** Sends; the message is shown at once, and is in the journal of the store when this returns its promise. */
  async send(chat: Id, text: string, more: Pick<SendRequest, 'reply_to' | 'from_run'> = {}): Promise<void> {
    const key = this.#makeKey();
    const item: OutboxItem = {
      ...more,
      chat,
      key,
      text,
      user: this.me.id,
      created: this.#env.clock.now(),
      state: 'pending',
    };
    await this.#write(item);
  }

  async retry(key: Id): Promise<void> {
    const item = this.#state.outbox.get(key);
    if (item?.state !== 'failed') return;
    const { error: _, ...again } = item;
    await this.#write({ ...again, state: 'pending' });
  }

  async giveUp(key: Id): Promise<void> {
    await this.#env.outbox.remove(key);
    this.#set({ ...this.#state, outbox: step.withoutEntry(this.#state.outbox, key) });
    this.#hub.outboxWritten();
  }

  /** Before the person leaves this browser: what they wrote and nobody stored is not left behind. */
  async forgetUnsent(): Promise<void> {
    await Promise.all([...this.#state.outbox.keys()].map((key) => this.giveUp(key)));
  }

  /** The person saw the messages up to `seq`. */
  seen(chat: Id, seq: number): void {
    const before = this.#state.chats.get(chat)?.read ?? 0;
    if (seq <= before) return;
    this.#set(step.withRead(this.#state, chat, seq));
    this.#hub.mark(chat, this.#newest(chat), seq);
  }

  /** The people on screen: how present they are is kept in the state, and nobody else's presence is asked for. */
  watch(users: readonly Id[]): void {
    this.#watched = new Set(users);
    this.#set(step.withWatched(this.#state, this.#watched));
    this.#hub.watch(users);
  }

  /** The person did something here. */
  touch(): void {
    this.#hub.touch();
  }

  /** Nobody sees this tab. The browser says so when that changes; this is for a tab that begins so. */
  hide(): void {
    this.#hub.hide();
  }

  /** The chat with this person; made when there is none yet. */
  async openPrivate(user: Id): Promise<Id> {
    const chat = await this.api.openPrivate(user);
    this.#set(step.withChat(this.#state, chat));
    return chat.id;
  }

  async #write(item: OutboxItem): Promise<void> {
    this.#outboxChanged(item);
    await this.#env.outbox.put(item).catch(() => {
      this.#outboxChanged({ ...item, state: 'failed', error: 'storage' });
    });
    this.#hub.outboxWritten();
  }

  #status(status: State['status']): void {
    const presence = status.kind === 'live' ? this.#state.presence : initialState(this.me.id).presence;
    this.#set({ ...this.#state, status, presence });
    if (status.kind !== 'live') return;
    this.#streams.onLive();
    void this.#reread();
  }

  /** What has no stream of its own is read over HTTP whenever a socket is ready. */
  async #reread(attempt = 0): Promise<void> {
    this.#rereads += 1;
    const turn = this.#rereads;
    try {
      const [chats, runs] = await Promise.all([this.api.chats(), this.api.openRuns()]);
      let state: State = { ...this.#state, loaded: true };
      const listed = new Set(chats.map(({ id }) => id));
      for (const id of state.chats.keys())
        if (!listed.has(id) && chats.length < 500) state = step.withoutChat(state, id);
      for (const chat of chats) state = step.withChat(state, chat);
      this.#set(state);
      this.#runs.join(runs);
      const unread = chats.filter((chat) => chat.unread > 0).slice(0, MOST_MARKED_AT_START);
      for (const chat of unread) this.#hub.mark(chat.id, chat.seq, chat.read);
    } catch {
      // The server is away or busy. It is asked again, unless a newer socket does so or there is none.
      const { clock, random } = this.#env;
      clock.setTimeout(
        () => {
          if (turn === this.#rereads && this.#hub.isLive()) void this.#reread(attempt + 1);
        },
        retryDelay(attempt, random),
      );
    }
  }

  /** Reads one chat again; calls that come meanwhile are merged into one more. */
  async #refresh(id: Id): Promise<void> {
    if (this.#refreshing.has(id)) {
      this.#refreshing.set(id, 'again');
      return;
    }
    this.#refreshing.set(id, 'once');
    try {
      const chat = await this.api.chat(id);
      if (chat === null) this.#removed(id);
      else this.#set(step.withChat(this.#state, chat));
      if (chat !== null && chat.unread > 0) this.#hub.mark(id, chat.seq, chat.read);
    } catch {
      // The next hint or `ready` brings it.
    } finally {
      const again = this.#refreshing.get(id) === 'again';
      this.#refreshing.delete(id);
      if (again) void this.#refresh(id);
    }
  }

  #event(event: ServerEvent): void {
    if (isDurable(event)) {
      this.#streams.onEvent(event);
      return;
    }
    const content = event.d as never;
    switch (event.t) {
      case 'gap':
        this.#streams.onGap(content);
        break;
      case 'lag':
        this.#streams.onLag(content);
        break;
      case 'pos':
        for (const [stream, o] of Object.entries(content as EventContents['pos'])) this.#streams.onHead(stream, o);
        break;
      case 'marks':
        this.#marks(content);
        break;
      case 'presence':
        this.#set(step.withPresence(this.#state, this.#watched, content));
        break;
      case 'chat.hint':
        this.#hint(content);
        break;
      case 'chat.added':
        void this.#refresh((content as EventContents['chat.added']).chat);
        break;
      case 'chat.removed':
        this.#removed((content as EventContents['chat.removed']).chat);
        break;
      case 'ai.run':
      case 'ai.hold':
        this.#runs.take(content as Run);
        break;
      case 'ai.delta':
        this.#runs.delta(content);
        break;
      case 'ai.snap':
        this.#runs.snap(content);
        break;
    }
  }

  /** A durable event in its place. */
  #apply(chat: Id, event: DurableEvent): void {
    const state = step.withPosition(this.#state, chat, event.o);
    switch (event.t) {
      case 'msg.new': {
        const message = event.d as Message;
        this.#set(step.withMessage(state, message));
        if (message.author !== this.me.id) this.#heard(message);
        break;
      }
      case 'binding.changed': {
        const { owner, thread, mode, state: progress } = event.d as EventContents['binding.changed'];
        this.#set(step.withBinding(state, chat, { chat, owner, thread, mode, state: progress }));
        // Only HTTP tells the owner why it failed.
        if (owner === this.me.id && progress === 'failed') void this.#refresh(chat);
        break;
      }
      case 'binding.removed':
        this.#set(step.withoutBinding(state, chat, (event.d as EventContents['binding.removed']).owner));
        break;
      default:
        this.#set(state);
        void this.#refresh(chat);
    }
  }

  #heard(message: Message): void {
    this.#hub.mark(message.chat, message.seq, this.#state.chats.get(message.chat)?.read ?? 0);
    for (const hearer of this.#hearers) hearer(message);
  }

  #reset(chat: Id, page: History): void {
    this.#set(step.withPage(this.#state, chat, page));
    if (!this.#state.chats.has(chat)) void this.#refresh(chat);
    void this.#readMarks(chat);
  }

  #removed(chat: Id): void {
    this.#streams.unfollow(chat);
    this.#set(step.withoutChat(this.#state, chat));
  }

  async #readMarks(chat: Id): Promise<void> {
    try {
      for (const marks of await this.api.marks(chat)) this.#marks(marks);
    } catch {
      // Ticks come with the next marks of the others.
    }
  }

  #marks(marks: Marks): void {
    if (marks.user === this.me.id) this.#set(step.withRead(this.#state, marks.chat, marks.read));
    else this.#set(step.withMarks(this.#state, marks));
  }

  #hint({ chat, o }: EventContents['chat.hint']): void {
    if (this.#streams.isFollowed(chat)) this.#streams.onHead(streamOf(chat), o);
    else void this.#refresh(chat);
  }

  #outboxChanged(item: OutboxItem): void {
    this.#set({ ...this.#state, outbox: step.withEntry(this.#state.outbox, item.key, item) });
  }

  /** The answer holds all of a message but its text, which is here: it is shown as stored before its event comes. */
  #outboxSettled(item: OutboxItem, stored: Stored | null): void {
    const state = { ...this.#state, outbox: step.withoutEntry(this.#state.outbox, item.key) };
    const known = state.timelines.get(item.chat)?.messages.some(({ key }) => key === item.key);
    this.#set(stored === null || known ? state : step.withMessage(state, storedMessage(item, stored)));
  }

  #newest(chat: Id): number {
    return this.#state.timelines.get(chat)?.messages.at(-1)?.seq ?? 0;
  }

  #set(state: State): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

function storedMessage(item: OutboxItem, stored: Stored): Message {
  const message: Message = {
    id: stored.msg,
    chat: item.chat,
    seq: stored.seq,
    o: stored.o,
    author: item.user,
    key: item.key,
    ts: stored.ts,
    text: item.text,
    auto: 'no',
  };
  if (item.reply_to !== undefined) message.reply_to = item.reply_to;
  if (item.from_run !== undefined) message.via = { mode: 'advice', run: item.from_run };
  return message;
}

/** The other person of a private chat. */
export function companion(chat: ChatView, me: Id): Id | undefined {
  return chat.kind === 'private' ? chat.members.find(({ id }) => id !== me)?.id : undefined;
}

/** The other person of a private chat, or the chat's own title. */
export function chatTitle(chat: ChatView, me: Id): string {
  return chat.title || chat.members.find(({ id }) => id !== me)?.username || '…';
}
