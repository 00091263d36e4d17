/** Whether somebody is at the page: whatever they do with hand or keyboard is a sign of it. */

import { useEffect } from 'react';
import { useMessenger } from './messenger';

const SIGNS = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart'] as const;

export function useActivity(): void {
  const messenger = useMessenger();
  useEffect(() => {
    if (document.hidden) messenger.hide();
    const stop = new AbortController();
    const touched = () => messenger.touch();
    for (const sign of SIGNS) window.addEventListener(sign, touched, { passive: true, signal: stop.signal });
    return () => stop.abort();
  }, [messenger]);
}
