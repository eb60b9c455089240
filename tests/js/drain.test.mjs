// A node that gets signals, as whoever asks for its health sees it: `sociable-node` as a process.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { client, connected, freePort, freshNode, request, until, within } from "./lib.mjs";

const health = async (node) => JSON.parse((await request(`${node.url}/healthz`)).text);

test("a node says how it is, and whether clients should come to it", async (t) => {
  const node = await freshNode(t, "--node-name", "Ada", "--ping-interval", "20000");
  const socket = client(t, node, "/");
  await connected(socket);
  const told = await health(node);
  assert.deepEqual(
    [told.name, told.sessions, told.draining, told.cut_off, told.ping_interval, told.max_payload],
    ["Ada", 1, false, false, 20_000, 1_000_000],
  );
  assert.equal(socket.io.engine.id.slice(0, 4), told.tag);
  assert.deepEqual(await request(`${node.url}/readyz`), { status: 200, text: "ready" });
  assert.equal((await fetch(`${node.url}/healthz`, { method: "HEAD" })).status, 200);
});

test("a node drains until a second signal, and serves whoever comes back to it", async (t) => {
  const node = await freshNode(t, "--drain-time", "3600");
  // While one is sent away, the other is there again.
  let visits = 0;
  for (let n = 0; n < 2; n++) {
    const stubborn = client(t, node, "/", { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 10 });
    stubborn.on("connect", () => visits++);
    await connected(stubborn);
  }
  assert.equal(node.child.kill("SIGTERM"), true);
  await until(async () => (await health(node)).draining, "it says that it is going");
  assert.deepEqual(await request(`${node.url}/readyz`), { status: 503, text: "the node is draining" });
  await until(() => visits > 5, "they are sent away again and again");
  assert.ok(node.alive);
  assert.deepEqual(await node.stop("SIGINT"), { code: 0, signal: null });
});

test("a second signal cuts off who does not come for his close packet", async (t) => {
  const node = await freshNode(t, "--shutdown-timeout", "3600");
  // He has said who he is, and never polls.
  assert.equal((await request(`${node.url}/socket.io/?EIO=4&transport=polling`)).status, 200);
  assert.equal(node.child.kill("SIGTERM"), true);
  await until(() => node.output.includes("stopping"), "it is told to stop");
  assert.ok(node.alive, "it waits for him");
  assert.deepEqual(await node.stop("SIGTERM"), { code: 0, signal: null });
});

test("a node that waits for its cluster can be stopped", async () => {
  const child = spawn(process.env.NODE_BIN, ["--port", "0", "--nats", `nats://127.0.0.1:${await freePort()}`], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text) => { output += text; });
  await until(() => output.includes("not there yet"), "it looks for NATS");
  child.kill("SIGTERM");
  assert.deepEqual(await within(ended, "it ends"), [0, null]);
  assert.match(output, /stopped before serving/);
});

test("a node has nothing to read again at SIGHUP, and serves on", async (t) => {
  const node = await freshNode(t);
  assert.equal(node.child.kill("SIGHUP"), true);
  await until(() => node.output.includes("SIGHUP ignored"), "it says so");
  await connected(client(t, node, "/"));
});

test("a node that is alone stops at once, and one that nobody is on too", async (t) => {
  const [alone, empty] = await Promise.all([freshNode(t), freshNode(t, "--drain-time", "3600")]);
  const socket = client(t, alone, "/");
  await connected(socket);
  const lost = new Promise((resolve) => socket.once("disconnect", resolve));
  const stopped = await Promise.all([alone.stop(), empty.stop()]);
  assert.deepEqual(stopped, [{ code: 0, signal: null }, { code: 0, signal: null }]);
  assert.equal(await within(lost, "the client is told"), "transport close");
});
