/** What a person does with their AI: bind a chat, ask for advice, decide about drafts. */

import type { Api } from './api';
import type { AiSettings, Binding, BindingMode, Id } from './api-types';
import { ApiError } from './problem';
import type { RunBook, RunView } from './runs';
import type { State } from './state';
import * as step from './state';

export interface AssistantHost {
  api: Api;
  makeKey: () => string;
  runs: RunBook;
  state: () => State;
  set: (state: State) => void;
}

export class Assistant {
  readonly #host: AssistantHost;

  constructor(host: AssistantHost) {
    this.#host = host;
  }

  ownBinding(chat: Id): Binding | undefined {
    const { chats, me } = this.#host.state();
    return chats.get(chat)?.bindings.find(({ owner }) => owner === me);
  }

  /** Reads the runs of a chat that is shown, and the settings of the own binding when there is one. */
  async load(chat: Id): Promise<void> {
    const { api, runs } = this.#host;
    const own = this.ownBinding(chat);
    // Before the AI has tried a new binding there are no settings of it.
    const tried = own !== undefined && own.state !== 'pending';
    try {
      const [told, settings] = await Promise.all([api.runs(chat), tried ? api.aiSettings(chat) : null]);
      // Newest first: taken from the end, they stay in their order.
      runs.join(told.reverse());
      const state = this.#host.state();
      const all =
        settings === null ? step.withoutEntry(state.settings, chat) : step.withEntry(state.settings, chat, settings);
      this.#host.set({ ...state, settings: all });
    } catch {
      // Without the AI's part the chat goes on; opening it again, or the next change of the binding, reads it.
    }
  }

  async bind(chat: Id, mode: BindingMode): Promise<void> {
    const binding = await this.#host.api.bind(chat, mode);
    const known = this.ownBinding(chat);
    // The event may have told more than this answer already.
    const newer = known?.thread === binding.thread && known.mode === binding.mode && known.state !== 'pending';
    if (!newer) this.#host.set(step.withBinding(this.#host.state(), chat, binding));
  }

  async unbind(chat: Id): Promise<void> {
    await this.#host.api.unbind(chat);
    const state = this.#host.state();
    this.#host.set(step.withoutBinding(state, chat, state.me));
  }

  async setSettings(chat: Id, settings: AiSettings): Promise<void> {
    const stored = (await this.#host.api.putAiSettings(chat, settings)) ?? settings;
    const state = this.#host.state();
    this.#host.set({ ...state, settings: step.withEntry(state.settings, chat, stored) });
  }

  /** Answers the run. Its card appears with the answer; its text comes over the socket. */
  async ask(chat: Id, hint: string | undefined): Promise<Id> {
    const { api, makeKey, runs } = this.#host;
    const { run } = await api.askAdvice(chat, makeKey(), hint);
    const created_at = new Date().toISOString();
    runs.take({ run, chat, kind: 'advice', state: 'queued', trigger_o: 0, created_at });
    return run;
  }

  async cancel(run: Id): Promise<void> {
    this.#host.runs.take(await this.#host.api.cancel(run));
  }

  async discard(run: Id): Promise<void> {
    this.#host.runs.take(await this.#host.api.discard(run));
  }

  /** Answers `superseded` when newer messages made the draft stale; the newer draft is in the state then, or comes as an event. */
  async approve(draft: RunView, text: string | undefined): Promise<'sent' | 'superseded'> {
    const { api, runs } = this.#host;
    try {
      runs.take(await api.approve(draft.run, text));
      return 'sent';
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'superseded') throw error;
      const { growing: _, ...old } = draft;
      runs.take({ ...old, state: 'superseded' });
      runs.join(await api.openRuns().catch(() => []));
      return 'superseded';
    }
  }
}
