// A history that nodes share by JetStream, on real processes. Nodes are killed, frozen or stopped, and
// clients recover on others as the same sockets.
import { test } from "node:test";
import assert from "node:assert/strict";
import { Manager } from "socket.io-client";
import { scratch, startNats } from "./cluster.mjs";
import { collect, connected, done, freshApp, until } from "./lib.mjs";

const place = scratch("history");
let nats;

async function natsServer() {
  nats ??= startNats(place, 1, true).then(([server]) => server);
  return `nats://127.0.0.1:${(await nats).port}`;
}

let clusters = 0;

/** Nodes that know each other. */
async function nodes(t, count, ...flags) {
  const cluster = `history-${process.pid}-${++clusters}`;
  const args = ["--nats", await natsServer(), "--cluster", cluster, "--recovery", "60000", "--jetstream", ...flags];
  const all = [];
  for (let i = 0; i < count; i++) all.push(await freshApp(t, ...args, "--node-name", `node-${i}`));
  return Object.assign(all, { cluster });
}

/** Waits until the bucket has so many sessions and so many writes. Returns the number of writes. */
async function kept({ cluster }, count, writes = 0) {
  return await until(async () => {
    const state = await fetch(`http://127.0.0.1:${(await nats).monitor}/jsz?streams=1`).then((response) => response.json());
    const bucket = state.account_details?.flatMap((account) => account.stream_detail).find(({ name }) => name === `KV_sociable-${cluster}-sessions`);
    return bucket?.state.messages >= count && bucket.state.last_seq >= writes && bucket.state.last_seq;
  }, `${count} sessions are kept`);
}

