// `sociable-ctl` beside real clients: the API over HTTP and over NATS, what passes on the bus, and the exit codes.
import { before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import readline from "node:readline";
import { scratch, startNats } from "./cluster.mjs";
import { PATIENCE, Server, connect, freePort, once, until, within } from "./lib.mjs";

const CTL = process.env.SOCIABLE_CTL ?? assert.fail("SOCIABLE_CTL is not set (`cargo xtask test` sets it)");
const SECRET = "a secret of this test, long enough for a key";
const LIMITED = "a secret of the key that may only list sockets";
const CLUSTER = "ctl";

const place = scratch("ctl");
const nodes = [];
let nats, http, keys, keyFile;

before(async () => {
  const [{ port }] = await startNats(place, 1, true);
  nats = `nats://127.0.0.1:${port}`;
  keys = path.join(place.folder, "keys.toml");
  writeFileSync(keys, `[keys.all]\nsecret = "${SECRET}"\noperations = ["*"]\n[keys.few]\nsecret = "${LIMITED}"\noperations = ["sockets"]\n`);
  keyFile = path.join(place.folder, "key");
  writeFileSync(keyFile, `${SECRET}\n`);
  for (const name of ["a", "b"]) {
    const api = `127.0.0.1:${await freePort()}`;
    http ??= `http://${api}`;
    nodes.push(await Server.start("NODE_BIN", ["--nats", nats, "--cluster", CLUSTER, "--node-name", name, "--api-addr", api, "--api-keys", keys]));
  }
});

/** Runs the program, and returns its exit code and its output. */
const run = (args, variables = {}) => new Promise((resolve) => {
  const env = { PATH: process.env.PATH, ...variables };
  execFile(CTL, args, { env, timeout: PATIENCE }, (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }));
});

const WAYS = {
  "HTTP": () => ["--api", http, "--api-key-file", keyFile],
  "NATS": () => ["--nats", nats, "--cluster", CLUSTER, "--api-key-file", keyFile],
};

for (const [way, flags] of Object.entries(WAYS)) {
  describe(`the API over ${way}`, () => {
    /** Runs a command that succeeds, and returns its answer. */
    const ask = async (...args) => {
      const { code, stdout, stderr } = await run([...flags(), ...args]);
      assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
      assert.equal(stdout.trim().split("\n").length, 1);
      return JSON.parse(stdout);
    };
    /** A client on each node. */
    const clients = (t) => Promise.all(nodes.map((node) => connect(t, node, "/")));
    const inRoom = async (room) => (await ask("--to", room, "sockets")).sockets.map(({ id }) => id).sort();

    test("sockets are moved and hear events", async (t) => {
      const both = await clients(t);
      const ids = both.map(({ id }) => id).sort();
      await ask(...both.map(({ id }) => `--to=${id}`), "join", `${way} one`, `${way} two`);
      await until(async () => (await inRoom(`${way} one`)).length === 2, "both have joined");
      assert.deepEqual(await ask("--to", `${way} one`, "count"), { sockets: 2, missing: { nodes: [] } });
      const { rooms } = await ask("rooms", "--prefix", `${way} `);
      assert.deepEqual(rooms, [`${way} one`, `${way} two`].map((room) => ({ room, sockets: 2 })));
      assert.deepEqual((await ask("info")).nodes.map(({ name }) => name), ["a", "b"]);
      const heard = both.map((socket) => once(socket, "news"));
      assert.equal((await ask("--to", `${way} one`, "emit", "news", '{"n":[1]}', "no JSON")).durable, false);
      for (const args of await Promise.all(heard)) assert.deepEqual(args.slice(0, 2), [{ n: [1] }, "no JSON"]);
      assert.deepEqual(await inRoom(`${way} two`), ids);
      await ask(`--to=${both[0].id}`, "leave", `${way} two`);
      await until(async () => (await inRoom(`${way} two`)).length === 1, "one has left");
      const gone = once(both[1], "disconnect");
      await ask("--to", `${way} two`, "disconnect");
      assert.equal((await gone)[0], "io server disconnect");
    });

    test("acknowledgements are printed, and missing ones have an exit code", async (t) => {
      const [answering, silent] = await clients(t);
      answering.on("question", (n, answer) => answer(n + 1));
      const { answers } = await ask(`--to=${answering.id}`, "emit-with-ack", "question", "41");
      assert.deepEqual(answers, [{ socket: answering.id, args: [42] }]);
      const { code, stdout, stderr } = await run([...flags(), `--to=${silent.id}`, "emit-with-ack", "question", "--ack-timeout", "100"]);
      assert.equal(code, 4);
      assert.equal(JSON.parse(stdout).timed_out, true);
      assert.equal(stderr, "incomplete answer of `emit-with-ack`: no answer of 1 sockets\n");
    });

    test("refusal is one line with an exit code", async () => {
      const [where] = [flags().slice(0, -2)];
      for (const [args, secret, code, text] of [
        [["emit", "news"], "a wrong secret of nobody, but long enough", 1, /^`emit` failed: 401 [^\n]+\n$/],
        [["emit", "news"], LIMITED, 1, /^`emit` failed: 403 [^\n]+\n$/],
        [["--namespace", "/nowhere", "sockets"], LIMITED, 1, /^`sockets` failed: 404 [^\n]+\(at \/?namespace\)\n$/],
        [["emit", "news", "--durable"], SECRET, 1, /^`emit` failed: 422 [^\n]+\(at \/durable\)\n$/],
        [["sockets", "--limit", "0"], SECRET, 1, /^`sockets` failed: 422 [^\n]+\n$/],
        [["--to", "x", "info"], SECRET, 2, /^`info` is not about sockets[^\n]+\n$/],
      ]) {
        const done = await run([...where, ...args], { SOCIABLE_API_KEY: secret });
        assert.deepEqual({ code: done.code, stdout: done.stdout }, { code, stdout: "" }, done.stderr);
        assert.match(done.stderr, text);
        assert.ok(!done.stderr.includes(secret));
      }
    });
  });
}

