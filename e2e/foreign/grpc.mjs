/**
 * A gRPC client that is made of the files of `proto/` alone. It calls every rpc of every service, from outside of their processes.
 */

import assert from 'node:assert/strict';
import { createPublicKey, randomUUID, verify } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
import healthCheck from 'grpc-health-check';
import { chatOfTwoBindings, http, NOTHING, until, world } from './world.mjs';

const PROTO = fileURLToPath(new URL('../../proto/', import.meta.url));
const OPTIONS = { keepCase: true, longs: Number, enums: String, defaults: true };
const REFLECTION = 'grpc/reflection/v1/reflection.proto';
const MARK = randomUUID().slice(24);

const [ann, bob, eve] = world.people;
const email = (person) => `${person.name}@example.org`;

const files = readdirSync(PROTO, { recursive: true }).filter((file) => file.endsWith('.proto'));
const loaded = loader.loadSync(files, { ...OPTIONS, includeDirs: [PROTO] });
/** Pairs of a full name and its methods; what is no service has a format. */
const services = Object.entries(loaded).filter(([, definition]) => !('format' in definition));
const called = new Set();

/** A service at one of its replicas: a function for each rpc, which shows the secret. */
function connect([name, definition], replica = 0, secret = world.secret) {
  const Client = grpc.makeGenericClientConstructor(definition, name);
  const client = new Client(address(name, replica), grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  if (secret) metadata.set('authorization', `Bearer ${secret}`);
  const call = (rpc, message) =>
    new Promise((done, failed) => {
      if (secret === world.secret) called.add(`${name}/${rpc}`);
      const deadline = Date.now() + 10_000;
      client[rpc](message, metadata, { deadline }, (error, answer) => (error ? failed(error) : done(answer)));
    });
  return Object.fromEntries(Object.keys(definition).map((rpc) => [rpc, (message = {}) => call(rpc, message)]));
}

/** `messenger.user.v1.UserService` is offered by `user`. */
const address = (name, replica) => world.rpc[name.split('.')[1]][replica];
const named = (service) => services.find(([name]) => name.split('.')[1] === service);
const [user, auth, chats, messages, ai] = ['user', 'auth', 'chat', 'message', 'ai'].map((name) => connect(named(name)));

/** A call is refused with this code and, if one is given, with this word. */
async function refused(call, code, word) {
  const error = await call.then(
    (answer) => assert.fail(`${code} is missing: ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.equal(grpc.status[error.code], code, error.message);
  if (word) assert.equal(error.metadata.get('fault-code')[0], word);
}

// row:A19, row:F04
test('every rpc refuses a stranger', async () => {
  for (const secret of [null, 'not the secret of these services']) {
    for (const service of services) {
      for (const ask of Object.values(connect(service, 0, secret))) await refused(ask(), 'UNAUTHENTICATED');
    }
  }
});

// row:F05
test('every process says that it serves', async () => {
  const Health = grpc.makeGenericClientConstructor(healthCheck.service);
  for (const [service, replicas] of Object.entries(world.rpc)) {
    const names = ['', ...services.map(([name]) => name).filter((name) => name.split('.')[1] === service)];
    for (const replica of replicas) {
      const health = new Health(replica, grpc.credentials.createInsecure());
      const status = (service) =>
        new Promise((done) => health.check({ service }, (error, answer) => done(error?.details ?? answer.status)));
      for (const name of names) await until(`${service} serves`, async () => (await status(name)) === 'SERVING');
    }
  }
});

// row:F05
test('every service describes itself', async () => {
  const standard = dirname(createRequire(import.meta.url).resolve('@grpc/reflection/package.json'));
  const described = loader.loadSync(REFLECTION, { ...OPTIONS, includeDirs: [resolve(standard, 'build/proto')] });
  const Reflection = grpc.makeGenericClientConstructor(described['grpc.reflection.v1.ServerReflection']);
  const metadata = new grpc.Metadata();
  metadata.set('authorization', `Bearer ${world.secret}`);
  for (const [name, definition] of services) {
    const stream = new Reflection(address(name, 0), grpc.credentials.createInsecure()).ServerReflectionInfo(metadata);
    const ask = (request) =>
      new Promise((done, failed) => {
        stream.once('error', failed).once('data', done);
        stream.write(request);
      });
    const { list_services_response: list } = await ask({ list_services: '*' });
    assert.ok(
      list.service.some((offered) => offered.name === name),
      `${name} is not in ${JSON.stringify(list)}`,
    );
    const { file_descriptor_response: found } = await ask({ file_containing_symbol: name });
    const [file] = found.file_descriptor_proto;
    for (const rpc of Object.keys(definition)) assert.ok(file.includes(rpc), `${rpc} is not in the file of ${name}`);
    stream.end();
  }
});

// row:A17
test('accounts are made, found and changed', async () => {
  const own = { username: `fay-${MARK}`, email: `fay-${MARK}@example.org` };
  const fay = await user.CreateUser(own);
  assert.deepEqual({ username: fay.username, email: fay.email }, own);
  for (const found of [
    user.GetUserByID({ id: fay.id }),
    user.GetUserByEmail({ email: own.email.toUpperCase() }),
    user.GetUserByUsername({ username: own.username.toUpperCase() }),
    user.GetProfiles({ ids: [NOTHING, fay.id] }).then((answer) => answer.users[0]),
    user.GetCredentials({ login: own.email }).then((answer) => answer.user),
  ]) {
    assert.deepEqual(await found, fay);
  }
  const { users } = await user.GetUsers({ ids: [NOTHING, fay.id] });
  assert.deepEqual(users, [{ id: fay.id, username: own.username }]);
  const password_hash = '$argon2id$v=19$m=19456,t=2,p=1$c29tZXRoaW5n$bm90IGEgaGFzaA';
  const changed = await user.UpdateUser({ id: fay.id, username: `gil-${MARK}`, password_hash });
  assert.deepEqual(changed, { ...fay, username: `gil-${MARK}`, updated_at: changed.updated_at });
  assert.deepEqual(await user.GetCredentials({ id: fay.id }), { user: changed, password_hash });

  await refused(user.CreateUser({ username: changed.username }), 'ALREADY_EXISTS', 'username_taken');
  await refused(user.CreateUser({ ...own, username: `hal-${MARK}` }), 'ALREADY_EXISTS', 'email_taken');
  await refused(user.UpdateUser({ id: fay.id, username: ann.name }), 'ALREADY_EXISTS', 'username_taken');
  await refused(user.CreateUser({ username: 'x' }), 'INVALID_ARGUMENT');
  for (const ask of [user.GetUserByID, user.UpdateUser, user.GetCredentials]) {
    await refused(ask({ id: 'x' }), 'INVALID_ARGUMENT', 'bad_request');
    await refused(ask({ id: NOTHING }), 'NOT_FOUND', 'not_found');
  }
  await refused(user.GetUserByEmail({ email: 'nobody@example.org' }), 'NOT_FOUND');
  await refused(user.GetUserByUsername({ username: own.username }), 'NOT_FOUND');
});

// row:A18
test('a user is registered by name alone, and once', async () => {
  const username = `ivy-${MARK}`;
  const tries = Array.from({ length: 20 }, () => user.RegisterUser({ username }));
  const outcomes = await Promise.allSettled(tries);
  const made = outcomes.filter((outcome) => outcome.status === 'fulfilled');
  assert.equal(made.length, 1);
  const { id, created_at, email } = made[0].value;
  assert.ok(id && created_at && email === undefined);
  for (const outcome of outcomes)
    assert.equal(outcome.reason?.code ?? grpc.status.ALREADY_EXISTS, grpc.status.ALREADY_EXISTS);
  await refused(user.RegisterUser({ username }), 'ALREADY_EXISTS', 'username_taken');
  await refused(user.RegisterUser(), 'INVALID_ARGUMENT');
});

// row:A06
test('a token is checked here with a public key and there with everything that is known', async () => {
  const caller = await auth.ValidateToken({ token: ann.token });
  assert.deepEqual([caller.user_id, caller.username, caller.email], [ann.id, ann.name, email(ann)]);
  assert.ok(caller.expires_ms > Date.now());
  const [header, claims, signature] = ann.token.split('.');
  const { kid } = JSON.parse(Buffer.from(header, 'base64url'));
  const { keys } = await auth.GetPublicKeys();
  const x = keys.find((key) => key.kid === kid).x.toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const signed = (text) => verify(null, Buffer.from(text), key, Buffer.from(signature, 'base64url'));
  assert.ok(signed(`${header}.${claims}`));
  const forged = `${header}.${Buffer.from(`${Buffer.from(claims, 'base64url')} `).toString('base64url')}`;
  assert.ok(!signed(forged));
  const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt', kid })).toString('base64url');
  for (const token of ['', 'x.y.z', `${forged}.${signature}`, `${none}.${claims}.`]) {
    await refused(auth.ValidateToken({ token }), 'UNAUTHENTICATED', 'unauthorized');
  }
  const { session_id } = await auth.ValidateToken({ token: eve.token });
  const since_ms = Date.now() - 60_000;
  assert.equal((await http(eve, 'POST', '/api/logout')).status, 204);
  await refused(auth.ValidateToken({ token: eve.token }), 'UNAUTHENTICATED', 'session_ended');
  const { revocations } = await auth.GetRevocations({ since_ms });
  assert.ok(revocations.some((ended) => ended.session_id === session_id && ended.at_ms > since_ms));
});

const [chat, bindings] = await chatOfTwoBindings(ann, bob);

// row:B10, row:B19, row:E04, row:E32
test('a chat is the same over HTTP and over gRPC', async () => {
  const { body: shown } = await http(bob, 'GET', `/api/chats/${chat.id}`);
  const told = await chats.GetChatByID({ id: chat.id });
  assert.deepEqual(told, { id: chat.id, kind: 'KIND_PRIVATE', creator_id: ann.id, created_at: shown.created_at });
  const { user_ids } = await chats.GetUsersByChatID({ chat_id: chat.id });
  assert.deepEqual(user_ids, shown.members.map((member) => member.id).sort());
  assert.deepEqual(user_ids, [ann.id, bob.id].sort());
  const { bindings: found } = await chats.GetBindingsByChat({ chat_id: chat.id });
  const wire = ({ chat, owner, thread, mode, state }) => ({
    chat_id: chat,
    user_id: owner,
    thread_id: thread,
    mode: `BINDING_MODE_${mode.toUpperCase()}`,
    state: `BINDING_STATE_${state.toUpperCase()}`,
  });
  const byThread = (one, other) => (one.thread_id < other.thread_id ? -1 : 1);
  assert.deepEqual(found.sort(byThread), bindings.map(wire).sort(byThread));
  assert.notEqual(found[0].thread_id, found[1].thread_id);
  for (const [owner, { thread: thread_id }] of [
    [ann, bindings[0]],
    [bob, bindings[1]],
  ]) {
    const who = { user_id: owner.id, user_email: email(owner), chat_id: chat.id };
    assert.deepEqual(await chats.GetUserWithChatByThreadID({ thread_id }), who);
    assert.deepEqual(await chats.GetThreadContext({ thread_id }), { ...who, chat_user_ids: user_ids });
  }
  for (const ask of [
    chats.GetChatByID,
    chats.GetUsersByChatID,
    chats.GetBindingsByChat,
    chats.GetUserWithChatByThreadID,
    chats.GetThreadContext,
  ]) {
    const everything = (id) => ({ id, chat_id: id, thread_id: id });
    await refused(ask(everything(NOTHING)), 'NOT_FOUND', 'not_found');
    await refused(ask(everything('x')), 'INVALID_ARGUMENT', 'bad_request');
  }
});

// row:C08, row:C10
test('two people write to each other, and read it in every way there is', async () => {
  const first = { author_id: ann.id, chat_id: chat.id, key: randomUUID(), text: 'one' };
  const one = await messages.SendMessage(first);
  const again = await messages.SendMessage(first);
  assert.deepEqual({ ...again, dup: false }, one);
  await refused(messages.SendMessage({ ...first, text: 'another' }), 'ALREADY_EXISTS', 'conflict');
  const two = await messages.SendMessage({
    author_id: bob.id,
    user_id: ann.id,
    key: randomUUID(),
    text: 'two',
    reply_to: one.message_id,
  });

  const read = await messages.GetMessagesByChat({ reader_id: ann.id, chat_id: chat.id, with_authors: true });
  const seen = read.messages.map(({ id, author_id, text, ts }) => [id, author_id, text, ts]);
  assert.deepEqual(seen, [
    [one.message_id, ann.id, 'one', one.ts],
    [two.message_id, bob.id, 'two', two.ts],
  ]);
  const people = Object.fromEntries(read.authors.map((author) => [author.id, author.email]));
  assert.deepEqual(people, { [ann.id]: email(ann), [bob.id]: email(bob) });
  const { body: page } = await http(bob, 'GET', `/api/messages/${chat.id}`);
  assert.deepEqual(
    page.messages.map(({ id, author, text, ts }) => [id, author, text, ts]),
    seen,
  );
  const both = { user1_id: bob.id, user2_id: ann.id };
  assert.deepEqual((await messages.GetMessageHistory(both)).messages, read.messages);
  const before = await messages.GetMessagesByChat({ reader_id: bob.id, chat_id: chat.id, before: two.seq, limit: 1 });
  assert.deepEqual([before.messages, before.more], [read.messages.slice(0, 1), false]);
  assert.deepEqual(await messages.GetPrivateChat(both), { chat_id: chat.id });
  const readers = { count: 2, user_ids: [ann.id, bob.id].sort() };
  assert.deepEqual(await messages.GetReaders({ chat_id: chat.id, o: one.o, limit: 200 }), readers);
  assert.deepEqual(await messages.GetReaders({ chat_id: NOTHING, o: 1, limit: 1 }), { count: 0, user_ids: [] });
  await refused(messages.GetReaders({ chat_id: 'x', o: 1, limit: 1 }), 'INVALID_ARGUMENT', 'bad_request');
  const some = { reader_id: ann.id, user_ids: [eve.id, bob.id, NOTHING] };
  assert.deepEqual(await messages.GetPeers(some), { user_ids: [bob.id] });
  await refused(messages.GetPeers({ ...some, user_ids: ['x'] }), 'INVALID_ARGUMENT', 'bad_request');

  const attached = await messages.Attach({ reader_id: bob.id, chat_id: chat.id });
  assert.deepEqual([attached.head, attached.seq, attached.from_o], [read.pos, two.seq, 1]);
  const { events } = await messages.GetEvents({ reader_id: bob.id, chat_id: chat.id, after: 0, limit: 200 });
  assert.deepEqual(
    events.map((event) => event.o),
    Array.from({ length: read.pos.o }, (_, n) => n + 1),
  );
  const frame = JSON.parse(events[one.o - 1].frame);
  assert.deepEqual([frame.t, frame.o, frame.d.text], ['msg.new', one.o, 'one']);

  const mine = { reader_id: bob.id, chat_id: chat.id };
  const summary = await messages.GetSummary(mine);
  assert.deepEqual([summary.seq, summary.unread, summary.last], [two.seq, 1, read.messages[1]]);
  assert.deepEqual((await messages.GetChats({ reader_id: bob.id, limit: 10 })).chats, [summary]);
  const moved = await messages.MoveMarks({ ...mine, delivered: two.seq, read: one.seq });
  assert.deepEqual(moved, { chat_id: chat.id, user_id: bob.id, delivered: two.seq, read: one.seq });
  const { marks } = await messages.GetMarks({ reader_id: ann.id, chat_id: chat.id });
  assert.deepEqual(
    marks.find((mark) => mark.user_id === bob.id),
    moved,
  );
  const thread = { thread_id: bindings[0].thread, after: one.o, limit: 200 };
  assert.deepEqual((await messages.GetThreadMessages(thread)).messages, read.messages.slice(1));

  const { GetMessagesByChat, Attach, GetEvents, GetSummary, MoveMarks, GetMarks, GetThreadMessages } = messages;
  for (const ask of [GetMessagesByChat, Attach, GetEvents, GetSummary, MoveMarks, GetMarks, GetThreadMessages]) {
    const everything = (id) => ({ reader_id: eve.id, chat_id: id, thread_id: id, limit: 1 });
    for (const id of ask === GetThreadMessages ? [NOTHING] : [chat.id, NOTHING])
      await refused(ask(everything(id)), 'NOT_FOUND');
    await refused(ask(everything('x')), 'INVALID_ARGUMENT', 'bad_request');
  }
  const strangers = { user1_id: ann.id, user2_id: eve.id };
  for (const ask of [messages.GetMessageHistory, messages.GetPrivateChat]) {
    await refused(ask(strangers), 'NOT_FOUND');
    await refused(ask({ ...strangers, user2_id: 'x' }), 'INVALID_ARGUMENT');
  }
  await refused(messages.SendMessage({ ...first, key: randomUUID(), text: '' }), 'INVALID_ARGUMENT');
  await refused(messages.SendMessage({ ...first, author_id: eve.id }), 'NOT_FOUND');
  await refused(messages.GetChats({ reader_id: 'x', limit: 10 }), 'INVALID_ARGUMENT');
});

test('a draft waits and is ended, a text is followed while it grows', async () => {
  await messages.SendMessage({ author_id: ann.id, chat_id: chat.id, key: randomUUID(), text: 'shall we?' });
  const draft = await until('a draft', async () => {
    const { runs } = await ai.GetOpenRuns({ owner_id: bob.id });
    return runs.find((run) => run.state === 'RUN_STATE_HELD');
  });
  const { body: shown } = await http(bob, 'GET', `/api/ai/runs/${draft.id}`);
  assert.deepEqual([draft.chat_id, draft.kind, draft.text], [chat.id, 'BINDING_MODE_AUTOREPLY', shown.text]);
  const own = { owner_id: bob.id, run_id: draft.id };
  await refused(ai.CancelRun({ ...own, owner_id: ann.id }), 'NOT_FOUND');
  const ended = await ai.CancelRun(own);
  assert.equal(ended.state, 'RUN_STATE_CANCELLED');
  assert.deepEqual(await ai.CancelRun(own), ended);

  assert.deepEqual(await ai.CheckBudget({ owner_id: ann.id }), {});
  const { body: asked } = await http(ann, 'POST', `/api/chats/${chat.id}/advice`, { key: randomUUID() });
  const state = (wanted) =>
    until(`the run is ${wanted}`, async () => {
      const { body: run } = await http(ann, 'GET', `/api/ai/runs/${asked.run}`);
      return run.state === wanted && run;
    });
  await state('running');
  const replicas = world.rpc.ai.map((_, replica) => connect(named('ai'), replica));
  const follow = (owner_id) =>
    Promise.all(replicas.map((replica) => replica.FollowRun({ owner_id, run_id: asked.run })));
  const delta = await until('a text that grows', async () => {
    const found = (await follow(ann.id)).find((answer) => answer.delta?.text);
    return found?.delta;
  });
  assert.deepEqual([delta.run_id, delta.chat_id], [asked.run, chat.id]);
  await refused(follow(bob.id), 'NOT_FOUND');
  const done = await state('done');
  assert.ok(done.text.startsWith(delta.text), `${done.text} does not begin with ${delta.text}`);
  assert.ok((await follow(ann.id)).every((answer) => !answer.delta));
  await refused(ai.CancelRun({ owner_id: ann.id, run_id: asked.run }), 'ALREADY_EXISTS', 'conflict');
  for (const ask of [ai.FollowRun, ai.CancelRun, ai.GetOpenRuns, ai.CheckBudget]) {
    await refused(ask({ owner_id: 'x', run_id: 'x' }), 'INVALID_ARGUMENT', 'bad_request');
  }
});

// row:F04
test('nothing that the files offer was left out', () => {
  const all = services.flatMap(([name, definition]) => Object.keys(definition).map((rpc) => `${name}/${rpc}`));
  assert.ok(all.length > 0);
  assert.deepEqual(
    all.filter((rpc) => !called.has(rpc)),
    [],
  );
});
