/** The messages of a chat: a virtual list that holds to its end, reads older pages at its top, and has one message as its tab stop. */

import { useVirtualizer, type Virtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { type ChatView, EMPTY_TIMELINE } from '../../sdk';
import { DownIcon } from '../shell/icons';
import { useMessenger, useMessengerState } from '../shell/messenger';
import { useSpeech } from '../text';
import { Bubble } from './Bubble';
import { type Row, rowsOf } from './rows';
import './timeline.css';

const ESTIMATED_PX = 64;
/** Older messages are read when this many rows are left above. */
const READ_AHEAD = 8;
const END_PX = 60;

type List = Virtualizer<HTMLDivElement, Element>;

export function Timeline({ chat }: { chat: ChatView }) {
  const { t } = useSpeech();
  const messenger = useMessenger();
  const known = useMessengerState((state) => state.timelines.get(chat.id));
  const outbox = useMessengerState((state) => state.outbox);
  const timeline = known ?? EMPTY_TIMELINE;
  const me = messenger.me.id;
  const rows = useMemo(() => rowsOf(timeline, outbox, chat.id, me), [timeline, outbox, chat.id, me]);
  const scroll = useRef<HTMLDivElement>(null);
  const list: List = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ESTIMATED_PX,
    getItemKey: (index) => rows[index]?.key ?? index,
    overscan: 8,
    anchorTo: 'end',
    followOnAppend: true,
    scrollEndThreshold: END_PX,
    paddingStart: 12,
    paddingEnd: 12,
  });
  useStartAtEnd(list, rows);
  useOwnMessagesToEnd(list, rows, me);
  useStayAtEnd(scroll, list);
  const items = list.getVirtualItems();
  const firstShown = items[0]?.index ?? 0;
  useEffect(() => {
    if (timeline.more && firstShown < READ_AHEAD) {
      messenger.loadOlder(chat.id).catch(() => {
        // Scrolling again tries again.
      });
    }
  }, [messenger, chat.id, timeline, firstShown]);
  useSeen(list, rows, chat);
  const focus = useRovingFocus(scroll, list, rows);
  const atEnd = list.isAtEnd(END_PX);
  return (
    <div className="timeline">
      <div className="timeline-scroll" ref={scroll} data-testid="timeline">
        {known !== undefined && rows.length === 0 && <p className="muted empty">{t.timeline.empty}</p>}
        {timeline.more && firstShown < READ_AHEAD && <p className="older muted">{t.timeline.loadingOlder}</p>}
        {rows.length > 0 && (
          <div
            role="feed"
            aria-label={t.timeline.label}
            className="timeline-rows"
            style={{ height: list.getTotalSize() }}
            onKeyDown={focus.onKeyDown}
          >
            {items.map((item) => {
              const row = rows[item.index];
              if (row === undefined) return null;
              return (
                <div
                  key={item.key}
                  ref={list.measureElement}
                  data-index={item.index}
                  className="timeline-row"
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  <Bubble
                    row={row}
                    chat={chat}
                    isStop={row.key === focus.stop}
                    onFocus={() => focus.setStop(row.key)}
                  />
                </div>
              );
            })}
          </div>
        )}
      </div>
      {!atEnd && rows.length > 0 && (
        <button type="button" className="to-end" data-testid="to-newest" onClick={() => list.scrollToEnd()}>
          <DownIcon />
          <span>{chat.unread > 0 ? t.timeline.newMessages(chat.unread) : t.timeline.toNewest}</span>
        </button>
      )}
    </div>
  );
}

/** The first page opens at its newest message. */
function useStartAtEnd(list: List, rows: Row[]): void {
  const started = useRef(false);
  useLayoutEffect(() => {
    if (started.current || rows.length === 0) return;
    started.current = true;
    list.scrollToEnd();
  }, [list, rows.length]);
}

/** Where a card or a panel takes room, the newest message stays in sight. */
function useStayAtEnd(scroll: React.RefObject<HTMLDivElement | null>, list: List): void {
  useEffect(() => {
    const { current } = scroll;
    if (current === null) return;
    // Only scrolling tells where the person wants to be; a smaller list has moved away from its end without them.
    let atEnd = true;
    const onScroll = () => {
      atEnd = list.isAtEnd(END_PX);
    };
    const resized = new ResizeObserver(() => {
      if (atEnd) list.scrollToEnd();
    });
    current.addEventListener('scroll', onScroll, { passive: true });
    resized.observe(current);
    return () => {
      current.removeEventListener('scroll', onScroll);
      resized.disconnect();
    };
  }, [scroll, list]);
}

/** What the person sends is shown, wherever they were reading. */
function useOwnMessagesToEnd(list: List, rows: Row[], me: string): void {
  const newest = rows.at(-1);
  const own = newest?.author === me ? newest.key : null;
  const before = useRef(own);
  useEffect(() => {
    if (own !== null && own !== before.current) list.scrollToEnd();
    before.current = own;
  }, [list, own]);
}

/** Tells what the person has before their eyes, also when a hidden page is shown again. */
function useSeen(list: List, rows: Row[], chat: ChatView): void {
  const messenger = useMessenger();
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const update = () => setVisible(!document.hidden);
    document.addEventListener('visibilitychange', update);
    return () => document.removeEventListener('visibilitychange', update);
  }, []);
  const last = list.isAtEnd(END_PX) ? rows.length - 1 : (list.range?.endIndex ?? -1);
  let seq = 0;
  for (let at = Math.min(last, rows.length - 1); at >= 0 && seq === 0; at -= 1) seq = rows[at]?.message?.seq ?? 0;
  useEffect(() => {
    if (visible && seq > chat.read) messenger.seen(chat.id, seq);
  }, [messenger, chat.id, chat.read, visible, seq]);
}

/** One message is the tab stop; arrows, Home and End move between messages, Tab or Enter goes into one, Escape back. */
function useRovingFocus(scroll: React.RefObject<HTMLDivElement | null>, list: List, rows: Row[]) {
  const [chosen, setChosen] = useState<string | null>(null);
  const moved = useRef(false);
  const at = rows.findIndex(({ key }) => key === chosen);
  const shown = list.getVirtualItems();
  const isShown = shown.some(({ index }) => index === at);
  // The tab stop must exist in the page: where the chosen row is scrolled away, the last one shown stands in.
  const stop = (isShown ? chosen : rows[shown.at(-1)?.index ?? -1]?.key) ?? null;
  useEffect(() => {
    if (!moved.current || !isShown) return;
    moved.current = false;
    const element = scroll.current?.querySelector<HTMLElement>(`[data-row="${CSS.escape(chosen ?? '')}"]`);
    element?.focus({ preventScroll: true });
  });
  const onKeyDown = (event: KeyboardEvent) => {
    const article = (event.target as HTMLElement).closest<HTMLElement>('article');
    const inside = article !== null && article !== event.target;
    if (inside) {
      if (event.key === 'Escape') article.focus();
      return;
    }
    const from = rows.findIndex(({ key }) => key === stop);
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (event.key === 'Enter') article?.querySelector<HTMLElement>('a, button')?.focus();
    const row = to === undefined ? undefined : rows[to];
    if (row === undefined || to === undefined) return;
    event.preventDefault();
    moved.current = true;
    setChosen(row.key);
    list.scrollToIndex(to, { align: 'auto' });
  };
  return { stop, setStop: setChosen, onKeyDown };
}
