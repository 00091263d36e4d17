import { beforeEach, describe, expect, test } from 'vitest';
import { ME, OTHER, type Tab, texts, World } from './world';

let world: World;
let tab: Tab;

beforeEach(async () => {
  world = new World();
  world.server.addChat('x');
  world.server.say('x', OTHER, 'first');
  tab = await world.tab();
  tab.messenger.open('x');
  await world.clock.advance(10);
});

const commands = (t: string) => world.server.sockets.flatMap(({ received }) => received.filter((c) => c.t === t));

describe('live events', () => {
  test('the_next_event_is_applied_at_once', async () => {
    world.server.say('x', OTHER, 'second');
    await world.clock.advance(0);
    expect(texts(tab, 'x')).toEqual(['first', 'second']);
  });

  // guarantee:G9
  test('an_event_that_comes_twice_is_shown_once', async () => {
    world.server.say('x', OTHER, 'second');
    const [socket] = world.server.live;
    const event = world.server.chats.get('x')?.log.at(-1);
    socket?.push(event as object);
    await world.clock.advance(1_000);
    expect(texts(tab, 'x')).toEqual(['first', 'second']);
    expect(tab.messenger.getState().chats.get('x')?.unread).toBe(2);
  });

  test('an_event_after_a_hole_waits_half_a_second_and_then_the_missing_one_is_pulled', async () => {
    world.server.loses = ({ o }) => o === 3;
    world.server.say('x', OTHER, 'lost');
    world.server.say('x', OTHER, 'after');
    await world.clock.advance(499);
    expect(texts(tab, 'x')).toEqual(['first']);
    expect(commands('pull')).toHaveLength(0);
    await world.clock.advance(1);
    expect(texts(tab, 'x')).toEqual(['first', 'lost', 'after']);
    expect(commands('pull')).toHaveLength(1);
  });

  test('a_late_event_fills_the_hole_without_a_pull', async () => {
    world.server.loses = ({ o }) => o === 3;
    world.server.say('x', OTHER, 'late');
    world.server.say('x', OTHER, 'after');
    await world.clock.advance(200);
    world.server.live[0]?.push(world.server.chats.get('x')?.log[2] as object);
    await world.clock.advance(1_000);
    expect(texts(tab, 'x')).toEqual(['first', 'late', 'after']);
    expect(commands('pull')).toHaveLength(0);
  });

  test('a_silent_loss_is_found_by_the_heads_of_pos', async () => {
    world.server.loses = () => true;
    world.server.say('x', OTHER, 'unheard');
    world.server.tell({ t: 'pos', d: { 'c:x': 3 } });
    await world.clock.advance(600);
    expect(texts(tab, 'x')).toEqual(['first', 'unheard']);
  });

  test('a_pull_goes_on_until_it_is_level', async () => {
    world.server.loses = () => true;
    for (let n = 0; n < 23; n += 1) world.server.say('x', OTHER, `m${n}`);
    world.server.tell({ t: 'pos', d: { 'c:x': 25 } });
    await world.clock.advance(600);
    expect(texts(tab, 'x')).toHaveLength(24);
    expect(commands('pull')).toHaveLength(5);
  });
});

describe('when the server cannot replay', () => {
  test('a_gap_is_answered_by_the_newest_page_and_a_subscription_from_its_position', async () => {
    world.server.loses = () => true;
    world.server.say('x', OTHER, 'unheard');
    world.server.loses = () => false;
    world.server.tell({ t: 'gap', d: { s: 'c:x', e: 'e1', o: 3, why: 'too_long' } });
    await world.clock.advance(10);
    expect(texts(tab, 'x')).toEqual(['first', 'unheard']);
    expect(commands('sub').at(-1)?.d).toEqual({ s: 'c:x', since: { e: 'e1', o: 3 } });
    world.server.say('x', OTHER, 'next');
    await world.clock.advance(0);
    expect(texts(tab, 'x')).toEqual(['first', 'unheard', 'next']);
  });

  test('after_lag_it_pulls_from_its_own_position_and_subscribes_again', async () => {
    const [socket] = world.server.live;
    socket?.lagging.add('c:x');
    for (let n = 0; n < 12; n += 1) world.server.say('x', OTHER, `m${n}`);
    world.server.tell({ t: 'lag', d: { s: 'c:x', o: 14 } });
    await world.clock.advance(10);
    expect(texts(tab, 'x')).toHaveLength(13);
    world.server.say('x', OTHER, 'live again');
    await world.clock.advance(0);
    expect(texts(tab, 'x').at(-1)).toBe('live again');
  });

  test('a_new_epoch_takes_the_place_of_what_was_known', async () => {
    world.server.newEpoch('x');
    await world.clock.advance(40_000);
    world.server.say('x', OTHER, 'in the new epoch');
    await world.clock.advance(10);
    expect(texts(tab, 'x')).toEqual(['first', 'in the new epoch']);
  });

  test('a_chat_that_is_no_longer_readable_disappears', async () => {
    world.server.tell({ t: 'chat.removed', d: { chat: 'x', o: 3 } });
    await world.clock.advance(10);
    expect(tab.messenger.getState().chats.has('x')).toBe(false);
  });
});

