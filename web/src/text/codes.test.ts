import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ApiError } from '../../sdk';
import { because, codeText, problemText } from '../shell/problems';
import { LANGUAGES, stringsOf } from '.';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const read = (path: string): string => readFileSync(ROOT + path, 'utf8');

/** The program without its tests. */
function program(): string {
  const folders = ['contracts/src', 'messenger/src'];
  for (const group of ['platform', 'services'])
    for (const name of readdirSync(ROOT + group)) folders.push(`${group}/${name}/src`);
  return folders
    .flatMap((folder) =>
      readdirSync(ROOT + folder, { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.rs') && !/(^|\/)tests(\/|\.rs$)/.test(path))
        .map((path) => read(`${folder}/${path}`).split('#[cfg(test)]')[0]),
    )
    .join('\n');
}

const words = (text: string, ...patterns: RegExp[]): string[] => [
  ...new Set(patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1] ?? ''))),
];

const faults = [
  ...words(read('platform/kit/src/fault.rs'), /Self::\w+ => "([a-z_]+)"/g),
  ...words(program(), /\.reason\(\s*"([a-z_]+)"/g, /refusal\(\s*"([a-z_]+)"/g, /conflict\(\s*"[^"]*",\s*"([a-z_]+)"/g),
  // The SDK's own.
  'logged_out',
  'network',
  'storage',
];
/** The variants of `Why`, as they go over the wire. */
const whys = words(/pub enum Why \{(.*?)\n\}/s.exec(read('contracts/src/ai.rs'))?.[1] ?? '', /^ {4}([A-Z]\w+),$/gm).map(
  (name) => name.replace(/(?<!^)[A-Z]/g, '_$&').toLowerCase(),
);

test('the_lists_are_those_of_the_program', () => {
  expect(faults).toEqual(expect.arrayContaining(['bad_request', 'username_taken', 'not_ready', 'storage_full']));
  expect(whys).toEqual(expect.arrayContaining(['owner_present', 'provider_timeout', 'nothing_shared']));
});

describe.each(LANGUAGES)('in %s', (language) => {
  const t = stringsOf(language);
  const isOurs = (text: string | undefined) =>
    text !== undefined && /\p{L}/u.test(text) && /\p{Script=Cyrillic}/u.test(text) === (language === 'ru');

  test.each(faults)('the_code_%s_has_a_sentence', (code) => {
    expect(codeText(t, code)).toSatisfy(isOurs);
  });

  test.each(whys)('the_reason_%s_has_words', (why) => {
    expect(because(t, why)).toSatisfy(isOurs);
  });

  test('no_reason_has_words_that_nobody_sends', () => {
    expect(Object.keys(t.assistant.whys).sort()).toEqual([...whys].sort());
  });

  test('nobody_reads_a_raw_code_or_a_sentence_of_the_server', () => {
    const unknown = new ApiError(418, 'brand_new', 'a sentence of the server', undefined);
    expect(problemText(t, unknown)).toBe(t.errors.other);
    expect(problemText(t, new Error('a defect'))).toBe(t.errors.other);
    expect(because(t, 'the AI provider does not answer')).toBe('');
  });
});
