/** When to come back after a lost socket, and when not to. */

export type StopReason = 'signed_out' | 'outdated' | 'too_many_connections';

export type AfterClose =
  /** Come back after a random wait: with a new access token or the present one, with positions or without. */
  | { kind: 'retry'; renew: boolean; resume: boolean }
  /** Coming back is of no use; tell the person why. */
  | { kind: 'stop'; why: StopReason };

/** The close codes of docs/protocol.md; every other loss (also of the network) is temporary. */
export function afterClose(code: number): AfterClose {
  switch (code) {
    case 4100:
      return { kind: 'retry', renew: true, resume: true };
    case 4101:
      // A new epoch: positions mean nothing any more, snapshots are read instead.
      return { kind: 'retry', renew: true, resume: false };
    case 4200:
    case 4201:
      return { kind: 'stop', why: 'signed_out' };
    case 4203:
      return { kind: 'stop', why: 'outdated' };
    case 4205:
      return { kind: 'stop', why: 'too_many_connections' };
    default:
      return { kind: 'retry', renew: false, resume: true };
  }
}

const FIRST_MS = 500;
const MOST_MS = 30_000;

/** Full jitter: anything from half a second to a ceiling that doubles with each attempt, at most 30 s. `attempt` counts from 0. */
export function retryDelay(attempt: number, random: () => number): number {
  const ceiling = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(attempt + 1, 16));
  return FIRST_MS + random() * (ceiling - FIRST_MS);
}

/** The server asked for a wait inside these bounds. */
export const askedDelay = ([least, most]: [number, number], random: () => number): number =>
  least + random() * Math.max(0, most - least);
