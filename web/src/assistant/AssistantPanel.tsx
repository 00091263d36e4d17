/** The person's own AI in this chat: off, advice, or answers in their name; and how its answers are released. */

import { useState } from 'react';
import type { AiSettings, BindingMode, ChatView } from '../../sdk';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { because, problemText } from '../shell/problems';
import { useSpeech } from '../text';
import './assistant.css';

type Choice = 'off' | BindingMode;
const CHOICES: readonly Choice[] = ['off', 'advice', 'autoreply'];

export function AssistantPanel({ chat, onClose }: { chat: ChatView; onClose(): void }) {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const own = chat.bindings.find(({ owner }) => owner === messenger.me.id);
  const settings = useMessengerState((state) => state.settings.get(chat.id));
  const [busy, setBusy] = useState(false);
  /** Shown while the server is asked. */
  const [wanted, setWanted] = useState<Choice | null>(null);
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
      setWanted(null);
    }
  };
  const choose = (choice: Choice) => {
    setWanted(choice);
    return run(() =>
      choice === 'off' ? messenger.assistant.unbind(chat.id) : messenger.assistant.bind(chat.id, choice),
    );
  };
  const change = (next: AiSettings) => run(() => messenger.assistant.setSettings(chat.id, next));
  return (
    <section
      id="assistant-panel"
      className="assistant-panel"
      aria-label={t.assistant.open}
      data-testid="assistant-panel"
    >
      <fieldset disabled={busy}>
        <legend>{t.assistant.legend}</legend>
        <div className="choices">
          {CHOICES.map((choice) => (
            <label key={choice} className="choice">
              <input
                type="radio"
                name="assistant"
                value={choice}
                checked={(wanted ?? own?.mode ?? 'off') === choice}
                data-testid={`assistant-${choice}`}
                onChange={() => choose(choice)}
              />
              <span>
                {choice === 'off' ? t.assistant.off : t.assistant[choice]}
                <small className="muted">{t.assistant[`${choice}Hint`]}</small>
              </span>
            </label>
          ))}
        </div>
      </fieldset>
      {own !== undefined && (
        <p className="assistant-state" data-testid="own-binding" data-mode={own.mode} data-state={own.state}>
          {t.assistant.states[own.state]}
          {because(t, own.reason)}
          {own.state === 'failed' && (
            <button type="button" className="button small" disabled={busy} onClick={() => choose(own.mode)}>
              {t.tryAgain}
            </button>
          )}
        </p>
      )}
      {own !== undefined && settings !== undefined && (
        <ReleaseSettings mode={own.mode} settings={settings} busy={busy} onChange={change} />
      )}
      <p className="muted">{t.assistant.consent}</p>
      {problem !== null && (
        <p className="problem" role="alert" data-testid="assistant-problem">
          {problem}
        </p>
      )}
      <button type="button" className="button small" onClick={onClose} data-testid="assistant-close">
        {t.close}
      </button>
    </section>
  );
}

interface ReleaseProps {
  mode: BindingMode;
  settings: AiSettings;
  busy: boolean;
  onChange(settings: AiSettings): void;
}

function ReleaseSettings({ mode, settings, busy, onChange }: ReleaseProps) {
  const { t } = useSpeech();
  if (mode === 'advice') {
    return (
      <label className="choice">
        <input
          type="checkbox"
          disabled={busy}
          checked={settings.advice_on_message}
          data-testid="advice-on-message"
          onChange={(event) => onChange({ ...settings, advice_on_message: event.target.checked })}
        />
        <span>{t.assistant.adviceOnMessage}</span>
      </label>
    );
  }
  return (
    <fieldset disabled={busy}>
      <legend>{t.assistant.release}</legend>
      <div className="choices">
        {(['approval', 'immediate'] as const).map((release) => (
          <label key={release} className="choice">
            <input
              type="radio"
              name="release"
              value={release}
              checked={settings.release === release}
              data-testid={`release-${release}`}
              onChange={() => onChange({ ...settings, release })}
            />
            <span>{t.assistant[release]}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
