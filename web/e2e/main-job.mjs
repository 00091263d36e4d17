/**
 * The main job of the product, by two people in a real browser against a running server: BASE_URL (default http://localhost:8080),
 * CHROMIUM_PATH (default /usr/bin/chromium). One line for each step; pictures in test-results/.
 */

import {
  accessible,
  BASE_URL,
  check,
  complaints,
  Job,
  launch,
  openPage,
  person,
  screenshot,
  until,
} from './browser.mjs';
import { at, bind, count, message, openChat, post, recordAdvice, register, say, shown, write } from './people.mjs';
import { comeAndGo, present } from './presence.mjs';

const run = Date.now().toString(36);
const PASSWORD = `correct horse ${run}`;
const HISTORY = 130;

const job = new Job();
const browser = await launch();
const ann = await person(browser, `ann-${run}`);
const bob = await person(browser, `bob-${run}`);
let annTwo;
let chat;
job.pages = () => [ann.page, bob.page, ...(annTwo ? [annTwo] : [])];

await job.step('the page of a stranger is accessible', async () => {
  await ann.page.goto(BASE_URL);
  await at(ann.page, 'login-form').waitFor();
  await accessible(ann.page, 'the login page');
  await screenshot(ann.page, '01-login');
});

// row:A01
await job.step('two people register', async () => {
  await Promise.all([register(ann, PASSWORD), register(bob, PASSWORD)]);
});

await job.step('a person is found by their exact name, and the chat appears at the other one', async () => {
  await at(ann.page, 'user-search-input').fill(`${bob.name}-nobody`);
  await at(ann.page, 'user-search-submit').click();
  await at(ann.page, 'user-search-notice').waitFor();
  await at(ann.page, 'user-search-input').fill(bob.name);
  await at(ann.page, 'user-search-submit').click();
  await at(ann.page, 'user-search-result').click();
  await at(ann.page, 'conversation').waitFor();
  chat = await at(ann.page, 'conversation').getAttribute('data-chat');
  await bob.page.locator(`[data-testid=chat-item][data-chat="${chat}"]`).waitFor();
});

// row:D10
await job.step('who shares a chat is seen: online, away, offline with the page, and online again', async () => {
  await comeAndGo(ann, bob, chat);
});

// row:C22, guarantee:G13
await job.step('a message to somebody who looks elsewhere counts as unread until it is read', async () => {
  await write(ann.page, 'Hello Bob');
  await shown(ann.page, 'Hello Bob');
  await at(bob.page, 'unread').filter({ hasText: '1' }).waitFor();
  await openChat(bob.page, ann.name);
  await shown(bob.page, 'Hello Bob');
  await at(bob.page, 'unread').waitFor({ state: 'detached' });
  await message(ann.page, 'Hello Bob').locator('[data-tick=read]').waitFor();
});

// row:C02
await job.step('they talk live both ways', async () => {
  await say(bob, ann, 'Hello Ann');
  await say(ann, bob, 'Shall we meet tomorrow?');
  await say(bob, ann, 'A link: https://example.org/a?b=1.');
  const link = ann.page.locator('[data-testid=message-text] a');
  check((await link.getAttribute('href')) === 'https://example.org/a?b=1', 'the address of the link is not as written');
  check((await link.getAttribute('rel')).includes('noopener'), 'the link has no rel=noopener');
  await write(ann.page, '<img src=x onerror="document.title=1"> **not bold**');
  await shown(bob.page, '<img src=x onerror="document.title=1"> **not bold**');
  await accessible(ann.page, 'the chat');
  await screenshot(ann.page, '02-chat');
});

// row:E35
await job.step('one lets the AI answer, and both see that', async () => {
  await bind(bob.page, 'autoreply');
  check(await at(bob.page, 'release-approval').isChecked(), 'approval is not the first choice');
  await accessible(bob.page, 'the assistant panel');
  await screenshot(bob.page, '03-assistant');
  await at(bob.page, 'assistant-close').click();
  const state = ann.page.locator(
    `[data-testid=assistant-state][data-owner="${bob.name}"][data-mode=autoreply][data-state=ready]`,
  );
  await state.waitFor();
  check((await state.textContent()).includes(bob.name), 'the banner does not say whose AI it is');
});

