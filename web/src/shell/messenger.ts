/** How components reach the messenger and watch a part of its state. */

import { createContext, useContext, useSyncExternalStore } from 'react';
import type { Messenger, SessionKeeper, State } from '../../sdk';

export interface Connected {
  messenger: Messenger;
  sessions: SessionKeeper;
}

export const MessengerContext = createContext<Connected | null>(null);

export function useConnected(): Connected {
  const connected = useContext(MessengerContext);
  if (connected === null) throw new Error('only below a signed-in page');
  return connected;
}

export const useMessenger = (): Messenger => useConnected().messenger;

/** `select` must answer the same object for the same state. */
export function useMessengerState<T>(select: (state: State) => T): T {
  const { subscribe, getState } = useMessenger();
  const selected = () => select(getState());
  return useSyncExternalStore(subscribe, selected, selected);
}
