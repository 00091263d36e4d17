/** How one person sees another one come and go. */

import { accessible, BASE_URL, openPage } from './browser.mjs';
import { at } from './people.mjs';

/** Waits until the other one of a chat is shown as present in this way: by the dots of the list and of the header, and in a word. */
export async function present(page, chat, state, word) {
  await page.locator(`[data-testid=conversation] [data-testid=presence][data-state=${state}]`).waitFor();
  const list = page.locator(`[data-testid=chat-item][data-chat="${chat}"]`);
  await list.locator(`[data-testid=presence][data-state=${state}]`).waitFor();
  await at(page, 'presence-word').getByText(word, { exact: true }).waitFor();
  if (state !== 'offline') await list.getByText(word, { exact: true }).waitFor({ state: 'attached' });
}

/** What a browser does when another tab takes the place of this one, and back. */
const hide = (page) =>
  page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
const show = (page) =>
  page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });

/** `bob` is online, looks elsewhere, comes back, loads his page again, closes it and opens it; `ann` sees what of it can be seen. */
export async function comeAndGo(ann, bob, chat) {
  await present(ann.page, chat, 'active', 'online');
  await accessible(ann.page, 'a chat with somebody who is online');
  await hide(bob.page);
  await present(ann.page, chat, 'idle', 'away');
  await accessible(ann.page, 'a chat with somebody who is away');
  await show(bob.page);
  await present(ann.page, chat, 'active', 'online');
  await bob.page.reload();
  await bob.page.locator(`[data-testid=chat-item][data-chat="${chat}"]`).waitFor();
  await present(ann.page, chat, 'active', 'online');
  await bob.page.close();
  await present(ann.page, chat, 'offline', 'offline');
  bob.page = await openPage(bob.context, bob.name);
  await bob.page.goto(BASE_URL);
  await present(ann.page, chat, 'active', 'online');
  await bob.page.locator(`[data-testid=chat-item][data-chat="${chat}"]`).waitFor();
}
