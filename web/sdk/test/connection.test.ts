import { beforeEach, describe, expect, test } from 'vitest';
import { afterClose, askedDelay, retryDelay } from '../backoff';
import { seeded, type Tab, World } from './world';

describe('close codes', () => {
  test.each([
    [4001, { kind: 'retry', renew: false, resume: true }],
    [4002, { kind: 'retry', renew: false, resume: true }],
    [4003, { kind: 'retry', renew: false, resume: true }],
    [4100, { kind: 'retry', renew: true, resume: true }],
    [4101, { kind: 'retry', renew: true, resume: false }],
    [4200, { kind: 'stop', why: 'signed_out' }],
    [4201, { kind: 'stop', why: 'signed_out' }],
    [4203, { kind: 'stop', why: 'outdated' }],
    [4205, { kind: 'stop', why: 'too_many_connections' }],
    [1006, { kind: 'retry', renew: false, resume: true }],
    [1011, { kind: 'retry', renew: false, resume: true }],
  ])('%i', (code, expected) => {
    expect(afterClose(code)).toEqual(expected);
  });

  test('the_wait_has_full_jitter_between_half_a_second_and_thirty', () => {
    const random = seeded(7);
    for (let attempt = 0; attempt < 20; attempt += 1) {
      expect(retryDelay(attempt, () => 0)).toBe(500);
      expect(retryDelay(attempt, () => 0.9999999)).toBeLessThanOrEqual(30_000);
      expect(retryDelay(attempt, random)).toBeGreaterThanOrEqual(500);
    }
    expect(retryDelay(20, () => 0.9999999)).toBeGreaterThan(29_000);
    expect(retryDelay(0, () => 0.9999999)).toBeLessThan(1_001);
    expect(askedDelay([200, 400], () => 0.5)).toBe(300);
  });
});

describe('the socket', () => {
  let world: World;
  let tab: Tab;

  beforeEach(async () => {
    world = new World();
    world.server.addChat('x');
    tab = await world.tab();
    tab.messenger.open('x');
    await world.clock.advance(10);
  });

  const socket = () => {
    const [live] = world.server.live;
    if (live === undefined) throw new Error('no live socket');
    return live;
  };

  test('answers_a_heartbeat', async () => {
    socket().push({});
    await world.clock.advance(0);
    expect(socket().received.at(-1)).toEqual({});
  });

  test('that_says_nothing_for_too_long_is_replaced', async () => {
    const before = socket();
    await world.clock.advance(39_000);
    expect(socket()).toBe(before);
    await world.clock.advance(40_000);
    expect(before.open).toBe(false);
    expect(world.server.sockets.length).toBeGreaterThan(1);
  });

  test('that_is_drained_comes_back_when_the_server_asks_for_it', async () => {
    socket().push({ t: 'bye', e: 1, d: { why: 'drain', retry_ms: [5_000, 6_000], resume: true } });
    await world.clock.advance(0);
    socket().cut(4001);
    await world.clock.advance(4_900);
    expect(world.server.sockets).toHaveLength(1);
    await world.clock.advance(1_200);
    expect(world.server.sockets).toHaveLength(2);
    expect(tab.messenger.getState().status.kind).toBe('live');
  });

  test('whose_token_ended_comes_back_with_a_new_one', async () => {
    socket().cut(4100);
    await world.clock.advance(2_000);
    expect(world.server.sockets.at(-1)?.received[0]?.d?.token).toBe('t2');
  });

  test('is_not_replaced_after_a_final_code', async () => {
    socket().cut(4205);
    await world.clock.advance(120_000);
    expect(world.server.sockets).toHaveLength(1);
    expect(tab.messenger.getState().status).toEqual({ kind: 'stopped', why: 'too_many_connections' });
    tab.messenger.reconnect();
    await world.clock.advance(100);
    expect(tab.messenger.getState().status.kind).toBe('live');
  });

  test('of_an_ended_login_ends_the_login_here', async () => {
    socket().cut(4201);
    await world.clock.advance(10);
    expect(tab.sessions.session).toBeNull();
  });

  test('gets_a_newer_token_before_the_old_one_ends', async () => {
    const before = socket();
    const beat = async (ms: number) => {
      for (let at = 0; at < ms; at += 20_000) {
        before.push({});
        await world.clock.advance(20_000);
      }
    };
    await beat(world.server.tokenLifetimeMs - 60_000);
    expect(before.open).toBe(true);
    expect(before.received.filter(({ t }) => t === 'auth').map(({ d }) => d?.token)).toEqual(['t2']);
  });

  test('presents_a_newer_token_when_the_server_says_that_it_ends', async () => {
    socket().push({ t: 'auth.expiring', e: 1, d: {} });
    await world.clock.advance(10);
    expect(socket().received.at(-1)).toMatchObject({ t: 'auth', d: { token: 't2' } });
  });

  test('is_checked_when_the_page_becomes_visible_and_replaced_when_it_is_dead', async () => {
    const before = socket();
    before.open = false;
    tab.lifecycle('visible');
    await world.clock.advance(8_000);
    expect(world.server.live).toHaveLength(1);
    expect(world.server.live[0]).not.toBe(before);
  });

  test('comes_back_at_once_when_the_network_is_back', async () => {
    world.server.reachable = false;
    socket().cut();
    await world.clock.advance(60_000);
    world.server.reachable = true;
    tab.lifecycle('online');
    await world.clock.advance(10);
    expect(tab.messenger.getState().status.kind).toBe('live');
  });
});

describe('the login', () => {
  test('two_tabs_that_need_a_token_at_once_rotate_one_after_the_other_and_share_it', async () => {
    const world = new World();
    const [one, two] = [await world.tab(), await world.tab()];
    const before = world.server.tokens;
    const [a, b] = await Promise.all([one.sessions.renew(), two.sessions.renew()]);
    expect(world.server.tokens).toBe(before + 1);
    expect(a.access_token).toBe(b.access_token);
  });

  test('that_cannot_be_renewed_ends_in_every_tab', async () => {
    const world = new World();
    const [one, two] = [await world.tab(), await world.tab()];
    world.server.refreshStatus = 401;
    await expect(one.sessions.renew()).rejects.toMatchObject({ status: 401 });
    await world.clock.advance(0);
    expect([one.sessions.session, two.sessions.session]).toEqual([null, null]);
  });

  test('outlives_a_server_that_is_away', async () => {
    const world = new World();
    const tab = await world.tab();
    world.server.reachable = false;
    await expect(tab.sessions.renew()).rejects.toMatchObject({ code: 'network' });
    expect(tab.sessions.session).not.toBeNull();
  });
});
