/** Says when the page is not connected, and what can be done about it. Short pauses are not worth a word. */

import { useEffect, useState } from 'react';
import type { Status } from '../../sdk';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { useSpeech } from '../text';

const PATIENCE_MS = 1_500;

export function ConnectionNotice() {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const status = useMessengerState((state) => state.status);
  const late = useLate(status.kind);
  const quiet = status.kind === 'live' || (status.kind !== 'stopped' && !late);
  return (
    <div role="status">
      {!quiet && (
        <div className="connection" data-testid="connection" data-status={status.kind}>
          <span>{textOf(status)}</span>
          {status.kind === 'stopped' && status.why === 'too_many_connections' && (
            <button type="button" className="button small" onClick={() => messenger.reconnect()}>
              {t.status.reconnect}
            </button>
          )}
          {status.kind === 'stopped' && status.why === 'outdated' && (
            <button type="button" className="button small" onClick={() => window.location.reload()}>
              {t.status.reload}
            </button>
          )}
        </div>
      )}
    </div>
  );

  function textOf(now: Status): string {
    if (now.kind !== 'stopped') return now.kind === 'waiting' ? t.status.waiting : t.status.connecting;
    return { signed_out: t.auth.ended, outdated: t.status.outdated, too_many_connections: t.status.tooMany }[now.why];
  }
}

/** Whether the page has been without a connection for a while. */
function useLate(kind: Status['kind']): boolean {
  const [late, setLate] = useState(false);
  const live = kind === 'live';
  useEffect(() => {
    setLate(false);
    if (live) return;
    const timer = window.setTimeout(() => setLate(true), PATIENCE_MS);
    return () => window.clearTimeout(timer);
  }, [live]);
  return late;
}
