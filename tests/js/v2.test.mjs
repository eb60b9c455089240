// Clients of Socket.IO 2, which use Engine.IO 3, when allowed; and both kinds of clients side by side.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import lookup from "socket.io-client-v2";
import { PATIENCE, ask as askNew, connect as connectNew, done, freshApp, once, ownNamespace, request, sharedApp, until, within } from "./lib.mjs";

const app = () => sharedApp("--eio3");

/** A client of 2.x with a connection of its own, connected. */
async function connect(t, server, nsp = "/api", options = {}) {
  const socket = lookup(server.url + nsp, { forceNew: true, reconnection: false, transports: ["websocket"], timeout: PATIENCE, ...options });
  t.after(() => socket.io.close());
  await within(new Promise((resolve, reject) => ["connect", "connect_error", "error"].forEach((event) => socket.once(event, event === "connect" ? resolve : reject))), "the connection");
  return socket;
}

/** An event with an acknowledgement. */
const ask = (socket, event, ...args) => within(new Promise((resolve) => socket.emit(event, ...args, resolve)), `the acknowledgement of ${event}`);

async function op(socket, request) {
  const answer = await ask(socket, "op", request);
  assert.equal(answer.ok, true, answer.error);
  return answer.value;
}

const ways = { polling: ["polling"], websocket: ["websocket"], "polling, then websocket": ["polling", "websocket"] };
for (const [way, transports] of Object.entries(ways)) {
  test(`${way}: events, acknowledgements and binary both ways`, async (t) => {
    const socket = await connect(t, await app(), ownNamespace(), { transports });
    if (transports.length === 2) await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
    assert.deepEqual(await ask(socket, "echo", { text: "é🦀", list: [1, null] }), { text: "é🦀", list: [1, null] });
    const bytes = Buffer.from([0, 1, 254, 255]);
    assert.deepEqual(await ask(socket, "echo", { deep: [bytes] }), { deep: [bytes] });
    const back = once(socket, "message-back");
    socket.emit("message", 1, bytes, "x".repeat(70_000));
    assert.deepEqual(await back, [1, bytes, "x".repeat(70_000)]);
    socket.once("question", (text, answer) => answer(text.length));
    const answered = once(socket, "answer");
    socket.emit("ask-me", 5000);
    assert.deepEqual(await answered, ["ready?".length]);
  });
}

