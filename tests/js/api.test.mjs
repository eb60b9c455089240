// The API of `sociable-node` for backends: its keys, and what reaches the clients.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { connect, freePort, freshNode, once, until } from "./lib.mjs";

const SECRET = "a secret of this test, long enough for a key";
const OTHER = "another secret of this test, for another key";

const key = (secret, rest = 'operations = ["*"]') => `[keys.shop]\nsecret = "${secret}"\n${rest}\n`;

/** A file of keys, for the time of the test. */
function keys(t, text) {
  const folder = mkdtempSync(path.join(tmpdir(), "sociable-keys-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const name = path.join(folder, "keys.toml");
  writeFileSync(name, text);
  return name;
}

/** A node with its API, and a function that calls the API. */
async function withApi(t, file, ...flags) {
  const port = await freePort();
  const node = await freshNode(t, "--api-addr", `127.0.0.1:${port}`, "--api-keys", file, ...flags);
  const call = async (operation, body, secret = SECRET) => {
    const headers = { authorization: `Bearer ${secret}`, ...(body && { "content-type": "application/json" }) };
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${operation}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    return { status: answer.status, body: await answer.json() };
  };
  return { node, call };
}

test("event of a backend reaches a client", async (t) => {
  const { node, call } = await withApi(t, keys(t, key(SECRET)));
  const socket = await connect(t, node, "/");
  const came = once(socket, "paid");
  assert.deepEqual(await call("emit", { rooms: [socket.id], event: "paid", args: [{ sum: 7, receipt: { $binary: "AQID" } }] }), { status: 200, body: { durable: false, idempotency: null } });
  const [{ sum, receipt }] = [await came].flat();
  assert.equal(sum, 7);
  assert.deepEqual([...new Uint8Array(receipt)], [1, 2, 3]);
});

test("acknowledgement of a client reaches a backend", async (t) => {
  const { node, call } = await withApi(t, keys(t, key(SECRET)));
  const socket = await connect(t, node, "/");
  socket.on("ready?", (answer) => answer("yes", Buffer.from([4, 5])));
  const { body } = await call("emit-with-ack", { event: "ready?" });
  assert.deepEqual(body.answers, [{ socket: socket.id, args: ["yes", { $binary: "BAU=" }] }]);
  assert.equal(body.timed_out, false);
});

test("keys are read again when their file changes", async (t) => {
  const file = keys(t, key(SECRET));
  const { node, call } = await withApi(t, file);
  const status = async (secret) => (await call("sockets", undefined, secret)).status;
  assert.deepEqual([await status(SECRET), await status(OTHER)], [200, 401]);
  writeFileSync(file, "[keys.shop]\nsecret = 7\n");
  await until(() => node.output.includes("API keys not read again"), "the fault is logged");
  assert.equal(await status(SECRET), 200, "a fault changes nothing");
  writeFileSync(file, key(OTHER));
  await until(async () => (await status(OTHER)) === 200, "the new key counts");
  assert.equal(await status(SECRET), 401);
  assert.ok(!node.output.includes(SECRET) && !node.output.includes(OTHER), "no secret is logged");
});

test("file of keys is checked without a start", (t) => {
  const check = (...args) => {
    const { status, stdout, stderr } = spawnSync(process.env.NODE_BIN, ["--check", ...args], { encoding: "utf8", timeout: 15_000 });
    return { status, text: stdout + stderr };
  };
  const of = (text) => check("--api-addr", "127.0.0.1:0", "--api-keys", keys(t, text));
  assert.deepEqual(of(key(SECRET)), { status: 0, text: "" });
  for (const [text, told] of [
    [key("too short"), "line 2, column 10: `keys.shop.secret`: `secret` is shorter than 32 characters"],
    [key(SECRET, 'operations = ["fly"]'), "line 3, column 14: `keys.shop.operations`: unknown operation"],
    [key(SECRET, 'operations = ["emit"]\nroom = []'), "`room` is no setting"],
    [key(SECRET, 'operations = ["emit"]\nnamespaces = ["/chat", "team"]'), "line 4, column 14: `keys.shop.namespaces`: wrong namespace: begin it with `/`"],
    [key(SECRET, 'operations = ["emit"]\nrate = 0'), "line 4, column 8: `keys.shop.rate`: wrong `rate`: use a number above 0"],
    [key(SECRET, 'operations = ["emit"]\nburst = 0'), "line 4, column 9: `keys.shop.burst`:"],
    [key(SECRET, 'operations = ["emit"]\nconcurrency = 0'), "line 4, column 15: `keys.shop.concurrency`:"],
    ['# keys\n\n[keys.shop]\noperations = ["emit"]\n', "line 3, column 1: `keys.shop`: the key has no secret"],
    [`${key(SECRET)}[keys.other]\nsecret = "${SECRET}"\noperations = []\n`, "have the same secret"],
    ["[keys", "line 1"],
  ]) {
    const { status, text: said } = of(text);
    assert.equal(status, 1, said);
    assert.ok(said.includes(told) && !said.includes(SECRET), said);
  }
  assert.match(check("--api-addr", "127.0.0.1:0").text, /--api-keys/);
  assert.match(check("--port", "4000", "--api-addr", "127.0.0.1:4000", "--api-keys", keys(t, key(SECRET))).text, /--api-addr is the address of the clients/);
});
