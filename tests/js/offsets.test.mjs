// Clients that recover with the offset of an earlier event. The offset alone is their progress: each gets
// exactly the events behind it.
import { test } from "node:test";
import assert from "node:assert/strict";
import { WebSocket } from "ws";
import { scratch, startNats } from "./cluster.mjs";
import { freshApp, until } from "./lib.mjs";

const VOLLEYS = 20;
const IN_VOLLEY = 25;
const TOTAL = VOLLEYS * IN_VOLLEY;
/** Clients that each recover with the offset of another event. */
const CLIENTS = 100;

const place = scratch("offsets");

/** A client of the main namespace by raw packets, which may show any offset. */
class Raw {
  events = [];

  constructor(t, url, auth) {
    this.socket = new WebSocket(`${url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    this.socket.on("error", (error) => { this.failure = error; });
    this.socket.on("message", (data) => this.#take(data.toString(), auth));
    t.after(() => this.socket.terminate());
  }

  #take(packet, auth) {
    if (packet === "2") this.socket.send("3");
    else if (packet[0] === "0") this.socket.send(auth ? `40${JSON.stringify(auth)}` : "40");
    else if (packet.startsWith("40")) this.session = JSON.parse(packet.slice(2));
    else if (packet.startsWith("43")) this.joined = true;
    else if (packet.startsWith('42["msg"')) this.events.push(JSON.parse(packet.slice(2)).slice(1));
  }

  get numbers() {
    return this.events.map(([n]) => n);
  }
}

let nats;
let clusters = 0;

/** Two nodes with a shared history. */
async function twoNodes(t) {
  nats ??= (await startNats(place, 1, true))[0];
  const flags = ["--nats", `nats://127.0.0.1:${nats.port}`, "--cluster", `offsets-${++clusters}-${process.pid}`, "--recovery", "60000", "--jetstream"];
  return [await freshApp(t, ...flags), await freshApp(t, ...flags)];
}

/** An offset: the stream, a place in it, the node of the client, and the number of an event of that node. */
const parts = (offset) => [offset.slice(0, 6), offset.slice(6, 17), offset.slice(17, 21), offset.slice(21)];

test("client with an offset that no node gave out gets a new session", async (t) => {
  const [sender, other] = await twoNodes(t);
  const publisher = new Raw(t, sender.url);
  await until(() => publisher.session, "the publisher is connected");
  const last = "P__________"; // the last place that a stream may have
  const forged = {
    "beyond the end of the stream": [([stream, , ...rest]) => [stream, last, ...rest], other],
    "beyond the end of the stream, of an unknown node": [([stream, , , own]) => [stream, last, "abcd", own], other],
    "of an event that this node has yet to send": [([stream, at, node]) => [stream, at, node, "_______A"], sender],
    "of another stream": [([, ...rest]) => ["abcdef", ...rest], other],
    "too short": [(all) => [all.join("").slice(0, -1)], other],
    "too long": [(all) => [...all, "A"], other],
    "that names its node twice": [([stream, at, node, own]) => [stream, at, node, own, node, own], other],
    "in other digits": [([stream, , node, own]) => [stream, "!!!!!!!!!!!", node, own], other],
    "without anything": [() => [], other],
  };
  for (const [what, [forge, node]] of Object.entries({ "as it was": [(all) => all, other], ...forged })) {
    const client = new Raw(t, sender.url);
    await until(() => client.session, `${what}: connected`);
    client.socket.send('420["join","room"]');
    await until(() => client.joined, `${what}: in the room`);
    publisher.socket.send('42["broadcast","room",1]');
    await until(() => client.events.length === 1, `${what}: the event`);
    const [[, offset]] = client.events;
    assert.equal(offset.length, 29, offset);
    client.socket.terminate();
    const { pid } = client.session;
    const back = new Raw(t, node.url, { pid, offset: forge(parts(offset)).join("") });
    await until(() => back.session, `${what}: back`);
    assert.equal(back.session.pid === pid, what === "as it was", what);
    back.socket.terminate();
  }
});

test("client gets all events behind its offset", async (t) => {
  const [sender, other] = await twoNodes(t);

  const clients = Array.from({ length: CLIENTS }, () => new Raw(t, other.url));
  await until(() => clients.every(({ session }) => session), "all are connected");
  clients.forEach(({ socket }) => socket.send('420["join","room"]'));
  await until(() => clients.every(({ joined }) => joined), "all are in the room");
  const publisher = new Raw(t, sender.url);
  await until(() => publisher.session, "the publisher is connected");

  for (let volley = 1; volley <= VOLLEYS; volley++) {
    for (let n = (volley - 1) * IN_VOLLEY; n < volley * IN_VOLLEY; n++) publisher.socket.send(`42["broadcast","room",${n}]`);
    await until(() => clients.every(({ events }) => events.length === volley * IN_VOLLEY), "all heard the volley");
  }

  const all = Array.from({ length: TOTAL }, (_, n) => n);
  const back = clients.map(({ socket, session: { pid }, numbers, events }, i) => {
    assert.deepEqual(numbers, all);
    socket.terminate();
    const last = i * TOTAL / CLIENTS + i % (TOTAL / CLIENTS);
    return { last, pid, client: new Raw(t, sender.url, { pid, offset: events[last][1] }) };
  });
  await until(() => back.every(({ client }) => client.session), "all are back");
  const wrong = back.flatMap(({ last, pid, client }) => {
    if (client.session.pid !== pid) return [`${last}: not recovered`];
    // The answer to CONNECT comes behind what was missed.
    const missed = all.slice(last + 1).filter((n) => !client.numbers.includes(n));
    return client.numbers.length === TOTAL - last - 1 && missed.length === 0 ? [] : [`${last}: missed ${missed}`];
  });
  assert.deepEqual(wrong, []);
});