test("missing key and missing nodes have exit codes", async () => {
  const variables = { SOCIABLE_API_KEY: SECRET };
  for (const [args, env, code, text] of [
    [["--api", http, "count"], {}, 2, /needs a key/],
    [["--nats", nats, "count"], {}, 2, /`count` needs the API/],
    [["--nats", nats, "emit", "news", "--durable"], {}, 2, /`emit` needs the API/],
    [["--nats", nats, "emit", "connect"], {}, 1, /`connect` is reserved/],
    [["--nats", nats, "disconnect"], {}, 2, /add --all/],
    [["--api", http, "server", "note"], variables, 2, /`server` uses NATS/],
    [["--api", http, "--api-key-file", "/no/such/key", "count"], {}, 2, /\/no\/such\/key/],
    [["--api", `http://127.0.0.1:${await freePort()}`, "count"], variables, 3, /cannot reach the API/],
    [["--api", "nonsense", "count"], variables, 2, /wrong address of the API/],
    [["--nats", `nats://127.0.0.1:${await freePort()}`, "count"], variables, 3, /connecting to NATS/],
    [["--nats", nats, "--cluster", "nobody", "sockets"], variables, 3, /no node answers/],
  ]) {
    const done = await run(args, env);
    assert.equal(done.code, code, done.stderr);
    assert.match(done.stderr, text);
    assert.equal(done.stderr.trim().split("\n").length, 1);
  }
});

test("what passes on the bus is printed", async (t) => {
  const bus = ["--nats", nats, "--cluster", CLUSTER];
  const watch = spawn(CTL, [...bus, "--namespace", "/watched", "watch", "--lines", "5"], { env: {}, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => watch.kill("SIGKILL"));
  const ended = new Promise((resolve) => watch.once("exit", resolve));
  const lines = [];
  readline.createInterface({ input: watch.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
  let told = "";
  watch.stderr.on("data", (chunk) => { told += chunk; });
  await until(() => told === "watching\n", "it watches");
  for (const args of [
    ["--namespace", "/other", "emit", "news"],
    ["--namespace", "/watched", "--to", "red", "--except", "blue", "emit", "news", "1", '{"a":[true]}'],
    ["--namespace", "/watched", "--msgpack", "emit", "packed", "x", "--volatile"],
    ["--namespace", "/watched", "--to", "red", "join", "green"],
    ["--namespace", "/watched", "disconnect", "--close", "--all"],
    ["--namespace", "/watched", "server", "note", "7"],
  ]) assert.deepEqual(await run([...bus, ...args]), { code: 0, stdout: "", stderr: "" });
  assert.equal(await within(ended, "the last line"), 0, told);
  const all = lines.map(({ time, node, namespace, ...rest }) => {
    assert.ok(Math.abs(Date.now() - time) < 3_600_000 && /^[\w-]{4}$/.test(node) && namespace === "/watched");
    return rest;
  });
  assert.deepEqual(all, [
    { operation: "emit", rooms: ["red"], except: ["blue"], event: "news", args: [1, { a: [true] }], volatile: false, with_ack: false },
    { operation: "emit", rooms: [], except: [], event: "packed", args: ["x"], volatile: true, with_ack: false },
    { operation: "join", rooms: ["red"], except: [], join: ["green"] },
    { operation: "disconnect", rooms: [], except: [], close: true },
    { operation: "server", rooms: [], except: [], event: "note", args: [7], with_ack: false },
  ]);
});

test("persisted events are printed without their offsets", async (t) => {
  const bus = ["--nats", nats, "--cluster", "ctl-kept"];
  const node = await Server.start("NODE_BIN", [...bus, "--recovery", "60", "--jetstream", "--api-addr", `127.0.0.1:${await freePort()}`, "--api-keys", keys]);
  t.after(() => node.stop("SIGKILL"));
  const watch = spawn(CTL, [...bus, "--to", "red", "watch", "--lines", "2"], { env: {}, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => watch.kill("SIGKILL"));
  const ended = new Promise((resolve) => watch.once("exit", resolve));
  let [printed, told] = ["", ""];
  watch.stdout.on("data", (chunk) => { printed += chunk; });
  watch.stderr.on("data", (chunk) => { told += chunk; });
  await until(() => told === "watching\n", "it watches");
  const api = async (...args) => (await run([...bus, "--api-key-file", keyFile, "--to", "red", ...args])).code;
  // JetStream may not be there yet.
  const emit = () => api("--idempotency-key", "once", "emit", "news", "1", '{"$binary":"AQID"}', "--durable");
  await until(async () => (await emit()) === 0, "the event is persisted");
  assert.equal(await emit(), 0, "the answer is repeated, and not the event");
  assert.equal(await api("leave", "red"), 0);
  assert.equal(await within(ended, "the last line"), 0, told);
  const [event, leave] = printed.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([event.operation, event.event, event.args, event.volatile], ["emit", "news", [1, { $binary: "AQID" }], false]);
  assert.deepEqual([leave.operation, leave.leave], ["leave", ["red"]]);
});
