/** UUIDv7: 48 bits of time, then a counter and random bits, so that keys of one tab sort in the order of the intents. */

import type { Clock } from './environment';

export type KeyMaker = () => string;

export function keyMaker(clock: Clock, random: () => number): KeyMaker {
  let last = 0;
  let count = 0;
  return () => {
    const now = clock.now();
    if (now > last) {
      last = now;
      count = Math.floor(random() * 0x400);
    } else {
      count += 1;
      if (count > 0xfff) {
        last += 1;
        count = 0;
      }
    }
    const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
    const time = hex(last, 12);
    const bits = () => Math.floor(random() * 0x10000);
    const variant = 0x8000 | (bits() & 0x3fff);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(count, 3)}-${hex(variant, 4)}-${hex(bits(), 4)}${hex(bits(), 4)}${hex(bits(), 4)}`;
  };
}
