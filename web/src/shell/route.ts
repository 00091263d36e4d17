/** Where the page is: in the part of the address after `#`, so that no server has to know of it. */

import { useSyncExternalStore } from 'react';

export type Route = { at: 'home' } | { at: 'chat'; chat: string } | { at: 'settings' };

export function parseRoute(hash: string): Route {
  const chat = /^#\/c\/([\w-]+)$/.exec(hash)?.[1];
  if (chat !== undefined) return { at: 'chat', chat };
  return hash === '#/settings' ? { at: 'settings' } : { at: 'home' };
}

export const hrefOf = (route: Route): string => {
  if (route.at === 'chat') return `#/c/${route.chat}`;
  return route.at === 'settings' ? '#/settings' : '#/';
};

export function go(route: Route): void {
  window.location.hash = hrefOf(route);
}

const watch = (listener: () => void): (() => void) => {
  window.addEventListener('hashchange', listener);
  return () => window.removeEventListener('hashchange', listener);
};

export function useRoute(): Route {
  return parseRoute(useSyncExternalStore(watch, () => window.location.hash));
}
