// Clients that fill the store of a cluster, on real nodes: the readiness, and the service meanwhile.
//
// Another tenant of the NATS server leaves less room than the node may use. The clients take the rest.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { listens, scratch } from "../cluster.mjs";
import { ask, freePort, freshNode, request, until, within } from "../lib.mjs";
import { comeBack, lose, member } from "./member.mjs";

const place = scratch("store");
/** The bound of the server's store, and the rest that the other tenant leaves, in bytes. */
const STORE = 8 << 20;
const LEFT = 512 << 10;

/** Starts a NATS server with a small store. */
async function startNats() {
  const [port, monitor] = await Promise.all([freePort(), freePort()]);
  const file = path.join(place.folder, "nats.conf");
  writeFileSync(file, [
    `listen: "127.0.0.1:${port}"`,
    `http: "127.0.0.1:${monitor}"`,
    `jetstream { store_dir: "${path.join(place.folder, "store")}", max_file_store: ${STORE} }`,
  ].join("\n"));
  const server = spawn(process.env.NATS_SERVER ?? "nats-server", ["--config", file], { stdio: "ignore" });
  place.cleanup.push(() => server.kill("SIGKILL"));
  await listens(port, "NATS listens");
  await listens(monitor, "NATS is monitored");
  const stored = () => fetch(`http://127.0.0.1:${monitor}/jsz`).then((answer) => answer.json()).then(({ storage }) => storage);
  return { url: `nats://127.0.0.1:${port}`, port, stored };
}

/** Another tenant of the NATS server, with a connection of its own. */
class Neighbour {
  #waiting = new Map();
  #read = "";
  #asked = 0;

  constructor(port) {
    this.socket = net.connect(port, "127.0.0.1").setEncoding("latin1");
    this.socket.on("error", () => {});
    this.socket.on("data", (data) => this.#take(data));
    this.socket.write('CONNECT {"verbose":false,"pedantic":false}\r\nSUB answers.* 1\r\n');
    place.cleanup.push(() => this.socket.destroy());
  }

  #take(data) {
    this.#read += data;
    for (let end; (end = this.#read.indexOf("\r\n")) >= 0;) {
      const line = this.#read.slice(0, end);
      const message = /^MSG answers\.(\d+) 1 +(\d+)$/.exec(line);
      const whole = end + 2 + (message ? Number(message[2]) + 2 : 0);
      if (this.#read.length < whole) return;
      if (message) this.#waiting.get(message[1])?.(JSON.parse(this.#read.slice(end + 2, whole - 2)));
      if (line === "PING") this.socket.write("PONG\r\n");
      this.#read = this.#read.slice(whole);
    }
  }

  /** Publishes something and gives the answer. */
  async ask(subject, body) {
    const asked = String(++this.#asked);
    const answer = new Promise((resolve) => this.#waiting.set(asked, resolve));
    this.socket.write(`PUB ${subject} answers.${asked} ${body.length}\r\n${body}\r\n`);
    return await within(answer, `the answer to ${subject}`);
  }
}

/** Says something in the room of a client, which is acknowledged when it is kept or refused. */
const say = ({ socket, room }, text) => ask(socket, "say", room, text);

async function isHeard({ heard }, text) {
  await until(() => heard.some((said) => said.text === text), `"${text}" is heard`);
}

/** Returns true if a client that is lost at one node recovers at the other with its missed events. */
async function recovers(t, from, to, room) {
  const [speaker, client] = [await member(t, to, room), await member(t, from, room)];
  await say(speaker, "before");
  await isHeard(client, "before");
  await lose(client);
  await say(speaker, "meanwhile");
  await comeBack(client, to);
  const recovered = client.socket.recovered;
  if (recovered) await isHeard(client, "meanwhile");
  for (const { manager } of [speaker, client]) manager._close();
  return recovered;
}

test("node says that its store is full, serves on, and recovers", { timeout: 180_000 }, async (t) => {
  const nats = await startNats();
  const flags = ["--nats", nats.url, "--jetstream", "--jetstream-events", "2", "--jetstream-sessions", "2", "--recovery", "60"];
  const nodes = [];
  for (const name of ["a", "b"]) {
    const admin = await freePort();
    const node = await freshNode(t, ...flags, "--node-name", name, "--admin-addr", `127.0.0.1:${admin}`, "--log", "warn");
    nodes.push(Object.assign(node, { admin: `http://127.0.0.1:${admin}` }));
  }
  const [a, b] = nodes;
  const ready = async (node) => await Promise.all([node.url, node.admin].map((url) => request(`${url}/readyz`)));
  for (const node of nodes) {
    await until(async () => (await ready(node)).every(({ status }) => status === 200), "the node is ready");
  }
  assert.ok(await recovers(t, a, b, "calm"), "a client is recovered while there is room");

  // The neighbour reserves nothing, so that it may take what was promised to the nodes.
  const neighbour = new Neighbour(nats.port);
  const config = { name: "neighbour", subjects: ["neighbour"], storage: "file", retention: "limits", discard: "old", max_bytes: -1, max_msgs: -1, num_replicas: 1 };
  const made = await neighbour.ask("$JS.API.STREAM.CREATE.neighbour", JSON.stringify(config));
  assert.equal(made.error, undefined, JSON.stringify(made));
  while (await nats.stored() < STORE - LEFT) {
    const kept = await neighbour.ask("neighbour", "x".repeat(50_000));
    assert.equal(kept.error, undefined, JSON.stringify(kept));
  }
  for (const node of nodes) assert.deepEqual((await ready(node)).map(({ status }) => status), [200, 200], "there is room left");

  // Clients alone take the rest.
  const [near, far] = [await member(t, a, "busy"), await member(t, b, "busy")];
  const text = "x".repeat(1_900);
  await until(async () => {
    await Promise.all(Array.from({ length: 50 }, () => say(near, text)));
    const told = await Promise.all(nodes.map(ready));
    return told.flat().every(({ status, text }) => status === 503 && text === "JetStream refuses to store events");
  }, "both nodes say that the store takes nothing", 60_000);
  t.diagnostic(`full after ${near.heard.length} messages of clients`);
  // A message of a few bytes may still fit. The neighbour takes what is left, so that none does.
  for (const length of [500, 50, 1]) {
    while (!(await neighbour.ask("neighbour", "x".repeat(length))).error);
  }

  // Connected clients still get events, from both nodes.
  for (const [n, speaker] of [near, far, near, far].entries()) {
    const answer = await say(speaker, `on ${n}`);
    assert.ok(answer === true || /not all events were persisted/.test(answer.error), JSON.stringify(answer));
    await Promise.all([near, far].map((client) => isHeard(client, `on ${n}`)));
  }
  assert.deepEqual((await ready(b)).map(({ status }) => status), [503, 503], "the store is still full");
  assert.equal((await request(`${a.url}/healthz`)).status, 200, "a node without a store is well");
  const metrics = (await request(`${a.admin}/metrics`)).text;
  assert.match(metrics, /^sociable_history_writable 0$/m);
  assert.match(metrics, /^sociable_adapter_records_unpersisted_total [1-9]/m);

  // The store has room again, and the nodes must detect it.
  const gone = await neighbour.ask("$JS.API.STREAM.DELETE.neighbour", "");
  assert.equal(gone.success, true, JSON.stringify(gone));
  for (const node of nodes) {
    await until(async () => (await ready(node)).every(({ status }) => status === 200), "the node is ready again");
  }
  let tries = 0;
  await until(() => recovers(t, a, b, `again ${tries++}`), "clients are recovered again", 60_000);
  assert.equal(await say(far, "end"), true);
  await isHeard(near, "end");
});
