import { renderToStaticMarkup } from 'react-dom/server';
import { describe, expect, test } from 'vitest';
import type { Messenger, PresenceState, SessionKeeper } from '../../sdk';
import { LANGUAGES, SpeechContext, stringsOf } from '../text';
import { MessengerContext } from './messenger';
import { PresenceWord, PresentAvatar, UnseenPresence } from './Presence';

function page(element: React.ReactNode, state?: PresenceState, language = LANGUAGES[0] ?? 'en'): string {
  const presence = new Map(state === undefined ? [] : [['bob', { user: 'bob', state }]]);
  const messenger = { subscribe: () => () => {}, getState: () => ({ presence }) } as unknown as Messenger;
  const sessions = {} as SessionKeeper;
  return renderToStaticMarkup(
    <SpeechContext value={{ language, t: stringsOf(language), setLanguage: () => {} }}>
      <MessengerContext value={{ messenger, sessions }}>{element}</MessengerContext>
    </SpeechContext>,
  );
}

describe.each(LANGUAGES)('in %s', (language) => {
  const { presence } = stringsOf(language);

  test.each(['active', 'idle', 'offline'] as const)('who_is_%s_is_told_in_a_word', (state) => {
    expect(page(<PresenceWord person="bob" />, state, language)).toContain(presence[state]);
  });

  test('the_word_in_the_list_is_there_for_those_who_do_not_see_the_dot', () => {
    const unseen = (state: PresenceState) => page(<UnseenPresence person="bob" />, state, language);
    expect(unseen('active')).toBe(`<span class="visually-hidden">${presence.active}</span>`);
    expect(unseen('idle')).toContain(presence.idle);
    expect(unseen('offline')).toBe('');
  });
});

test('nothing_is_said_of_whom_nothing_is_known', () => {
  for (const state of [undefined, 'unknown'] as const) {
    expect(page(<PresenceWord person="bob" />, state) + page(<UnseenPresence person="bob" />, state)).toBe('');
    expect(page(<PresentAvatar name="Bob" person="bob" />, state)).not.toContain('presence-dot');
  }
});

test('the_dot_is_decoration_and_hollow_for_who_is_away', () => {
  const dot = (state: PresenceState) =>
    /<span class="presence-dot"[^>]*>/.exec(page(<PresentAvatar name="Bob" person="bob" />, state))?.[0];
  expect(dot('active')).toContain('data-state="active" aria-hidden="true"');
  expect(dot('idle')).toContain('data-state="idle"');
  expect(dot('offline')).toBeUndefined();
});
