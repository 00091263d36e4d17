/** What the AI would say in the person's name: approve it, edit it, or discard it. */

import { useEffect, useMemo, useState } from 'react';
import type { RunView } from '../../sdk';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { problemText, whyText } from '../shell/problems';
import { useSpeech } from '../text';
import './assistant.css';

const ENDED_BADLY: ReadonlySet<RunView['state']> = new Set(['failed', 'blocked']);
const keyOf = (chat: string): string => `messenger.reply.${chat}`;
const byAge = (a: RunView, b: RunView): number => (a.created_at < b.created_at ? -1 : 1);

export function DraftTray({ chat }: { chat: string }) {
  const { t } = useSpeech();
  const runs = useMessengerState((state) => state.runs);
  const [stale, setStale] = useState(false);
  const [hidden, setHidden] = useState(() => localStorage.getItem(keyOf(chat)));
  const own = useMemo(
    () => [...runs.values()].filter((run) => run.chat === chat && run.kind === 'autoreply').sort(byAge),
    [runs, chat],
  );
  const dismiss = (run: string) => {
    localStorage.setItem(keyOf(chat), run);
    setHidden(run);
  };
  const drafts = own.filter(({ state }) => state === 'held');
  const writing = own.findLast(({ state }) => state === 'running');
  const sending = own.some(({ state }) => state === 'sending');
  const newest = own.at(-1);
  const failed = newest !== undefined && ENDED_BADLY.has(newest.state) && newest.run !== hidden ? newest : undefined;
  const empty = drafts.length === 0 && writing === undefined && !sending && failed === undefined;
  useEffect(() => {
    if (drafts.length === 0) setStale(false);
  }, [drafts.length]);
  if (empty) return null;
  return (
    <section className="draft-tray" aria-label={t.assistant.draftTitle} data-testid="draft-tray">
      {stale && (
        <p className="notice" role="alert" data-testid="draft-superseded">
          {t.assistant.superseded}
        </p>
      )}
      {drafts.map((draft) => (
        <Draft key={draft.run} draft={draft} onStale={setStale} />
      ))}
      {writing !== undefined && (
        <div className="ai-card" aria-busy="true" data-testid="draft-writing">
          <p className="muted">{t.assistant.draftWriting}</p>
          {writing.growing !== '' && <p className="ai-card-text">{writing.growing}</p>}
        </div>
      )}
      {sending && <p className="muted">{t.assistant.draftSending}</p>}
      {failed !== undefined && (
        <p className="problem">
          {t.assistant.replyFailed}
          {failed.why ? `: ${whyText(t, failed.why)}` : ''}{' '}
          <button type="button" className="button small" onClick={() => dismiss(failed.run)}>
            {t.assistant.dismiss}
          </button>
        </p>
      )}
    </section>
  );
}

function Draft({ draft, onStale }: { draft: RunView; onStale(stale: boolean): void }) {
  const { t } = useSpeech();
  const { assistant } = useMessenger();
  const original = draft.text ?? draft.growing;
  const [edited, setEdited] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const run = async (work: () => Promise<void>) => {
    setBusy(true);
    setProblem(null);
    try {
      await work();
    } catch (error) {
      setProblem(problemText(t, error));
    } finally {
      setBusy(false);
    }
  };
  const approve = (text: string | undefined) =>
    run(async () => onStale((await assistant.approve(draft, text)) === 'superseded'));
  return (
    <div className="ai-card" data-testid="draft" data-run={draft.run}>
      <h2 className="ai-card-title">{t.assistant.draftTitle}</h2>
      {edited === null ? (
        <p className="ai-card-text" dir="auto" data-testid="draft-text">
          {original}
        </p>
      ) : (
        <textarea
          rows={3}
          value={edited}
          aria-label={t.assistant.editLabel}
          data-testid="draft-edit-text"
          onChange={(event) => setEdited(event.target.value)}
        />
      )}
      {draft.why ? (
        <p className="muted">
          {t.assistant.heldWhy}: {whyText(t, draft.why)}
        </p>
      ) : null}
      {problem !== null && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      <div className="ai-card-actions">
        {edited === null ? (
          <>
            <button
              type="button"
              className="button primary small"
              disabled={busy}
              data-testid="draft-approve"
              onClick={() => approve(undefined)}
            >
              {t.assistant.approve}
            </button>
            <button
              type="button"
              className="button small"
              disabled={busy}
              data-testid="draft-edit"
              onClick={() => setEdited(original)}
            >
              {t.assistant.edit}
            </button>
          </>
        ) : (
          <>
            <button
              type="button"
              className="button primary small"
              disabled={busy || edited.trim() === ''}
              data-testid="draft-send-edited"
              onClick={() => approve(edited.trim())}
            >
              {t.assistant.sendEdited}
            </button>
            <button type="button" className="button small" onClick={() => setEdited(null)}>
              {t.assistant.stopEditing}
            </button>
          </>
        )}
        <button
          type="button"
          className="button small"
          disabled={busy}
          data-testid="draft-discard"
          onClick={() => run(() => assistant.discard(draft.run))}
        >
          {t.assistant.discard}
        </button>
      </div>
    </div>
  );
}
