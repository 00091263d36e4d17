/** Messages and unsent echoes as the rows of the list. Pure. */

import type { Message, OutboxItem, Timeline } from '../../sdk';

export interface Row {
  /** The same for an echo and the message that it becomes. */
  key: string;
  /** The first of its day. */
  day: boolean;
  /** The first of several by the same person. */
  first: boolean;
  author: string;
  text: string;
  ts: string;
  /** Stored, or on its way. */
  message: Message | null;
  echo: OutboxItem | null;
}

/** Messages of one person further apart than this are no group. */
const GROUP_MS = 5 * 60_000;

const dayOf = (ts: string): string => new Date(ts).toDateString();

export function rowsOf(timeline: Timeline, outbox: ReadonlyMap<string, OutboxItem>, chat: string, me: string): Row[] {
  const rows: Row[] = [];
  const add = (row: Omit<Row, 'day' | 'first'>) => {
    const before = rows.at(-1);
    const day = before === undefined || dayOf(before.ts) !== dayOf(row.ts);
    const together = before?.author === row.author && Date.parse(row.ts) - Date.parse(before.ts) < GROUP_MS;
    rows.push({ ...row, day, first: day || !together });
  };
  for (const message of timeline.messages) {
    const { author, key, text, ts } = message;
    add({ key: `${author}:${key}`, author, text, ts, message, echo: null });
  }
  const echoes = [...outbox.values()].filter((item) => item.chat === chat).sort((a, b) => (a.key < b.key ? -1 : 1));
  for (const echo of echoes) {
    const ts = new Date(echo.created).toISOString();
    add({ key: `${me}:${echo.key}`, author: me, text: echo.text, ts, message: null, echo });
  }
  return rows;
}
