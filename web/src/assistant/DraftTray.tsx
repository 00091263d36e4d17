/** What the AI would say in the person's name: approve it, edit it, or discard it. */

import { type ReactNode, useEffect, useMemo, useState } from 'react';
import { isDelayed, type RunView } from '../../sdk';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { because, problemText } from '../shell/problems';
import { useSpeech } from '../text';
import './assistant.css';

const ENDED_BADLY: ReadonlySet<RunView['state']> = new Set(['failed', 'blocked']);
const keyOf = (chat: string): string => `messenger.reply.${chat}`;
const byAge = (a: RunView, b: RunView): number => (a.created_at < b.created_at ? -1 : 1);

/** What the person makes of a draft. */
interface Edit {
  run: string;
  text: string;
}

interface DraftTrayProps {
  chat: string;
  /** The person's words of a draft that is gone become a message of their own. */
  onKeep(text: string, run: string): void;
}

export function DraftTray({ chat, onKeep }: DraftTrayProps) {
  const { t } = useSpeech();
  const runs = useMessengerState((state) => state.runs);
  const [stale, setStale] = useState(false);
  const [edit, setEdit] = useState<Edit | null>(null);
  const [hidden, setHidden] = useState(() => localStorage.getItem(keyOf(chat)));
  const own = useMemo(
    () => [...runs.values()].filter((run) => run.chat === chat && run.kind === 'autoreply').sort(byAge),
    [runs, chat],
  );
  const dismiss = (run: string) => {
    localStorage.setItem(keyOf(chat), run);
    setHidden(run);
  };
  const drafts = own.filter((run) => run.state === 'held' || isDelayed(run));
  const writing = own.findLast(({ state }) => state === 'running');
  const leaving = own.findLast((run) => run.state === 'sending' && !isDelayed(run));
  const newest = own.at(-1);
  const failed = newest !== undefined && ENDED_BADLY.has(newest.state) && newest.run !== hidden ? newest : undefined;
  const left = lostEdit(edit, runs);
  useEffect(() => {
    if (drafts.length === 0) setStale(false);
  }, [drafts.length]);
  if (drafts.length === 0 && !writing && !leaving && !failed && left === null) return null;
  return (
    <section className="draft-tray" aria-label={t.assistant.draftTitle} data-testid="draft-tray">
      {stale && (
        <p className="notice" role="alert" data-testid="draft-superseded">
          {t.assistant.superseded}
        </p>
      )}
      {left !== null && (
        <LostEdit
          text={left.text}
          onKeep={() => {
            onKeep(left.text, left.run);
            setEdit(null);
          }}
          onDiscard={() => setEdit(null)}
        />
      )}
      {drafts.map((draft) => (
        <Draft
          key={draft.run}
          draft={draft}
          edited={edit?.run === draft.run ? edit.text : null}
          onEdit={(text) => setEdit(text === null ? null : { run: draft.run, text })}
          onStale={setStale}
        />
      ))}
      {writing !== undefined && (
        <div className="ai-card" aria-busy="true" data-testid="draft-writing">
          <p className="muted">{t.assistant.draftWriting}</p>
          {writing.growing !== '' && <p className="ai-card-text">{writing.growing}</p>}
        </div>
      )}
      {leaving !== undefined && <p className="muted">{t.assistant.draftSending}</p>}
      {failed !== undefined && (
        <p className="problem">
          {t.assistant.replyFailed}
          {because(t, failed.why)}{' '}
          <button type="button" className="button small" onClick={() => dismiss(failed.run)}>
            {t.assistant.dismiss}
          </button>
        </p>
      )}
    </section>
  );
}

const GONE: ReadonlySet<RunView['state']> = new Set(['superseded', 'cancelled', 'failed', 'blocked']);

/** An edit whose draft went away while the person was still at it. */
export function lostEdit(edit: Edit | null, runs: ReadonlyMap<string, RunView>): Edit | null {
  const state = edit === null ? undefined : runs.get(edit.run)?.state;
  return state !== undefined && GONE.has(state) ? edit : null;
}

function LostEdit({ text, onKeep, onDiscard }: { text: string; onKeep(): void; onDiscard(): void }) {
  const { t } = useSpeech();
  return (
    <div className="ai-card" role="alert" data-testid="lost-edit">
      <h2 className="ai-card-title">{t.assistant.lostEdit}</h2>
      <p className="ai-card-text" dir="auto">
        {text}
      </p>
      <div className="ai-card-actions">
        <Action id="lost-edit-keep" primary onClick={onKeep}>
          {t.assistant.keepEdit}
        </Action>
        <Action id="lost-edit-discard" onClick={onDiscard}>
          {t.assistant.discard}
        </Action>
      </div>
    </div>
  );
}

interface DraftProps {
  draft: RunView;
  edited: string | null;
  onEdit(text: string | null): void;
  onStale(stale: boolean): void;
}

function Draft({ draft, edited, onEdit, onStale }: DraftProps) {
  const { t } = useSpeech();
  const { assistant } = useMessenger();
  const original = draft.text ?? draft.growing;
  const delayed = isDelayed(draft);
  const why = because(t, draft.why);
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
    run(async () => {
      const outcome = await assistant.approve(draft, text);
      if (outcome === 'sent') onEdit(null);
      onStale(outcome === 'superseded');
    });
  const discard = () =>
    run(async () => {
      onEdit(null);
      await assistant.discard(draft.run);
    });
  return (
    <div className="ai-card" data-testid="draft" data-run={draft.run} data-state={draft.state}>
      <h2 className="ai-card-title">{delayed ? t.assistant.delayTitle : t.assistant.draftTitle}</h2>
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
          onChange={(event) => onEdit(event.target.value)}
        />
      )}
      {why !== '' && !delayed && (
        <p className="muted">
          {t.assistant.heldWhy}
          {why}
        </p>
      )}
      {problem !== null && (
        <p className="problem" role="alert">
          {problem}
        </p>
      )}
      <div className="ai-card-actions">
        {edited === null ? (
          <>
            <Action id="draft-approve" primary disabled={busy} onClick={() => approve(undefined)}>
              {delayed ? t.assistant.sendNow : t.assistant.approve}
            </Action>
            {!delayed && (
              <Action id="draft-edit" disabled={busy} onClick={() => onEdit(original)}>
                {t.assistant.edit}
              </Action>
            )}
          </>
        ) : (
          <>
            <Action
              id="draft-send-edited"
              primary
              disabled={busy || edited.trim() === ''}
              onClick={() => approve(edited.trim())}
            >
              {t.assistant.sendEdited}
            </Action>
            <Action id="draft-stop-editing" onClick={() => onEdit(null)}>
              {t.assistant.stopEditing}
            </Action>
          </>
        )}
        <Action id="draft-discard" disabled={busy} onClick={discard}>
          {t.assistant.discard}
        </Action>
      </div>
    </div>
  );
}

interface ActionProps {
  id: string;
  primary?: boolean;
  disabled?: boolean;
  onClick(): void;
  children: ReactNode;
}

const Action = ({ id, primary = false, disabled = false, onClick, children }: ActionProps) => (
  <button
    type="button"
    className={primary ? 'button primary small' : 'button small'}
    disabled={disabled}
    data-testid={id}
    onClick={onClick}
  >
    {children}
  </button>
);
