/**
 * Writing a message. Enter sends, Shift+Enter makes a line; Alt+A asks the AI, Tab takes its advice where no words are lost, Esc
 * discards it.
 */

import { type KeyboardEvent, useEffect, useRef } from 'react';
import type { RunView } from '../../sdk';
import { SendIcon, SparkIcon } from '../shell/icons';
import { useSpeech } from '../text';
import type { DraftText } from './draft';
import './composer.css';

/** The server's limit, in bytes of UTF-8. */
const MOST_BYTES = 16 * 1024;
const HIGHEST_PX = 200;

interface ComposerProps {
  label: string;
  draft: DraftText;
  onSend(): void;
  /** `null` where no advice can be asked for. */
  ask: (() => void) | null;
  advice: RunView | null;
  /** Whether the Tab key takes the advice now. */
  byTab: boolean;
  onUse(run: RunView): void;
  /** Discards or cancels. */
  onDismiss(run: RunView): void;
}

export function Composer({ label, draft, onSend, ask, advice, byTab, onUse, onDismiss }: ComposerProps) {
  const { t } = useSpeech();
  const area = useRef<HTMLTextAreaElement>(null);
  const tooLong = new TextEncoder().encode(draft.text).length > MOST_BYTES;
  const canSend = draft.text.trim() !== '' && !tooLong;
  useHeight(area, draft.text);
  useShortcut(ask, advice, onDismiss);
  const send = () => {
    if (canSend) onSend();
    area.current?.focus();
  };
  const undo = () => {
    draft.undo();
    area.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      send();
    } else if (event.key === 'Tab' && !event.shiftKey && advice !== null && byTab) {
      event.preventDefault();
      onUse(advice);
    } else if (event.key === 'Escape' && advice !== null) {
      event.preventDefault();
      onDismiss(advice);
    }
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {(draft.fromRun !== null || draft.before !== null) && (
        <div className="composer-origin">
          {draft.fromRun !== null && (
            <span className="ai-chip" data-testid="from-advice">
              {t.composer.fromAdvice}
            </span>
          )}
          {draft.before !== null && (
            <button type="button" className="button small" data-testid="undo-advice" onClick={undo}>
              {t.composer.undo}
            </button>
          )}
        </div>
      )}
      <div className="composer-row">
        {ask !== null && (
          <button
            type="button"
            className="button ask"
            title={t.assistant.askHint}
            data-testid="ask-advice"
            onClick={ask}
          >
            <SparkIcon />
            <span>{t.assistant.ask}</span>
          </button>
        )}
        <textarea
          ref={area}
          rows={1}
          value={draft.text}
          aria-label={label}
          aria-invalid={tooLong}
          placeholder={t.composer.placeholder}
          data-testid="composer"
          onChange={(event) => draft.write(event.target.value)}
          onKeyDown={onKeyDown}
        />
        <button
          type="submit"
          className="icon-button send"
          disabled={!canSend}
          aria-label={t.composer.send}
          data-testid="send"
        >
          <SendIcon />
        </button>
      </div>
      {tooLong && (
        <p className="problem" role="alert">
          {t.composer.tooLong}
        </p>
      )}
    </form>
  );
}

/** As high as its text, up to a limit. */
function useHeight(area: React.RefObject<HTMLTextAreaElement | null>, text: string): void {
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text
  useEffect(() => {
    const { current } = area;
    if (current === null) return;
    current.style.height = 'auto';
    current.style.height = `${Math.min(current.scrollHeight, HIGHEST_PX)}px`;
  }, [area, text]);
}

/** Alt+A and Alt+. work anywhere in the chat. */
function useShortcut(ask: (() => void) | null, advice: RunView | null, cancel: (run: RunView) => void): void {
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (!event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.code === 'KeyA' && ask !== null) {
        event.preventDefault();
        ask();
      } else if (event.code === 'Period' && advice !== null) {
        event.preventDefault();
        cancel(advice);
      }
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, [ask, advice, cancel]);
}