test("order holds over the upgrade, both ways", async (t) => {
  const socket = await connect(t, await app(), ownNamespace(), { transports: ["polling", "websocket"] });
  const heard = [];
  socket.on("echo", (number) => heard.push(number));
  for (let i = 0; i < 300; i++) {
    socket.emit("echo", i);
    if (i % 30 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await until(() => heard.length === 300, "all echoes are there");
  assert.deepEqual(heard, Array.from({ length: 300 }, (_, i) => i));
});

test("main namespace is joined at once, and auth is a query", async (t) => {
  const main = await connect(t, await app(), "/");
  assert.equal(main.id, main.io.engine.id);
  const named = await connect(t, await app(), "/api?token=abc&name=%C3%A9");
  assert.equal(named.id, `/api#${named.io.engine.id}`);
  assert.deepEqual((await op(named, { do: "handshake" })).auth, { token: "abc", name: "é" });
});

test("client and server share the id, which is a room", async (t) => {
  const nsp = ownNamespace();
  const [one, two] = [await connect(t, await app(), nsp), await connect(t, await app(), nsp)];
  assert.equal((await op(one, { do: "id" })).id, one.id);
  assert.deepEqual(await op(one, { do: "rooms" }), [one.id]);
  const heard = once(one, "private");
  two.on("private", () => assert.fail("the event is for the other client"));
  await op(two, { do: "emit", to: [one.id], event: "private", args: ["hello"] });
  assert.deepEqual(await heard, ["hello"]);
  await ask(two, "echo", 1);
});

test("refusals: an unknown namespace, a middleware with data", async (t) => {
  const refused = (nsp) => {
    const socket = lookup(nsp, { forceNew: true, reconnection: false, transports: ["websocket"] });
    t.after(() => socket.io.close());
    return once(socket, "error");
  };
  const { url } = await app();
  assert.deepEqual(await refused(url + "/unknown"), [{ message: "Invalid namespace" }]);
  assert.deepEqual(await refused(url + "/guarded"), [{ code: "E_AUTH" }]);
  const guest = await connect(t, await app(), "/guarded?token=open%20sesame");
  assert.equal(await ask(guest, "echo", 1), 1);
});

test("rooms: clients of both versions get the same events", async (t) => {
  const nsp = ownNamespace();
  const bytes = Buffer.from([1, 2, 3]);
  const old = await Promise.all(Object.values(ways).map(async (transports) => connect(t, await app(), nsp, { transports })));
  const young = await connectNew(t, await app(), nsp);
  for (const socket of old) await ask(socket, "join", "red");
  await askNew(young, "join", "red");
  const all = [...old, young].map((socket) => once(socket, "news"));
  await done(young, { do: "emit", to: ["red"], event: "news", args: [{ bytes }, "é"] });
  for (const heard of await Promise.all(all)) assert.deepEqual(heard, [{ bytes }, "é"]);
  const seen = await done(young, { do: "fetchSockets", to: ["red"] });
  assert.equal(seen.length, 4);
  assert.equal((await done(young, { do: "emitWithAck", to: ["nobody"], event: "q", timeout: 100 })).length, 0);
});

test("base64 for a client that takes no binary", async (t) => {
  for (const transports of [["polling"], ["websocket"]]) {
    const socket = await connect(t, await app(), ownNamespace(), { transports, forceBase64: true });
    const bytes = Buffer.from([9, 8, 7]);
    assert.deepEqual(await ask(socket, "echo", bytes), bytes);
  }
});

describe("the end", () => {
  test("namespaces and connections end from either side", async (t) => {
    const nsp = ownNamespace();
    const witness = await connectNew(t, await app(), nsp);
    const ends = async () => (await done(witness, { do: "log" })).disconnects.map((end) => end.reason);
    const leaving = await connect(t, await app(), nsp);
    leaving.disconnect();
    await until(async () => (await ends()).length === 1, "the server notes it");
    assert.ok(["client namespace disconnect", "transport close"].includes((await ends())[0]));
    const put = await connect(t, await app(), nsp);
    const out = once(put, "disconnect");
    await op(put, { do: "disconnect", close: false });
    assert.deepEqual(await out, ["io server disconnect"]);
    const closed = await connect(t, await app(), nsp);
    const gone = once(closed, "disconnect");
    await op(closed, { do: "disconnect", close: true });
    assert.deepEqual(await gone, ["io server disconnect"]);
  });

  test("client that stops pinging is closed", async (t) => {
    const quick = await freshApp(t, "--eio3", "--ping-interval", "100", "--ping-timeout", "200");
    const socket = await connect(t, quick, "/api");
    let pongs = 0;
    socket.on("pong", () => pongs++);
    await until(() => pongs >= 5, "five pongs came");
    assert.equal(await ask(socket, "echo", "here"), "here");
    const gone = once(socket, "disconnect");
    socket.io.engine.ping = () => {};
    clearInterval(socket.io.engine.pingIntervalTimer);
    clearTimeout(socket.io.engine.pingIntervalTimer);
    await gone;
  });

  test("client reconnects when the server is back", async (t) => {
    const server = await freshApp(t, "--eio3");
    const socket = await connect(t, server, "/api", { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 });
    const again = once(socket, "reconnect");
    await server.stop("SIGTERM");
    await server.restart();
    await again;
    assert.equal(await ask(socket, "echo", 1), 1);
  });
});

test("clients get an error when the version is not allowed", async (t) => {
  const server = await sharedApp();
  const answer = await request(`${server.url}/socket.io/?EIO=3&transport=polling`);
  assert.equal(answer.status, 400);
  assert.deepEqual(JSON.parse(answer.text), { code: 5, message: "Unsupported protocol version" });
  await assert.rejects(connect(t, server, "/api"));
});
