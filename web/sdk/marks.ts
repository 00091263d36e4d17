/** Delivered and read marks on their way to the server: merged to their highest, at most one frame a second for each chat. */

import type { Id } from './api-types';
import type { Clock, Timer } from './environment';

export const MARK_EVERY_MS = 1_000;

interface Mark {
  delivered: number;
  read: number;
  /** Whether it was told already. */
  told: boolean;
  timer: Timer;
}

export class MarkSender {
  readonly #clock: Clock;
  readonly #host: { isLive(): boolean; post(t: string, d: unknown): void };
  readonly #marks = new Map<Id, Mark>();

  constructor(clock: Clock, host: { isLive(): boolean; post(t: string, d: unknown): void }) {
    this.#clock = clock;
    this.#host = host;
  }

  mark(chat: Id, delivered: number, read: number): void {
    const mark = this.#marks.get(chat) ?? { delivered: 0, read: 0, told: true, timer: null };
    this.#marks.set(chat, mark);
    if (delivered <= mark.delivered && read <= mark.read) return;
    mark.delivered = Math.max(mark.delivered, delivered, read);
    mark.read = Math.max(mark.read, read);
    mark.told = false;
    this.#tell(chat, mark);
  }

  /** Tells again what the former socket may have lost. */
  restart(): void {
    for (const [chat, mark] of this.#marks) {
      mark.told = false;
      this.#tell(chat, mark);
    }
  }

  close(): void {
    for (const { timer } of this.#marks.values()) this.#clock.clearTimeout(timer);
    this.#marks.clear();
  }

  #tell(chat: Id, mark: Mark): void {
    if (mark.told || mark.timer !== null || !this.#host.isLive()) return;
    this.#host.post('mark', { chat, delivered: mark.delivered, read: mark.read });
    mark.told = true;
    mark.timer = this.#clock.setTimeout(() => {
      mark.timer = null;
      this.#tell(chat, mark);
    }, MARK_EVERY_MS);
  }
}
