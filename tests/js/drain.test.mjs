// A node that gets signals, as a client of its health sees it: `sociable-node` as a process.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { client, connected, freePort, freshNode, request, until, within } from "./lib.mjs";

const health = async (node) => JSON.parse((await request(`${node.url}/healthz`)).text);

test("node reports health and readiness", async (t) => {
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

test("draining node serves clients until a second signal", async (t) => {
  const node = await freshNode(t, "--drain-time", "3600");
  // While one is sent away, the other is there again.
  let visits = 0;
  for (let n = 0; n < 2; n++) {
    const stubborn = client(t, node, "/", { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 10 });
    stubborn.on("connect", () => visits++);
    await connected(stubborn);
  }
  assert.equal(node.child.kill("SIGTERM"), true);
  await until(async () => (await health(node)).draining, "the health reports the drain");
  assert.deepEqual(await request(`${node.url}/readyz`), { status: 503, text: "the node is draining" });
  await until(() => visits > 5, "the clients are closed repeatedly");
  assert.ok(node.alive);
  assert.deepEqual(await node.stop("SIGINT"), { code: 0, signal: null });
});

test("second signal closes a client that does not poll", async (t) => {
  const node = await freshNode(t, "--shutdown-timeout", "3600");
  // He has said who he is, and never polls.
  assert.equal((await request(`${node.url}/socket.io/?EIO=4&transport=polling`)).status, 200);
  assert.equal(node.child.kill("SIGTERM"), true);
  await until(() => node.output.includes("stopping"), "the node stops");
  assert.ok(node.alive, "the node waits for the client");
  assert.deepEqual(await node.stop("SIGTERM"), { code: 0, signal: null });
});

test("node stops while it waits for its cluster", async () => {
  const child = spawn(process.env.NODE_BIN, ["--port", "0", "--nats", `nats://127.0.0.1:${await freePort()}`], { stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit");
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text) => { output += text; });
  await until(() => output.includes("cannot reach the cluster yet"), "the node waits for NATS");
  child.kill("SIGTERM");
  assert.deepEqual(await within(ended, "the node ends"), [0, null]);
  assert.match(output, /stopped before serving/);
});

test("node keeps serving at SIGHUP", async (t) => {
  const node = await freshNode(t);
  assert.equal(node.child.kill("SIGHUP"), true);
  await until(() => node.output.includes("SIGHUP ignored"), "the signal is logged");
  await connected(client(t, node, "/"));
});

test("node stops at once when alone or without clients", async (t) => {
  const [alone, empty] = await Promise.all([freshNode(t), freshNode(t, "--drain-time", "3600")]);
  const socket = client(t, alone, "/");
  await connected(socket);
  const lost = new Promise((resolve) => socket.once("disconnect", resolve));
  const stopped = await Promise.all([alone.stop(), empty.stop()]);
  assert.deepEqual(stopped, [{ code: 0, signal: null }, { code: 0, signal: null }]);
  assert.equal(await within(lost, "the client is told"), "transport close");
});
