import { describe, expect, test } from 'vitest';
import type { Message, OutboxItem } from '../../sdk';
import { linkify } from './linkify';
import { rowsOf } from './rows';

const links = (text: string) => linkify(text).flatMap((piece) => (piece.kind === 'link' ? [piece.href] : []));

describe('addresses in a text', () => {
  test('http_and_https_become_links_without_the_punctuation_around_them', () => {
    expect(links('see https://example.org/a?b=1, or (http://example.org/x_(y)).')).toEqual([
      'https://example.org/a?b=1',
      'http://example.org/x_(y)',
    ]);
  });

  test.each([
    'javascript:alert(1)',
    'data:text/html,<script>alert(1)</script>',
    'ftp://example.org',
    'https://',
    'https://user:secret@example.org',
    '<img src=x onerror=alert(1)>',
    '![x](//example.org/p.png)',
  ])('nothing_else_does: %s', (text) => {
    expect(linkify(text)).toEqual([{ kind: 'text', text }]);
  });

  test('no_letter_is_lost', () => {
    const text = 'a https://example.org/b. c\nhttp://example.org !';
    expect(
      linkify(text)
        .map((piece) => piece.text)
        .join(''),
    ).toBe(text);
  });
});

describe('rows', () => {
  const message = (seq: number, author: string, ts: string): Message => ({
    id: `m${seq}`,
    chat: 'x',
    seq,
    o: seq,
    author,
    key: `k${seq}`,
    ts,
    text: `${seq}`,
    auto: 'no',
  });
  const echo: OutboxItem = {
    user: 'me',
    chat: 'x',
    key: 'k9',
    text: '9',
    created: Date.parse('2026-11-21T10:01:30Z'),
    state: 'pending',
  };

  test('days_and_groups_begin_where_they_should_and_echoes_come_last', () => {
    const messages = [
      message(1, 'bob', '2026-11-18T10:00:00Z'),
      message(2, 'bob', '2026-11-21T10:00:00Z'),
      message(3, 'bob', '2026-11-21T10:01:00Z'),
      message(4, 'me', '2026-11-21T10:01:10Z'),
    ];
    const rows = rowsOf({ messages, more: false }, new Map([['k9', echo]]), 'x', 'me');
    expect(rows.map(({ day, first, text }) => [text, day, first])).toEqual([
      ['1', true, true],
      ['2', true, true],
      ['3', false, false],
      ['4', false, true],
      ['9', false, false],
    ]);
  });

  test('an_echo_and_its_message_are_the_same_row', () => {
    const before = rowsOf({ messages: [], more: false }, new Map([['k9', echo]]), 'x', 'me');
    const stored = { ...message(1, 'me', '2026-11-21T10:01:31Z'), key: 'k9' };
    const after = rowsOf({ messages: [stored], more: false }, new Map(), 'x', 'me');
    expect(after[0]?.key).toBe(before[0]?.key);
  });
});
