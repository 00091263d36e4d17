/** The newest advice for the person who asked: it grows while it is written, then it can be used or discarded. */

import { useEffect, useMemo, useState } from 'react';
import { isFinal, type RunView, type State } from '../../sdk';
import { announce } from '../shell/announce';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { because } from '../shell/problems';
import { useSpeech } from '../text';
import './assistant.css';

const keyOf = (chat: string): string => `messenger.advice.${chat}`;

/** The newest run of advice, unless it was dealt with: used, discarded, or followed by a message of one's own. */
function newestAdvice({ runs, timelines, me }: State, chat: string): RunView | undefined {
  let newest: RunView | undefined;
  for (const run of runs.values()) {
    if (run.chat !== chat || run.kind !== 'advice') continue;
    if (newest === undefined || run.created_at >= newest.created_at) newest = run;
  }
  if (newest === undefined || newest.state === 'cancelled' || newest.state === 'superseded') return undefined;
  const { created_at } = newest;
  const answered = timelines.get(chat)?.messages.some(({ author, ts }) => author === me && ts > created_at);
  return isFinal(newest.state) && answered ? undefined : newest;
}

export interface Advice {
  run: RunView | null;
  /** Forgets this one. */
  dismiss(run: string): void;
  /** Discards what is done, cancels what is not. */
  end(run: RunView): void;
}

export function useAdvice(chat: string): Advice {
  const messenger = useMessenger();
  const [dismissed, setDismissed] = useState(() => localStorage.getItem(keyOf(chat)));
  const newest = useMessengerState((state) => newestAdvice(state, chat));
  return useMemo(() => {
    const dismiss = (run: string) => {
      localStorage.setItem(keyOf(chat), run);
      setDismissed(run);
    };
    const end = (run: RunView) => {
      dismiss(run.run);
      if (isFinal(run.state)) return;
      messenger.assistant.cancel(run.run).catch(() => {
        // It ends by itself; the card is gone either way.
      });
    };
    return { run: newest === undefined || newest.run === dismissed ? null : newest, dismiss, end };
  }, [newest, dismissed, chat, messenger]);
}

interface AdviceCardProps {
  run: RunView;
  /** Whether the Tab key takes it now. */
  byTab: boolean;
  onUse(run: RunView): void;
  onEnd(run: RunView): void;
  onAgain(run: RunView): void;
}

export function AdviceCard({ run, byTab, onUse, onEnd, onAgain }: AdviceCardProps) {
  const { t } = useSpeech();
  const text = run.growing;
  const done = run.state === 'done';
  const failed = run.state === 'failed' || run.state === 'blocked';
  useEffect(() => {
    if (done) announce(t.assistant.adviceReady(text));
  }, [done, text, t]);
  return (
    <section
      className="ai-card"
      aria-label={t.assistant.adviceTitle}
      aria-busy={!isFinal(run.state)}
      data-testid="advice-card"
      data-state={run.state}
      data-run={run.run}
    >
      <h2 className="ai-card-title">{t.assistant.adviceTitle}</h2>
      {failed ? (
        <p className="problem" role="alert">
          {t.assistant.adviceFailed}
          {because(t, run.why)}
        </p>
      ) : (
        <p className="ai-card-text" data-testid="advice-text" dir="auto">
          {text === '' ? <span className="muted">{t.assistant.waiting}</span> : text}
        </p>
      )}
      <div className="ai-card-actions">
        {done && (
          <button type="button" className="button primary small" data-testid="advice-use" onClick={() => onUse(run)}>
            {t.assistant.use}
          </button>
        )}
        {failed && (
          <button type="button" className="button small" data-testid="advice-again" onClick={() => onAgain(run)}>
            {t.tryAgain}
          </button>
        )}
        <button
          type="button"
          className="button small"
          data-testid={isFinal(run.state) ? 'advice-discard' : 'advice-cancel'}
          onClick={() => onEnd(run)}
        >
          {isFinal(run.state) ? t.assistant.discard : t.assistant.cancel}
        </button>
        {done && <span className="muted only-wide">{byTab ? t.assistant.keys : t.assistant.keyEsc}</span>}
      </div>
    </section>
  );
}
