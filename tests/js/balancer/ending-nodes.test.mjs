// Nodes behind a balancer that are killed, drained or stopped.
import { test } from "node:test";
import assert from "node:assert/strict";
import { ask, collect, connected, done, once, ownNamespace, rawClient, settle, until, within } from "../lib.mjs";
import {
  QUERY, TRANSPORTS, UNKNOWN, assertPolls, clientOnEach, echoed, healthOf, newSession, pollingOnEach, refused, send, tagOf, world,
} from "./world.mjs";

test("killed node ends its own sessions alone", async (t) => {
  const here = await world(t, [], { joined: true, balancerFlags: ["--dead-after", "3"] });
  const { nodes, balancer } = here;
  const [lost, ...others] = await pollingOnEach(here);
  for (const polling of [lost, ...others]) await polling.connect();
  const [lostSocket, ...otherSockets] = await clientOnEach(t, here, "/api", { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 });
  const ends = otherSockets.map((socket) => collect(socket, "disconnect"));
  const gone = once(lostSocket, "disconnect");
  await nodes[0].stop("SIGKILL");
  for (let n = 0; n < 20; n++) assert.notEqual(await newSession(balancer), nodes[0].tag);
  await gone;
  await connected(lostSocket);
  assert.notEqual(tagOf(lostSocket.io.engine.id), nodes[0].tag);
  for (const polling of others) await assertPolls(polling, "still here");
  await until(async () => {
    const { status, text } = await lost.get();
    assert.ok([400, 502, 503].includes(status), `${status} ${text}`);
    return status === 400;
  }, "its sessions are unknown");
  for (let n = 0; n < 20; n++) {
    const { status, text } = await lost.get();
    assert.equal(status, 400);
    assert.deepEqual(JSON.parse(text), UNKNOWN);
  }
  for (const polling of others) await assertPolls(polling, "and still");
  for (const socket of otherSockets) assert.equal(await ask(socket, "echo", 1), 1);
  assert.deepEqual(ends, [[], []]);

  // Another process in its place is another node.
  await nodes[0].restart();
  const { tag } = await healthOf(nodes[0]);
  assert.notEqual(tag, nodes[0].tag);
  await until(async () => (await newSession(balancer)) === tag, "the node gets sessions");
  refused(await send(balancer, { query: { ...QUERY, sid: lost.sid } }), 400, 1, UNKNOWN.message);
});

test("draining node keeps its sessions and gets no new ones", async (t) => {
  const here = await world(t, ["--drain-time", "3600000"], { joined: true });
  const { nodes, balancer } = here;
  const raws = [];
  await until(async () => {
    raws.push(await rawClient(t, balancer));
    return nodes.every(({ tag }) => raws.filter(({ handshake }) => tagOf(handshake.sid) === tag).length >= 10);
  }, "there are sessions on every node");
  const [polling, ...others] = await pollingOnEach(here);
  for (const each of [polling, ...others]) await each.connect();
  const [going] = nodes;
  const its = raws.filter(({ handshake }) => tagOf(handshake.sid) === going.tag);
  going.child.kill("SIGTERM");
  await until(async () => (await healthOf(going)).draining, "the node drains");
  its.forEach((raw, n) => raw.send(echoed(n)));
  await Promise.any(its.map(async (raw, n) => assert.equal(await raw.next(), echoed(n))));
  // A polling client gets a close packet, and no unknown session before.
  await until(async () => {
    const { status, text } = await polling.get();
    assert.equal(status, 200, text);
    return text.split("\x1e").includes("1");
  }, "the session is closed");
  // Once the drain is known, the node gets no new session.
  await until(async () => {
    const tags = await Promise.all(Array.from({ length: 20 }, () => newSession(balancer)));
    return !tags.includes(going.tag);
  }, "the balancer knows");
  for (let n = 0; n < 30; n++) assert.notEqual(await newSession(balancer), going.tag);
  await Promise.all(its.map((raw) => raw.gone()));
  assert.deepEqual(await within(going.exit, "its end"), { code: 0, signal: null });
  for (const each of others) await assertPolls(each, "still here");
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`client by ${name} recovers when its node stops`, async (t) => {
    const here = await world(t, ["--jetstream", "--recovery", "60000", "--drain-time", "1000"], { joined: true });
    const nsp = ownNamespace();
    const reconnection = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };
    const [socket, witness] = await clientOnEach(t, here, nsp, { transports, ...reconnection });
    if (transports.length === 2) await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
    const heard = [];
    socket.on("n", (n) => heard.push(n));
    const { id } = socket;
    await ask(socket, "join", "red");
    await done(socket, { do: "setData", data: { name: "Ann" } });
    let sent = 0;
    const emit = () => done(witness, { do: "emit", to: ["red"], event: "n", args: [sent++] });
    await emit();
    await until(() => heard.length === 1, "the client gets the event");
    const lost = once(socket, "disconnect");
    here.nodes[0].child.kill("SIGTERM");
    while (socket.connected) await emit();
    await lost;
    await emit();
    // A balancer that has not heard yet that the node is going may send it there once more.
    await until(() => socket.connected && tagOf(socket.io.engine.id) !== here.nodes[0].tag, "the client is at another node");
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    assert.deepEqual((await done(socket, { do: "rooms" })).sort(), [id, "red"].sort());
    await emit();
    await until(() => heard.length >= sent, "all is heard");
    await settle(socket);
    assert.deepEqual(heard, Array.from({ length: sent }, (_, n) => n));
    assert.deepEqual(await within(here.nodes[0].exit, "its end"), { code: 0, signal: null });
  });
}