await job.step('a message yields a draft that nobody else sees; a newer message replaces it', async () => {
  await write(ann.page, 'Can you send me the plan?');
  const first = await at(bob.page, 'draft').first().getAttribute('data-run', { timeout: 30_000 });
  check((await at(ann.page, 'draft').count()) === 0, 'the draft is shown to the wrong person');
  await write(ann.page, 'The plan of the garden, please');
  await until(
    async () => {
      const runs = await bob.page
        .locator('[data-testid=draft]')
        .evaluateAll((all) => all.map((one) => one.dataset.run));
      return runs.length === 1 && runs[0] !== first;
    },
    'the stale draft was not replaced by one newer draft',
    40_000,
  );
  await accessible(bob.page, 'the tray of drafts');
  await screenshot(bob.page, '04-draft');
});

// row:E18, row:E19
await job.step('the approved draft is an AI reply, labelled in words for both', async () => {
  const text = await at(bob.page, 'draft-text').textContent();
  await at(bob.page, 'draft-approve').click();
  for (const { page } of [ann, bob]) {
    const reply = page.locator('[data-testid=message][data-auto=replied]').last();
    await reply.waitFor({ timeout: 30_000 });
    check((await reply.getByTestId('message-text').textContent()) === text, 'the reply is not the approved text');
    check(
      (await reply.getByTestId('ai-label').textContent()).includes(`AI reply for ${bob.name}`),
      'the label is missing',
    );
  }
  await at(bob.page, 'draft').waitFor({ state: 'detached' });
  await at(ann.page, 'ai-label').last().click();
  const details = await at(ann.page, 'ai-details').textContent();
  check(details.includes(bob.name), `the details do not say who approved: ${details}`);
});

await job.step('an edited draft is sent as edited; another one is discarded', async () => {
  await write(ann.page, 'And the budget?');
  await at(bob.page, 'draft-edit').click({ timeout: 30_000 });
  await at(bob.page, 'draft-edit-text').fill('The budget comes on Monday.');
  await at(bob.page, 'draft-send-edited').click();
  await message(ann.page, 'The budget comes on Monday.').waitFor({ timeout: 30_000 });
  const reply = message(ann.page, 'The budget comes on Monday.');
  await reply.getByTestId('ai-label').click();
  check(
    /Edited.*yes/s.test(await reply.getByTestId('ai-details').textContent()),
    'the details do not say that it was edited',
  );
  await write(ann.page, 'And the flowers?');
  await at(bob.page, 'draft-edit').click({ timeout: 30_000 });
  await at(bob.page, 'draft-edit-text').fill('The flowers are mine.');
  await write(ann.page, 'Thanks, one more thing');
  await at(bob.page, 'lost-edit').waitFor({ timeout: 30_000 });
  await screenshot(bob.page, '04-lost-edit');
  await at(bob.page, 'lost-edit-keep').click();
  check(
    (await at(bob.page, 'composer').inputValue()) === 'The flowers are mine.',
    'the edit of the stale draft was lost',
  );
  await at(bob.page, 'composer').fill('');
  await at(bob.page, 'draft-discard').click({ timeout: 30_000 });
  await at(bob.page, 'draft').waitFor({ state: 'detached' });
});

await job.step('switched off, it is gone for both', async () => {
  await bind(bob.page, 'off');
  await at(bob.page, 'assistant-close').click();
  await at(ann.page, 'assistant-banner').waitFor({ state: 'detached' });
});

// row:E13, row:E15, row:G31
await job.step('advice grows on two tabs of the one who asked, and only there', async () => {
  await bind(ann.page, 'advice');
  await at(ann.page, 'assistant-close').click();
  await bob.page.locator(`[data-testid=assistant-state][data-owner="${ann.name}"][data-mode=advice]`).waitFor();
  annTwo = await openPage(ann.context, `${ann.name} (second tab)`);
  await annTwo.goto(ann.page.url());
  await shown(annTwo, 'Thanks, one more thing');
  await say(bob, ann, 'What do you think about Friday at six?');
  await shown(annTwo, 'What do you think about Friday at six?');
  for (const page of [ann.page, annTwo]) await recordAdvice(page);
  await ann.page.bringToFront();
  await at(ann.page, 'composer').focus();
  await ann.page.keyboard.press('Alt+a');
  for (const page of [ann.page, annTwo]) {
    await page.locator('[data-testid=advice-card][data-state=done]').waitFor({ timeout: 30_000 });
    const texts = await page.evaluate(() => globalThis.advice);
    const final = await at(page, 'advice-text').textContent();
    const growing = texts.every((text, n) => n === 0 || text.length > texts[n - 1].length);
    check(growing && texts.length >= 3, `the advice did not grow three times: ${JSON.stringify(texts)}`);
    check(texts[0].length < final.length, 'the first text was the whole one');
  }
  check((await at(bob.page, 'advice-card').count()) === 0, 'the advice is shown to the wrong person');
  await accessible(ann.page, 'the advice');
  await screenshot(ann.page, '05-advice');
});

