/** The messages of one chat that a tab has, in the order of their numbers. Pure functions. */

import type { History, Message } from './api-types';

export interface Timeline {
  messages: readonly Message[];
  /** Whether there are older ones at the server. */
  more: boolean;
}

export const EMPTY_TIMELINE: Timeline = { messages: [], more: false };

/** Puts a message in its place; one with the same number is replaced. */
export function insert(timeline: Timeline, message: Message): Timeline {
  const messages = [...timeline.messages];
  let at = messages.length;
  while (at > 0 && (messages[at - 1] as Message).seq >= message.seq) at -= 1;
  const same = messages[at]?.seq === message.seq;
  messages.splice(at, same ? 1 : 0, message);
  return { ...timeline, messages };
}

/** The newest page takes the place of what it covers; older messages stay only where no hole is between. */
export function reset(timeline: Timeline, page: History): Timeline {
  const first = page.messages[0];
  if (first === undefined) return { messages: [], more: page.more };
  const older = timeline.messages.filter(({ seq }) => seq < first.seq);
  const reaches = older.length > 0 && (older[older.length - 1] as Message).seq === first.seq - 1;
  if (!reaches) return { messages: page.messages, more: page.more };
  return { messages: [...older, ...page.messages], more: timeline.more };
}

/** An older page comes before what is there; what is there already stays. */
export function prepend(timeline: Timeline, page: History): Timeline {
  const first = timeline.messages[0]?.seq ?? Number.POSITIVE_INFINITY;
  const older = page.messages.filter(({ seq }) => seq < first);
  return { messages: [...older, ...timeline.messages], more: page.more };
}
