/** Finding people, and the list of chats by their newest activity. */

import { type KeyboardEvent, useMemo, useRef } from 'react';
import { type ChatView, chatTitle, companion, type State } from '../../sdk';
import { Avatar } from '../shell/Avatar';
import { GearIcon } from '../shell/icons';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { PresentAvatar, UnseenPresence } from '../shell/Presence';
import { go, hrefOf } from '../shell/route';
import { shortTime, useSpeech } from '../text';
import { ConnectionNotice } from './ConnectionNotice';
import { PersonSearch } from './PersonSearch';
import './chats.css';

const activity = (chat: ChatView): string => chat.last?.ts ?? chat.created_at;

/** The text that each chat's newest unsent message has. */
const newestEcho = (outbox: State['outbox'], chat: string): string | undefined =>
  [...outbox.values()].filter((item) => item.chat === chat).at(-1)?.text;

export function ChatsPane({ chosen }: { chosen: string | null }) {
  const { t } = useSpeech();
  const { me } = useMessenger();
  const chats = useMessengerState((state) => state.chats);
  const loaded = useMessengerState((state) => state.loaded);
  const ordered = useMemo(
    () => [...chats.values()].sort((a, b) => (activity(a) < activity(b) ? 1 : activity(a) > activity(b) ? -1 : 0)),
    [chats],
  );
  return (
    <nav className="chats-pane" aria-label={t.chats.title}>
      <header className="pane-head">
        <Avatar name={me.username} />
        <h1 data-testid="me">{me.username}</h1>
        <button
          type="button"
          className="icon-button"
          aria-label={t.settings.title}
          data-testid="open-settings"
          onClick={() => go({ at: 'settings' })}
        >
          <GearIcon />
        </button>
      </header>
      <ConnectionNotice />
      <PersonSearch />
      {loaded && ordered.length === 0 && <p className="muted empty">{t.chats.none}</p>}
      {!loaded && <p className="muted empty">{t.chats.loading}</p>}
      <ChatList chats={ordered} chosen={chosen} />
    </nav>
  );
}

/** One tab stop: arrows move between the chats. */
function ChatList({ chats, chosen }: { chats: ChatView[]; chosen: string | null }) {
  const list = useRef<HTMLUListElement>(null);
  const stop = chats.some(({ id }) => id === chosen) ? chosen : chats[0]?.id;
  const move = (event: KeyboardEvent) => {
    const links = [...(list.current?.querySelectorAll('a') ?? [])];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to === undefined || links[to] === undefined) return;
    event.preventDefault();
    links[to].focus();
  };
  if (chats.length === 0) return null;
  return (
    <ul className="chat-list" ref={list} onKeyDown={move} data-testid="chat-list">
      {chats.map((chat) => (
        <ChatItem key={chat.id} chat={chat} chosen={chat.id === chosen} isStop={chat.id === stop} />
      ))}
    </ul>
  );
}

function ChatItem({ chat, chosen, isStop }: { chat: ChatView; chosen: boolean; isStop: boolean }) {
  const { t, language } = useSpeech();
  const { me } = useMessenger();
  const echo = useMessengerState((state) => newestEcho(state.outbox, chat.id));
  const draftWaits = useMessengerState((state) =>
    [...state.runs.values()].some((run) => run.chat === chat.id && run.kind === 'autoreply' && run.state === 'held'),
  );
  const title = chatTitle(chat, me.id);
  const other = companion(chat, me.id);
  const mine = echo !== undefined || chat.last?.author === me.id;
  const preview = echo ?? chat.last?.text;
  return (
    <li>
      <a
        className="chat-item"
        href={hrefOf({ at: 'chat', chat: chat.id })}
        aria-current={chosen ? 'page' : undefined}
        tabIndex={isStop ? 0 : -1}
        data-testid="chat-item"
        data-chat={chat.id}
        data-title={title}
      >
        {other === undefined ? <Avatar name={title} /> : <PresentAvatar name={title} person={other} />}
        <span className="chat-item-text">
          <span className="chat-item-title">{title}</span>
          {other !== undefined && <UnseenPresence person={other} />}
          <span className="chat-item-preview">
            {draftWaits && (
              <span className="ai-chip" data-testid="draft-waits">
                {t.chats.draftWaits}
              </span>
            )}
            {preview === undefined ? t.chats.noMessages : `${mine ? `${t.chats.you}: ` : ''}${preview}`}
          </span>
        </span>
        <span className="chat-item-side">
          {chat.last && <time dateTime={chat.last.ts}>{shortTime(language, chat.last.ts, new Date())}</time>}
          {chat.unread > 0 && (
            <span className="unread" data-testid="unread" title={t.chats.unread(chat.unread)}>
              <span aria-hidden="true">{chat.unread > 999 ? '999+' : chat.unread}</span>
              <span className="visually-hidden">{t.chats.unread(chat.unread)}</span>
            </span>
          )}
        </span>
      </a>
    </li>
  );
}
