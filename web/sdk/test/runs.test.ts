import { describe, expect, test } from 'vitest';
import type { Api } from '../api';
import type { Run } from '../api-types';
import { Assistant } from '../assistant';
import { ApiError } from '../problem';
import { RunBook, type RunView } from '../runs';
import { initialState } from '../state';
import { TestClock, World } from './world';

const run = (state: Run['state'], text?: string): Run => ({
  run: 'r',
  chat: 'x',
  kind: 'advice',
  state,
  trigger_o: 1,
  created_at: '2026-11-21T10:00:00.000Z',
  ...(text === undefined ? {} : { text }),
});
const piece = (n: number, text: string) => ({ run: 'r', chat: 'x', n, text });

function book() {
  const followed: string[] = [];
  let runs: ReadonlyMap<string, RunView> = new Map();
  const clock = new TestClock();
  const made = new RunBook(clock, {
    follow: (id) => followed.push(id),
    changed: (next) => {
      runs = next;
    },
    kindOf: () => 'advice',
  });
  return { book: made, followed, clock, growing: () => runs.get('r')?.growing, state: () => runs.get('r')?.state };
}

describe('a reply that waits for its moment', () => {
  const delayed: Run = { ...run('sending', 'See you'), why: 'delay' };

  test('becomes_a_draft_when_its_owner_wants_to_approve', () => {
    const { book: runs, state, growing } = book();
    runs.take(delayed);
    expect(growing()).toBe('See you');
    runs.take({ ...run('held', 'See you'), why: 'approval' });
    expect(state()).toBe('held');
    runs.take(delayed);
    expect(state()).toBe('held');
  });

  test('is_no_draft_any_more_once_it_was_let_go', () => {
    const { book: runs, state } = book();
    runs.take(delayed);
    runs.take(run('sending', 'See you'));
    runs.take(run('held', 'See you'));
    runs.take(delayed);
    expect(state()).toBe('sending');
    runs.take(run('done', 'See you'));
    expect(state()).toBe('done');
  });
});

describe('a text that is being written', () => {
  test('grows_by_contiguous_pieces_and_ignores_repeated_ones', () => {
    const { book: runs, growing } = book();
    runs.take(run('running'));
    runs.delta(piece(1, 'Say '));
    runs.delta(piece(2, 'yes'));
    runs.delta(piece(2, 'yes'));
    expect(growing()).toBe('Say yes');
  });

  test('with_a_hole_stays_as_it_is_until_all_of_it_comes', async () => {
    const { book: runs, growing, followed, clock } = book();
    runs.delta(piece(1, 'a'));
    runs.delta(piece(3, 'c'));
    runs.delta(piece(4, 'd'));
    expect(growing()).toBe('a');
    expect(followed).toEqual(['r']);
    runs.snap(piece(5, 'abcde'));
    runs.delta(piece(6, 'f'));
    expect(growing()).toBe('abcdef');
    await clock.advance(2_000);
    runs.delta(piece(9, 'i'));
    expect(followed).toEqual(['r', 'r']);
  });

  test('ends_with_the_text_of_the_run_whatever_came_before', () => {
    const { book: runs, growing, state } = book();
    runs.delta(piece(1, 'x'));
    runs.delta(piece(7, 'y'));
    runs.take(run('done', 'The truth.'));
    runs.delta(piece(8, 'late'));
    runs.snap(piece(9, 'late'));
    expect([state(), growing()]).toEqual(['done', 'The truth.']);
  });

  test('is_not_taken_back_by_an_older_answer', () => {
    const { book: runs, state } = book();
    runs.take(run('done', 'The truth.'));
    runs.take(run('queued'));
    expect(state()).toBe('done');
  });

  test('that_is_joined_in_the_middle_asks_for_all_of_it', () => {
    const { book: runs, followed, growing } = book();
    runs.join([run('running')]);
    expect(followed).toEqual(['r']);
    runs.snap(piece(4, 'abcd'));
    runs.delta(piece(5, 'e'));
    expect(growing()).toBe('abcde');
  });

  test('is_the_same_after_any_loss_once_it_has_ended', () => {
    for (let mask = 0; mask < 256; mask += 1) {
      const { book: runs, growing } = book();
      for (let n = 1; n <= 8; n += 1) if (mask & (1 << (n - 1))) runs.delta(piece(n, `${n}`));
      const before = growing() ?? '';
      expect('12345678'.startsWith(before)).toBe(true);
      runs.take(run('done', '12345678'));
      expect(growing()).toBe('12345678');
    }
  });
});

test('open_runs_are_read_when_the_socket_is_ready_and_reach_every_tab', async () => {
  const world = new World();
  world.server.runs = [run('held', 'A draft')];
  const [one, two] = [await world.tab(), await world.tab()];
  world.server.tell({ t: 'ai.delta', d: { run: 'q', chat: 'x', n: 1, text: 'Hm' } });
  await world.clock.advance(10);
  for (const tab of [one, two]) {
    expect(tab.messenger.getState().runs.get('r')?.growing).toBe('A draft');
    expect(tab.messenger.getState().runs.get('q')?.growing).toBe('Hm');
  }
});

test('a_stale_draft_that_is_approved_makes_room_for_the_newer_one', async () => {
  const { book: runs, state } = book();
  const newer: Run = { ...run('held', 'A newer draft'), run: 'newer' };
  const api = {
    approve: () => Promise.reject(new ApiError(409, 'superseded', 'a newer message made this draft stale', undefined)),
    openRuns: async () => [newer],
  };
  const taken: Run[] = [];
  const host = {
    api: api as unknown as Api,
    makeKey: () => 'k',
    runs,
    state: () => initialState('ann'),
    set: () => {},
  };
  const take = runs.take.bind(runs);
  runs.take = (told) => {
    taken.push(told);
    take(told);
  };
  runs.take(run('held', 'A draft'));
  const outcome = await new Assistant(host).approve({ ...run('held', 'A draft'), growing: 'A draft' }, undefined);
  expect(outcome).toBe('superseded');
  expect(state()).toBe('superseded');
  expect(taken.at(-1)).toEqual(newer);
});

test('a_stale_draft_is_stale_even_when_the_newer_one_cannot_be_read_now', async () => {
  const { book: runs, state } = book();
  const api = {
    approve: () => Promise.reject(new ApiError(409, 'superseded', 'the newer draft is there: Hello', undefined)),
    openRuns: () => Promise.reject(new ApiError(503, 'unavailable', undefined, undefined)),
  } as unknown as Api;
  const host = { api, makeKey: () => 'k', runs, state: () => initialState('ann'), set: () => {} };
  runs.take(run('held', 'A draft'));
  const outcome = await new Assistant(host).approve({ ...run('held', 'A draft'), growing: 'A draft' }, undefined);
  expect([outcome, state()]).toEqual(['superseded', 'superseded']);
});

test('what_has_no_stream_is_read_again_after_every_reconnection_until_it_could_be_read', async () => {
  const world = new World();
  world.server.addChat('x');
  const tab = await world.tab();
  expect(tab.messenger.getState().loaded).toBe(true);
  world.server.runs = [run('held', 'A draft')];
  world.server.apiStatus = 503;
  world.server.live[0]?.cut(4001);
  await world.clock.advance(5_000);
  expect(tab.messenger.getState().status.kind).toBe('live');
  expect(tab.messenger.getState().runs.size).toBe(0);
  world.server.apiStatus = 200;
  await world.clock.advance(30_000);
  expect(tab.messenger.getState().runs.get('r')?.growing).toBe('A draft');
});
