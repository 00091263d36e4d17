/** Chromium, the steps of a test, and what several steps need. */

import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const BASE_URL = process.env.BASE_URL ?? 'http://localhost:8080';
const RESULTS = fileURLToPath(new URL('../test-results/', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const PATIENCE_MS = 15_000;

/** What may be on the console: the first question of a page that is not signed in is answered with 401, a name that nobody has with 404. */
const EXPECTED = [/api\/refresh.*401|401.*api\/refresh/, /404.*api\/users\?username=/];

export function launch() {
  mkdirSync(RESULTS, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** Errors of all pages, with the page's name. */
export const complaints = [];

/** A person: a browser context of their own with one open page. */
export async function person(browser, name, options = {}) {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await openPage(context, name);
  return { name, context, page };
}

export async function openPage(context, name) {
  const page = await context.newPage();
  page.on('pageerror', (error) => complaints.push(`${name}: ${error.message}`));
  page.on('console', (line) => {
    const text = `${line.text()} ${line.location().url}`;
    if (line.type() === 'error' && !EXPECTED.some((pattern) => pattern.test(text))) complaints.push(`${name}: ${text}`);
  });
  return page;
}

export const screenshot = (page, name) => page.screenshot({ path: `${RESULTS}${name}.png` });

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

/** Waits until `probe` answers something true, and answers it. */
export async function until(probe, message, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  let last;
  for (;;) {
    try {
      last = await probe();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end)
      throw new Error(`${message} (last: ${last instanceof Error ? last.message : JSON.stringify(last)})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Looks for violations with axe-core; the policy of the page forbids scripts of others, so it is evaluated, not added. */
export async function accessible(page, where) {
  // Colours that are still changing are nobody's colours.
  await page.waitForFunction(() => document.getAnimations().every((change) => change.playState !== 'running'));
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(' | ')}`);
  check(told.length === 0, `${where} has ${told.join('; ')}`);
}

/** Runs steps in their order; the first failure ends the job, with a picture of every page. */
export class Job {
  passed = 0;
  failed = 0;
  pages = () => [];

  async step(name, work) {
    if (this.failed > 0) return;
    const began = Date.now();
    try {
      await work();
      this.passed += 1;
      console.log(`ok   ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      this.failed += 1;
      console.log(`FAIL ${name}: ${error.message}`);
      for (const [at, page] of this.pages().entries()) await screenshot(page, `failure-${at}`).catch(() => {});
      for (const complaint of complaints) console.log(`     page said: ${complaint}`);
    }
  }

  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exitCode = this.failed === 0 && this.passed > 0 ? 0 : 1;
  }
}
