/** Which people are on screen: the presence of those is asked for, and of nobody else. */

import { useCallback } from 'react';
import type { Messenger } from '../../sdk';
import { useMessenger } from './messenger';

class Screen {
  readonly #people = new Map<Element, string>();
  readonly #visible = new Set<Element>();
  readonly #messenger: Messenger;
  readonly #observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && this.#people.has(target)) this.#visible.add(target);
      else this.#visible.delete(target);
    }
    this.#tell();
  });

  constructor(messenger: Messenger) {
    this.#messenger = messenger;
  }

  /** `element` stands for a person from now on, until what is returned is called. */
  show(element: Element, person: string): () => void {
    this.#people.set(element, person);
    this.#observer.observe(element);
    return () => {
      this.#people.delete(element);
      this.#observer.unobserve(element);
      if (this.#visible.delete(element)) this.#tell();
    };
  }

  #tell(): void {
    const people = [...this.#visible].flatMap((element) => this.#people.get(element) ?? []);
    this.#messenger.watch([...new Set(people)]);
  }
}

const screens = new WeakMap<Messenger, Screen>();

/** For the element that stands for `person`. */
export function useOnScreen(person: string): (element: Element | null) => (() => void) | undefined {
  const messenger = useMessenger();
  return useCallback(
    (element) => {
      if (element === null) return;
      const screen = screens.get(messenger) ?? new Screen(messenger);
      screens.set(messenger, screen);
      return screen.show(element, person);
    },
    [messenger, person],
  );
}