await job.step('Tab puts the advice into the composer, and the sent message says so', async () => {
  const advice = await at(ann.page, 'advice-text').textContent();
  await at(ann.page, 'composer').press('Tab');
  check((await at(ann.page, 'composer').inputValue()) === advice, 'the composer does not hold the advice');
  await at(ann.page, 'from-advice').waitFor();
  await at(ann.page, 'composer').press('Enter');
  await at(ann.page, 'advice-card').waitFor({ state: 'detached' });
  const sent = bob.page
    .locator('[data-testid=message][data-auto=no]')
    .filter({ has: bob.page.getByTestId('ai-label') });
  await sent.last().waitFor();
  check(
    (await sent.last().getByTestId('message-text').textContent()) === advice.trim(),
    'the sent text is not the advice',
  );
});

await job.step(
  'advice never takes the place of what was typed meanwhile, but by its button, and that can be undone',
  async () => {
    const composer = at(ann.page, 'composer');
    await composer.fill('My own');
    await ann.page.keyboard.press('Alt+a');
    await composer.fill('My own words');
    await ann.page.locator('[data-testid=advice-card][data-state=done]').waitFor({ timeout: 30_000 });
    await composer.press('Tab');
    check((await composer.inputValue()) === 'My own words', 'Tab took the words of the person');
    await at(ann.page, 'advice-use').click();
    check((await composer.inputValue()) !== 'My own words', 'the button did not take the advice');
    await screenshot(ann.page, '05-undo');
    await at(ann.page, 'undo-advice').click();
    check((await composer.inputValue()) === 'My own words', 'the words of the person did not come back');
    await composer.fill('');
  },
);

await job.step('advice is discarded with Esc', async () => {
  await ann.page.keyboard.press('Alt+a');
  await ann.page.locator('[data-testid=advice-card][data-state=done]').waitFor({ timeout: 30_000 });
  await at(ann.page, 'composer').press('Escape');
  await at(ann.page, 'advice-card').waitFor({ state: 'detached' });
});

// row:D06
await job.step('when the tab that holds the socket closes, the other one goes on', async () => {
  const first = ann.page;
  ann.page = annTwo;
  annTwo = undefined;
  await first.close();
  await say(bob, ann, 'Are you still there?');
  await say(ann, bob, 'In the other tab');
});

// row:C21, guarantee:G8
await job.step('a reload in the middle of a conversation and of sending loses nothing', async () => {
  const expected = [];
  for (let n = 1; n <= 4; n += 1) {
    expected.push(`before reload ${n}`, `right at reload ${n}`, `meanwhile ${n}`);
    await write(ann.page, `before reload ${n}`);
    await write(ann.page, `right at reload ${n}`);
    await Promise.all([ann.page.reload(), write(bob.page, `meanwhile ${n}`)]);
    await at(ann.page, 'composer').waitFor();
  }
  for (const { page } of [ann, bob]) {
    for (const text of expected)
      await until(async () => (await count(page, text)) === 1, `${text} is not there exactly once`);
  }
});

