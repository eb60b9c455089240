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

test("client gets all events behind its offset", async (t) => {
  const [nats] = await startNats(place, 1, true);
  const flags = ["--nats", `nats://127.0.0.1:${nats.port}`, "--cluster", `offsets-${process.pid}`, "--recovery", "60000", "--jetstream"];
  const sender = await freshApp(t, ...flags);
  const other = await freshApp(t, ...flags);

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