/** A client that reconnects to the next address when its connection is lost. */
function wanderer(t, apps, options = {}) {
  const manager = new Manager(apps[0].url, { transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
  let at = 0;
  manager.on("reconnect_attempt", () => { manager.uri = apps[++at % apps.length].url; });
  t.after(() => manager._close());
  return manager;
}

/** A socket, when it is connected and has got something, so that it can say what it has. */
async function settled(manager, namespace = "/api") {
  const socket = manager.socket(namespace);
  const heard = collect(socket, "news");
  await connected(socket);
  await done(socket, { do: "emit", from: "self", event: "news", args: ["first"] });
  await until(() => heard.length === 1, "the first event");
  return { socket, heard, id: socket.id };
}

const again = (socket) => new Promise((resolve) => socket.once("connect", resolve));

for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
  test(`clients by ${transports} of a killed node lose nothing`, async (t) => {
    const all = await nodes(t, 2);
    const [a, b] = all;
    const clients = await Promise.all(Array.from({ length: 10 }, () => settled(wanderer(t, [a, b], { transports }))));
    const other = await settled(wanderer(t, [b]));
    const writes = await kept(all, 11);
    await Promise.all(clients.map(({ socket }) => done(socket, { do: "join", rooms: ["red"] })));
    await kept(all, 11, writes + clients.length);
    const back = clients.map(({ socket }) => again(socket));
    a.child.kill("SIGKILL");
    for (let n = 0; n < 20; n++) await done(other.socket, { do: "emit", to: ["red"], event: "news", args: [n] });
    await Promise.all(back);
    for (let n = 20; n < 30; n++) await done(other.socket, { do: "emit", to: ["red"], event: "news", args: [n] });
    for (const { socket, heard, id } of clients) {
      assert.equal(socket.recovered, true);
      assert.equal(socket.id, id);
      await until(() => heard.length >= 31, "all events").catch(() => {}); // What is missing, the next line tells.
      assert.deepEqual(heard.map(([first]) => first), ["first", ...Array.from({ length: 30 }, (_, n) => n)]);
    }
  });
}

test("thawed node releases clients that recovered elsewhere", async (t) => {
  const all = await nodes(t, 2, "--ping-interval", "400", "--ping-timeout", "400");
  const [a, b] = all;
  const clients = await Promise.all(Array.from({ length: 10 }, () => settled(wanderer(t, [a, b]))));
  const other = await settled(wanderer(t, [b]));
  await kept(all, 11);
  const back = clients.map(({ socket }) => again(socket));
  a.child.kill("SIGSTOP");
  t.after(() => a.child.kill("SIGCONT"));
  await Promise.all(back);
  for (const { socket, id } of clients) assert.deepEqual([socket.recovered, socket.id], [true, id]);
  a.child.kill("SIGCONT");
  const ids = clients.map(({ id }) => id).concat(other.id).sort();
  await until(async () => {
    const sockets = await done(other.socket, { do: "fetchSockets" }).catch(() => []);
    return sockets.length === ids.length;
  }, "no socket lives twice");
  // And it is a node like any other again.
  const late = await settled(wanderer(t, [a]));
  await done(late.socket, { do: "emit", event: "news", args: ["from the one that was frozen"] });
  await until(() => clients.every(({ heard }) => heard.length === 2), "its events reach those who left it");
});

test("clients of a stopped node recover elsewhere", async (t) => {
  const all = await nodes(t, 2);
  const [a, b] = all;
  const { socket, heard, id } = await settled(wanderer(t, [a, b]));
  const other = await settled(wanderer(t, [b]));
  const back = again(socket);
  await Promise.all([a.stop("SIGTERM"), done(other.socket, { do: "emit", event: "news", args: ["meanwhile"] })]);
  await back;
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
  await until(() => heard.length === 2, "the missed events come");
});

test("draining node closes clients in batches, then ends", async (t) => {
  const all = await nodes(t, 2, "--drain-time", "3600000");
  const [a, b] = all;
  const ways = [["websocket"], ["polling"], ["polling", "websocket"]];
  const clients = await Promise.all(Array.from({ length: 9 }, (_, n) => settled(wanderer(t, [a, b], { transports: ways[n % 3] }))));
  const other = await settled(wanderer(t, [b]));
  const back = clients.map(({ socket }) => again(socket));
  const stopped = a.stop("SIGTERM");
  await Promise.all(back);
  await done(other.socket, { do: "emit", event: "news", args: ["second"] });
  for (const { socket, heard, id } of clients) {
    assert.deepEqual([socket.recovered, socket.id], [true, id]);
    await until(() => heard.length >= 2, "the later events come");
    assert.deepEqual(heard.map(([first]) => first), ["first", "second"]);
  }
  assert.deepEqual(await stopped, { code: 0, signal: null });
});

test("several namespaces of one client recover together", async (t) => {
  const all = await nodes(t, 2);
  const [a, b] = all;
  const manager = wanderer(t, [a, b]);
  const sockets = await Promise.all(["/api", "/dyn-1", "/dyn-2"].map((namespace) => settled(manager, namespace)));
  await kept(all, 3);
  const back = sockets.map(({ socket }) => again(socket));
  a.child.kill("SIGKILL");
  await Promise.all(back);
  for (const { socket, id } of sockets) assert.deepEqual([socket.recovered, socket.id], [true, id]);
});

test("client that disconnected is not recovered", async (t) => {
  const all = await nodes(t, 2);
  const [a, b] = all;
  const manager = wanderer(t, [a]);
  const { socket, id } = await settled(manager);
  const { _pid: pid, _lastOffset: offset } = socket;
  assert.ok(pid && offset, "the client has something to show");
  socket.disconnect();
  const other = new Manager(b.url, { transports: ["websocket"] }).socket("/api", { auth: { pid, offset } });
  t.after(() => other.io._close());
  await connected(other);
  assert.notEqual(other.id, id);
  assert.equal(other.recovered, false);
});

test("forged offset recovers no session", async (t) => {
  const all = await nodes(t, 2);
  const [a, b] = all;
  const made = {
    text: () => "made up",
    empty: () => "",
    "of another stream": (offset) => (offset.startsWith("A") ? "B" : "A") + offset.slice(1),
    "of a later event": (offset) => `${offset.slice(0, 6)}__________${offset.slice(16)}`,
    "too long": (offset) => offset.repeat(2),
  };
  for (const [what, change] of Object.entries(made)) {
    const { socket, id } = await settled(wanderer(t, [a]));
    const auth = { pid: socket._pid, offset: change(socket._lastOffset) };
    socket.io.engine.close();
    const other = new Manager(b.url, { transports: ["websocket"] }).socket("/api", { auth });
    t.after(() => other.io._close());
    await connected(other);
    assert.deepEqual([other.recovered, other.id === id], [false, false], what);
  }
});
