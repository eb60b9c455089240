// Connection state recovery, with the real client. Nothing is lost or doubled at the seam.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { ask, connect, connected, done, freshApp, once, op, ownNamespace, rawClient, rawEngine, settle, sharedApp, until } from "./lib.mjs";

const app = () => sharedApp("--recovery", "60000");

/** Cuts the connection as a lost network would. The server may not have noticed yet when this returns. */
async function cut(socket) {
  const { id } = socket;
  const gone = once(socket, "disconnect");
  socket.io.engine.close();
  await gone;
  return id;
}

async function noticed(witness, id) {
  await until(async () => (await done(witness, { do: "log" })).disconnects.some((end) => end.id === id), "the server notes the loss");
}

async function back(socket) {
  socket.connect();
  await connected(socket);
}

/** All first arguments of an event. */
function heard(socket, event) {
  const list = [];
  socket.on(event, (first) => list.push(first));
  return list;
}

async function emit(from, to, ...args) {
  await done(from, { do: "emit", ...(to && { to }), event: "n", args });
}

for (const options of [{ transports: ["polling"] }, { transports: ["websocket"] }, { transports: ["polling", "websocket"] }]) {
  test(`${options.transports.join(" then ")}: session recovers`, async (t) => {
    const nsp = ownNamespace();
    const witness = await connect(t, await app(), nsp);
    const socket = await connect(t, await app(), nsp, options);
    const list = heard(socket, "n");
    await ask(socket, "join", ["red", "blue"]);
    await done(socket, { do: "setData", data: { name: "Ann" } });
    const { id } = socket;
    await emit(witness, ["red"], 0);
    await settle(socket);
    await cut(socket);
    await noticed(witness, id);
    await emit(witness, ["red"], 1);
    await emit(witness, ["other"], "not for it");
    await emit(witness, [id], 2);
    await done(witness, { do: "emit", except: ["blue"], event: "n", args: ["not for it either"] });
    await emit(witness, undefined, 3);
    await back(socket);
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    assert.deepEqual((await done(socket, { do: "rooms" })).sort(), [id, "blue", "red"].sort());
    assert.deepEqual((await done(witness, { do: "fetchSockets", to: [id] }))[0].data, { name: "Ann" });
    await emit(witness, ["blue"], 4);
    await settle(socket);
    assert.deepEqual(list, [0, 1, 2, 3, 4]);
  });
}

test("client without any event recovers too", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  await emit(witness, undefined, "before it came");
  const socket = await connect(t, await app(), nsp);
  const list = heard(socket, "n");
  const id = await cut(socket);
  await emit(witness, undefined, 1);
  await back(socket);
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
  await settle(socket);
  assert.deepEqual(list, [1]);
});

test("client recovers repeatedly and before its loss is noticed", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  const socket = await connect(t, await app(), nsp);
  const list = heard(socket, "n");
  const { id } = socket;
  for (let i = 0; i < 20; i++) {
    await emit(witness, [id], 2 * i);
    await cut(socket);
    const sent = emit(witness, [id], 2 * i + 1);
    await back(socket);
    await sent;
    assert.deepEqual([socket.recovered, socket.id], [true, id]);
  }
  await settle(socket);
  assert.deepEqual(list, Array.from({ length: 40 }, (_, i) => i));
});

for (const [what, request] of Object.entries({
  "a volatile event that ends in a text": { event: "v", args: [1, "looks like an offset"], volatile: true },
  "a volatile event without arguments": { event: "v", args: [], volatile: true },
  "a volatile broadcast that ends in a text": { event: "v", args: ["text"], volatile: true, wide: true },
})) {
  test(`${what} does not hide received events`, async (t) => {
    const nsp = ownNamespace();
    const witness = await connect(t, await app(), nsp);
    const socket = await connect(t, await app(), nsp);
    const list = heard(socket, "n");
    const { id } = socket;
    await emit(witness, [id], 1);
    // A volatile event is dropped while another is on its way.
    await settle(socket);
    const came = once(socket, "v");
    const { wide, ...rest } = request;
    await done(witness, { do: "emit", ...(!wide && { to: [id] }), ...rest });
    await came;
    await cut(socket);
    await emit(witness, [id], 2);
    await back(socket);
    assert.equal(socket.recovered, true);
    await settle(socket);
    assert.deepEqual(list, [1, 2]);
  });
}

test("event with an ack carries no offset", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  const socket = await connect(t, await app(), nsp);
  const list = heard(socket, "n");
  await emit(witness, [socket.id], 1);
  socket.on("q", (...args) => args.pop()(args));
  assert.deepEqual(await done(witness, { do: "emitWithAck", to: [socket.id], event: "q", args: ["text"], timeout: 5000 }), [["text"]]);
  await cut(socket);
  await back(socket);
  assert.equal(socket.recovered, true);
  await settle(socket);
  assert.deepEqual(list, [1]);
});

