// A cluster of docker-compose.yml, with faults, as clients on the published ports see it. `cargo xtask
// compose-test` runs this: it starts the cluster, and passes the command as COMPOSE (`docker-compose` or
// `docker compose`).
//
// Clients send numbers to each other all the time, over both balancers and every transport. A number without
// an acknowledgement is sent again, with another attempt number. At the end each client must have every
// acknowledged number, and no attempt twice.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { io } from "socket.io-client";
import { pause } from "./cluster.mjs";
import { until } from "./lib.mjs";

/** Machines that do this may be slow and busy. */
const PATIENCE = 120_000;
const CLIENTS = 12;
const ROOM = "drill";
const PORTS = [process.env.SOCIABLE_PORT_1 ?? "3000", process.env.SOCIABLE_PORT_2 ?? "3001"];
const TRANSPORTS = [["websocket"], ["polling", "websocket"], ["polling"]];

const run = async (command, ...args) => (await promisify(execFile)(command, args, { maxBuffer: 1 << 26 })).stdout;
const [program, ...first] = (process.env.COMPOSE ?? "docker-compose").split(" ");
const compose = (...args) => run(program, ...first, ...args);
const docker = (...args) => run("docker", ...args);
const containers = async (service) => (await compose("ps", "-q", service)).split("\n").filter(Boolean);
/** The name by which the node in a container shows itself: the container's own. */
const nameOf = (container) => container.slice(0, 12);
/** The answer, if there is one soon: a port of a container that does not listen yet may accept and say nothing. */
const get = (address) => Promise.race([fetch(address).catch(() => undefined), pause(5_000)]);
const url = (port) => `http://127.0.0.1:${port}`;

/** A client that sends and receives until it is silenced. */
class Client {
  heard = new Map(); // who spoke => the numbers with the attempts at each
  acknowledged = 0;
  again = 0; // attempts beyond the first
  fresh = 0; // times that it came back as somebody else
  returns = 0;
  lostAt = 0;
  longest = 0; // how long it was away at most, in ms

  constructor(index) {
    this.name = `client-${index}`;
    this.socket = io(url(PORTS[index % PORTS.length]), {
      transports: TRANSPORTS[index % TRANSPORTS.length], forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 1000,
    });
    this.socket.on("said", ({ name, text }) => {
      const [number, attempt] = text.split(".").map(Number);
      const numbers = this.heard.get(name) ?? this.heard.set(name, new Map()).get(name);
      numbers.set(number, [...numbers.get(number) ?? [], attempt]);
    });
    this.socket.on("figures", ({ node }) => { this.node = node; });
    this.socket.on("disconnect", () => { this.lostAt = Date.now(); this.node = undefined; });
    this.socket.on("connect", () => {
      if (!this.lostAt) return;
      this.returns++;
      this.longest = Math.max(this.longest, Date.now() - this.lostAt);
      if (!this.socket.recovered) this.fresh++;
    });
  }

  async join() {
    await until(() => this.socket.connected, `${this.name} is connected`, PATIENCE);
    const answer = await this.socket.timeout(PATIENCE).emitWithAck("join", ROOM, this.name);
    assert.equal(answer.room, ROOM, JSON.stringify(answer));
  }

  /** Says one number after the other, each until somebody has taken it. */
  speak() {
    this.silent = false;
    this.speaking = (async () => {
      while (!this.silent) {
        const number = this.acknowledged + 1;
        for (let attempt = 0; ; attempt++) {
          const answer = await this.socket.timeout(15_000).emitWithAck("say", ROOM, `${number}.${attempt}`).catch(() => undefined);
          if (answer === true) break;
          if (answer) throw new Error(`${this.name}: ${JSON.stringify(answer)}`);
          this.again++;
        }
        this.acknowledged = number;
        await pause(100);
      }
    })();
    // The caller awaits it when the client is silenced.
    this.speaking.catch(() => {});
  }

  async hush() {
    this.silent = true;
    await this.speaking;
  }

  /** How many numbers of the others and of itself it has not heard. */
  missing(clients) {
    let missing = 0;
    for (const { name, acknowledged } of clients) {
      const numbers = this.heard.get(name) ?? new Map();
      for (let number = 1; number <= acknowledged; number++) if (!numbers.has(number)) missing++;
    }
    return missing;
  }

  /** How many attempts it heard more than once. */
  doubled() {
    let doubled = 0;
    for (const numbers of this.heard.values()) for (const attempts of numbers.values()) doubled += attempts.length - new Set(attempts).size;
    return doubled;
  }
}

const clients = [];
const nodes = () => new Set(clients.map(({ node }) => node).filter(Boolean));
const allAreThere = () => clients.every(({ socket, node }) => socket.connected && node);

