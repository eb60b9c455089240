// Backends without a client library of Sociable, one for each language in `tests/backends`. Each has a namespace of
// its own on one node, and on two nodes of a cluster. Their clients are `socket.io-client` and `python-socketio`.
import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { listens, scratch, startNats } from "./cluster.mjs";
import { Server, ask, client, collect, connect, connected, freePort, until, within } from "./lib.mjs";

const env = (name) => process.env[name] ?? assert.fail(`${name} is not set (\`cargo xtask test\` sets it)`);
const folder = fileURLToPath(new URL("../backends/", import.meta.url));
const python = env("PYTHON");

/** Each backend: the command that starts it on a port. The name is what it signs its events with. */
const BACKENDS = {
  node: () => [process.execPath, "backend.mjs"],
  php: (port) => [env("PHP"), "-S", `127.0.0.1:${port}`, "backend.php"],
  python: () => [python, "-B", "backend.py"],
  curl: () => ["sh", "backend.sh"],
};

const place = scratch("backends");
const apiKey = randomBytes(32).toString("hex");
const secret = `whsec_${randomBytes(32).toString("base64")}`;

/** A process of this file's folder, which ends with the tests. Its errors are shown if a test fails. */
function start([program, ...args], variables, stdio) {
  const child = spawn(program, args, { cwd: folder, env: { ...process.env, ...variables }, stdio });
  place.cleanup.push(() => child.kill("SIGKILL"));
  return child;
}

/** Starts a backend in each language that calls this API. Returns their ports. */
async function startBackends(api) {
  const ports = {};
  for (const [name, command] of Object.entries(BACKENDS)) {
    ports[name] = await freePort();
    const variables = { PORT: ports[name], API: `http://127.0.0.1:${api}/api/v1`, API_KEY: apiKey, WEBHOOK_SECRET: secret };
    start(command(ports[name]), variables, ["ignore", "ignore", "inherit"]);
  }
  for (const [name, port] of Object.entries(ports)) await listens(port, `the backend in ${name} listens`);
  return ports;
}

/** The settings of a node: one namespace for each backend. */
function settings(name, backends) {
  const keys = path.join(place.folder, `${name}-keys.toml`);
  writeFileSync(keys, `[keys.tests]\nsecret = "${apiKey}"\noperations = ["join", "count", "emit"]\nnamespaces = ["*"]\n`);
  const namespaces = Object.entries(backends).map(([backend, port]) => `
    [namespaces."/${backend}"]
    connect = "http://127.0.0.1:${port}/socketio"
    [namespaces."/${backend}".events]
    say = "http://127.0.0.1:${port}/socketio"`);
  const file = path.join(place.folder, `${name}.toml`);
  writeFileSync(file, `api-keys = "${keys}"\ndemo = "off"\n[webhooks]\nsecrets = ["${secret}"]\n${namespaces.join("\n")}\n`);
  return file;
}

/** Starts nodes whose backends call the API of the last node. */
async function startNodes(name, count, flags) {
  const apis = [];
  for (let i = 0; i < count; i++) apis.push(await freePort());
  const backends = await startBackends(apis.at(-1));
  const file = settings(name, backends);
  const nodes = [];
  for (const api of apis) nodes.push(await Server.start("NODE_BIN", ["--config", file, "--api-addr", `127.0.0.1:${api}`, "--node-name", `node-${api}`, ...flags]));
  return { nodes, backends };
}

/** A client of `python-socketio`: what it prints, and a way to have it say a text. */
class PythonClient {
  heard = [];

  constructor(t, node, namespace, name) {
    this.child = start([python, "-B", "client.py", node.url, namespace, name], {}, ["pipe", "pipe", "inherit"]);
    const lines = createInterface(this.child.stdout).on("line", (line) => this.heard.push(JSON.parse(line)));
    t.after(() => {
      lines.close();
      this.child.kill("SIGKILL");
    });
  }

  all(kind) {
    return this.heard.filter(([first]) => first === kind).map(([, ...rest]) => rest);
  }

