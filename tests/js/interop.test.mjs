// The real client against the acceptance app: first what holds for every encoding, then the life of a connection.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { core } from "./core.mjs";
import {
  RawPolling, ask, assertServes, client, collect, connect, connectMany, connected, done, freshApp, once, ownNamespace, request, settle,
  sharedApp, until,
} from "./lib.mjs";

core({ name: "socket.io-client" });

/** The server's record of a socket's end. */
async function endOf(witness, id) {
  const noted = async () => (await done(witness, { do: "log" })).disconnects.find((end) => end.id === id);
  return await until(noted, "the server notes the disconnection");
}

describe("the end of a connection, as client and server see it", () => {
  for (const transport of ["polling", "websocket"]) {
    const transports = [transport];

    test(`${transport}: client disconnects`, async (t) => {
      const app = await sharedApp();
      const [socket, witness] = await connectMany(t, 2, app, ownNamespace(), { transports });
      const { id } = socket;
      await ask(socket, "join", "red");
      const ended = once(socket, "disconnect");
      socket.disconnect();
      assert.equal((await ended)[0], "io client disconnect");
      // The last socket of a connection takes the connection along: its packet and the close race, and both are right.
      const { reason, rooms } = await endOf(witness, id);
      assert.ok(["client namespace disconnect", "transport close"].includes(reason), reason);
      assert.deepEqual(rooms.sort(), [id, "red"].sort());
    });

    test(`${transport}: client leaves one of its namespaces`, async (t) => {
      const app = await sharedApp();
      const socket = await connect(t, app, ownNamespace(), { transports });
      const other = socket.io.socket(ownNamespace());
      await connected(other);
      const witness = await connect(t, app, socket.nsp);
      const { id } = socket;
      socket.disconnect();
      assert.equal((await endOf(witness, id)).reason, "client namespace disconnect");
      assert.equal(await ask(other, "echo", "stays"), "stays");
    });

    test(`${transport}: server disconnects a socket`, async (t) => {
      const app = await sharedApp();
      const socket = await connect(t, app, ownNamespace(), { transports, reconnection: true });
      const other = socket.io.socket(ownNamespace());
      await connected(other);
      const witness = await connect(t, app, socket.nsp);
      const { id } = socket;
      const ended = once(socket, "disconnect");
      await done(socket, { do: "disconnect", close: false });
      assert.equal((await ended)[0], "io server disconnect");
      assert.equal((await endOf(witness, id)).reason, "server namespace disconnect");
      assert.equal(await ask(other, "echo", "stays"), "stays");
      assert.equal(socket.active, false, "the application has to connect again");
    });

    test(`${transport}: server closes the connection`, async (t) => {
      const app = await sharedApp();
      const socket = await connect(t, app, ownNamespace(), { transports });
      const other = socket.io.socket(ownNamespace());
      await connected(other);
      const ends = [socket, other].map((s) => once(s, "disconnect").then(([reason]) => reason));
      const closed = once(socket.io, "close", "the close of the connection");
      await done(socket, { do: "disconnect", close: true });
      assert.deepEqual(await Promise.all(ends), ["io server disconnect", "io server disconnect"]);
      await closed;
    });

    test(`${transport}: disconnectSockets ends selected sockets`, async (t) => {
      const app = await sharedApp();
      const [a, b, c] = await connectMany(t, 3, app, ownNamespace(), { transports });
      await ask(a, "join", "red");
      await ask(b, "join", "red");
      const ends = [a, b].map((s) => once(s, "disconnect").then(([reason]) => reason));
      await done(c, { do: "disconnectSockets", to: ["red"] });
      assert.deepEqual(await Promise.all(ends), ["io server disconnect", "io server disconnect"]);
      assert.equal(await ask(c, "echo", "stays"), "stays");
    });

    test(`${transport}: stopping server sends close packets`, async (t) => {
      const app = await freshApp(t);
      const socket = await connect(t, app, "/api", { transports });
      const ended = once(socket, "disconnect");
      // A polling client polls again after each answer. One more round trip ensures that a poll waits when
      // the server closes.
      await settle(socket);
      await request(app.url + "/");
      const exit = app.stop("SIGTERM");
      // The reason must not be "io server disconnect", because the client would not reconnect.
      assert.equal((await ended)[0], "transport close");
      assert.deepEqual(await exit, { code: 0, signal: null });
    });

    test(`${transport}: client detects a silent server`, async (t) => {
      const app = await freshApp(t, "--ping-interval", "200", "--ping-timeout", "300");
      const socket = await connect(t, app, "/api", { transports });
      const ended = once(socket, "disconnect");
      app.child.kill("SIGSTOP");
      assert.equal((await ended)[0], "ping timeout");
      app.child.kill("SIGCONT");
      await assertServes(t, app);
    });
  }

  test("dead server gives transport close, or an error by polling", async (t) => {
    const app = await freshApp(t);
    const websocket = await connect(t, app, "/api");
    const polling = await connect(t, app, "/api", { transports: ["polling"] });
    const ends = [websocket, polling].map((s) => once(s, "disconnect").then(([reason]) => reason));
    await app.stop("SIGKILL");
    assert.deepEqual(await Promise.all(ends), ["transport close", "transport error"]);
  });

  test("client leaves its rooms when its connection is lost", async (t) => {
    const app = await sharedApp();
    const [socket, witness] = await connectMany(t, 2, app, ownNamespace());
    const { id } = socket;
    await ask(socket, "join", "red");
    socket.io.engine.transport.ws.terminate();
    assert.equal((await endOf(witness, id)).reason, "transport close");
    assert.deepEqual(await done(witness, { do: "localRooms" }), { [witness.id]: 1 });
  });

  test("event above maxPayload ends its own connection alone", async (t) => {
    const app = await sharedApp();
    const [large, witness] = await connectMany(t, 2, app, ownNamespace());
    const { id } = large;
    const ended = once(large, "disconnect");
    large.emit("echo", "x".repeat(1_100_000));
    assert.equal((await ended)[0], "transport close");
    assert.equal((await endOf(witness, id)).reason, "transport error");
    assert.equal(await ask(witness, "echo", "goes on"), "goes on");
  });
});

