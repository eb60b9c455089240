// Thousands of sockets while the backend of their webhooks is away.
import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { UNAVAILABLE, backend, nodeWith } from "../backend.mjs";
import { ask, connect, rawEngine, until } from "../lib.mjs";
import { shippedNode } from "./attack.mjs";

const SOCKETS = Number(process.env.HOSTILE_SOCKETS ?? 10_000);
const TOGETHER = 100;
const MIB = 2 ** 20;
const QUEUE = 16 * MIB;
const TOLD = ["note", "x".repeat(1024)];

/** The memory of a node now, in bytes. */
const memory = (node) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]) * 1024;

/** Does something for each, a few at a time. */
async function inTurns(items, work) {
  for (let at = 0; at < items.length; at += TOGETHER) await Promise.all(items.slice(at, at + TOGETHER).map(work));
}

test(`${SOCKETS} sockets cost bounded memory while their backend is away`, async (t) => {
  const app = await backend(t, () => ({ ack: ["here"] }));
  const calm = await backend(t, () => ({ ack: ["calm"] }));
  const namespace = (name, url) => `[namespaces."${name}".events]\n"*" = "${url}"\n`;
  const settings = `[webhooks]\nqueue-bytes = ${QUEUE}\nbreaker-open-ms = 1000\n${namespace("/chat", app.url)}${namespace("/calm", calm.url)}`;
  const node = await nodeWith(t, settings, shippedNode);

  const other = await connect(t, node, "/calm");
  const sockets = [];
  await inTurns(Array(SOCKETS).fill(), async () => {
    const raw = await rawEngine(t, node);
    raw.send("40/chat,");
    assert.match(await raw.next("the answer to CONNECT"), /^40\/chat,\{/);
    sockets.push(raw);
  });
  const before = memory(node);
  await app.stop();

  let most = 0;
  let waited = 0;
  const look = async () => {
    most = Math.max(most, memory(node));
    waited = Math.max(waited, await node.metric("sociable_webhook_queue_bytes", app.url));
    assert.equal(await ask(other, "say"), "calm");
  };
  for (let round = 0; round < 4; round++) {
    await inTurns(sockets, async (raw) => raw.send(`42/chat,${JSON.stringify(TOLD)}`));
    await look();
  }
  await inTurns(sockets, async (raw) => {
    raw.send('42/chat,7["say"]');
    const answer = await raw.next("the acknowledgement");
    assert.deepEqual([answer.slice(0, 9), JSON.parse(answer.slice(9))], ["43/chat,7", [UNAVAILABLE]]);
  });
  await look();
  assert.ok(waited > QUEUE / 2 && waited <= QUEUE, `${waited} bytes wait`);
  assert.ok(most - before < 4 * QUEUE, `the memory grew by ${(most - before) / MIB} MiB`);
  assert.ok((await node.metric("sociable_webhooks_total", app.url, 'outcome="dropped"')) > 0);
  assert.equal(await node.metric("sociable_webhook_breakers_open", app.url), 1);
  t.diagnostic(`grew by ${Math.round((most - before) / MIB)} MiB, ${Math.round(waited / MIB)} MiB waited`);

  const back = await backend(t, () => ({ ack: ["back"] }), app.port);
  // Nothing is sent: what waits is the trial.
  await until(async () => (await node.metric("sociable_webhook_breakers_open", back.url)) === 0, "the circuit breaker closes");
  await until(async () => (await node.metric("sociable_webhook_queue_bytes", back.url)) === 0, "the queue empties", 120_000);
  await inTurns(sockets, async (raw) => {
    raw.send('42/chat,8["say"]');
    assert.equal(await raw.next("the acknowledgement"), '43/chat,8["back"]');
  });
  assert.equal(await ask(other, "say"), "calm");
});
