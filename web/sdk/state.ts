/** Everything that a page shows, as one immutable value, and the pure steps from one value to the next. */

import type { AiSettings, Binding, ChatView, History, Id, Marks, Message } from './api-types';
import type { Status } from './connection';
import type { Presence } from './frames';
import type { OutboxItem } from './outbox';
import type { RunView } from './runs';
import { EMPTY_TIMELINE, insert, prepend, reset, type Timeline } from './timeline';

export interface State {
  me: Id;
  status: Status;
  /** The list of chats has been read once. */
  loaded: boolean;
  chats: ReadonlyMap<Id, ChatView>;
  timelines: ReadonlyMap<Id, Timeline>;
  outbox: ReadonlyMap<Id, OutboxItem>;
  /** By chat, then by person. */
  marks: ReadonlyMap<Id, ReadonlyMap<Id, Marks>>;
  runs: ReadonlyMap<Id, RunView>;
  settings: ReadonlyMap<Id, AiSettings>;
  /** Of those on screen, as far as it is known. */
  presence: ReadonlyMap<Id, Presence>;
}

export const initialState = (me: Id): State => ({
  me,
  status: { kind: 'connecting' },
  loaded: false,
  chats: new Map(),
  timelines: new Map(),
  outbox: new Map(),
  marks: new Map(),
  runs: new Map(),
  settings: new Map(),
  presence: new Map(),
});

export function withEntry<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  return new Map(map).set(key, value);
}

export function withoutEntry<K, V>(map: ReadonlyMap<K, V>, key: K): ReadonlyMap<K, V> {
  if (!map.has(key)) return map;
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}

/** A chat as HTTP tells it; what events have told since is not taken back. */
export function withChat(state: State, chat: ChatView): State {
  const known = state.chats.get(chat.id);
  if (known !== undefined && known.pos.e === chat.pos.e && known.pos.o > chat.pos.o) return state;
  const read = Math.max(chat.read, known?.read ?? 0);
  const unread = read > chat.read ? (known?.unread ?? chat.unread) : chat.unread;
  return { ...state, chats: withEntry(state.chats, chat.id, { ...chat, read, unread }) };
}

export function withoutChat(state: State, chat: Id): State {
  return {
    ...state,
    chats: withoutEntry(state.chats, chat),
    timelines: withoutEntry(state.timelines, chat),
  };
}

/** A stored message, told by its event or by the answer to its send. */
export function withMessage(state: State, message: Message): State {
  const timeline = state.timelines.get(message.chat);
  const timelines =
    timeline === undefined ? state.timelines : withEntry(state.timelines, message.chat, insert(timeline, message));
  return {
    ...state,
    timelines,
    chats: withNewest(state, message),
    outbox: withoutEcho(state, message),
  };
}

/** The stored message takes the place of its echo. */
const withoutEcho = (state: State, message: Message): State['outbox'] =>
  message.author === state.me ? withoutEntry(state.outbox, message.key) : state.outbox;

function withNewest(state: State, message: Message): ReadonlyMap<Id, ChatView> {
  const chat = state.chats.get(message.chat);
  if (chat === undefined || message.seq <= chat.seq) return state.chats;
  const unread = chat.unread + (message.author !== state.me && message.seq > chat.read ? 1 : 0);
  return withEntry(state.chats, chat.id, { ...chat, seq: message.seq, last: message, unread });
}

/** Events move the position that the chat is known at. */
export function withPosition(state: State, id: Id, o: number): State {
  const chat = state.chats.get(id);
  if (chat === undefined || chat.pos.o >= o) return state;
  return { ...state, chats: withEntry(state.chats, id, { ...chat, pos: { ...chat.pos, o } }) };
}

export function withPage(state: State, chat: Id, page: History): State {
  const timeline = reset(state.timelines.get(chat) ?? EMPTY_TIMELINE, page);
  let next: State = { ...state, timelines: withEntry(state.timelines, chat, timeline) };
  for (const message of page.messages)
    next = { ...next, chats: withNewest(next, message), outbox: withoutEcho(next, message) };
  return next;
}

export function withOlderPage(state: State, chat: Id, page: History): State {
  const timeline = prepend(state.timelines.get(chat) ?? EMPTY_TIMELINE, page);
  return { ...state, timelines: withEntry(state.timelines, chat, timeline) };
}

/** The person has read up to `seq`; what is unread beyond it is counted from the messages at hand. */
export function withRead(state: State, id: Id, seq: number): State {
  const chat = state.chats.get(id);
  if (chat === undefined || seq <= chat.read) return state;
  const messages = state.timelines.get(id)?.messages ?? [];
  const unread = messages.filter((message) => message.seq > seq && message.author !== state.me).length;
  return { ...state, chats: withEntry(state.chats, id, { ...chat, read: seq, unread }) };
}

/** Marks only rise. */
export function withMarks(state: State, marks: Marks): State {
  const ofChat = state.marks.get(marks.chat) ?? new Map<Id, Marks>();
  const known = ofChat.get(marks.user);
  const merged: Marks = {
    ...marks,
    delivered: Math.max(marks.delivered, marks.read, known?.delivered ?? 0),
    read: Math.max(marks.read, known?.read ?? 0),
  };
  return { ...state, marks: withEntry(state.marks, marks.chat, withEntry(ofChat, marks.user, merged)) };
}

export function withBinding(state: State, id: Id, binding: Binding): State {
  const chat = state.chats.get(id);
  if (chat === undefined) return state;
  const others = chat.bindings.filter(({ owner }) => owner !== binding.owner);
  return { ...state, chats: withEntry(state.chats, id, { ...chat, bindings: [...others, binding] }) };
}

export function withoutBinding(state: State, id: Id, owner: Id): State {
  const chat = state.chats.get(id);
  if (chat === undefined) return state;
  const bindings = chat.bindings.filter((binding) => binding.owner !== owner);
  return { ...state, chats: withEntry(state.chats, id, { ...chat, bindings }) };
}

/** How present people are; what is said of others than `watched` is not kept. */
export function withPresence(state: State, watched: ReadonlySet<Id>, news: readonly Presence[]): State {
  const fresh = news.filter(({ user }) => watched.has(user));
  if (fresh.length === 0) return state;
  const presence = new Map(state.presence);
  for (const one of fresh) presence.set(one.user, one);
  return { ...state, presence };
}

/** Only `watched` are on screen any more. */
export function withWatched(state: State, watched: ReadonlySet<Id>): State {
  const kept = [...state.presence].filter(([user]) => watched.has(user));
  return kept.length === state.presence.size ? state : { ...state, presence: new Map(kept) };
}
