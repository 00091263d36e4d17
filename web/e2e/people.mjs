/** What people do on the page, and a few things that only a test does. */

import { BASE_URL, check } from './browser.mjs';

export const at = (page, id) => page.getByTestId(id);
export const message = (page, text) => at(page, 'message').filter({ has: page.getByText(text, { exact: true }) });
export const count = (page, text) => message(page, text).count();
export const shown = (page, text) => message(page, text).first().waitFor();

export async function register({ page, name }, password) {
  await page.goto(BASE_URL);
  await at(page, 'to-register').click();
  const form = at(page, 'register-form');
  await form.locator('[name=username]').fill(name);
  await form.locator('[name=email]').fill(`${name}@example.org`);
  await form.locator('[name=password]').fill(password);
  await at(page, 'register-submit').click();
  await at(page, 'me').getByText(name, { exact: true }).waitFor();
}

export async function write(page, text) {
  await at(page, 'composer').fill(text);
  await at(page, 'composer').press('Enter');
}

export async function say(from, to, text) {
  await write(from.page, text);
  await shown(from.page, text);
  await shown(to.page, text);
}

export const openChat = (page, title) => page.locator(`[data-testid=chat-item][data-title="${title}"]`).click();

/** Waits until the other one of a chat is shown as present in this way: by the dots of the list and of the header, and in a word. */
export async function present(page, chat, state, word) {
  await page.locator(`[data-testid=conversation] [data-testid=presence][data-state=${state}]`).waitFor();
  const list = page.locator(`[data-testid=chat-item][data-chat="${chat}"]`);
  await list.locator(`[data-testid=presence][data-state=${state}]`).waitFor();
  await at(page, 'presence-word').getByText(word, { exact: true }).waitFor();
  if (state !== 'offline') await list.getByText(word, { exact: true }).waitFor({ state: 'attached' });
}

/** What a browser does when another tab takes the place of this one, and back. */
export const hide = (page) =>
  page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
export const show = (page) =>
  page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });

/** Chooses what the person's own AI does in the open chat, and waits until it works. */
export async function bind(page, mode) {
  await at(page, 'assistant-open').click();
  await at(page, `assistant-${mode}`).check();
  if (mode === 'off') await at(page, 'own-binding').waitFor({ state: 'detached' });
  else await page.locator(`[data-testid=own-binding][data-mode=${mode}][data-state=ready]`).waitFor();
}

/** Writes down every text that the advice card shows before it is done. */
export const recordAdvice = (page) =>
  page.evaluate(() => {
    globalThis.advice = [];
    const look = () => {
      const card = document.querySelector('[data-testid=advice-card]');
      const text = card?.querySelector('[data-testid=advice-text]')?.textContent ?? '';
      if (card?.dataset.state !== 'running' || text === globalThis.advice.at(-1)) return;
      if (card.querySelector('[data-testid=advice-text] .muted') === null) globalThis.advice.push(text);
    };
    new MutationObserver(look).observe(document.body, {
      subtree: true,
      childList: true,
      characterData: true,
      attributes: true,
    });
  });

/** Sends over HTTP, as slowly as the server asks. */
export async function post(token, chat, text) {
  for (;;) {
    const key = `${hex(Date.now(), 12).replace(/(.{8})/, '$1-')}-7${hex(random(0x1000), 3)}-8${hex(random(0x1000), 3)}-${hex(random(2 ** 48), 12)}`;
    const answer = await fetch(`${BASE_URL}/api/messages/${chat}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ key, text }),
    });
    if (answer.status === 201) return;
    check(answer.status === 429, `a message over HTTP was answered with ${answer.status}`);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(answer.headers.get('retry-after') ?? 1)));
  }
}

function hex(value, digits) {
  return value.toString(16).padStart(digits, '0');
}

function random(below) {
  return Math.floor(Math.random() * below);
}
