/** The page's one polite live region. Whatever is worth hearing is announced here; lists themselves are silent. */

import { useEffect, useRef, useState } from 'react';
import type { Message } from '../../sdk';
import { useSpeech } from '../text';
import { useMessenger } from './messenger';

const PAUSE_MS = 700;
/** More than these in one pause are told as a number. */
const MOST_READ_OUT = 3;

const listeners = new Set<(text: string) => void>();

/** Says a sentence to people who listen to the page. */
export function announce(text: string): void {
  for (const listener of listeners) listener(text);
}

export function LiveRegion() {
  const [text, setText] = useState('');
  useEffect(() => {
    listeners.add(setText);
    return () => {
      listeners.delete(setText);
    };
  }, []);
  return (
    <div aria-live="polite" className="visually-hidden" data-testid="live-region">
      {text}
    </div>
  );
}

/** Announces the messages of others as they come, several at once as a number. */
export function MessageAnnouncer() {
  const messenger = useMessenger();
  const { t } = useSpeech();
  const waiting = useRef<Message[]>([]);
  useEffect(() => {
    let timer = 0;
    const tell = () => {
      const messages = waiting.current.splice(0);
      if (messages.length > MOST_READ_OUT) announce(t.timeline.newMessages(messages.length));
      else announce(messages.map((message) => `${nameOf(message)}: ${message.text}`).join('. '));
    };
    const nameOf = ({ chat, author }: Message) =>
      messenger
        .getState()
        .chats.get(chat)
        ?.members.find(({ id }) => id === author)?.username ?? '';
    const stop = messenger.hear((message) => {
      waiting.current.push(message);
      window.clearTimeout(timer);
      timer = window.setTimeout(tell, PAUSE_MS);
    });
    return () => {
      stop();
      window.clearTimeout(timer);
    };
  }, [messenger, t]);
  return null;
}
