/**
 * Where unsent messages survive a reload: IndexedDB, or memory where the browser has none. A write to IndexedDB that is under way when the
 * page goes is lost, so each item stands in a journal first, which is written before the next line of the program.
 */

import { openDB } from 'idb';
import type { OutboxItem, OutboxStore } from './outbox';

export async function openOutboxStore(): Promise<OutboxStore> {
  const database = await openDB('messenger', 1, {
    upgrade(db) {
      db.createObjectStore('outbox', { keyPath: 'key' }).createIndex('user', 'user');
    },
  });
  return {
    all: (user) => database.getAllFromIndex('outbox', 'user', user) as Promise<OutboxItem[]>,
    put: async (item) => {
      await database.put('outbox', item);
    },
    remove: (key) => database.delete('outbox', key),
  };
}

export function memoryOutboxStore(): OutboxStore {
  const items = new Map<string, OutboxItem>();
  return {
    all: async (user) =>
      [...items.values()].filter((item) => item.user === user).sort((a, b) => (a.key < b.key ? -1 : 1)),
    put: async (item) => {
      items.set(item.key, item);
    },
    remove: async (key) => {
      items.delete(key);
    },
  };
}

/** What a journal needs of the browser's `localStorage`. */
export type Journal = Pick<Storage, 'getItem' | 'setItem' | 'removeItem' | 'key' | 'length'>;

const PREFIX = 'messenger.outbox.';

export function journaled(store: OutboxStore, journal: Journal): OutboxStore {
  const leftovers = (user: string): OutboxItem[] => {
    const items: OutboxItem[] = [];
    for (let at = 0; at < journal.length; at += 1) {
      const name = journal.key(at) ?? '';
      if (!name.startsWith(PREFIX)) continue;
      const item = JSON.parse(journal.getItem(name) ?? 'null') as OutboxItem | null;
      if (item?.user === user) items.push(item);
    }
    return items;
  };
  const put = async (item: OutboxItem): Promise<void> => {
    try {
      journal.setItem(PREFIX + item.key, JSON.stringify(item));
    } catch {
      // A full journal is no reason not to send.
    }
    await store.put(item);
    journal.removeItem(PREFIX + item.key);
  };
  return {
    all: async (user) => {
      await Promise.all(leftovers(user).map(put));
      return store.all(user);
    },
    put,
    remove: async (key) => {
      journal.removeItem(PREFIX + key);
      await store.remove(key);
    },
  };
}
