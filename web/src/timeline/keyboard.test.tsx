import { renderToStaticMarkup } from 'react-dom/server';
import { expect, test } from 'vitest';
import type { ChatView, Message, Messenger, SessionKeeper, Status, Via } from '../../sdk';
import { ConnectionNotice } from '../chats/ConnectionNotice';
import { MessengerContext } from '../shell/messenger';
import { en } from '../text/en';
import { Bubble } from './Bubble';
import type { Row } from './rows';

const me = { id: 'ann', username: 'Ann', created_at: '', updated_at: '' };
const chat = { id: 'x', seq: 1, members: [me, { id: 'bob', username: 'Bob' }] } as unknown as ChatView;
const TS = '2026-11-21T10:00:00Z';

function page(element: React.ReactNode, state: object = {}): string {
  const messenger = { me, subscribe: () => () => {}, getState: () => state } as unknown as Messenger;
  const sessions = {} as SessionKeeper;
  return renderToStaticMarkup(<MessengerContext value={{ messenger, sessions }}>{element}</MessengerContext>);
}

function bubble(isStop: boolean): string {
  const via: Via = { mode: 'autoreply', run: 'r' };
  const text = 'https://one.example and https://two.example';
  const message: Message = {
    id: 'm',
    chat: 'x',
    seq: 1,
    o: 1,
    author: 'bob',
    key: 'k',
    ts: TS,
    text,
    auto: 'replied',
    via,
  };
  const row: Row = { key: 'bob:k', day: true, first: true, author: 'bob', text, ts: TS, message, echo: null };
  return page(<Bubble row={row} chat={chat} isStop={isStop} onFocus={() => {}} />);
}

const stops = (html: string) => [...html.matchAll(/<(a|button|article)\b[^>]*\btabindex="(-?\d)"/gi)];

test('everything_inside_the_message_that_is_the_tab_stop_is_reached_with_the_keyboard', () => {
  expect(stops(bubble(true)).map(([, tag, at]) => [tag, at])).toEqual([
    ['article', '0'],
    ['a', '0'],
    ['a', '0'],
    ['button', '0'],
  ]);
});

test('nothing_of_the_other_messages_is_a_tab_stop', () => {
  expect(stops(bubble(false)).map(([, , at]) => at)).toEqual(['-1', '-1', '-1', '-1']);
});

test('a_lost_connection_is_told_in_a_status_region_that_is_there_before', () => {
  const status = (now: Status) => page(<ConnectionNotice />, { status: now });
  expect(status({ kind: 'live', conn: 'c' })).toBe('<div role="status"></div>');
  expect(status({ kind: 'stopped', why: 'outdated' })).toContain(en.status.outdated);
});
