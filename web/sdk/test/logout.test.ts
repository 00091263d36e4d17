import { expect, test } from 'vitest';
import { SessionKeeper } from '../session';
import { World } from './world';

const page = (world: World) => {
  const { env, lifecycle } = world.environment();
  return { sessions: new SessionKeeper(env), lifecycle };
};
const signedIn = async (world: World) => {
  const made = page(world);
  await made.sessions.renew();
  return made;
};
const ASK = { login: 'ann', password: 'x', device: 'test' };
const fill = (world: World) => {
  world.memory.setItem = () => {
    throw new DOMException('no room', 'QuotaExceededError');
  };
};
const count = (world: World, request: string) => world.server.requests.filter((one) => one === request).length;

test('a_logout_ends_the_cookie_too_however_old_the_access_token_is', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  await world.clock.advance(world.server.tokenLifetimeMs * 2);
  await sessions.logout();
  expect([sessions.session, world.server.cookie]).toEqual([null, false]);
  await world.clock.advance(60_000);
  expect(count(world, 'POST /api/logout')).toBe(1);
  await expect(page(world).sessions.renew()).rejects.toMatchObject({ status: 401 });
});

test('a_logout_that_nobody_heard_holds_after_a_reload_and_is_told_again', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  world.server.reachable = false;
  await sessions.logout();
  sessions.close();
  expect(sessions.session).toBeNull();
  const refreshes = count(world, 'POST /api/refresh');
  const next = page(world).sessions;
  await expect(next.renew()).rejects.toMatchObject({ status: 401 });
  world.server.reachable = true;
  await expect(next.renew()).rejects.toMatchObject({ status: 401 });
  await world.clock.advance(60_000);
  expect(count(world, 'POST /api/refresh')).toBe(refreshes);
  expect(world.server.cookie).toBe(false);
});

test('a_logout_that_the_server_could_not_serve_is_told_until_it_did', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  world.server.logoutStatus = 503;
  await sessions.logout();
  await world.clock.advance(30_000);
  world.server.logoutStatus = 204;
  await world.clock.advance(60_000);
  expect(world.server.cookie).toBe(false);
  const told = count(world, 'POST /api/logout');
  await world.clock.advance(600_000);
  expect(count(world, 'POST /api/logout')).toBe(told);
});

test('a_logout_is_told_as_soon_as_the_network_is_back', async () => {
  const world = new World();
  const { sessions, lifecycle } = await signedIn(world);
  world.server.reachable = false;
  await sessions.logout();
  world.server.reachable = true;
  lifecycle('online');
  await world.clock.advance(0);
  expect(world.server.cookie).toBe(false);
});

test('a_new_login_takes_the_place_of_a_logout_that_nobody_heard', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  world.server.logoutStatus = 503;
  await sessions.logout();
  await sessions.login(ASK);
  world.server.logoutStatus = 204;
  await world.clock.advance(600_000);
  expect([world.server.cookie, sessions.session !== null]).toEqual([true, true]);
  await expect(page(world).sessions.renew()).resolves.toBeDefined();
});

test('a_new_login_ends_the_old_one_that_nobody_heard_the_end_of', async () => {
  for (const isReloaded of [false, true]) {
    const world = new World();
    const { sessions } = await signedIn(world);
    world.server.reachable = false;
    await sessions.logout();
    world.server.reachable = true;
    if (isReloaded) sessions.close();
    const next = isReloaded ? page(world).sessions : sessions;
    await next.login(ASK);
    await world.clock.advance(600_000);
    expect([[...world.server.ended], world.server.cookie]).toEqual([[1], true]);
    expect(next.session).not.toBeNull();
  }
});

test('an_old_login_is_ended_by_its_token_when_the_server_could_not_before_the_new_one', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  world.server.logoutStatus = 503;
  await sessions.logout();
  await sessions.login(ASK);
  world.server.logoutStatus = 204;
  await world.clock.advance(60_000);
  expect([[...world.server.ended], world.server.cookie]).toEqual([[1], true]);
  const told = count(world, 'POST /api/logout');
  await world.clock.advance(600_000);
  expect(count(world, 'POST /api/logout')).toBe(told);
});

test('a_renewal_that_is_under_way_does_not_sign_in_again_after_a_logout', async () => {
  const world = new World();
  const [one, two] = [await signedIn(world), await signedIn(world)];
  const renewal = two.sessions.renew();
  const refused = expect(renewal).rejects.toMatchObject({ status: 401 });
  await Promise.resolve();
  await one.sessions.logout();
  await refused;
  expect([one.sessions.session, two.sessions.session, world.server.cookie]).toEqual([null, null, false]);
});

test('a_logout_that_there_is_no_room_to_remember_is_told_until_it_is_heard', async () => {
  for (const status of [204, 503]) {
    const world = new World();
    const { sessions } = await signedIn(world);
    fill(world);
    world.server.logoutStatus = status;
    await sessions.logout();
    await expect(sessions.renew()).rejects.toMatchObject({ status: 401 });
    world.server.logoutStatus = 204;
    await world.clock.advance(60_000);
    expect([[...world.server.ended], world.server.cookie]).toEqual([[1], false]);
    const told = count(world, 'POST /api/logout');
    await world.clock.advance(600_000);
    expect(count(world, 'POST /api/logout')).toBe(told);
    await sessions.login(ASK);
    await expect(sessions.renew()).resolves.toBeDefined();
  }
});

test('a_logout_that_there_is_no_room_to_remember_ends_its_own_login_and_no_other', async () => {
  for (const isNewLogin of [true, false]) {
    const world = new World();
    const { sessions } = await signedIn(world);
    fill(world);
    world.server.logoutStatus = 503;
    await sessions.logout();
    const other = page(world).sessions;
    await (isNewLogin ? other.login(ASK) : other.renew());
    world.server.logoutStatus = 204;
    await world.clock.advance(600_000);
    expect([[...world.server.ended], world.server.cookie]).toEqual([[1], isNewLogin]);
  }
});

test('a_second_logout_keeps_the_token_of_the_first_that_nobody_heard', async () => {
  const world = new World();
  const { sessions } = await signedIn(world);
  world.server.logoutStatus = 503;
  await sessions.logout();
  await sessions.logout();
  await sessions.login(ASK);
  world.server.logoutStatus = 204;
  await world.clock.advance(60_000);
  expect([[...world.server.ended], world.server.cookie]).toEqual([[1], true]);
});

test('the_tab_that_was_left_ends_its_login_when_another_tab_signed_in', async () => {
  for (const isTakenOver of [false, true]) {
    const world = new World();
    const [one, two] = [await signedIn(world), await signedIn(world)];
    world.server.logoutStatus = 503;
    await one.sessions.logout();
    await two.sessions.login(ASK);
    if (isTakenOver) {
      await one.sessions.renew();
      await one.sessions.logout();
      await two.sessions.login(ASK);
    }
    world.server.logoutStatus = 204;
    await world.clock.advance(60_000);
    expect([[...world.server.ended].sort(), world.server.cookie]).toEqual([isTakenOver ? [1, 2] : [1], true]);
    expect(two.sessions.session).not.toBeNull();
    const told = count(world, 'POST /api/logout');
    await world.clock.advance(600_000);
    expect(count(world, 'POST /api/logout')).toBe(told);
  }
});
