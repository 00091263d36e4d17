import { beforeEach, describe, expect, test } from 'vitest';
import { IDLE_AFTER_MS, WATCH_EVERY_MS } from '../presence';
import { type Tab, World } from './world';

let world: World;
let one: Tab;
let two: Tab;

const socket = () => {
  const [live] = world.server.live;
  if (live === undefined) throw new Error('no live socket');
  return live;
};
const said = (t: string) => socket().received.filter((command) => command.t === t);
const lists = () => said('presence.watch').map(({ d }) => d?.users);
const activities = () => said('activity').map(({ d }) => d?.state);
const states = (tab: Tab) =>
  Object.fromEntries([...tab.messenger.getState().presence].map(([id, { state }]) => [id, state]));
const tell = async (user: string, state: string) => {
  world.server.tell({ t: 'presence', d: [{ user, state }] });
  await world.clock.advance(10);
};

beforeEach(async () => {
  world = new World();
  one = await world.tab();
  two = await world.tab();
});

describe('people on screen', () => {
  test('those_of_all_tabs_are_watched_and_the_list_goes_out_seldom', async () => {
    one.messenger.watch(['bob']);
    for (const users of [['cid'], ['cid', 'dan'], ['cid', 'bob']]) two.messenger.watch(users);
    await world.clock.advance(10);
    expect(lists()).toEqual([['bob']]);
    await world.clock.advance(WATCH_EVERY_MS);
    expect(lists()).toEqual([['bob'], ['bob', 'cid']]);
    two.close();
    await world.clock.advance(2 * WATCH_EVERY_MS);
    expect(lists().at(-1)).toEqual(['bob']);
  });

  test('a_state_is_kept_as_long_as_its_person_is_on_screen', async () => {
    one.messenger.watch(['bob']);
    await world.clock.advance(10);
    await tell('bob', 'active');
    await tell('eve', 'active');
    expect([states(one), states(two)]).toEqual([{ bob: 'active' }, {}]);
    await tell('bob', 'offline');
    expect(states(one)).toEqual({ bob: 'offline' });
    one.messenger.watch([]);
    expect(states(one)).toEqual({});
  });

  test('a_tab_that_asks_later_learns_what_is_known_already', async () => {
    one.messenger.watch(['bob']);
    await world.clock.advance(10);
    await tell('bob', 'idle');
    two.messenger.watch(['bob']);
    await world.clock.advance(2 * WATCH_EVERY_MS);
    expect(states(two)).toEqual({ bob: 'idle' });
    expect(lists()).toHaveLength(1);
  });

  test('with_the_socket_goes_what_is_known_and_the_next_one_is_told_the_list', async () => {
    one.messenger.watch(['bob']);
    two.messenger.watch(['cid']);
    await world.clock.advance(WATCH_EVERY_MS);
    await tell('bob', 'active');
    socket().cut(4001);
    await world.clock.advance(10);
    expect(states(one)).toEqual({});
    await world.clock.advance(3_000);
    expect(lists()).toEqual([['bob', 'cid']]);
    one.close();
    await world.clock.advance(3_000);
    expect(lists()).toEqual([['cid']]);
  });

  test('a_hidden_tab_has_nobody_on_screen', async () => {
    one.messenger.watch(['bob']);
    await world.clock.advance(2 * WATCH_EVERY_MS);
    one.lifecycle('hidden');
    await world.clock.advance(2 * WATCH_EVERY_MS);
    one.messenger.watch(['bob', 'cid']);
    await world.clock.advance(2 * WATCH_EVERY_MS);
    expect(lists()).toEqual([['bob'], []]);
    one.lifecycle('visible');
    await world.clock.advance(10);
    expect(lists().at(-1)).toEqual(['bob', 'cid']);
  });
});

describe('the person', () => {
  test('is_idle_when_no_tab_was_touched_for_a_while', async () => {
    await world.clock.advance(IDLE_AFTER_MS - 60_000);
    two.messenger.touch();
    await world.clock.advance(IDLE_AFTER_MS - 60_000);
    expect(activities()).toEqual([]);
    await world.clock.advance(60_000);
    expect(activities()).toEqual(['idle']);
    one.messenger.touch();
    one.messenger.touch();
    await world.clock.advance(10);
    expect(activities()).toEqual(['idle', 'active']);
  });

  test('is_idle_when_every_tab_is_hidden', async () => {
    one.lifecycle('hidden');
    await world.clock.advance(10);
    expect(activities()).toEqual([]);
    two.messenger.hide();
    await world.clock.advance(10);
    expect(activities()).toEqual(['idle']);
    two.lifecycle('visible');
    await world.clock.advance(10);
    expect(activities()).toEqual(['idle', 'active']);
  });

  test('is_what_a_new_socket_says_first', async () => {
    expect(said('hello').map(({ d }) => d?.activity)).toEqual(['active']);
    for (const tab of [one, two]) tab.lifecycle('hidden');
    await world.clock.advance(10);
    socket().cut(4001);
    await world.clock.advance(3_000);
    expect(said('hello').map(({ d }) => d?.activity)).toEqual(['idle']);
    expect(activities()).toEqual([]);
  });
});
