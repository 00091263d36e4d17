/** What the person is writing in each chat, and whether it came from an advice. It survives a reload. */

import { useState } from 'react';

export interface Draft {
  text: string;
  fromRun: string | null;
  /** What a taken text took the place of; it can come back until the message is sent. */
  before: Draft | null;
}

export const EMPTY: Draft = { text: '', fromRun: null, before: null };

/** The person writes; an emptied text has forgotten where it came from. */
export const written = (draft: Draft, text: string): Draft => ({
  ...draft,
  text,
  fromRun: text.trim() === '' ? null : draft.fromRun,
});

/** A text of the AI takes the place of what was there. */
export const taken = (draft: Draft, text: string, run: string): Draft => ({
  text,
  fromRun: run,
  before: draft.text.trim() === '' ? draft.before : draft,
});

/** What was there before comes back. */
export const undone = (draft: Draft): Draft => draft.before ?? draft;

/** The Tab key takes an advice only where nobody's words are lost: none are there, or those that it was asked with. */
export const takesByTab = (text: string, askedWith: string | null): boolean => text.trim() === '' || text === askedWith;

const keyOf = (me: string, chat: string): string => `messenger.draft.${me}.${chat}`;

function read(key: string): Draft {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(key) ?? 'null');
    return typeof kept === 'object' && kept !== null && 'text' in kept ? { ...EMPTY, ...(kept as Draft) } : EMPTY;
  } catch {
    return EMPTY;
  }
}

export interface DraftText extends Draft {
  write(text: string): void;
  take(text: string, run: string): void;
  undo(): void;
  clear(): void;
}

export function useDraftText(me: string, chat: string): DraftText {
  const key = keyOf(me, chat);
  const [draft, setDraft] = useState<Draft>(() => read(key));
  const keep = (next: Draft) => {
    setDraft(next);
    if (next.text === '' && next.before === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(next));
  };
  return {
    ...draft,
    write: (text) => keep(written(draft, text)),
    take: (text, run) => keep(taken(draft, text, run)),
    undo: () => keep(undone(draft)),
    clear: () => keep(EMPTY),
  };
}

/** Before the person leaves this browser. */
export function forgetDrafts(me: string): void {
  for (const key of Object.keys(localStorage)) if (key.startsWith(keyOf(me, ''))) localStorage.removeItem(key);
}
