/** The HTTP routes that the client uses, one function each. */

import type {
  AiSettings,
  Binding,
  BindingMode,
  ChatView,
  History,
  Id,
  Marks,
  PublicUser,
  Run,
  SessionInfo,
  User,
} from './api-types';
import type { Environment } from './environment';
import { ApiError, readAnswer } from './problem';
import type { SessionKeeper } from './session';

export const PAGE = 50;

export class Api {
  readonly #env: Environment;
  readonly #sessions: SessionKeeper;

  constructor(env: Environment, sessions: SessionKeeper) {
    this.#env = env;
    this.#sessions = sessions;
  }

  sessions = async (): Promise<SessionInfo[]> =>
    (await this.#call<{ sessions: SessionInfo[] }>('GET', '/api/sessions')).sessions;
  endSession = (id: Id): Promise<void> => this.#call('DELETE', `/api/sessions/${id}`);

  /** The present password shows that it is not just somebody at an open screen. */
  changeEmail = (email: string, current_password: string): Promise<User> =>
    this.#call('POST', '/api/email', { email, current_password });

  /** `null` when nobody has this name. */
  userByName = (username: string): Promise<PublicUser | null> =>
    orNull(this.#call<PublicUser>('GET', `/api/users?username=${encodeURIComponent(username)}`));

  chats = async (): Promise<ChatView[]> =>
    (await this.#call<{ chats: ChatView[] }>('GET', '/api/chats?limit=500')).chats;
  /** `null` when there is no such chat for this person. */
  chat = (id: Id): Promise<ChatView | null> => orNull(this.#call<ChatView>('GET', `/api/chats/${id}`));
  openPrivate = (user: Id): Promise<ChatView> => this.#call('POST', '/api/chats', { kind: 'private', user });

  bind = (chat: Id, mode: BindingMode): Promise<Binding> => this.#call('PUT', `/api/chats/${chat}/binding`, { mode });
  unbind = (chat: Id): Promise<void> => this.#call('DELETE', `/api/chats/${chat}/binding`);
  askAdvice = (chat: Id, key: Id, hint: string | undefined): Promise<{ run: Id }> =>
    this.#call('POST', `/api/chats/${chat}/advice`, hint === undefined ? { key } : { key, hint });

  latest = (chat: Id): Promise<History> => this.#call('GET', `/api/messages/${chat}?limit=${PAGE}`);
  before = (chat: Id, seq: number): Promise<History> =>
    this.#call('GET', `/api/messages/${chat}?before=${seq}&limit=${PAGE}`);

  /** How far each member has got. */
  marks = async (chat: Id): Promise<Marks[]> =>
    (await this.#call<{ marks: Marks[] }>('GET', `/api/messages/${chat}/marks`)).marks;

  openRuns = async (): Promise<Run[]> => (await this.#call<{ runs: Run[] }>('GET', '/api/ai/runs?open=true')).runs;
  runs = async (chat: Id): Promise<Run[]> =>
    (await this.#call<{ runs: Run[] }>('GET', `/api/ai/runs?chat=${chat}`)).runs;
  cancel = (run: Id): Promise<Run> => this.#call('POST', `/api/ai/runs/${run}/cancel`);
  approve = (run: Id, text: string | undefined): Promise<Run> =>
    this.#call('POST', `/api/ai/runs/${run}/approve`, text === undefined ? {} : { text });
  discard = (run: Id): Promise<Run> => this.#call('POST', `/api/ai/runs/${run}/discard`);

  aiSettings = (chat: Id): Promise<AiSettings | null> =>
    orNull(this.#call<AiSettings>('GET', `/api/ai/settings/${chat}`));
  putAiSettings = (chat: Id, settings: AiSettings): Promise<AiSettings> =>
    this.#call('PUT', `/api/ai/settings/${chat}`, settings);

  /** A token that the server refuses is renewed once; a second refusal is the answer. */
  async #call<T>(method: string, path: string, body?: object): Promise<T> {
    try {
      return await this.#once(method, path, body, await this.#sessions.token());
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401 || this.#sessions.session === null) throw error;
    }
    return this.#once(method, path, body, (await this.#sessions.renew()).access_token);
  }

  async #once<T>(method: string, path: string, body: object | undefined, token: string): Promise<T> {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` };
    const init: RequestInit = { method, headers };
    if (body !== undefined) {
      headers['content-type'] = 'application/json';
      init.body = JSON.stringify(body);
    }
    return (await readAnswer<T>(() => this.#env.fetch(path, init))).value;
  }
}

async function orNull<T>(request: Promise<T>): Promise<T | null> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}
