// Faults under the API for backends, on real processes with a shared history: a node that is killed right after its
// answer or amid a request, and requests that a backend sends again and again, at several nodes.
import { test } from "node:test";
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { Manager } from "socket.io-client";
import { scratch, startNats } from "./cluster.mjs";
import { Server, freePort, until } from "./lib.mjs";

const SECRET = "a secret of this test, long enough for a key";
/** A dead node is known to be dead after 10 s. */
const HEAL_MS = 60_000;

const place = scratch("api-faults");
const nats = startNats(place, 1, true);
let clusters = 0;

/** Three nodes of a cluster of their own, each with its API. */
async function start() {
  const [{ port }] = await nats;
  const keys = path.join(place.folder, "keys.toml");
  writeFileSync(keys, `[keys.shop]\nsecret = "${SECRET}"\noperations = ["*"]\n`);
  const cluster = `api-faults-${process.pid}-${clusters++}`;
  const nodes = [];
  for (const name of ["a", "b", "c"]) {
    const api = `127.0.0.1:${await freePort()}`;
    const server = await Server.start("NODE_BIN", [
      "--nats", `nats://127.0.0.1:${port}`, "--cluster", cluster, "--node-name", name, "--recovery", "120", "--jetstream", "--api-addr", api, "--api-keys", keys,
    ]);
    place.cleanup.push(() => server.child.kill("SIGKILL"));
    nodes.push({ server, api, url: server.url, kill: () => server.stop("SIGKILL") });
  }
  const persists = async (node) => (await send(node, "emit", { event: "nothing", durable: true })).status === 200;
  for (const node of nodes) await until(() => persists(node), "the node persists events", HEAL_MS);
  return nodes;
}

/** Sends a request to the API of a node. */
async function send({ api }, operation, body, key) {
  const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json", ...(key && { "idempotency-key": key }) };
  const response = await fetch(`http://${api}/api/v1/${operation}`, { method: "POST", headers, body: JSON.stringify(body) });
  const replayed = response.headers.get("idempotency-replayed") === "true";
  return { status: response.status, replayed, retryAfter: response.headers.get("retry-after"), body: await response.json() };
}

/** The name of a problem. */
const problem = ({ body }) => body.type?.split("#")[1];

/** A client of one node that comes back to another, and the numbers that it hears. */
async function listen(t, home, refuge) {
  const manager = new Manager(home.url, { transports: ["websocket"], reconnectionDelay: 100, reconnectionDelayMax: 300, forceNew: true });
  manager.on("reconnect_attempt", () => { manager.uri = refuge.url; });
  const socket = manager.socket("/");
  t.after(() => socket.disconnect());
  const heard = [];
  socket.on("news", (n) => heard.push(n));
  await until(() => socket.connected, "the client is connected");
  return { socket, heard, id: socket.id };
}

/** Waits until each client has heard the last event, which follows all others, and returns what they heard before. */
async function before(node, clients) {
  assert.equal((await send(node, "emit", { event: "news", args: ["last"] })).status, 200);
  await until(() => clients.every(({ heard }) => heard.includes("last")), "the last event arrives", HEAL_MS);
  return clients.map(({ heard }) => heard.filter((n) => n !== "last"));
}

test("durable event arrives once when its node is killed after the answer", { timeout: 180_000 }, async (t) => {
  const [a, b, c] = await start();
  // One of the killed node, and two of others.
  const clients = [await listen(t, a, b), await listen(t, b, c), await listen(t, c, b)];
  const [own] = clients;
  // All know the place up to which they have heard.
  assert.equal((await send(a, "emit", { event: "news", args: [0] })).status, 200);
  await until(() => clients.every(({ heard }) => heard.length === 1), "all hear the first", HEAL_MS);
  // The client is away, so that its node cannot deliver.
  own.socket.io.reconnection(false);
  own.socket.io.engine.close();
  await until(() => !own.socket.connected, "the client is away");
  const answers = [];
  for (const n of [1, 2, 3]) answers.push(await send(a, "emit", { event: "news", args: [n], durable: true }));
  await a.kill();
  assert.deepEqual(answers.map(({ status, body }) => [status, body.durable]), Array(3).fill([200, true]));
  own.socket.io.reconnection(true);
  own.socket.io.uri = b.url;
  own.socket.connect();
  await until(() => own.socket.connected, "the client is back", HEAL_MS);
  assert.deepEqual([own.socket.recovered, own.socket.id], [true, own.id]);
  assert.deepEqual(await before(b, clients), Array(3).fill([0, 1, 2, 3]));
});

test("request that is sent five times is done once", { timeout: 180_000 }, async (t) => {
  const nodes = await start();
  const clients = await Promise.all(nodes.map((node) => listen(t, node, node)));
  // One after the other.
  const request = (n) => ({ event: "news", args: [n] });
  const answers = [];
  for (let i = 0; i < 5; i++) answers.push(await send(nodes[i % 3], "emit", request(1), "first"));
  assert.deepEqual(answers.map(({ status, replayed }) => [status, replayed]), [[200, false], ...Array(4).fill([200, true])]);
  assert.equal(answers[0].body.idempotency, "cluster");
  for (const { body } of answers) assert.deepEqual(body, answers[0].body);
  // All at once: each waits for the one that runs.
  const insist = async (i) => {
    for (;;) {
      const answer = await send(nodes[i % 3], "emit", request(2), "second");
      if (answer.status !== 409) return answer;
      assert.ok(Number(answer.retryAfter) > 0, "it says when to come again");
    }
  };
  const all = await Promise.all([0, 1, 2, 3, 4].map(insist));
  assert.deepEqual(all.map(({ status }) => status), Array(5).fill(200));
  assert.equal(all.filter(({ replayed }) => !replayed).length, 1);
  // The key belongs to its request.
  assert.equal((await send(nodes[1], "emit", request(3), "first")).status, 422);
  assert.deepEqual(await before(nodes[0], clients), Array(3).fill([1, 2]));
});

test("request is not repeated when its node is killed amid it", { timeout: 180_000 }, async (t) => {
  const [a, b] = await start();
  const { socket } = await listen(t, b, b);
  let asked = 0;
  socket.on("question", () => { asked++; });
  const request = { event: "question", timeout_ms: 50_000 };
  const running = send(a, "emit-with-ack", request, "question").then(() => "answered", () => "cut");
  await until(() => asked === 1, "the question arrives");
  const meanwhile = await send(b, "emit-with-ack", request, "question");
  assert.equal(meanwhile.status, 409);
  assert.ok(Number(meanwhile.retryAfter) > 0, "it is running");
  await a.kill();
  assert.equal(await running, "cut");
  const repeated = () => send(b, "emit-with-ack", request, "question");
  await until(async () => problem(await repeated()) === "outcome-unknown", "the node is known to be gone", HEAL_MS);
  assert.equal((await repeated()).status, 409);
  assert.equal(asked, 1);
});
