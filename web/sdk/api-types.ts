/** What HTTP and the socket carry, as docs/protocol.md says. */

export type Id = string;

/** A place in a stream. An epoch changes when history was restored or cut. */
export interface Position {
  e: string;
  o: number;
}

export interface PublicUser {
  id: Id;
  username: string;
}

export interface User extends PublicUser {
  email?: string | null;
  created_at: string;
  updated_at: string;
}

export interface Session {
  user: User;
  session: Id;
  access_token: string;
  expires_at: string;
}

export interface SessionInfo {
  id: Id;
  device?: string | null;
  created_at: string;
  last_used_at: string;
  current: boolean;
}

export type BindingMode = 'advice' | 'autoreply';
export type BindingState = 'pending' | 'ready' | 'failed';

export interface Binding {
  chat: Id;
  owner: Id;
  thread: Id;
  mode: BindingMode;
  state: BindingState;
  /** Why it failed; told to its owner only. */
  reason?: string;
}

export interface Via {
  mode: BindingMode;
  run: Id;
  model?: string;
  approved_by?: Id;
  /** Left out where nobody can know. */
  edited?: boolean;
}

export interface Message {
  id: Id;
  chat: Id;
  seq: number;
  o: number;
  author: Id;
  key: Id;
  ts: string;
  text: string;
  reply_to?: Id;
  auto: 'no' | 'replied';
  via?: Via;
}

export interface ChatView {
  id: Id;
  kind: 'private' | 'group' | 'room';
  title?: string | null;
  creator: Id;
  created_at: string;
  members: PublicUser[];
  bindings: Binding[];
  pos: Position;
  seq: number;
  unread: number;
  read: number;
  from_o: number;
  last?: Message | null;
}

export interface History {
  /** The head, read before the messages: subscribing from here misses nothing. */
  pos: Position;
  messages: Message[];
  more: boolean;
}

export interface Marks {
  chat: Id;
  user: Id;
  delivered: number;
  read: number;
}

export interface Stored {
  msg: Id;
  seq: number;
  o: number;
  ts: string;
  dup?: boolean;
}

export type RunState =
  | 'queued'
  | 'running'
  | 'held'
  | 'sending'
  | 'done'
  | 'failed'
  | 'cancelled'
  | 'superseded'
  | 'blocked';

export interface Run {
  run: Id;
  chat: Id;
  kind: BindingMode;
  state: RunState;
  trigger_o: number;
  text?: string;
  why?: string;
  model?: string;
  created_at: string;
}

export interface AiSettings {
  release: 'approval' | 'immediate';
  advice_on_message: boolean;
}

export interface SendRequest {
  chat: Id;
  key: Id;
  text: string;
  reply_to?: Id;
  from_run?: Id;
}

/** RFC 9457, with our stable `code`. */
export interface Problem {
  title?: string;
  status: number;
  code: string;
  detail?: unknown;
  request_id?: string;
}