  /** Returns the acknowledgement. */
  async say(text) {
    const before = this.all("ack").length;
    this.child.stdin.write(`${text}\n`);
    return (await until(() => this.all("ack")[before], `Python gets its answer to "${text}"`))[0];
  }
}

/** Sends a webhook to a backend by hand. Returns the status of the answer. */
async function send(port, { timestamp = Math.floor(Date.now() / 1000), key = secret, signed } = {}) {
  const body = JSON.stringify({ namespace: "/by-hand", socket: "none", auth: { name: "eve" } });
  const bytes = Buffer.from(key.replace("whsec_", ""), "base64");
  const signature = createHmac("sha256", bytes).update(`msg-1.${timestamp}.${signed ?? body}`).digest("base64");
  const headers = {
    "Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "msg-1", "ce-type": "io.sociable.connect", "ce-source": "/by-hand",
    "webhook-id": "msg-1", "webhook-timestamp": String(timestamp), "webhook-signature": `v1,${signature}`,
  };
  const answer = await within(fetch(`http://127.0.0.1:${port}/socketio`, { method: "POST", body, headers }), "the answer of the backend");
  await answer.arrayBuffer();
  return answer.status;
}

const TOPOLOGIES = {
  "one node": () => startNodes("one", 1, []),
  "two nodes with NATS": async () => {
    const [{ port }] = await startNats(place, 1, true);
    return await startNodes("two", 2, ["--nats", `nats://127.0.0.1:${port}`, "--cluster", "backends", "--recovery", "60", "--jetstream"]);
  },
};

for (const [topology, begin] of Object.entries(TOPOLOGIES)) {
  describe(topology, () => {
    let world;
    before(async () => { world = await begin(); });
    after(() => Promise.all(world?.nodes.map((node) => node.stop("SIGKILL")) ?? []));

    for (const backend of Object.keys(BACKENDS)) {
      const namespace = `/${backend}`;

      test(`${backend}: client without a name is refused`, async (t) => {
        const socket = client(t, world.nodes[0], namespace, { auth: {} });
        socket.connect();
        const error = await connected(socket).then(() => assert.fail("it was let in"), (error) => error);
        assert.deepEqual([error.message, error.data], ["send a name", { backend }]);
        const refused = new PythonClient(t, world.nodes.at(-1), namespace, "");
        await until(() => refused.all("refused").length === 1, "Python is refused");
        assert.deepEqual(refused.all("refused"), [[{ message: "send a name", data: { backend } }]]);
      });

      test(`${backend}: backend answers, joins, counts and emits`, async (t) => {
        const ada = await connect(t, world.nodes[0], namespace, { auth: { name: "ada" } });
        const grace = new PythonClient(t, world.nodes.at(-1), namespace, "grace");
        await until(() => grace.all("connected").length === 1, "Python is connected");
        const heard = collect(ada, "said");
        // With recovery, an event has its offset behind its arguments.
        const said = (all) => all.map((args) => args.slice(0, 3));

        assert.equal(typeof await ask(ada, "say", "héllo"), "number");
        // A room grows on all nodes a moment after the call that let a socket join.
        let times = 0;
        await until(async () => (times++, await grace.say("hi") === 2), "both are counted");

        const expected = [[backend, "ada", "héllo"], ...Array.from({ length: times }, () => [backend, "grace", "hi"])];
        await until(() => heard.length === expected.length && grace.all("said").length === expected.length, "both have heard all");
        assert.deepEqual([said(heard), said(grace.all("said"))], [expected, expected]);
      });

      test(`${backend}: forged and old webhooks are refused`, async () => {
        const port = world.backends[backend];
        const now = Math.floor(Date.now() / 1000);
        assert.equal(await send(port), 200);
        assert.equal(await send(port, { key: `whsec_${randomBytes(32).toString("base64")}` }), 401);
        assert.equal(await send(port, { signed: "another body" }), 401);
        assert.equal(await send(port, { timestamp: now - 3600 }), 401);
        assert.equal(await send(port, { timestamp: now + 3600 }), 401);
        assert.equal(await send(port, { timestamp: "soon" }), 401);
      });
    }
  });
}

