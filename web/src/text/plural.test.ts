import { expect, test } from 'vitest';
import { en } from './en';
import { ru } from './ru';

test('numbers_take_the_form_that_their_language_asks_for', () => {
  expect([1, 2, 11].map(en.timeline.newMessages)).toEqual(['1 new message', '2 new messages', '11 new messages']);
  expect([1, 3, 5, 11, 21, 22].map(ru.timeline.newMessages)).toEqual([
    '1 новое сообщение',
    '3 новых сообщения',
    '5 новых сообщений',
    '11 новых сообщений',
    '21 новое сообщение',
    '22 новых сообщения',
  ]);
});

test('both_languages_have_the_same_strings', () => {
  const paths = (value: object, at = ''): string[] =>
    Object.entries(value).flatMap(([key, inner]) =>
      typeof inner === 'object' && inner !== null ? paths(inner, `${at}${key}.`) : [`${at}${key}`],
    );
  expect(paths(ru).sort()).toEqual(paths(en).sort());
});
