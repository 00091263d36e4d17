/** What the person is writing in each chat, and whether it came from an advice. It survives a reload. */

import { useState } from 'react';

interface Draft {
  text: string;
  fromRun: string | null;
}

const EMPTY: Draft = { text: '', fromRun: null };
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
  /** The person writes; an emptied text has forgotten where it came from. */
  write(text: string): void;
  /** The text of an advice takes the place of what was there. */
  take(text: string, run: string): void;
  clear(): void;
}

export function useDraftText(me: string, chat: string): DraftText {
  const key = keyOf(me, chat);
  const [draft, setDraft] = useState<Draft>(() => read(key));
  const keep = (next: Draft) => {
    setDraft(next);
    if (next.text === '') localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(next));
  };
  return {
    ...draft,
    write: (text) => keep({ text, fromRun: text.trim() === '' ? null : draft.fromRun }),
    take: (text, run) => keep({ text, fromRun: run }),
    clear: () => keep(EMPTY),
  };
}

/** Before the person leaves this browser. */
export function forgetDrafts(me: string): void {
  for (const key of Object.keys(localStorage)) if (key.startsWith(keyOf(me, ''))) localStorage.removeItem(key);
}