test("forged offset recovers no session", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  for (const change of [() => "made up", () => "", (offset) => `${offset}9999`, (offset) => offset.slice(1)]) {
    const socket = await connect(t, await app(), nsp);
    const came = once(socket, "n");
    await emit(witness, [socket.id], 1);
    await came;
    const id = await cut(socket);
    socket._lastOffset = change(socket._lastOffset);
    await back(socket);
    assert.deepEqual([socket.recovered, socket.id === id], [false, false], String(change));
    socket.disconnect();
  }
});

test("missed binary events are replayed unchanged", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  const socket = await connect(t, await app(), nsp);
  const list = heard(socket, "n");
  const id = await cut(socket);
  await emit(witness, [id], { deep: [Buffer.from([1, 2, 3])] });
  await back(socket);
  await settle(socket);
  assert.deepEqual(list, [{ deep: [Buffer.from([1, 2, 3])] }]);
});

test("MessagePack: missed events are replayed", async (t) => {
  const parser = (await import("socket.io-msgpack-parser")).default;
  const packed = await sharedApp("--recovery", "60000", "--parser", "msgpack");
  const nsp = ownNamespace();
  const witness = await connect(t, packed, nsp, { parser });
  const socket = await connect(t, packed, nsp, { parser });
  const list = heard(socket, "n");
  await emit(witness, undefined, 1);
  await settle(socket);
  const id = await cut(socket);
  await emit(witness, undefined, 2);
  await back(socket);
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
  await settle(socket);
  assert.deepEqual(list, [1, 2]);
});

test("each namespace of a connection recovers separately", async (t) => {
  const nsp = ownNamespace();
  const one = await connect(t, await app(), nsp);
  const two = one.io.socket(ownNamespace());
  await connected(two);
  await ask(one, "join", "red");
  await ask(two, "join", "blue");
  const ids = [one.id, two.id];
  await cut(one);
  one.connect();
  two.connect();
  await Promise.all([connected(one), connected(two)]);
  assert.deepEqual([one.recovered, two.recovered], [true, true]);
  assert.deepEqual([one.id, two.id], ids);
  assert.deepEqual((await done(one, { do: "rooms" })).sort(), [one.id, "red"].sort());
  assert.deepEqual((await done(two, { do: "rooms" })).sort(), [two.id, "blue"].sort());
});

test("middleware is skipped for a recovered socket", async (t) => {
  const socket = await connect(t, await app(), "/guarded", { auth: { token: "open sesame" } });
  socket.auth = { token: "expired" };
  const id = await cut(socket);
  await back(socket);
  assert.deepEqual([socket.recovered, socket.id], [true, id]);
});

describe("refused recoveries", () => {
  const left = {
    "a client that left": async (socket) => socket.disconnect(),
    "a client that the server disconnected": async (socket) => void (await done(socket, { do: "disconnect", close: false })),
    "a client whose connection the server closed": async (socket) => void (await done(socket, { do: "disconnect", close: true })),
  };
  for (const [who, leave] of Object.entries(left)) {
    test(who, async (t) => {
      const nsp = ownNamespace();
      const witness = await connect(t, await app(), nsp);
      const socket = await connect(t, await app(), nsp);
      await ask(socket, "join", "red");
      const { id } = socket;
      const gone = once(socket, "disconnect");
      await leave(socket);
      await gone;
      await noticed(witness, id);
      await back(socket);
      assert.equal(socket.recovered, false);
      assert.notEqual(socket.id, id);
      assert.deepEqual(await done(socket, { do: "rooms" }), [socket.id]);
    });
  }

  test("client that was away too long gets a new session", async (t) => {
    const short = await freshApp(t, "--recovery", "200");
    const nsp = ownNamespace();
    const witness = await connect(t, short, nsp);
    const socket = await connect(t, short, nsp);
    const id = await cut(socket);
    await noticed(witness, id);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await back(socket);
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
  });

  test("client that missed too much gets a new session", async (t) => {
    const nsp = ownNamespace();
    const witness = await connect(t, await app(), nsp);
    const socket = await connect(t, await app(), nsp);
    const list = heard(socket, "n");
    const id = await cut(socket);
    for (let i = 0; i < 12; i++) await emit(witness, [id], "x".repeat(100_000));
    await back(socket);
    assert.equal(socket.recovered, false);
    await settle(socket);
    assert.equal(list.length, 0);
  });

  test("used, foreign and malformed session ids are refused", async (t) => {
    const nsp = ownNamespace();
    const first = await rawEngine(t, await app());
    first.send(`40${nsp},`);
    const { sid, pid } = JSON.parse((await first.next()).slice(3 + nsp.length));
    const answer = async (namespace, auth) => {
      const raw = await rawEngine(t, await app());
      raw.send(`40${namespace},${JSON.stringify(auth)}`);
      return JSON.parse((await raw.next()).slice(3 + namespace.length));
    };
    for (const nonsense of [{ pid: "x" }, { pid: 1, offset: 2 }, { pid: sid, offset: "" }, { pid: [pid] }, { offset: "1" }]) {
      const fresh = await answer(nsp, nonsense);
      assert.ok(fresh.sid && fresh.pid && fresh.sid !== sid && fresh.pid !== pid, JSON.stringify(nonsense));
    }
    assert.notEqual((await answer(ownNamespace(), { pid })).sid, sid);
    // The first connection stays open, because only the client noticed its loss.
    const second = await answer(nsp, { pid });
    assert.deepEqual([second.sid, second.pid], [sid, pid]);
    await first.gone("the earlier connection ends");
    const third = await answer(nsp, { pid, offset: "nonsense" });
    assert.ok(third.sid !== sid && third.pid !== pid, "the offset was never given out");
  });
});

