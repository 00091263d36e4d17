/** One chat: its header with the state of the assistants, the messages, drafts, the composer, advice. */

import { useCallback, useEffect, useState } from 'react';
import { type ChatView, chatTitle, companion, type RunView } from '../../sdk';
import { AdviceCard, useAdvice } from '../assistant/AdviceCard';
import { AssistantPanel } from '../assistant/AssistantPanel';
import { Banner } from '../assistant/Banner';
import { DraftTray } from '../assistant/DraftTray';
import { Composer } from '../composer/Composer';
import { takesByTab, useDraftText } from '../composer/draft';
import { Avatar } from '../shell/Avatar';
import { BackIcon, SparkIcon } from '../shell/icons';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { PresenceWord, PresentAvatar } from '../shell/Presence';
import { problemText } from '../shell/problems';
import { go } from '../shell/route';
import { useSpeech } from '../text';
import { Timeline } from '../timeline/Timeline';

/** The longest hint that goes along with a request for advice, in bytes. */
const MOST_HINT = 1000;

export function Conversation({ id }: { id: string }) {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const chat = useMessengerState((state) => state.chats.get(id));
  const loaded = useMessengerState((state) => state.loaded);
  useEffect(() => messenger.open(id), [messenger, id]);
  if (chat === undefined) {
    return (
      <div className="nothing pane">
        <p className="muted">{loaded ? t.errors.not_found : t.chats.loading}</p>
      </div>
    );
  }
  return <OpenChat chat={chat} />;
}

function OpenChat({ chat }: { chat: ChatView }) {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const [panel, setPanel] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  /** What stood in the composer when the person asked for this advice. */
  const [asked, setAsked] = useState<{ run: string; text: string } | null>(null);
  const draft = useDraftText(messenger.me.id, chat.id);
  const advice = useAdvice(chat.id);
  const own = chat.bindings.find(({ owner }) => owner === messenger.me.id);
  const canAsk = own?.mode === 'advice' && own.state === 'ready';
  const title = chatTitle(chat, messenger.me.id);
  const other = companion(chat, messenger.me.id);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another binding, or another state of it, has other settings
  useEffect(() => {
    void messenger.assistant.load(chat.id);
  }, [messenger, chat.id, own?.thread, own?.mode, own?.state]);

  const guarded = useCallback(
    async (work: () => Promise<unknown>) => {
      setProblem(null);
      try {
        await work();
      } catch (error) {
        setProblem(problemText(t, error));
      }
    },
    [t],
  );
  const ask = () => {
    if (!canAsk) return;
    const { text } = draft;
    const hint = cut(text.trim(), MOST_HINT);
    void guarded(async () => {
      setAsked({ run: await messenger.assistant.ask(chat.id, hint === '' ? undefined : hint), text });
    });
  };
  const { run } = advice;
  const byTab = run?.state === 'done' && takesByTab(draft.text, asked?.run === run.run ? asked.text : null);
  const take = (text: string, from: string) => {
    draft.take(text, from);
    document.querySelector<HTMLTextAreaElement>('[data-testid="composer"]')?.focus();
  };
  const use = (used: RunView) => {
    take(used.growing, used.run);
    advice.dismiss(used.run);
  };
  const send = () => {
    const text = draft.text.trim();
    if (text === '') return;
    // The message is written down before the text is emptied.
    void messenger.send(chat.id, text, draft.fromRun === null ? {} : { from_run: draft.fromRun });
    draft.clear();
  };

  return (
    <section className="conversation pane" aria-label={title} data-testid="conversation" data-chat={chat.id}>
      <header className="pane-head">
        <button
          type="button"
          className="icon-button only-narrow"
          aria-label={t.back}
          data-testid="back"
          onClick={() => go({ at: 'home' })}
        >
          <BackIcon />
        </button>
        {other === undefined ? <Avatar name={title} /> : <PresentAvatar name={title} person={other} />}
        <div className="pane-title">
          <h1 data-testid="chat-title">{title}</h1>
          {other !== undefined && <PresenceWord person={other} />}
        </div>
        <button
          type="button"
          className="button assistant-button"
          aria-expanded={panel}
          aria-controls="assistant-panel"
          title={t.assistant.open}
          data-testid="assistant-open"
          onClick={() => setPanel(!panel)}
        >
          <SparkIcon />
          <span>{t.assistant.title}</span>
        </button>
      </header>
      <Banner chat={chat} />
      {panel && <AssistantPanel chat={chat} onClose={() => setPanel(false)} />}
      <Timeline chat={chat} />
      <DraftTray chat={chat.id} onKeep={take} />
      <Composer
        label={t.composer.label(title)}
        draft={draft}
        onSend={send}
        ask={canAsk ? ask : null}
        advice={run}
        byTab={byTab}
        onUse={use}
        onDismiss={advice.end}
      />
      {problem !== null && (
        <p className="problem" role="alert" data-testid="conversation-problem">
          {problem}
        </p>
      )}
      {run !== null && (
        <AdviceCard
          run={run}
          byTab={byTab}
          onUse={use}
          onEnd={advice.end}
          onAgain={(failed) => {
            advice.dismiss(failed.run);
            ask();
          }}
        />
      )}
    </section>
  );
}

/** The first whole characters that fit into so many bytes. */
function cut(text: string, bytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