describe('resume', () => {
  test('the_positions_of_followed_chats_are_in_hello_and_missed_events_come_by_replay', async () => {
    world.server.live[0]?.cut(4001);
    world.server.say('x', OTHER, 'while away');
    await world.clock.advance(31_000);
    const hello = commands('hello').at(-1);
    expect(hello?.d?.resume).toEqual({ 'c:x': { e: 'e1', o: 2 } });
    expect(texts(tab, 'x')).toEqual(['first', 'while away']);
    expect(commands('pull')).toHaveLength(0);
  });

  test('a_stream_that_was_not_recovered_is_read_as_a_page', async () => {
    world.server.live[0]?.cut(4002);
    for (let n = 0; n < 9; n += 1) world.server.say('x', OTHER, `m${n}`);
    const chat = world.server.chats.get('x');
    if (chat) chat.keptFrom = 8;
    await world.clock.advance(31_000);
    expect(texts(tab, 'x')).toHaveLength(10);
  });

  test('older_pages_stay_only_where_no_hole_is_between', async () => {
    for (let n = 0; n < 120; n += 1) world.server.say('x', OTHER, `m${n}`);
    await world.clock.advance(10);
    await tab.messenger.loadOlder('x');
    world.server.live[0]?.cut(4002);
    for (let n = 120; n < 400; n += 1) world.server.say('x', ME, `m${n}`);
    const chat = world.server.chats.get('x');
    if (chat) chat.keptFrom = 390;
    await world.clock.advance(31_000);
    const seqs =
      tab.messenger
        .getState()
        .timelines.get('x')
        ?.messages.map(({ seq }) => seq) ?? [];
    expect(seqs).toHaveLength(50);
    expect(seqs.at(-1)).toBe(401);
  });

  // guarantee:G8
  test('what_comes_while_an_older_page_is_read_stays', async () => {
    world.server.live[0]?.cut(4002);
    for (let n = 0; n < 120; n += 1) world.server.say('x', OTHER, `m${n}`);
    const chat = world.server.chats.get('x');
    if (chat) chat.keptFrom = 110;
    await world.clock.advance(31_000);
    const reading = tab.messenger.loadOlder('x');
    world.server.say('x', OTHER, 'meanwhile');
    await world.clock.advance(10);
    await reading;
    expect(texts(tab, 'x')).toHaveLength(101);
    expect(texts(tab, 'x').at(-1)).toBe('meanwhile');
  });
});

describe('chats that are not followed', () => {
  test('a_hint_reads_the_chat_again_once_for_many_hints', async () => {
    world.server.addChat('y');
    world.server.tell({ t: 'chat.added', d: { chat: 'y', o: 1 } });
    await world.clock.advance(10);
    world.server.say('y', OTHER, 'hello');
    const before = world.server.requests.filter((r) => r === 'GET /api/chats/y').length;
    for (let n = 0; n < 5; n += 1) world.server.tell({ t: 'chat.hint', d: { chat: 'y', seq: 1, o: 2 } });
    await world.clock.advance(10);
    expect(tab.messenger.getState().chats.get('y')?.unread).toBe(1);
    expect(world.server.requests.filter((r) => r === 'GET /api/chats/y').length - before).toBe(2);
  });
});
