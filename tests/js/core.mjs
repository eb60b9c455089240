// The guarantees for every client, in any encoding. They run with the default parser and with MessagePack.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { ask, client, collect, connect, connectMany, connected, done, once, op, ownNamespace, settle, sharedApp, within } from "./lib.mjs";

/** The largest event that the defaults let through is 1,000,000 bytes with its envelope; the rest is room for that. */
const NEARLY_MAX = 990_000;

const bytes = (length, seed = 0) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 255);

/** Node's client gives Buffers for what was sent as any view of bytes. */
const sameBytes = (got, sent) => {
  assert.ok(got instanceof Uint8Array || got instanceof ArrayBuffer, `bytes arrive as bytes: ${Object.prototype.toString.call(got)}`);
  assert.ok(Buffer.from(got).equals(Buffer.from(sent)), "the bytes are those that were sent");
};

/**
 * @param encoding.name   for the title
 * @param encoding.flags  flags of the acceptance app
 * @param encoding.parser the client's parser; none = the default
 * @param encoding.native whether bytes travel inside the packet rather than as attachments
 */
export function core({ name, flags = [], parser, native = false }) {
  const app = () => sharedApp(...flags);
  const withParser = (options) => (parser ? { parser, ...options } : options);
  const open = async (t, nsp, options) => connect(t, await app(), nsp, withParser(options));
  const openMany = async (t, count, nsp = ownNamespace(), options) => connectMany(t, count, await app(), nsp, withParser(options));

  describe(name, () => {
    for (const transport of ["polling", "websocket"]) {
      test(`${transport} carries events, acks and broadcasts`, async (t) => {
        const socket = await open(t, ownNamespace(), { transports: [transport] });
        assert.equal((await done(socket, { do: "id" })).transport, transport);
        assert.equal(socket.io.engine.transport.name, transport);
        assert.deepEqual(await ask(socket, "message-with-ack", 1, "two", { three: [null, true] }), 1, "the first argument");
        const back = once(socket, "message-back");
        socket.emit("message", "a", 2, [3], { four: 4 });
        assert.deepEqual(await back, ["a", 2, [3], { four: 4 }]);
        const heard = collect(socket, "news");
        await done(socket, { do: "emit", event: "news", args: ["to all"] });
        await settle(socket);
        assert.deepEqual(heard, ["to all"]);
      });

      test(`${transport}: a hundred events return in order`, async (t) => {
        const socket = await open(t, ownNamespace(), { transports: [transport] });
        const back = collect(socket, "echo");
        for (let i = 0; i < 100; i++) socket.emit("echo", i);
        await settle(socket);
        assert.deepEqual(back, Array.from({ length: 100 }, (_, i) => i));
      });

      test(`${transport}: bytes at any depth keep their places`, async (t) => {
        const socket = await open(t, ownNamespace(), { transports: [transport] });
        const sent = { top: bytes(3), deep: [{ a: { b: [bytes(1, 9), "text", [bytes(700, 5)]] } }], empty: Buffer.alloc(0), not: "bytes" };
        const got = await ask(socket, "echo", sent);
        sameBytes(got.top, sent.top);
        sameBytes(got.deep[0].a.b[0], sent.deep[0].a.b[0]);
        sameBytes(got.deep[0].a.b[2][0], sent.deep[0].a.b[2][0]);
        sameBytes(got.empty, sent.empty);
        assert.equal(got.deep[0].a.b[1], "text");
        assert.equal(got.not, "bytes");
      });

      test(`${transport}: bytes in a broadcast reach each receiver whole`, async (t) => {
        const sockets = await openMany(t, 3, ownNamespace(), { transports: [transport] });
        const heard = sockets.map((socket) => collect(socket, "news"));
        const sent = bytes(5000, 3);
        await done(sockets[0], { do: "emit", event: "news", args: [{ file: sent, tail: bytes(2) }] });
        await settle(...sockets);
        for (const [news] of heard) {
          sameBytes(news.file, sent);
          sameBytes(news.tail, bytes(2));
        }
      });

      test(`${transport}: event near maxPayload returns`, async (t) => {
        const socket = await open(t, ownNamespace(), { transports: [transport] });
        // Polling carries bytes in base64, four for three; a MessagePack packet is all bytes.
        const inBase64 = Math.floor((NEARLY_MAX * 3) / 4);
        const text = "x".repeat(transport === "polling" && native ? inBase64 : NEARLY_MAX);
        // Not assert.equal: a difference would print two megabytes.
        assert.ok((await ask(socket, "echo", text)) === text, "the text comes back unchanged");
        const sent = bytes(transport === "polling" ? inBase64 : NEARLY_MAX, 1);
        sameBytes(await ask(socket, "echo", sent), sent);
      });
    }

    test("upgrade amid traffic keeps all messages in order both ways", async (t) => {
      const nsp = ownNamespace();
      const driver = await open(t, nsp);
      const socket = client(t, await app(), nsp, withParser({ transports: ["polling", "websocket"] }));
      const fromServer = collect(socket, "msg");
      const echoes = collect(socket, "echo");
      let upgrades = 0;
      socket.io.on("open", () => socket.io.engine.on("upgrade", () => upgrades++));
      await connected(socket);

      // Both pumps run until the upgrade completes, and some time longer. An ack of the driver now and then
      // sets the pace.
      let sent = 0;
      let rest = 200;
      while (rest > 0) {
        driver.emit("broadcast", socket.id, sent);
        socket.emit("echo", sent);
        sent++;
        if (sent % 10 === 0) await ask(driver, "echo", "pace");
        if (upgrades > 0) rest--;
        assert.ok(sent < 100_000, "the upgrade comes some time");
      }
      await settle(driver);
      await settle(socket);
      const all = Array.from({ length: sent }, (_, i) => i);
      assert.deepEqual(fromServer, all, "server to client");
      assert.deepEqual(echoes, all, "client to server and back");
      assert.equal(upgrades, 1);
      assert.equal((await done(socket, { do: "id" })).transport, "websocket");
    });

    test("acks go both ways, and each has its timeout", async (t) => {
      const socket = await open(t, ownNamespace());
      socket.once("question", (text, ack) => ack(`${text} yes`));
      socket.emit("ask-me", 10_000);
      assert.deepEqual(await once(socket, "answer"), ["ready? yes"]);

      // The client does not answer, and the server reports the timeout.
      const timedOut = once(socket, "answer-timeout");
      socket.emit("ask-me", 50);
      await timedOut;

      await assert.rejects(within(socket.timeout(50).emitWithAck("no such event"), "the client's timeout"), /operation has timed out/);
      assert.equal(await ask(socket, "echo", "goes on"), "goes on");
    });

    test("ack with bytes reaches the server whole", async (t) => {
      const socket = await open(t, ownNamespace());
      const sent = bytes(300, 7);
      socket.once("question", (_, ack) => ack({ photo: sent }));
      socket.emit("ask-me", 10_000);
      const [answer] = await once(socket, "answer");
      sameBytes(answer.photo, sent);
    });

    test("a broadcast with acks gathers one answer from each", async (t) => {
      const sockets = await openMany(t, 3);
      sockets.forEach((socket, i) => socket.on("sum", (n, ack) => ack(n + i)));
      const answers = await done(sockets[0], { do: "emitWithAck", timeout: 10_000, event: "sum", args: [10] });
      assert.deepEqual(answers.sort(), [10, 11, 12]);
    });

    test("broadcast ack timeout lists the clients that answered", async (t) => {
      const [a, b, silent] = await openMany(t, 3);
      a.on("sum", (ack) => ack("a"));
      b.on("sum", (ack) => ack("b"));
      const answer = await op(silent, { do: "emitWithAck", timeout: 300, event: "sum" });
      assert.equal(answer.ok, false);
      assert.equal(answer.error, "operation has timed out");
      assert.deepEqual(answer.value.sort(), ["a", "b"]);
    });

    test("auth reaches the namespace, and a refusal carries data", async (t) => {
      const greeted = client(t, await app(), "/custom", withParser({ auth: { token: "t", deep: { list: [1, null] } } }));
      const auth = once(greeted, "auth");
      await connected(greeted);
      assert.deepEqual(await auth, [{ token: "t", deep: { list: [1, null] } }]);

      const guarded = client(t, await app(), "/guarded", withParser({ auth: { token: "wrong" } }));
      const refusal = await connected(guarded).then(() => assert.fail("the client was accepted"), (error) => error);
      assert.equal(refusal.message, "not authorized");
      assert.deepEqual(refusal.data, { code: "E_AUTH" });

      guarded.auth = { token: "open sesame" };
      guarded.connect();
      await connected(guarded);
      assert.equal(await ask(guarded, "echo", "in"), "in");
    });

    test("unknown namespace is refused, a dynamic one is created", async (t) => {
      const lost = client(t, await app(), "/nowhere", withParser());
      await assert.rejects(connected(lost), { message: "Invalid namespace" });
      const found = lost.io.socket(ownNamespace());
      await connected(found);
      assert.equal((await done(found, { do: "id" })).nsp, found.nsp);
    });

    test("two namespaces share a connection and end separately", async (t) => {
      const first = await open(t, ownNamespace());
      const second = first.io.socket(ownNamespace());
      await connected(second);
      assert.equal(first.io, second.io);
      assert.notEqual(first.id, second.id);

      const inFirst = collect(first, "news");
      const inSecond = collect(second, "news");
      await done(first, { do: "emit", event: "news", args: ["first"] });
      await done(second, { do: "emit", event: "news", args: ["second"] });
      await settle(first, second);
      assert.deepEqual(inFirst, ["first"]);
      assert.deepEqual(inSecond, ["second"]);

      // The client leaves one namespace; the connection and the other stay.
      first.disconnect();
      assert.equal(await ask(second, "echo", "stays"), "stays");
      first.connect();
      await connected(first);
      assert.equal(await ask(first, "echo", "back"), "back");
    });

    test("rooms: to, several rooms, except, and without the sender", async (t) => {
      const [a, b, c] = await openMany(t, 3);
      await ask(a, "join", ["red", "blue"]);
      await ask(b, "join", "blue");
      const heard = [a, b, c].map((socket) => collect(socket, "news"));
      const send = (fields, text) => done(a, { do: "emit", event: "news", args: [text], ...fields });

      await send({ to: ["red"] }, "to red");
      await send({ to: ["red", "blue"] }, "to both");
      await send({ except: ["red"] }, "but red");
      await send({ to: ["blue"], except: ["red"] }, "blue but red");
      await send({ from: "socket" }, "from a");
      await send({ from: "socket", to: ["blue"] }, "from a to blue");
      await send({ to: [c.id] }, "to c");
      await ask(b, "leave", "blue");
      await send({ to: ["blue"] }, "b has left");
      await settle(a, b, c);
      assert.deepEqual(heard[0], ["to red", "to both", "b has left"]);
      assert.deepEqual(heard[1], ["to both", "but red", "blue but red", "from a", "from a to blue"]);
      assert.deepEqual(heard[2], ["but red", "from a", "to c"]);
    });

    test("volatile event reaches clients that can receive it", async (t) => {
      const [sender, idle] = await openMany(t, 2);
      const heard = collect(idle, "news");
      await settle(idle);
      await done(sender, { do: "emit", volatile: true, to: [idle.id], event: "news", args: ["now"] });
      await settle(idle);
      assert.deepEqual(heard, ["now"]);
    });

    test("text of all planes, numbers and empty values survive", async (t) => {
      const socket = await open(t, ownNamespace());
      const texts = ["", "ä", "日本語", "👩‍👩‍👧", "\u0000\u001e\u2028", '"\\'];
      const values = [...texts, 0, -1, 0.1, 2 ** 31, -(2 ** 40), false, null, [], {}, { "": { "": [] } }];
      // The client's MessagePack takes every whole number for one of 64 bits.
      if (!native) values.push(1e21);
      for (const value of values) {
        assert.deepEqual(await ask(socket, "echo", value), value);
      }
      // 0x1e separates the packets of a poll, so it must not come through unescaped.
      const back = once(socket, "message-back");
      socket.emit("message", "\u001e", "", null);
      assert.deepEqual(await back, ["\u001e", "", null]);
    });

    test(native ? "many byte fields in one packet come back" : "ten attachments, the most that is allowed, come back", async (t) => {
      const socket = await open(t, ownNamespace());
      const sent = Array.from({ length: 10 }, (_, i) => bytes(i, i));
      const got = await ask(socket, "echo", sent);
      assert.equal(got.length, sent.length);
      got.forEach((value, i) => sameBytes(value, sent[i]));
    });
  });
}