describe("reconnection", () => {
  test("clients reconnect after a restart and send in order", async (t) => {
    const app = await freshApp(t);
    const options = { reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 };
    const sockets = [
      await connect(t, app, "/api", options),
      await connect(t, app, "/api", { ...options, transports: ["polling"] }),
      await connect(t, app, "/api", { ...options, transports: ["polling", "websocket"] }),
    ];
    const firstIds = sockets.map((socket) => socket.id);
    const ends = sockets.map((socket) => once(socket, "disconnect"));
    await app.stop("SIGTERM");
    await Promise.all(ends);

    const echoes = sockets.map((socket) => collect(socket, "echo"));
    for (const socket of sockets) for (let i = 0; i < 20; i++) socket.emit("echo", i);
    const back = sockets.map((socket) => once(socket, "connect", "the reconnection"));
    await app.restart();
    await Promise.all(back);
    await settle(...sockets);
    for (const list of echoes) assert.deepEqual(list, Array.from({ length: 20 }, (_, i) => i));
    sockets.forEach((socket, i) => {
      assert.notEqual(socket.id, firstIds[i], "the session is a new one");
      assert.ok(!socket.recovered);
    });
  });

  test("client reconnects after a lost connection", async (t) => {
    const app = await sharedApp();
    const socket = await connect(t, app, ownNamespace(), { reconnection: true, reconnectionDelay: 50 });
    const ended = once(socket, "disconnect");
    const back = once(socket.io, "reconnect", "the reconnection");
    socket.io.engine.transport.ws.terminate();
    assert.equal((await ended)[0], "transport close");
    await back;
    await connected(socket);
    assert.equal(await ask(socket, "echo", "back"), "back");
  });
});

describe("listeners and flags", () => {
  test("catch-all listeners see all events, on both sides", async (t) => {
    const socket = await connect(t, await sharedApp(), ownNamespace());
    const heard = [];
    const sent = [];
    socket.onAny((event, ...args) => heard.push([event, ...args]));
    socket.onAnyOutgoing((event) => sent.push(event));
    socket.emit("echo", 1);
    socket.emit("nobody listens", 2);
    socket.emit("message", 3, 4);
    await settle(socket);
    assert.deepEqual(heard, [["echo", 1], ["message-back", 3, 4]]);
    assert.deepEqual(sent, ["echo", "nobody listens", "message", "echo"]);
    const seen = await done(socket, { do: "seen" });
    assert.deepEqual(seen.incoming, ["echo", "nobody listens", "message", "echo"]);
    assert.deepEqual(seen.outgoing, ["echo", "message-back"]);
  });

  test("refused event is reported and never acknowledged", async (t) => {
    const socket = await connect(t, await sharedApp(), ownNamespace());
    const acks = [];
    const error = once(socket, "error-seen");
    socket.emit("blocked", (answer) => acks.push(answer));
    assert.deepEqual(await error, ["event blocked"]);
    await settle(socket);
    assert.deepEqual(acks, []);
  });

  test("handler that panics ends its own event alone", async (t) => {
    const [bad, witness] = await connectMany(t, 2, await sharedApp(), ownNamespace());
    for (let i = 0; i < 5; i++) bad.emit("crash");
    assert.equal(await ask(witness, "echo", "goes on"), "goes on");
    await assertServes(t, await sharedApp());
  });

  test("volatile event is dropped without a waiting poll", async (t) => {
    const app = await sharedApp();
    const nsp = ownNamespace();
    const sender = await connect(t, app, nsp);
    const polling = await RawPolling.open(app);
    const id = await polling.connect(nsp);
    await done(sender, { do: "emit", volatile: true, to: [id], event: "news", args: ["dropped"] });
    await done(sender, { do: "emit", to: [id], event: "news", args: ["kept"] });
    assert.equal((await polling.get()).text, `42${nsp},["news","kept"]`);
  });

  test("new client is served while others wait forever", async (t) => {
    const app = await sharedApp();
    const waiting = await connectMany(t, 20, app, ownNamespace());
    for (const socket of waiting) socket.emit("ask-me", 60_000);
    await Promise.all(waiting.map((socket) => once(socket, "question")));
    await assertServes(t, app);
  });

  test("first connection attempt reports its failure", async (t) => {
    const app = await sharedApp();
    const socket = client(t, { url: app.url }, "/api", { path: "/elsewhere/" });
    await assert.rejects(connected(socket), /websocket error/);
  });
});