test("late close of the former connection ends nothing", async (t) => {
  const nsp = ownNamespace();
  const witness = await connect(t, await app(), nsp);
  const first = await rawEngine(t, await app());
  first.send(`40${nsp},`);
  const { sid, pid } = JSON.parse((await first.next()).slice(3 + nsp.length));
  const second = await rawEngine(t, await app());
  second.send(`40${nsp},${JSON.stringify({ pid })}`);
  assert.equal(JSON.parse((await second.next()).slice(3 + nsp.length)).sid, sid);
  first.terminate();
  await emit(witness, [sid], "here");
  const packet = await second.next("the event for the socket that came back");
  assert.ok(packet.startsWith(`42${nsp},["n","here","`), packet);
  assert.equal((await done(witness, { do: "fetchSockets", to: [sid] })).length, 1);
});

test("one of two concurrent claims gets the session", async (t) => {
  const nsp = ownNamespace();
  for (let round = 0; round < 20; round++) {
    const lost = await rawClient(t, await app(), nsp);
    lost.send(`41${nsp},`, `40${nsp},`);
    const { sid, pid } = JSON.parse((await lost.next()).slice(3 + nsp.length));
    lost.terminate();
    const both = await Promise.all([rawEngine(t, await app()), rawEngine(t, await app())]);
    both.forEach((raw) => raw.send(`40${nsp},${JSON.stringify({ pid })}`));
    // The second claim may take the session from the first, which is then closed, even before its answer.
    // Both never live.
    const answer = async (raw) => JSON.parse((await raw.next()).slice(3 + nsp.length));
    const answers = await Promise.all(both.map((raw) => Promise.race([answer(raw), raw.closed.then(() => "closed")])));
    const same = answers.filter((answer) => answer.sid === sid).length;
    assert.ok(same >= 1, JSON.stringify(answers));
    const witness = await connect(t, await app(), nsp);
    await until(async () => (await done(witness, { do: "fetchSockets", to: [sid] })).length === 1, "one socket has the id");
  }
});

test("events of many emitters arrive once and in order", async (t) => {
  const nsp = ownNamespace();
  const [EMITTERS, LISTENERS, EVENTS] = [4, 8, 300];
  const emitters = await Promise.all(Array.from({ length: EMITTERS }, async () => connect(t, await app(), nsp)));
  const listeners = await Promise.all(
    Array.from({ length: LISTENERS }, async (_, i) => connect(t, await app(), nsp, { transports: [i % 2 ? "polling" : "websocket"] })),
  );
  const lists = listeners.map((socket) => heard(socket, "n"));
  await Promise.all(listeners.map((socket) => ask(socket, "join", "red")));
  let going = true;
  const flapping = listeners.map(async (socket) => {
    let losses = 0;
    while (going) {
      await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 40));
      await cut(socket);
      await back(socket);
      assert.equal(socket.recovered, true);
      losses++;
    }
    return losses;
  });
  await Promise.all(
    emitters.map(async (emitter, e) => {
      for (let i = 0; i < EVENTS; i++) {
        const sent = op(emitter, { do: "emit", to: ["red"], event: "n", args: [[e, i]] });
        if (i % 10 === 0) await sent;
      }
    }),
  );
  going = false;
  const losses = await Promise.all(flapping);
  assert.ok(losses.every((count) => count > 1), `the connections were lost ${losses} times`);
  await settle(...emitters, ...listeners);
  const expected = Array.from({ length: EVENTS }, (_, i) => i);
  for (const list of lists) {
    for (let e = 0; e < EMITTERS; e++) assert.deepEqual(list.filter(([from]) => from === e).map(([, i]) => i), expected);
  }
  // And all heard the same order.
  for (const list of lists) assert.deepEqual(list, lists[0]);
});
