// A cluster that changes under 500 clients, on real processes. Half of the clients poll, half use WebSockets,
// and all use two balancers. Nodes are added and drained. A balancer is killed, and another is handed over.
// At the end every node is new.
//
// Each node broadcasts all the time, and the clients ask in turn. With a history on JetStream, no confirmed
// broadcast is lost or doubled, and those of one node arrive in order. Every client keeps its socket, and
// every question is answered, some after a retry.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import path from "node:path";
import { Manager } from "socket.io-client";
import { listens, pause, scratch, startNats } from "./cluster.mjs";
import { kept } from "./kept.mjs";
import { Server, connected, freePort, until, within } from "./lib.mjs";

const CLIENTS = Number(process.env.ROLLING_CLIENTS ?? 500);
/** Broadcasts a second, and as many questions. */
const RATE = Number(process.env.ROLLING_RATE ?? 50);
/** In how long a time a node lets go of its clients, and a balancer whose place is taken. */
const DRAIN_MS = 6000;
const HANDOVER_S = 6;
/** A cluster that has changed has this long to be whole again. */
const HEAL_MS = 60_000;
/** More broadcasts than there will be. */
const MOST = 1 << 16;

const place = scratch("rolling");
const { cleanup } = place;
const cluster = `rolling-${process.pid}`;
const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

// ---------------------------------------------------------------- processes

/** A node, with a client of its own that makes it broadcast. */
class Node {
  static #count = 0;
  going = false;

  static async start(nats) {
    const node = new Node();
    node.index = Node.#count++;
    node.name = `node-${node.index}`;
    const port = await freePort();
    const flags = ["--nats", nats, "--cluster", cluster, "--node-name", node.name, "--advertise", `127.0.0.1:${port}`];
    node.server = new Server(process.env.ACCEPTANCE, [...flags, "--recovery", "120000", "--jetstream", "--drain-time", String(DRAIN_MS)], port);
    cleanup.push(() => node.server.child.kill("SIGKILL"));
    await listens(port, `${node.name} listens`);
    node.publisher = new Manager(node.server.url, { transports: ["websocket"], reconnection: false }).socket("/api");
    cleanup.push(() => node.publisher.disconnect());
    await connected(node.publisher);
    // All ids of a node start with its tag.
    node.tag = node.publisher.io.engine.id.slice(0, 4);
    return node;
  }

  get publishes() { return this.publisher.connected; }

  /** Drains the node, and waits for its end. */
  async drain() {
    this.going = true;
    this.server.child.kill("SIGTERM");
    const ended = await within(this.server.exit, `${this.name} drains`, HEAL_MS);
    assert.deepEqual(ended, { code: 0, signal: null }, this.server.output.slice(-2000));
  }
}

/** An address at which there is a balancer, most of the time. */
class Balancer {
  output = "";

  static async start(nats, name) {
    const balancer = new Balancer();
    balancer.port = await freePort();
    balancer.url = `http://127.0.0.1:${balancer.port}`;
    const handover = path.join(place.folder, `${name}.sock`);
    const served = ["--listen", `127.0.0.1:${balancer.port}`, "--handover", handover, "--handover-time", String(HANDOVER_S)];
    balancer.flags = [...served, "--nats", nats, "--cluster", cluster];
    balancer.begin();
    await listens(balancer.port, `${name} listens`);
    return balancer;
  }

  /** Starts a process: the next one, if there is one. */
  begin() {
    const child = spawn(process.env.SOCIABLE_BALANCER, this.flags, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (this.output = (this.output + chunk).slice(-1e6)));
    child.ended = new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve({ code, signal }));
      child.once("error", (error) => resolve({ error }));
    });
    cleanup.push(() => child.kill("SIGKILL"));
    this.child = child;
  }

  async kill() {
    this.child.kill("SIGKILL");
    await within(this.child.ended, "the balancer ends");
  }

  async restart() {
    this.begin();
    await listens(this.port, "the balancer listens again");
  }

  /** Another process takes over, and this one leaves when its connections are closed. */
  async handOver() {
    const before = this.child;
    this.begin();
    assert.deepEqual(await within(before.ended, "the process before leaves", HEAL_MS), { code: 0, signal: null }, this.output.slice(-2000));
    assert.equal(this.child.exitCode, null, this.output.slice(-2000));
  }
}

// ---------------------------------------------------------------- clients

/** A client that notes what it hears and asks, and tries the other balancer when its connection is lost. */
class Client {
  /** How often each broadcast came, and the last of each node. */
  heard = new Uint8Array(MOST);
  last = new Map();
  doubled = 0;
  disordered = 0;
  /** Times that it came back as the socket that it was, and as another. */
  recovered = 0;
  renewed = 0;
  /** Questions without an answer, and whether they have been asked. */
  open = new Map();
  answered = 0;
  repeated = 0;
  /** Unknown sessions, by whether their node was draining. */
  unknown = { going: 0, living: 0 };
  /** Why connections were lost. */
  reasons = [];

