import { beforeEach, describe, expect, test } from 'vitest';
import { OTHER, type Tab, texts, World } from './world';

let world: World;
let one: Tab;
let two: Tab;

beforeEach(async () => {
  world = new World();
  world.server.addChat('x');
  one = await world.tab();
  two = await world.tab();
  for (const tab of [one, two]) tab.messenger.open('x');
  await world.clock.advance(10);
});

describe('several tabs', () => {
  test('share_one_socket_and_both_see_what_happens', async () => {
    world.server.say('x', OTHER, 'hello');
    await world.clock.advance(10);
    expect(world.server.sockets).toHaveLength(1);
    expect([texts(one, 'x'), texts(two, 'x')]).toEqual([['hello'], ['hello']]);
  });

  test('a_message_written_in_one_is_sent_by_the_owner_and_settled_in_both', async () => {
    await two.messenger.send('x', 'from the second');
    await world.clock.advance(10);
    expect(texts(one, 'x')).toEqual(['from the second']);
    expect(texts(two, 'x')).toEqual(['from the second']);
    expect([one, two].map(({ messenger }) => messenger.getState().outbox.size)).toEqual([0, 0]);
  });

  test('another_one_takes_over_when_the_owner_closes_and_nothing_is_missed', async () => {
    world.server.say('x', OTHER, 'before');
    await world.clock.advance(10);
    one.close();
    world.server.say('x', OTHER, 'between');
    await world.clock.advance(100);
    expect(world.server.live).toHaveLength(1);
    expect(world.server.sockets).toHaveLength(2);
    world.server.say('x', OTHER, 'after');
    await world.clock.advance(10);
    expect(texts(two, 'x')).toEqual(['before', 'between', 'after']);
  });

  test('what_the_former_owner_had_not_sent_is_sent_by_the_new_one', async () => {
    world.server.onSend = () => 'silence';
    await one.messenger.send('x', 'left behind');
    await world.clock.advance(10);
    one.close();
    world.server.onSend = () => null;
    await world.clock.advance(1_000);
    expect(texts(two, 'x')).toEqual(['left behind']);
    expect(two.messenger.getState().outbox.size).toBe(0);
  });

  test('a_command_that_the_former_owner_did_not_answer_is_made_again', async () => {
    world.server.addChat('y');
    world.server.say('y', OTHER, 'there');
    const [socket] = world.server.live;
    if (socket) socket.send = () => {};
    two.messenger.open('y');
    await world.clock.advance(10);
    one.close();
    await world.clock.advance(3_000);
    world.server.say('y', OTHER, 'live');
    await world.clock.advance(10);
    expect(texts(two, 'y')).toEqual(['there', 'live']);
  });

  test('a_third_one_that_comes_later_learns_that_the_socket_is_live', async () => {
    const three = await world.tab();
    expect(three.messenger.getState().status.kind).toBe('live');
    three.messenger.open('x');
    await world.clock.advance(10);
    world.server.say('x', OTHER, 'hello');
    await world.clock.advance(10);
    expect(texts(three, 'x')).toEqual(['hello']);
  });
});
