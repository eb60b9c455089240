// The log of `sociable-node` while it runs: its filter by the administration and by signals.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import net from "node:net";
import { connect, freePort, freshNode, request, until, within } from "./lib.mjs";

/** A node that logs warnings only, and the address of its administration. */
async function quietNode(t) {
  const port = await freePort();
  const node = await freshNode(t, "--log", "warn", "--admin-addr", `127.0.0.1:${port}`);
  node.log = `http://127.0.0.1:${port}/log`;
  return node;
}

const put = (url, body) => request(url, { method: "PUT", body });
const filterOf = async (node) => (await request(node.log)).text;
const filterBecomes = (node, filter) => until(async () => (await filterOf(node)) === filter, `the filter is ${filter}`);

/** Has a client come and go. */
async function visit(t, node) {
  const socket = await connect(t, node, "/");
  socket.disconnect();
}

describe("the administration", () => {
  test("changes what is logged while clients are served", async (t) => {
    const node = await quietNode(t);
    assert.equal(await filterOf(node), "warn");
    await visit(t, node);
    assert.deepEqual(await put(node.log, "warn,sociable::namespace=debug\n"), { status: 200, text: "warn,sociable::namespace=debug" });
    assert.ok(!node.output.includes("socket connected"), "nothing was logged before it was asked for");
    await visit(t, node);
    await until(() => node.output.includes("socket connected"), "the visit is logged");
    assert.ok(!node.output.includes("session opened"), "the other layers are silent");
  });

  test("each layer has a target of its own", async (t) => {
    const node = await quietNode(t);
    for (const [layer, text] of [
      ["engine", "packet in"], ["engine", "session opened"], ["transport", "read"], ["transport", "written"], ["parser", "packet in"],
      ["parser", "packet out"], ["namespace", "socket connected"], ["socket", "socket left"], ["room", "joined"], ["room", "deleted"],
    ]) {
      await put(node.log, `sociable::${layer}=trace`);
      await visit(t, node);
      const line = new RegExp(`sociable::${layer}\\b.*\\b${text}\\b`);
      await until(() => line.test(node.output), `sociable::${layer} tells "${text}"`);
    }
  });

  test("refuses an invalid filter and keeps the former one", async (t) => {
    const node = await quietNode(t);
    const bad = await put(node.log, "sociable=loud");
    assert.equal(bad.status, 400);
    assert.match(bad.text, /error parsing level filter/);
    assert.equal((await put(node.log, Buffer.from([0xff, 0xfe]))).status, 400, "not text");
    assert.equal((await put(node.log, "x".repeat(5000))).status, 413, "too long");
    assert.equal(await filterOf(node), "warn");
    assert.equal((await request(node.log, { method: "DELETE" })).status, 405);
  });

  test("is refused under a foreign host name", async (t) => {
    const node = await quietNode(t);
    const { port } = new URL(node.log);
    const socket = net.connect(port, "127.0.0.1");
    socket.end(`PUT /log HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5\r\nConnection: close\r\n\r\ntrace`);
    let answer = "";
    socket.setEncoding("utf8").on("data", (text) => (answer += text));
    await within(new Promise((resolve) => socket.once("close", resolve)), "the answer");
    assert.match(answer, /^HTTP\/1.1 404 /);
    assert.equal(await filterOf(node), "warn");
  });

  test("is served on no other address", async (t) => {
    const node = await quietNode(t);
    assert.equal((await request(node.url + "/log")).status, 404);
  });
});

describe("RUST_LOG", () => {
  const set = (t, filter) => {
    process.env.RUST_LOG = filter;
    t.after(() => delete process.env.RUST_LOG);
  };

  test("has the filter where no setting has one", async (t) => {
    set(t, "error,sociable::room=debug");
    const port = await freePort();
    const admin = ["--admin-addr", `127.0.0.1:${port}`];
    await freshNode(t, ...admin);
    assert.equal(await filterOf({ log: `http://127.0.0.1:${port}/log` }), "error,sociable::room=debug");
    assert.equal(await filterOf(await quietNode(t)), "warn");
  });

  test("is refused with a remedy if it is no filter", (t) => {
    set(t, "sociable=loud");
    const { status, stderr } = spawnSync(process.env.NODE_BIN, ["--check"], { encoding: "utf8" });
    assert.ok(status !== 0 && /^RUST_LOG: .*unset it/.test(stderr), stderr);
    assert.equal(spawnSync(process.env.NODE_BIN, ["--check", "--log", "warn"]).status, 0);
  });
});

describe("signals", { skip: process.platform === "win32" }, () => {
  test("switch on debug and trace, and off again", async (t) => {
    const node = await quietNode(t);
    const steps = [
      ["SIGUSR1", "info,sociable=debug"], ["SIGUSR1", "warn"], ["SIGUSR2", "info,sociable=trace"], ["SIGUSR1", "info,sociable=debug"],
      ["SIGUSR1", "warn"],
    ];
    for (const [signal, filter] of steps) {
      node.child.kill(signal);
      await filterBecomes(node, filter);
    }
    await put(node.log, "error");
    node.child.kill("SIGUSR2");
    await filterBecomes(node, "info,sociable=trace");
    node.child.kill("SIGUSR2");
    await filterBecomes(node, "error");
  });

  test("need no administration", async (t) => {
    const node = await freshNode(t, "--log", "error");
    node.child.kill("SIGUSR1");
    await until(() => node.output.includes("info,sociable=debug"), "the change is logged");
    await visit(t, node);
    await until(() => node.output.includes("socket connected"), "the visit is logged");
    assert.ok(node.alive);
  });
});
