import { beforeEach, describe, expect, test } from 'vitest';
import type { OutboxItem } from '../outbox';
import { type Journal, journaled, memoryOutboxStore } from '../store';
import { OTHER, type Tab, texts, World } from './world';

let world: World;
let tab: Tab;

beforeEach(async () => {
  world = new World();
  world.server.addChat('x');
  world.server.addChat('y');
  tab = await world.tab();
  tab.messenger.open('x');
  await world.clock.advance(10);
});

const sends = () => world.server.sockets.flatMap(({ received }) => received.filter(({ t }) => t === 'msg.send'));
const waiting = () => [...tab.messenger.getState().outbox.values()];

describe('a send', () => {
  test('is_shown_at_once_and_becomes_a_message_with_the_answer', async () => {
    void tab.messenger.send('x', 'hello');
    expect(waiting().map(({ text, state }) => [text, state])).toEqual([['hello', 'pending']]);
    await world.clock.advance(10);
    expect(waiting()).toEqual([]);
    expect(texts(tab, 'x')).toEqual(['hello']);
    expect(await world.outbox.all('ann')).toEqual([]);
  });

  test('is_repeated_with_the_same_key_until_it_is_answered', async () => {
    let tries = 0;
    world.server.onSend = () => {
      tries += 1;
      return tries < 4 ? { err: { code: 'unavailable', msg: '', fatal: false } } : null;
    };
    await tab.messenger.send('x', 'hello');
    await world.clock.advance(30_000);
    expect(new Set(sends().map(({ d }) => d?.key)).size).toBe(1);
    expect(sends()).toHaveLength(4);
    expect(texts(tab, 'x')).toEqual(['hello']);
  });

  test('waits_as_long_as_the_server_asks', async () => {
    world.server.onSend = () => ({ err: { code: 'rate_limited', msg: '', retry_ms: 4_000, fatal: false } });
    await tab.messenger.send('x', 'hello');
    await world.clock.advance(3_900);
    expect(sends()).toHaveLength(1);
    world.server.onSend = () => null;
    await world.clock.advance(200);
    expect(texts(tab, 'x')).toEqual(['hello']);
  });

  test('whose_answer_was_lost_is_stored_once', async () => {
    world.server.onSend = ({ d }) => {
      world.server.onSend = () => null;
      world.server.say('x', 'ann', d?.text as string, d?.key as string);
      world.server.live[0]?.cut();
      return 'silence';
    };
    await tab.messenger.send('x', 'hello');
    await world.clock.advance(40_000);
    expect(world.server.messages('x')).toHaveLength(1);
    expect(texts(tab, 'x')).toEqual(['hello']);
    expect(waiting()).toEqual([]);
  });

  test('that_is_refused_for_good_fails_and_can_be_tried_again_or_given_up', async () => {
    world.server.onSend = () => ({ err: { code: 'not_found', msg: '', fatal: true } });
    await tab.messenger.send('x', 'hello');
    await world.clock.advance(10);
    expect(waiting().map(({ state, error }) => [state, error])).toEqual([['failed', 'not_found']]);
    const key = waiting()[0]?.key ?? '';
    await tab.messenger.retry(key);
    await world.clock.advance(10);
    expect(sends()).toHaveLength(2);
    expect(sends()[1]?.d?.key).toBe(key);
    await tab.messenger.giveUp(key);
    await world.clock.advance(10);
    expect(waiting()).toEqual([]);
    expect(await world.outbox.all('ann')).toEqual([]);
  });

  test('carries_the_run_that_its_text_came_from', async () => {
    await tab.messenger.send('x', 'hello', { from_run: 'r1' });
    await world.clock.advance(10);
    expect(sends()[0]?.d?.from_run).toBe('r1');
    expect(tab.messenger.getState().timelines.get('x')?.messages[0]?.via?.run).toBe('r1');
  });

  test('that_is_larger_than_a_frame_fails_without_being_sent', async () => {
    await tab.messenger.send('x', '\u0001'.repeat(16_000));
    await world.clock.advance(10);
    expect(waiting().map(({ error }) => error)).toEqual(['too_large']);
    expect(sends()).toEqual([]);
  });
});

