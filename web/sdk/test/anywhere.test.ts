import { describe, expect, test } from 'vitest';
import { ME, OTHER, seeded, type Tab, World } from './world';

/** Within one tab the order of writing is the order of the chat. */
const tabOf = (text: string): string => text.split(':')[0] as string;

const CHATS = ['x', 'y'];

/** What one tab shows of a chat must be the newest part of what the server has, without a hole. */
function expectLevel(world: World, tab: Tab, chat: string, label: string): void {
  const state = tab.messenger.getState();
  const shown = state.timelines.get(chat)?.messages ?? [];
  const stored = world.server.messages(chat);
  expect(shown, label).toEqual(stored.slice(stored.length - shown.length));
  expect(shown.length, label).toBeGreaterThanOrEqual(Math.min(stored.length, 50));
  expect(state.outbox.size, label).toBe(0);
}

/** One random life of a browser: talk, loss, cuts at any moment, tabs that come and go. */
async function live(seed: number): Promise<void> {
  const world = new World(seed);
  const random = seeded(seed * 7919);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const { server, clock } = world;
  for (const chat of CHATS) server.addChat(chat);
  const twice: string[] = [];
  const openTab = async () => {
    const tab = await world.tab();
    for (const chat of CHATS) tab.messenger.open(chat);
    const heard = new Set<string>();
    tab.messenger.hear(({ id }) => {
      if (heard.has(id)) twice.push(id);
      heard.add(id);
    });
    return tab;
  };
  let opened = 0;
  const names = new Map<Tab, number>();
  const nameOf = (tab: Tab) => {
    if (!names.has(tab)) names.set(tab, ++opened);
    return names.get(tab);
  };
  let tabs = [await openTab()];
  const sent: Record<string, string[]> = { x: [], y: [] };
  const deeds: (() => unknown)[] = [
    () => server.say(pick(CHATS), OTHER, `theirs ${random()}`),
    () => server.say(pick(CHATS), OTHER, `theirs ${random()}`),
    () => {
      const chat = pick(CHATS);
      const tab = pick(tabs);
      const text = `mine from tab ${nameOf(tab)}: ${random()}`;
      sent[chat]?.push(text);
      return tab.messenger.send(chat, text);
    },
    () => {
      const chat = pick(CHATS);
      for (let n = 0; random() < 0.97 && n < 70; n += 1) server.say(chat, OTHER, `burst ${random()}`);
    },
    () => {
      const chat = pick(CHATS);
      const [socket] = server.live;
      if (socket?.subscribed.has(`c:${chat}`))
        for (const event of server.chats.get(chat)?.log.slice(-3) ?? []) socket.push(event);
    },
    () => server.live.forEach((socket) => void socket.cut(pick([4001, 4002, 4003, 1006, 4100]))),
    () => {
      const share = random();
      server.loses = () => random() < share;
    },
    () => {
      server.loses = () => false;
    },
    () => {
      const [socket] = server.live;
      const chat = pick(CHATS);
      if (!socket?.subscribed.has(`c:${chat}`)) return;
      socket.lagging.add(`c:${chat}`);
      socket.push({ t: 'lag', e: 1, d: { s: `c:${chat}`, o: server.chats.get(chat)?.log.length } });
    },
    () => {
      const chat = server.chats.get(pick(CHATS));
      if (chat) chat.keptFrom = Math.floor(random() * chat.log.length) + 1;
    },
    () => random() < 0.2 && server.newEpoch(pick(CHATS)),
    () => {
      const share = random() / 2;
      server.onSend = () => (random() < share ? { err: { code: 'unavailable', msg: '', fatal: false } } : null);
    },
    () => {
      server.reachable = random() < 0.7;
    },
    async () => {
      if (server.reachable && tabs.length < 3) tabs.push(await openTab());
    },
    () => {
      if (tabs.length < 2) return;
      const closing = pick(tabs);
      closing.close();
      tabs = tabs.filter((tab) => tab !== closing);
    },
  ];
  for (let n = 0; n < 60; n += 1) {
    await pick(deeds)();
    await clock.advance(random() < 0.5 ? 0 : random() * 3_000);
  }
  server.reachable = true;
  server.loses = () => false;
  server.onSend = () => null;
  for (let n = 0; n < 8; n += 1) {
    await clock.advance(20_000);
    server.tell({ t: 'pos', d: Object.fromEntries(CHATS.map((id) => [`c:${id}`, server.chats.get(id)?.log.length])) });
  }
  await clock.advance(5_000);
  expect(twice, `seed ${seed}`).toEqual([]);
  for (const chat of CHATS) {
    const mine = server.messages(chat).filter(({ author }) => author === ME);
    const byTab = (all: string[]) => all.sort((a, b) => (tabOf(a) < tabOf(b) ? -1 : tabOf(a) > tabOf(b) ? 1 : 0));
    const stored = byTab(mine.map(({ text }) => text));
    expect(stored, `seed ${seed}`).toEqual(byTab([...(sent[chat] ?? [])]));
    for (const [at, tab] of tabs.entries()) expectLevel(world, tab, chat, `seed ${seed}, chat ${chat}, tab ${at}`);
  }
  for (const tab of tabs) tab.close();
}

describe('cut anywhere', () => {
  test.each(Array.from({ length: 60 }, (_, n) => n + 1))('the_end_equals_what_the_server_has (seed %i)', (seed) =>
    live(seed),
  );
});