/** Waits until all are connected, and all have heard all that was said until now. */
async function allHaveHeard(what) {
  await until(allAreThere, `${what}: all clients are connected`, PATIENCE);
  const said = clients.map(({ name, acknowledged }) => ({ name, acknowledged }));
  await until(() => clients.every((client) => client.missing(said) === 0), `${what}: all have heard all`, PATIENCE).catch((error) => {
    throw new Error(`${error.message}; missing: ${clients.map((client) => client.missing(said))}`);
  });
  const sum = (of) => clients.reduce((all, client) => all + of(client), 0);
  const longest = Math.max(...clients.map(({ longest }) => longest));
  console.log(`# ${what}: ${sum((client) => client.acknowledged)} said, ${sum((client) => client.again)} of them again, heard by ${CLIENTS}; ` +
    `${sum((client) => client.returns)} returns, the longest after ${longest} ms`);
  for (const client of clients) client.longest = 0;
  assert.deepEqual(clients.map(({ fresh }) => fresh), clients.map(() => 0), "everybody came back as who he was");
  assert.deepEqual(clients.map((client) => client.doubled()), clients.map(() => 0), "nothing was heard twice");
}

before(async () => {
  const isThere = async (port) => (await get(`${url(port)}/readyz`))?.status === 200;
  for (const port of PORTS) await until(() => isThere(port), `a node answers at ${port}`, PATIENCE);
  const running = (await containers("node")).length;
  for (let i = 0; i < CLIENTS; i++) clients.push(new Client(i));
  await Promise.all(clients.map((client) => client.join()));
  assert.equal(running, 3, "there are three nodes");
  for (const client of clients) client.speak();
});

after(() => clients.forEach(({ socket }) => socket.disconnect()));

test("messages cross nodes and balancers; clients see their node", async () => {
  await allHaveHeard("at the start");
  assert.equal(nodes().size, 3, `clients are on ${[...nodes()]}`);
});

test("the page is at both ports", async () => {
  for (const port of PORTS) {
    const page = await (await fetch(url(port))).text();
    assert.match(page, /<dd id="node">/);
    for (const part of ["client.js", "chat.js", "style.css"]) assert.equal((await fetch(`${url(port)}/${part}`)).status, 200, part);
  }
});

test("a node is killed", async () => {
  const [victim] = await containers("node");
  assert.ok(nodes().has(nameOf(victim)));
  await docker("kill", "--signal=KILL", victim);
  await until(() => allAreThere() && !nodes().has(nameOf(victim)), "all clients are on other nodes", PATIENCE);
  await allHaveHeard("a node was killed");
  await docker("start", victim);
});

test("a node is paused for 20 s", async () => {
  const paused = (await containers("node")).find((node) => nodes().has(nameOf(node)));
  await docker("pause", paused);
  await pause(20_000);
  await docker("unpause", paused);
  await allHaveHeard("a node was paused");
});

test("a node is scaled away", async () => {
  const before = await containers("node");
  await compose("up", "-d", "--scale", "node=2", "--no-recreate");
  const left = await containers("node");
  assert.equal(left.length, 2);
  const gone = before.find((node) => !left.includes(node));
  await until(() => allAreThere() && !nodes().has(nameOf(gone)), "all clients are on the others", PATIENCE);
  await allHaveHeard("a node was scaled away");
});

test("five nodes take clients", async () => {
  await compose("up", "-d", "--scale", "node=5", "--no-recreate");
  assert.equal((await containers("node")).length, 5);
  // New clients go where there are fewest, so none come to nodes that have some.
  const seen = nodes();
  const visit = () => new Promise((resolve) => {
    const socket = io(url(PORTS[seen.size % 2]), { transports: ["websocket"], forceNew: true, reconnection: false });
    const done = (node) => { resolve(node); socket.disconnect(); };
    socket.on("figures", ({ node }) => done(node)).on("connect_error", () => done()).on("disconnect", () => done());
  });
  await until(async () => {
    for (const node of await Promise.all(Array.from({ length: 5 }, visit))) if (node) seen.add(node);
    return seen.size === 5;
  }, "new clients have been on five nodes", PATIENCE).catch((error) => { throw new Error(`${error.message}: only on ${[...seen]}`); });
  await allHaveHeard("there are five nodes");
});

test("a balancer is killed, and started again", async () => {
  const [balancer] = await containers("balancer-1");
  await docker("kill", "--signal=KILL", balancer);
  await docker("start", balancer);
  await allHaveHeard("a balancer was killed");
});

if (process.env.NATS_MODE === "cluster") {
  // One of them is the leader of the stream.
  for (const name of ["nats-1", "nats-2", "nats-3"]) {
    test(`a NATS server is killed: ${name}`, async () => {
      const [server] = await containers(name);
      await docker("kill", "--signal=KILL", server);
      await pause(10_000);
      await allHaveHeard(`${name} was killed`);
      await docker("start", server);
      // The others need it before the next one goes.
      await pause(10_000);
    });
  }
}

test("the whole cluster is stopped, and started again", async () => {
  await compose("down");
  await compose("up", "-d");
  await allHaveHeard("all was stopped");
});

test("every acknowledged number reached every client", async () => {
  await Promise.all(clients.map((client) => client.hush()));
  await allHaveHeard("in the end");
  const said = clients.reduce((all, { acknowledged }) => all + acknowledged, 0);
  assert.ok(said > CLIENTS * 100, `${said} were said`);
});