// guarantee:G2
await job.step('a message that the server never got is sent after the reload, once', async () => {
  await ann.page.routeWebSocket(/\/ws\/v1$/, (socket) => {
    const server = socket.connectToServer();
    socket.onMessage((data) => {
      if (!String(data).includes('"msg.send"')) server.send(data);
    });
  });
  await ann.page.reload();
  await at(ann.page, 'composer').waitFor();
  await write(ann.page, 'held back on the way');
  await ann.page.locator('[data-testid=message][data-state=pending]').waitFor();
  check((await count(bob.page, 'held back on the way')) === 0, 'the message was not held back');
  const again = await openPage(ann.context, `${ann.name} (new page)`);
  const former = ann.page;
  await again.goto(former.url());
  ann.page = again;
  await former.close();
  await shown(bob.page, 'held back on the way');
  await until(async () => (await count(ann.page, 'held back on the way')) === 1, 'the sender does not see it once');
  await until(
    async () => (await ann.page.locator('[data-testid=message][data-state=pending]').count()) === 0,
    'it is still shown as pending',
  );
});

await job.step('older pages come when scrolling up, to the very first message', async () => {
  const login = await fetch(`${BASE_URL}/api/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ login: bob.name, password: PASSWORD, device: 'history' }),
  });
  check(login.status === 200, `the login over HTTP answered ${login.status}`);
  const { access_token: token } = await login.json();
  for (let n = 1; n <= HISTORY; n += 1) await post(token, chat, `history ${n}`);
  await shown(ann.page, `history ${HISTORY}`);
  await until(
    async () => {
      await at(ann.page, 'timeline').evaluate((scroll) => {
        scroll.scrollTop = 0;
      });
      return (await ann.page.locator('[data-testid=message][data-seq="1"]').count()) === 1;
    },
    'the first message was not reached',
    30_000,
  );
  await at(ann.page, 'to-newest').click();
  await message(ann.page, `history ${HISTORY}`).waitFor();
});

await job.step('messages are reached with the keyboard alone', async () => {
  const newest = at(ann.page, 'message').last();
  await newest.focus();
  const first = await newest.getAttribute('data-seq');
  await ann.page.keyboard.press('ArrowUp');
  const focused = () => ann.page.evaluate(() => document.activeElement?.dataset.seq);
  await until(
    async () => Number(await focused()) === Number(first) - 1,
    'the arrow did not move to the message before',
  );
  const stops = await ann.page.locator('[data-testid=message][tabindex="0"]').count();
  check(stops === 1, `the messages are ${stops} tab stops`);
});

await job.step('Russian and English, light and dark', async () => {
  const { page } = ann;
  await at(page, 'open-settings').click();
  await accessible(page, 'the settings');
  await at(page, 'language').selectOption('ru');
  await page.getByRole('heading', { name: 'Настройки' }).waitFor();
  check((await page.evaluate(() => document.documentElement.lang)) === 'ru', 'the language of the document is not ru');
  await screenshot(page, '06-settings-ru');
  await at(page, 'theme').selectOption('dark');
  await accessible(page, 'the dark settings');
  await page.reload();
  await page.getByRole('heading', { name: 'Настройки' }).waitFor();
  await openChat(page, bob.name);
  await shown(page, `history ${HISTORY}`);
  await present(page, chat, 'active', 'в сети');
  await accessible(page, 'the dark chat');
  await screenshot(page, '07-chat-dark-ru');
  await at(page, 'open-settings').click();
  await at(page, 'language').selectOption('en');
  await at(page, 'theme').selectOption('light');
  await page.getByRole('heading', { name: 'Settings' }).waitFor();
});

await job.step('a telephone of 390 x 844 shows one pane at a time', async () => {
  const { page } = bob;
  await page.setViewportSize({ width: 390, height: 844 });
  await at(page, 'composer').waitFor();
  await screenshot(page, '08-mobile-chat');
  await accessible(page, 'the chat on a telephone');
  await at(page, 'back').click();
  await at(page, 'chat-list').waitFor();
  check((await at(page, 'composer').count()) === 0, 'the chat is shown beside the list');
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  check(wide <= 390, `the page is ${wide} wide`);
  await accessible(page, 'the list on a telephone');
  await screenshot(page, '09-mobile-list');
});

await job.step('every screen of the telephone in both languages and themes', async () => {
  const { page } = bob;
  for (const [language, theme] of [
    ['en', 'light'],
    ['ru', 'dark'],
    ['en', 'dark'],
    ['ru', 'light'],
  ]) {
    const look = async (screen) => {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= 390, `${screen} is ${wide} wide in ${language}`);
      await accessible(page, `${screen} (${language}, ${theme})`);
      await screenshot(page, `10-mobile-${screen}-${theme}-${language}`);
    };
    await at(page, 'open-settings').click();
    await at(page, 'language').selectOption(language);
    await at(page, 'theme').selectOption(theme);
    await at(page, 'session').first().waitFor();
    await look('settings');
    await page.goto(`${BASE_URL}/#/`);
    await at(page, 'chat-list').waitFor();
    await look('list');
    await openChat(page, ann.name);
    await at(page, 'composer').waitFor();
    await at(page, 'assistant-open').click();
    await at(page, 'assistant-panel').waitFor();
    await look('assistant');
    await at(page, 'assistant-close').click();
    await look('chat');
    await at(page, 'back').click();
    await at(page, 'chat-list').waitFor();
  }
  await at(page, 'open-settings').click();
  await at(page, 'language').selectOption('en');
  await page.goto(`${BASE_URL}/#/`);
  await at(page, 'chat-list').waitFor();
});

