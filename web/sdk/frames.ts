/** The frames of `/ws/v1`: their types, and how they are read and written. */

import type { Binding, Id, Marks, Message, Run } from './api-types';

export interface Welcome {
  conn: string;
  user: Id;
  now: string;
  hb: { every_ms: number; timeout_ms: number };
  limits: { frame: number; cmds_per_10s: number; subs: number };
  streams: Record<string, { recovered: boolean; e?: string; o?: number; n?: number; why?: string }>;
}

export interface Bye {
  why: string;
  retry_ms?: [number, number];
  resume?: boolean;
}

export interface Delta {
  run: Id;
  chat: Id;
  n: number;
  text: string;
}

export type PresenceState = 'active' | 'idle' | 'offline' | 'unknown';

export interface Presence {
  user: Id;
  state: PresenceState;
  /** Left out when it is not known. */
  since?: string;
}

/** A durable event: it has a place in its stream. */
export interface DurableEvent {
  t: string;
  s: string;
  o: number;
  d: unknown;
}

/** An event without a place. */
export interface EphemeralEvent {
  t: string;
  e?: 1;
  d: unknown;
}

export type ServerEvent = DurableEvent | EphemeralEvent;

export interface CommandFailure {
  code: string;
  msg: string;
  retry_ms?: number;
  fatal: boolean;
}

export interface Answer {
  id: number;
  ok?: unknown;
  err?: CommandFailure;
}

/** The content of each event that the client reads; others are ignored. */
export interface EventContents {
  'msg.new': Message;
  'binding.changed': Pick<Binding, 'owner' | 'thread' | 'mode' | 'state'>;
  'binding.removed': { owner: Id; thread: Id };
  gap: { s: string; e: string; o: number; why: 'epoch' | 'too_long' | 'access' };
  lag: { s: string; o: number };
  pos: Record<string, number>;
  marks: Marks;
  presence: Presence[];
  'chat.hint': { chat: Id; seq: number; o: number };
  'chat.added': { chat: Id; o: number };
  'chat.removed': { chat: Id; o: number };
  'ai.run': Run;
  'ai.hold': Run;
  'ai.delta': Delta;
  'ai.snap': Delta;
}

export const streamOf = (chat: Id): string => `c:${chat}`;

export const isDurable = (event: ServerEvent): event is DurableEvent =>
  's' in event && typeof event.s === 'string' && 'o' in event && typeof event.o === 'number';

/** Reads the JSON objects of one frame, one a line. Lines that are no objects are dropped: nothing can be done with them. */
export function parseFrame(data: string): Record<string, unknown>[] {
  const objects: Record<string, unknown>[] = [];
  for (const line of data.split('\n')) {
    if (line.trim() === '') continue;
    try {
      const value: unknown = JSON.parse(line);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
        objects.push(value as Record<string, unknown>);
      }
    } catch {
      // A line of a version that we do not understand; the stream's own numbering shows what it cost.
    }
  }
  return objects;
}