describe('order', () => {
  test('a_later_message_of_the_chat_waits_for_the_one_before_it', async () => {
    const seen: unknown[] = [];
    world.server.onSend = ({ d }) => {
      seen.push(d?.text);
      return seen.length === 1 ? { err: { code: 'unavailable', msg: '', retry_ms: 2_000, fatal: false } } : null;
    };
    for (const text of ['one', 'two', 'three']) await tab.messenger.send('x', text);
    await tab.messenger.send('y', 'elsewhere');
    await world.clock.advance(10);
    expect(seen).toEqual(['one', 'elsewhere']);
    await world.clock.advance(3_000);
    expect(texts(tab, 'x')).toEqual(['one', 'two', 'three']);
  });

  test('what_was_written_while_away_goes_out_in_the_order_of_writing', async () => {
    world.server.reachable = false;
    world.server.live[0]?.cut();
    await world.clock.advance(10);
    for (const text of ['one', 'two', 'three', 'four']) await tab.messenger.send('x', text);
    expect(waiting()).toHaveLength(4);
    world.server.reachable = true;
    await world.clock.advance(61_000);
    expect(world.server.messages('x').map(({ text }) => text)).toEqual(['one', 'two', 'three', 'four']);
  });

  test('at_most_32_sends_are_unanswered', async () => {
    world.server.onSend = () => 'silence';
    for (let n = 0; n < 40; n += 1) {
      world.server.addChat(`c${n}`);
      await tab.messenger.send(`c${n}`, 'hello');
    }
    await world.clock.advance(10);
    expect(sends()).toHaveLength(32);
  });
});

describe('a page that is loaded again', () => {
  test('sends_what_the_former_one_wrote_down_with_the_same_key', async () => {
    world.server.onSend = () => 'silence';
    await tab.messenger.send('x', 'before the reload');
    await world.clock.advance(10);
    tab.close();
    world.server.onSend = () => null;
    const again = await world.tab();
    await world.clock.advance(100);
    again.messenger.open('x');
    await world.clock.advance(10);
    expect(new Set(sends().map(({ d }) => d?.key)).size).toBe(1);
    expect(texts(again, 'x')).toEqual(['before the reload']);
    expect(again.messenger.getState().outbox.size).toBe(0);
  });
});

describe('the journal', () => {
  const item: OutboxItem = { user: 'ann', chat: 'x', key: 'k', text: 'hello', created: 0, state: 'pending' };
  const journalOf = (kept: Map<string, string>): Journal => ({
    get length() {
      return kept.size;
    },
    key: (at) => [...kept.keys()][at] ?? null,
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
  });

  test('keeps_an_item_whose_write_was_cut_off_by_a_reload', async () => {
    const kept = new Map<string, string>();
    const cutOff = { ...memoryOutboxStore(), put: () => new Promise<void>(() => {}) };
    void journaled(cutOff, journalOf(kept)).put(item);
    const afterReload = journaled(memoryOutboxStore(), journalOf(kept));
    expect(await afterReload.all('bob')).toEqual([]);
    expect(await afterReload.all('ann')).toEqual([item]);
    expect(kept.size).toBe(0);
    await afterReload.remove('k');
    expect(await afterReload.all('ann')).toEqual([]);
  });
});

describe('marks', () => {
  test('are_told_at_most_once_a_second_for_each_chat_and_then_at_their_highest', async () => {
    for (let n = 0; n < 10; n += 1) world.server.say('x', OTHER, `m${n}`);
    await world.clock.advance(10);
    for (let seq = 1; seq <= 10; seq += 1) tab.messenger.seen('x', seq);
    await world.clock.advance(980);
    const marks = () => world.server.sockets.flatMap(({ received }) => received.filter(({ t }) => t === 'mark'));
    expect(marks()).toHaveLength(1);
    await world.clock.advance(3_000);
    expect(marks()).toHaveLength(2);
    expect(marks()[1]?.d).toEqual({ chat: 'x', delivered: 10, read: 10 });
    expect(tab.messenger.getState().chats.get('x')?.unread).toBe(0);
  });
});
