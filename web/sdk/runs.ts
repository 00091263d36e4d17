/**
 * What the person's AI works on, as one tab knows it: runs by their id, and texts that grow by numbered pieces.
 *
 * Pieces are decoration: where one is missing, the rest is ignored until the whole text comes; the text of a finished run is the truth.
 */

import type { BindingMode, Id, Run, RunState } from './api-types';
import type { Clock } from './environment';
import type { Delta } from './frames';

const FOLLOW_EVERY_MS = 1_000;
/** Runs kept for one person; the oldest finished ones are forgotten. */
const MOST_KEPT = 300;

export interface RunView extends Run {
  /** The pieces so far; the whole text when the run has one. */
  growing: string;
}

const FINAL: ReadonlySet<RunState> = new Set(['done', 'failed', 'cancelled', 'superseded', 'blocked']);
export const isFinal = (state: RunState): boolean => FINAL.has(state);

const RANK: Record<RunState, number> = {
  queued: 0,
  running: 1,
  held: 3,
  sending: 4,
  done: 5,
  failed: 5,
  cancelled: 5,
  superseded: 5,
  blocked: 5,
};

/** A reply that waits for its moment; it can still be stopped, and its owner can make it a draft. */
export const isDelayed = ({ state, why }: Run): boolean => state === 'sending' && why === 'delay';

/** How far along a run is; an older answer of HTTP must not take back what an event has told. */
const rankOf = (run: Run): number => (isDelayed(run) ? 2 : RANK[run.state]);

interface Pieces {
  n: number;
  holed: boolean;
  askedAt: number;
}

export interface RunBookHost {
  /** Asks for the whole text so far. */
  follow(run: Id): void;
  changed(runs: ReadonlyMap<Id, RunView>): void;
  /** What the person's AI does in this chat. */
  kindOf(chat: Id): BindingMode;
}

export class RunBook {
  readonly #clock: Clock;
  readonly #host: RunBookHost;
  #runs: Map<Id, RunView> = new Map();
  readonly #pieces = new Map<Id, Pieces>();

  constructor(clock: Clock, host: RunBookHost) {
    this.#clock = clock;
    this.#host = host;
  }

  /** A run as the server tells it, by event or by HTTP. */
  take(run: Run): void {
    const known = this.#runs.get(run.run);
    if (known !== undefined && rankOf(run) < rankOf(known)) return;
    const settled = rankOf(run) > RANK.running;
    if (settled) this.#pieces.delete(run.run);
    this.#put({ ...run, growing: (settled ? run.text : undefined) ?? known?.growing ?? run.text ?? '' });
  }

  /** Open runs read over HTTP: those that are written right now are joined in the middle. */
  join(runs: Run[]): void {
    for (const run of runs) {
      this.take(run);
      if (run.state === 'running' && !this.#pieces.has(run.run)) this.#askAll(run.run, this.#piecesOf(run.run));
    }
  }

  delta({ run, chat, n, text }: Delta): void {
    const known = this.#runs.get(run);
    if (known !== undefined && rankOf(known) > RANK.running) return;
    const pieces = this.#piecesOf(run);
    if (n <= pieces.n) return;
    if (n === pieces.n + 1 && !pieces.holed) {
      pieces.n = n;
      this.#put({ ...this.#shell(run, chat), growing: (known?.growing ?? '') + text });
      return;
    }
    pieces.holed = true;
    if (known === undefined) this.#put(this.#shell(run, chat));
    this.#askAll(run, pieces);
  }

  snap({ run, chat, n, text }: Delta): void {
    const known = this.#runs.get(run);
    if (known !== undefined && rankOf(known) > RANK.running) return;
    const pieces = this.#piecesOf(run);
    if (n < pieces.n) return;
    pieces.n = n;
    pieces.holed = false;
    this.#put({ ...this.#shell(run, chat), growing: text });
  }

  #askAll(run: Id, pieces: Pieces): void {
    const now = this.#clock.now();
    if (now - pieces.askedAt < FOLLOW_EVERY_MS) return;
    pieces.askedAt = now;
    this.#host.follow(run);
  }

  #piecesOf(run: Id): Pieces {
    const pieces = this.#pieces.get(run) ?? { n: 0, holed: false, askedAt: Number.NEGATIVE_INFINITY };
    this.#pieces.set(run, pieces);
    return pieces;
  }

  /** What is known of a run whose pieces came before anything else. */
  #shell(run: Id, chat: Id): RunView {
    const known = this.#runs.get(run);
    if (known !== undefined) return { ...known, state: 'running' };
    const created_at = new Date(this.#clock.now()).toISOString();
    return { run, chat, kind: this.#host.kindOf(chat), state: 'running', trigger_o: 0, created_at, growing: '' };
  }

  #put(run: RunView): void {
    const runs = new Map(this.#runs);
    runs.set(run.run, run);
    if (runs.size > MOST_KEPT) {
      const oldest = [...runs.values()].find(({ state }) => isFinal(state));
      if (oldest !== undefined) runs.delete(oldest.run);
    }
    this.#runs = runs;
    this.#host.changed(runs);
  }
}
