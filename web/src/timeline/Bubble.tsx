/** One message: who, what, when, and how far it has got. An AI's part in it is said in words. */

import { useId, useState } from 'react';
import type { ChatView, Marks, Message, State } from '../../sdk';
import { AlertIcon, CheckIcon, ClockIcon, DoubleCheckIcon } from '../shell/icons';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { codeText } from '../shell/problems';
import { clockTime, dayName, useSpeech } from '../text';
import { linkify } from './linkify';
import type { Row } from './rows';

interface BubbleProps {
  row: Row;
  chat: ChatView;
  /** The tab stop of the list; what can be used inside it follows. */
  isStop: boolean;
  onFocus(): void;
}

export function Bubble({ row, chat, isStop, onFocus }: BubbleProps) {
  const { t, language } = useSpeech();
  const { me } = useMessenger();
  const id = useId();
  const { message, echo } = row;
  const own = row.author === me.id;
  const name = chat.members.find((member) => member.id === row.author)?.username ?? '…';
  const state = echo === null ? 'sent' : echo.state;
  return (
    <>
      {row.day && (
        <p className="day">
          <time dateTime={row.ts}>{dayName(language, row.ts, new Date())}</time>
        </p>
      )}
      <article
        className={[
          'message',
          own ? 'own' : 'other',
          row.first ? 'first' : '',
          message?.auto === 'replied' ? 'auto' : '',
        ]
          .filter(Boolean)
          .join(' ')}
        aria-labelledby={`${id}-author ${id}-text`}
        aria-posinset={message?.seq ?? chat.seq + 1}
        aria-setsize={-1}
        tabIndex={isStop ? 0 : -1}
        onFocus={onFocus}
        data-testid="message"
        data-row={row.key}
        data-seq={message?.seq}
        data-auto={message?.auto ?? 'no'}
        data-own={own}
        data-state={state}
      >
        <div className="bubble">
          <span id={`${id}-author`} className={own || !row.first ? 'visually-hidden' : 'author'}>
            {name}
          </span>
          <p id={`${id}-text`} className="text" dir="auto" data-testid="message-text">
            <Text text={row.text} isStop={isStop} />
          </p>
          {message?.via !== undefined && <AiLabel message={message} chat={chat} name={name} isStop={isStop} />}
          <span className="meta">
            <time dateTime={row.ts}>{clockTime(language, row.ts)}</time>
            {own && message !== null && <Ticks message={message} chat={chat} />}
            {echo?.state === 'pending' && <Tick kind="pending" label={t.timeline.pending} />}
          </span>
        </div>
        {echo?.state === 'failed' && <Failed itemKey={echo.key} code={echo.error ?? ''} isStop={isStop} />}
      </article>
    </>
  );
}

function Text({ text, isStop }: { text: string; isStop: boolean }) {
  let at = 0;
  return linkify(text).map((piece) => {
    at += piece.text.length;
    if (piece.kind === 'text') return piece.text;
    return (
      <a key={at} href={piece.href} target="_blank" rel="noopener noreferrer nofollow" tabIndex={isStop ? 0 : -1}>
        {piece.text}
      </a>
    );
  });
}

function Failed({ itemKey, code, isStop }: { itemKey: string; code: string; isStop: boolean }) {
  const { t } = useSpeech();
  const messenger = useMessenger();
  return (
    <div className="failed" data-testid="message-failed">
      <AlertIcon />
      <span>
        {t.timeline.failed}
        {codeText(t, code) === undefined ? '' : `: ${codeText(t, code)}`}
      </span>
      <button
        type="button"
        className="button small"
        tabIndex={isStop ? 0 : -1}
        data-testid="message-retry"
        onClick={() => messenger.retry(itemKey)}
      >
        {t.timeline.retry}
      </button>
      <button
        type="button"
        className="button small"
        tabIndex={isStop ? 0 : -1}
        data-testid="message-give-up"
        onClick={() => messenger.giveUp(itemKey)}
      >
        {t.timeline.giveUp}
      </button>
    </div>
  );
}

type TickKind = 'pending' | 'sent' | 'delivered' | 'read';

/** How far the message has got with all the others. */
function reached(marks: State['marks'], chat: ChatView, message: Message): TickKind {
  const others = chat.members.filter(({ id }) => id !== message.author);
  const ofChat = marks.get(chat.id);
  const all = (level: (mark: Marks) => number) =>
    others.length > 0 &&
    others.every(({ id }) => {
      const mark = ofChat?.get(id);
      return mark !== undefined && level(mark) >= message.seq;
    });
  if (all(({ read }) => read)) return 'read';
  return all(({ delivered }) => delivered) ? 'delivered' : 'sent';
}

function Ticks({ message, chat }: { message: Message; chat: ChatView }) {
  const { t } = useSpeech();
  const kind = useMessengerState((state) => reached(state.marks, chat, message));
  return <Tick kind={kind} label={t.timeline[kind]} />;
}

function Tick({ kind, label }: { kind: TickKind; label: string }) {
  return (
    <span className={`tick ${kind}`} title={label} data-testid="tick" data-tick={kind}>
      {kind === 'pending' && <ClockIcon />}
      {kind === 'sent' && <CheckIcon />}
      {(kind === 'delivered' || kind === 'read') && <DoubleCheckIcon />}
      <span className="visually-hidden">{label}</span>
    </span>
  );
}

interface AiLabelProps {
  message: Message;
  chat: ChatView;
  name: string;
  isStop: boolean;
}

/** The words that tell an AI's part, and what lies behind them. */
function AiLabel({ message, chat, name, isStop }: AiLabelProps) {
  const { t } = useSpeech();
  const [open, setOpen] = useState(false);
  const id = useId();
  const { via } = message;
  if (via === undefined) return null;
  const { details } = t.assistant;
  const replied = message.auto === 'replied';
  const approver = chat.members.find((member) => member.id === via.approved_by)?.username;
  return (
    <>
      <button
        type="button"
        className="ai-label"
        aria-expanded={open}
        aria-controls={id}
        tabIndex={isStop ? 0 : -1}
        data-testid="ai-label"
        onClick={() => setOpen(!open)}
      >
        {replied ? t.assistant.label(name) : t.assistant.adviceLabel}
      </button>
      {open && (
        <dl id={id} className="ai-details" data-testid="ai-details">
          {via.model ? (
            <div>
              <dt>{details.model}</dt>
              <dd>{via.model}</dd>
            </div>
          ) : null}
          <div>
            <dt>{details.run}</dt>
            <dd>{via.run}</dd>
          </div>
          {replied && (
            <div>
              <dt>{details.approvedBy}</dt>
              <dd>{approver ?? details.nobody}</dd>
            </div>
          )}
          {via.edited !== undefined && (
            <div>
              <dt>{details.edited}</dt>
              <dd>{via.edited ? details.yes : details.no}</dd>
            </div>
          )}
        </dl>
      )}
    </>
  );
}
