/**
 * A consumer that is not ours at the broker: one message in a chat of two bindings, and what comes of it, on the topics and in the
 * form that docs/api/asyncapi.json tells.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import Ajv from 'ajv/dist/2020.js';
import formats from 'ajv-formats';
import kafkajs from 'kafkajs';
import { chatOfTwoBindings, http, until, world } from './world.mjs';

const document = JSON.parse(readFileSync(new URL('../../docs/api/asyncapi.json', import.meta.url)));
const [, , , cat, dan] = world.people;
/** The names of the channels that carry something. */
const channels = Object.keys(document.channels).filter((name) => Object.keys(document.channels[name].messages).length);
const topics = channels.map((channel) => world.topics[channel]);

const kafka = new kafkajs.Kafka({ brokers: world.brokers.split(','), logLevel: kafkajs.logLevel.ERROR });
const consumer = kafka.consumer({ groupId: `foreign-${randomUUID()}` });
const admin = kafka.admin();
after(() => Promise.all([consumer.disconnect(), admin.disconnect()]));

/** What is not described is not there: a schema of a client must not be as strict, which later versions may add to. */
function close(schema) {
  if (typeof schema !== 'object' || schema === null) return;
  if (schema.properties) schema.additionalProperties = false;
  for (const part of Object.values(schema)) close(part);
}
for (const message of Object.values(document.components.messages)) close(message.payload);
const ajv = formats(new Ajv({ strict: false, allErrors: true }));
ajv.addSchema(document, 'asyncapi');

/** The name of the message that a value is, of those that its channel may carry. */
function described(channel, value) {
  const complaints = {};
  for (const [name, { $ref }] of Object.entries(document.channels[channel].messages)) {
    const validate = ajv.getSchema(`asyncapi${$ref}/payload`);
    if (validate(value)) return name;
    complaints[name] = ajv.errorsText(validate.errors);
  }
  return assert.fail(`${channel} has ${JSON.stringify(value)}: ${JSON.stringify(complaints, null, 2)}`);
}

// row:G36
test('the topics are there, with their partitions, though the broker makes none by itself', async () => {
  await admin.connect();
  const { brokers } = await admin.describeCluster();
  const configNames = ['auto.create.topics.enable'];
  const resources = [{ type: kafkajs.ConfigResourceTypes.BROKER, name: String(brokers[0].nodeId), configNames }];
  const { resources: told } = await admin.describeConfigs({ includeSynonyms: false, resources });
  assert.equal(told[0].configEntries[0].configValue, 'false');
  const { topics: found } = await admin.fetchTopicMetadata({ topics });
  for (const { name, partitions } of found) assert.equal(partitions.length, world.partitions, name);
  const all = await admin.listTopics();
  for (const group of ['message', 'chat-threads', 'ai', 'ai-feed', 'ws-ai-advice']) {
    assert.ok(all.includes(`${world.topics.dead_letter_prefix}${group}.dead-letter`), `dead letters of ${group}`);
  }
});

// row:C05, row:E09, row:E11, row:F03
test('one message in a chat of two bindings is seen at the broker as it is documented', async () => {
  const records = [];
  const on = (channel, wanted) => records.filter((record) => record.channel === channel && wanted(record.value));
  const one = (channel, wanted) => until(`${channel} has it`, () => on(channel, wanted)[0]);
  const channelOf = Object.fromEntries(Object.entries(world.topics).map(([channel, topic]) => [topic, channel]));
  await consumer.connect();
  await consumer.subscribe({ topics, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ topic, message }) => {
      records.push({ channel: channelOf[topic], key: String(message.key), value: JSON.parse(message.value) });
    },
  });

  const [chat, bindings] = await chatOfTwoBindings(cat, dan);
  const [key, request] = [randomUUID(), randomUUID()];
  const { body: stored } = await http(cat, 'POST', `/api/messages/${chat.id}`, { key, text: 'hello' }, request);
  const sent = await one('message_persist', (value) => value.key === key);
  assert.deepEqual(sent.value, { t: 'send', chat: chat.id, author: cat.id, key, text: 'hello', request });
  const { o, msg, seq, ts } = stored;
  const event = await one('forward_message', (value) => value.d.id === msg);
  const message = { id: msg, chat: chat.id, seq, o, author: cat.id, key, ts, text: 'hello', auto: 'no' };
  assert.deepEqual(event.value, { t: 'msg.new', s: `c:${chat.id}`, o, d: message });
  const fed = await until('each binding is fed', () => {
    const found = on('ai_feed', (value) => value.chat === chat.id && value.o === o);
    // A record may come twice.
    const feeds = new Map(found.map(({ value }) => [value.thread, value]));
    return feeds.size === 2 && [...feeds.values()];
  });
  const byThread = (one, other) => (one.thread < other.thread ? -1 : 1);
  const wanted = bindings.map(({ thread, owner, mode }) => ({ thread, chat: chat.id, owner, mode, o, request }));
  assert.deepEqual(fed.sort(byThread), wanted.sort(byThread));
  for (const { thread, owner, mode } of bindings) {
    await one('ai_binding_init', (value) => value.thread === thread && value.mode === mode);
    const made = await one('ai_thread_created', (value) => value.thread === thread);
    assert.deepEqual(made.value, { thread, chat: chat.id, owner, failed: null });
  }

  // The other one's AI has a draft, which is sent; advice is asked for; marks move.
  const draft = await one('forward_message', (value) => value.t === 'ai.hold' && value.d.chat === chat.id);
  assert.equal(draft.key, `u:${dan.id}`);
  await http(dan, 'POST', `/api/ai/runs/${draft.value.d.run}/approve`, {});
  const reply = await one('ai_autoreply', (value) => value.run === draft.value.d.run);
  await one('message_persist', (value) => value.ai?.run === reply.value.run);
  const said = await one('forward_message', (value) => value.d.chat === chat.id && value.d.auto === 'replied');
  assert.deepEqual([said.value.d.author, said.value.d.key], [dan.id, reply.value.run]);
  const { body: asked } = await http(cat, 'POST', `/api/chats/${chat.id}/advice`, { key: randomUUID() });
  await one('ai_advice_request', (value) => value.run === asked.run && value.owner === cat.id);
  await one('ai_advice_response', (value) => value.run === asked.run && value.state === 'done');
  await http(dan, 'POST', `/api/messages/${chat.id}/marks`, { delivered: seq, read: seq });
  await one('forward_message', (value) => value.t === 'marks' && value.d.user === dan.id);
  await http(cat, 'POST', `/api/messages/${chat.id}`, { key, text: 'hello' });
  await one('forward_message', (value) => value.t === 'answer' && value.d.key === key);

  const seen = new Set(records.map(({ channel, value }) => described(channel, value)));
  // Only a decision that was published twice, as happens, is answered with this.
  const everything = Object.keys(document.components.messages).filter((name) => name !== 'projected');
  assert.deepEqual(
    everything.filter((name) => !seen.has(name)),
    [],
  );
  // Advice names its thread by the key alone.
  const isBindingOf = (value) => (init) => init.owner === value.owner && init.chat === value.chat;
  const thread = (value) => value.thread ?? on('ai_binding_init', isBindingOf(value))[0].value.thread;
  for (const { channel, key, value } of records) {
    if (channel === 'forward_message') assert.match(key, /^[cu]:[0-9a-f-]{36}$/);
    const isChat = ['message_persist', 'ai_thread_created'].includes(channel);
    const wanted = channel === 'forward_message' ? (value.s ?? key) : isChat ? value.chat : thread(value);
    assert.equal(key, wanted, `the key of ${JSON.stringify(value)} on ${channel}`);
  }
});
