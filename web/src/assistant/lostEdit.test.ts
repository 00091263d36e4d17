import { expect, test } from 'vitest';
import type { RunState, RunView } from '../../sdk';
import { lostEdit } from './DraftTray';

test('an_edit_outlives_the_draft_that_a_newer_message_took_away', () => {
  const edit = { run: 'r', text: 'My words' };
  const after = (state: RunState) => lostEdit(edit, new Map([['r', { run: 'r', state } as RunView]]));
  expect(after('held')).toBeNull();
  expect(after('sending')).toBeNull();
  expect(after('done')).toBeNull();
  expect(after('superseded')).toBe(edit);
  expect(after('cancelled')).toBe(edit);
  expect(lostEdit(null, new Map())).toBeNull();
});
