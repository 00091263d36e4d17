import { expect, test } from 'vitest';
import type { Api } from '../api';
import type { AiSettings, Binding, ChatView } from '../api-types';
import { Assistant } from '../assistant';
import { RunBook } from '../runs';
import { initialState, type State } from '../state';
import { TestClock } from './world';

const SETTINGS: AiSettings = { release: 'approval', advice_on_message: false };

test('settings_are_asked_for_only_when_the_ai_has_tried_the_binding', async () => {
  const asked: string[] = [];
  let state: State = initialState('me');
  const api = {
    runs: async () => [],
    aiSettings: async (chat: string) => {
      asked.push(chat);
      return SETTINGS;
    },
  };
  const runs = new RunBook(new TestClock(), { follow: () => {}, changed: () => {}, kindOf: () => 'advice' });
  const assistant = new Assistant({
    api: api as unknown as Api,
    makeKey: () => 'k',
    runs,
    state: () => state,
    set: (next) => {
      state = next;
    },
  });
  const bound = async (binding: Partial<Binding>[]) => {
    const chat = { id: 'x', bindings: binding.map((told) => ({ owner: 'me', ...told })) } as unknown as ChatView;
    state = { ...state, chats: new Map([['x', chat]]) };
    await assistant.load('x');
    return state.settings.get('x');
  };
  expect(await bound([])).toBeUndefined();
  expect(await bound([{ state: 'pending' }])).toBeUndefined();
  expect(asked).toEqual([]);
  expect(await bound([{ state: 'ready' }])).toEqual(SETTINGS);
  expect(await bound([{ state: 'failed' }])).toEqual(SETTINGS);
  expect(asked).toEqual(['x', 'x']);
});
