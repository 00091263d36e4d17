import { expect, test } from 'vitest';
import { EMPTY, taken, takesByTab, undone, written } from './draft';

const mine = written(EMPTY, 'My own words');

test('tab_takes_an_advice_only_where_no_words_are_lost', () => {
  expect(takesByTab('', null)).toBe(true);
  expect(takesByTab('  ', 'a question')).toBe(true);
  expect(takesByTab('a question', 'a question')).toBe(true);
  expect(takesByTab('a question, rewritten', 'a question')).toBe(false);
  expect(takesByTab('unasked advice comes while I write', null)).toBe(false);
});

test('a_taken_text_gives_back_what_it_took_the_place_of', () => {
  const draft = taken(mine, 'An advice', 'r');
  expect([draft.text, draft.fromRun]).toEqual(['An advice', 'r']);
  expect(undone(draft)).toEqual(mine);
  expect(undone(written(draft, ''))).toEqual(mine);
  expect(undone(mine)).toEqual(mine);
});

test('an_emptied_text_is_nobody_elses_any_more', () => {
  const draft = taken(EMPTY, 'An advice', 'r');
  expect(draft.before).toBeNull();
  expect(written(draft, 'An advice, rewritten').fromRun).toBe('r');
  expect(written(written(draft, ' '), 'My own words')).toEqual(mine);
});
