/** The installation, as e2e/tests/it/foreign.rs says where it is: addresses, the secret of the services, people with their tokens. */

import { setTimeout } from 'node:timers/promises';

export const world = JSON.parse(process.env.MESSENGER);
/** The id of nobody and nothing. */
export const NOTHING = '0198c0de-0000-7000-8000-000000000000';

/** Asks over HTTP in the name of a person; the request can be given an id. */
export async function http(person, method, path, body, request) {
  const answer = await fetch(world.http + path, {
    method,
    headers: {
      authorization: `Bearer ${person.token}`,
      'content-type': 'application/json',
      ...(request && { 'x-request-id': request }),
    },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  return { status: answer.status, body: text && JSON.parse(text) };
}

/** Looks until there is something; fifteen seconds are too long. */
export async function until(what, look) {
  for (const end = Date.now() + 15_000; Date.now() < end; await setTimeout(20)) {
    const found = await look();
    if (found) return found;
  }
  throw new Error(`${what} did not happen`);
}

/** The private chat of two people, who both have bound it to the AI: one for advice, the other one for replies. */
export async function chatOfTwoBindings(adviser, replier) {
  const { body: chat } = await http(adviser, 'POST', '/api/chats', { kind: 'private', user: replier.id });
  const path = `/api/chats/${chat.id}/binding`;
  const modes = [
    [adviser, 'advice'],
    [replier, 'autoreply'],
  ];
  const bound = modes.map(async ([person, mode]) => {
    await http(person, 'PUT', path, { mode });
    return until(`a binding for ${mode}`, async () => {
      const { body: binding } = await http(person, 'GET', path);
      return binding.state === 'ready' && binding;
    });
  });
  return [chat, await Promise.all(bound)];
}