  constructor(urls, at, owner) {
    this.owner = owner;
    this.polls = at % 4 < 2;
    const transports = this.polls ? ["polling"] : ["websocket"];
    this.agent = kept(urls[0]);
    const options = { transports, reconnectionDelay: 100, reconnectionDelayMax: 500, forceNew: true, ...(this.polls && { agent: this.agent }) };
    this.manager = new Manager(urls[at % urls.length], options);
    this.manager.on("reconnect_attempt", () => { this.manager.uri = urls[++at % urls.length]; });
    this.manager.on("open", () => { this.sid = this.manager.engine.id; });
    this.manager.on("close", (reason, details) => this.#lost(reason, details));
    this.socket = this.manager.socket("/api");
    this.socket.once("connect", () => this.socket.on("connect", () => { this.socket.recovered ? this.recovered++ : this.renewed++; }));
    this.socket.on("connect", () => [...this.open].forEach(([question, asked]) => { if (asked) this.repeated++; this.#put(question); }));
    this.socket.on("news", (node, n) => this.#hear(node, n));
  }

  #hear(node, n) {
    if (this.heard[n]++ > 0) this.doubled++;
    else if (n < (this.last.get(node) ?? -1)) this.disordered++;
    this.last.set(node, Math.max(n, this.last.get(node) ?? -1));
  }

  #lost(reason, details) {
    const { description: status, context } = details ?? {};
    const { going } = this.owner(this.sid);
    const why = status === 0 ? context.statusText?.code ?? "no answer" : status?.message ?? status;
    this.reasons.push(`${reason}${why ? ` (${why})` : ""}`);
    if (status !== 400 || JSON.parse(context.responseText).code !== 1) return;
    if (going) this.unknown.going++;
    else this.unknown.living++;
  }

  ask(question) {
    this.open.set(question, false);
    if (this.socket.connected) this.#put(question);
  }

  #put(question) {
    this.open.set(question, true);
    this.socket.emit("echo", question, (answer) => {
      assert.equal(answer, question);
      // The question was sent twice, and both arrived.
      if (this.open.delete(question)) this.answered++;
    });
  }

  get tag() { return this.manager.engine.id?.slice(0, 4); }

  close() {
    this.socket.disconnect();
    this.agent.destroy();
  }
}

// ---------------------------------------------------------------- the test

test("nodes and balancers are replaced under 500 clients", { timeout: 600_000 }, async () => {
  const [{ port }] = await startNats(place, 1, true);
  const nats = `nats://127.0.0.1:${port}`;
  let nodes = await Promise.all(Array.from({ length: 3 }, () => Node.start(nats)));
  const known = [...nodes];
  const more = async () => {
    const node = await Node.start(nats);
    known.push(node);
    nodes.push(node);
  };
  const drain = async (...those) => {
    nodes = nodes.filter((node) => !those.includes(node));
    await Promise.all(those.map((node) => node.drain()));
  };
  const balancers = [await Balancer.start(nats, "left"), await Balancer.start(nats, "right")];
  await until(async () => (await nodes[0].publisher.emitWithAck("op", { do: "serverCount" })).value === 3, "the nodes know each other");

  const owner = (sid) => known.find(({ tag }) => sid.startsWith(tag));
  const clients = Array.from({ length: CLIENTS }, (_, at) => new Client(balancers.map(({ url }) => url), at, owner));
  let ticking;
  cleanup.push(() => { clearInterval(ticking); clients.forEach((client) => client.close()); });
  const allThere = () => until(() => clients.every(({ socket }) => socket.connected), "all are connected", HEAL_MS);
  await allThere();

  // A broadcast counts once its node has confirmed it. One in a node's last moments may reach all clients or
  // none.
  const confirmed = new Uint8Array(MOST);
  let sent = 0;
  let turn = 0;
  const broadcast = () => {
    const able = nodes.filter((node) => node.publishes);
    if (able.length === 0) return;
    const { publisher, index } = able[turn++ % able.length];
    const n = sent++;
    publisher.emit("op", { do: "emit", event: "news", args: [index, n] }, (answer) => { if (answer.ok) confirmed[n] = 1; });
  };
  // Something has come to each: it can say what it has.
  broadcast();
  await until(() => clients.every(({ heard }) => heard[0]), "all hear the first", HEAL_MS);
  let asked = 0;
  const began = Date.now();
  let done = 0;
  // A clock that ticks late makes up for it.
  ticking = setInterval(() => {
    for (const due = ((Date.now() - began) * RATE) / 1000; done < due; done++) {
      broadcast();
      clients[(asked * 7) % CLIENTS].ask(asked++);
    }
  }, 1000 / RATE);

  const perNode = () => nodes.map(({ name, tag }) => `${name} ${clients.filter((client) => client.tag === tag).length}`).join(", ");
  /** Runs a change, waits until the cluster is whole again, and prints the cost. */
  const during = async (what, change) => {
    const before = { sent, came: sum(clients.map(({ recovered }) => recovered)), repeated: sum(clients.map(({ repeated }) => repeated)) };
    const begun = Date.now();
    clients.forEach((client) => { client.reasons = []; });
    const marks = [];
    const mark = (what) => marks.push(`${what} ${((Date.now() - begun) / 1000).toFixed(1)} s`);
    await change();
    mark("changed after");
    await allThere();
    mark("all connected");
    // Whole: something sent from now on reaches everybody.
    const probe = sent;
    await until(() => sent > probe + nodes.length && confirmed[probe], "broadcasts go on", HEAL_MS);
    await until(() => clients.every(({ heard }) => heard[probe]), `the cluster is whole after: ${what}`, HEAL_MS);
    mark("whole");
    const question = asked;
    await until(() => clients.every(({ open }) => [...open.keys()].every((n) => n >= question)), "all questions so far are answered", HEAL_MS);
    mark("all answered");
    const due = Array.from({ length: probe - before.sent }, (_, n) => before.sent + n).filter((n) => confirmed[n]);
    const lost = sum(clients.map(({ heard }) => due.filter((n) => !heard[n]).length));
    const came = sum(clients.map(({ recovered }) => recovered)) - before.came;
    const repeated = sum(clients.map(({ repeated }) => repeated)) - before.repeated;
    const reasons = new Map();
    for (const reason of clients.flatMap((client) => client.reasons)) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    console.log(`${what}: ${marks.join(", ")}; ${due.length * CLIENTS} deliveries of ${due.length} broadcasts (${probe - before.sent - due.length} not confirmed), ${lost} lost; ${came} came back, ${sum(clients.map(({ renewed }) => renewed))} as others so far; ${repeated} questions repeated`);
    console.log(`  sessions: ${perNode()}; lost connections: ${[...reasons].map(([reason, count]) => `${count} ${reason}`).join(", ") || "none"}`);
    assert.equal(lost, 0, `nothing is lost when ${what}`);
    assert.equal(sum(clients.map(({ renewed }) => renewed)), 0, `all are who they were when ${what}`);
  };

  await during("nothing happens", () => pause(3000));
  assert.equal(sum(clients.map(({ recovered }) => recovered)), 0, "no client loses its connection before the first change");
  await during("two more nodes start", () => Promise.all([more(), more()]));
  const ofFirst = clients.filter(({ tag }) => tag === nodes[0].tag || tag === nodes[1].tag);
  await during("two of five nodes drain", () => drain(nodes[0], nodes[1]));
  assert.ok(ofFirst.every(({ recovered }) => recovered > 0), "the clients of drained nodes come back as who they were");
  await during("a balancer is killed", () => balancers[0].kill());
  await during("the balancer starts again", () => balancers[0].restart());
  await during("the other is handed over", () => balancers[1].handOver());
  for (const old of [...nodes]) {
    await during(`${old.name} is replaced`, async () => {
      await more();
      await drain(old);
    });
  }

  clearInterval(ticking);
  await until(() => clients.every(({ open }) => open.size === 0), "the last questions are answered", HEAL_MS);
  // The last ones, and those between two changes.
  const due = Array.from({ length: sent }, (_, n) => n).filter((n) => confirmed[n]);
  const lost = () => sum(clients.map(({ heard }) => due.filter((n) => !heard[n]).length));
  await until(() => lost() === 0, "all that was confirmed has come to all", HEAL_MS).catch(() => {});
  const total = (what) => sum(clients.map((client) => client[what]));
  console.log(`${CLIENTS} clients, ${sent} broadcasts, ${sum(clients.map(({ heard }) => sum(heard)))} deliveries: ${lost()} lost, ${total("doubled")} doubled, ${total("disordered")} out of order`);
  console.log(`${total("recovered")} reconnects recovered, ${total("renewed")} not; ${asked} questions, ${total("answered")} answered, ${total("repeated")} repeated`);
  // A draining node has closed the session, and its client may not have noticed yet.
  const unknown = { going: sum(clients.map(({ unknown }) => unknown.going)), living: sum(clients.map(({ unknown }) => unknown.living)) };
  console.log(`${unknown.living} sessions of nodes that live were unknown, and ${unknown.going} of nodes that were going`);
  assert.equal(lost(), 0, "nothing is lost");
  assert.equal(total("doubled"), 0, "nothing comes twice");
  assert.equal(total("disordered"), 0, "events of one node arrive in order");
  assert.equal(total("answered"), asked, "every question is answered");
  assert.equal(unknown.living, 0, "no request of a living session comes to a wrong node");
  assert.ok(nodes.every(({ tag }) => clients.some((client) => client.tag === tag)), `all nodes have clients: ${perNode()}`);
});
