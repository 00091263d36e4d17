/** The language of the page: the person's choice, else the browser's. */

import { createContext, useContext } from 'react';
import { en, type Strings } from './en';
import { ru } from './ru';

export type { Strings };
export type Language = 'en' | 'ru';
export const LANGUAGES: readonly Language[] = ['en', 'ru'];

const TABLES: Record<Language, Strings> = { en, ru };
const KEY = 'messenger.language';

export function firstLanguage(): Language {
  const chosen = localStorage.getItem(KEY);
  if (chosen === 'en' || chosen === 'ru') return chosen;
  return navigator.language.toLowerCase().startsWith('ru') ? 'ru' : 'en';
}

export function keepLanguage(language: Language): void {
  localStorage.setItem(KEY, language);
}

export const stringsOf = (language: Language): Strings => TABLES[language];

export interface Speech {
  language: Language;
  t: Strings;
  setLanguage(language: Language): void;
}

export const SpeechContext = createContext<Speech>({ language: 'en', t: en, setLanguage: () => {} });

export const useSpeech = (): Speech => useContext(SpeechContext);

const sameDay = (a: Date, b: Date): boolean => a.toDateString() === b.toDateString();

/** Hours and minutes. */
export const clockTime = (language: Language, ts: string): string =>
  new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit' }).format(new Date(ts));

/** Today, yesterday, or the date. */
export function dayName(language: Language, ts: string, now: Date): string {
  const day = new Date(ts);
  const yesterday = new Date(now);
  yesterday.setDate(now.getDate() - 1);
  const { today, yesterday: before } = TABLES[language].timeline;
  if (sameDay(day, now)) return today;
  if (sameDay(day, yesterday)) return before;
  const year = day.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' as const };
  return new Intl.DateTimeFormat(language, { day: 'numeric', month: 'long', ...year }).format(day);
}

/** Short, for lists: the time of today's, the date of older ones. */
export function shortTime(language: Language, ts: string, now: Date): string {
  if (sameDay(new Date(ts), now)) return clockTime(language, ts);
  return new Intl.DateTimeFormat(language, { day: '2-digit', month: '2-digit' }).format(new Date(ts));
}

export const dateAndTime = (language: Language, ts: string): string =>
  new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(ts));