await job.step('the e-mail is changed by whoever knows the password', async () => {
  const { page } = bob;
  await at(page, 'open-settings').click();
  await at(page, 'change-email').click();
  const form = at(page, 'email-form');
  await form.locator('[name=email]').fill(`new-${bob.name}@example.org`);
  await form.locator('[name=password]').fill('wrong');
  await at(page, 'email-submit').click();
  await at(page, 'form-problem').waitFor();
  await accessible(page, 'the form of the e-mail');
  await screenshot(page, '11-email');
  await form.locator('[name=password]').fill(PASSWORD);
  await at(page, 'email-submit').click();
  await form.waitFor({ state: 'detached' });
  check((await at(page, 'email').textContent()) === `new-${bob.name}@example.org`, 'the new address is not shown');
  await at(page, 'logout').waitFor();
  await page.goto(`${BASE_URL}/#/`);
});

await job.step('another login is ended from the list, then this one', async () => {
  const { page } = bob;
  await at(page, 'open-settings').click();
  await until(async () => (await at(page, 'session').count()) === 2, 'there are not two logins');
  await at(page, 'session-end').click();
  await until(async () => (await at(page, 'session').count()) === 1, 'the other login is still there');
  await at(page, 'logout').click();
  await at(page, 'login-form').waitFor();
  await page.waitForFunction(() => localStorage.getItem('messenger.logged-out') === null);
  await page.reload();
  await at(page, 'login-form').waitFor();
  for (const [language, theme] of [
    ['ru', 'dark'],
    ['en', 'light'],
  ]) {
    await at(page, 'language').selectOption(language);
    await page.evaluate((chosen) => {
      document.documentElement.dataset.theme = chosen;
    }, theme);
    await at(page, 'to-register').click();
    await accessible(page, `the page for a new account (${language}, ${theme})`);
    await screenshot(page, `12-mobile-register-${theme}-${language}`);
    await at(page, 'to-login').click();
  }
  const form = at(page, 'login-form');
  await form.locator('[name=login]').fill(bob.name);
  await form.locator('[name=password]').fill('wrong');
  await at(page, 'login-submit').click();
  await at(page, 'form-problem').waitFor();
  await form.locator('[name=password]').fill(PASSWORD);
  await at(page, 'login-submit').click();
  await page.locator(`[data-testid=chat-item][data-chat="${chat}"]`).waitFor();
});

// row:F02
await job.step('a call from the page of the documents succeeds', async () => {
  const page = await openPage(ann.page.context(), 'documents');
  await page.goto(`${BASE_URL}/docs/`);
  await page.locator('#select').selectOption('/openapi/auth.json');
  const login = page.locator('.opblock').filter({ has: page.locator('[data-path="/api/login"]') });
  await login.locator('.opblock-summary-control').click();
  await login.locator('.body-param__text').fill(JSON.stringify({ login: ann.name, password: PASSWORD, cookie: false }));
  await login.locator('.execute').click();
  await login.locator('.live-responses-table .response-col_status', { hasText: /^200/ }).waitFor();
  await page.close();
});

await job.step('no page complained', async () => {
  const told = complaints.filter(
    (text) =>
      !/api\/login.*401|401.*api\/login/.test(text) && !/403.*api\/email/.test(text) && !/advice.*409/.test(text),
  );
  check(told.length === 0, told.join('; '));
});

await browser.close();
job.end();
