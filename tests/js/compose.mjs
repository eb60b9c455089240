// Containers of a Compose file, and clients that talk all the time while containers fail.
//
// Clients send numbers to each other, over every transport. A number without an acknowledgement is sent again, with
// another attempt number. At the end each client must have every acknowledged number, and no attempt twice.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { io } from "socket.io-client";
import { pause } from "./cluster.mjs";
import { until } from "./lib.mjs";

/** Machines that do this may be slow and busy. */
export const PATIENCE = 120_000;
export const TRANSPORTS = [["websocket"], ["polling", "websocket"], ["polling"]];

const run = async (command, ...args) => (await promisify(execFile)(command, args, { maxBuffer: 1 << 26 })).stdout;
const [program, ...first] = (process.env.COMPOSE ?? "docker-compose").split(" ");
export const compose = (...args) => run(program, ...first, ...args);
export const docker = (...args) => run("docker", ...args);
export const containers = async (service) => (await compose("ps", "-q", service)).split("\n").filter(Boolean);
/** The answer, if there is one soon: a port of a container that does not listen yet may accept and say nothing. */
export const get = (address) => Promise.race([fetch(address).catch(() => undefined), pause(5_000)]);
export const url = (port) => `http://127.0.0.1:${port}`;

/** Waits until a node answers at each of these ports. */
export async function untilReady(ports) {
  const isThere = async (port) => (await get(`${url(port)}/readyz`))?.status === 200;
  for (const port of ports) await until(() => isThere(port), `a node answers at ${port}`, PATIENCE);
}

/** A client that sends and receives until it is silenced. */
export class Client {
  heard = new Map(); // who spoke => the numbers with the attempts at each
  acknowledged = 0;
  again = 0; // attempts beyond the first
  fresh = 0; // times that it came back as somebody else
  returns = 0;
  lostAt = 0;
  longest = 0; // how long it was away at most, in ms

  /**
   * `say(socket, text)` promises true once somebody has taken the text, and anything else if nobody has. It throws if the text is refused.
   */
  constructor(name, address, options, say) {
    this.name = name;
    this.say = say;
    this.socket = io(address, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 1000, ...options });
    this.socket.on("said", ({ name, text }) => {
      const [number, attempt] = text.split(".").map(Number);
      const numbers = this.heard.get(name) ?? this.heard.set(name, new Map()).get(name);
      numbers.set(number, [...numbers.get(number) ?? [], attempt]);
    });
    this.socket.on("disconnect", () => { this.lostAt = Date.now(); });
    this.socket.on("connect", () => {
      if (!this.lostAt) return;
      this.returns++;
      this.longest = Math.max(this.longest, Date.now() - this.lostAt);
      if (!this.socket.recovered) this.fresh++;
    });
  }

  /** The tag of its node, which every session id begins with. */
  get tag() {
    return this.socket.connected ? this.socket.io.engine.id.slice(0, 4) : undefined;
  }

  async connected() {
    await until(() => this.socket.connected, `${this.name} is connected`, PATIENCE);
    return this.socket;
  }

  /** Says one number after the other, each until somebody has taken it. */
  speak() {
    this.silent = false;
    this.speaking = (async () => {
      while (!this.silent) {
        const number = this.acknowledged + 1;
        for (let attempt = 0; await this.say(this.socket.timeout(15_000), `${number}.${attempt}`) !== true; attempt++) this.again++;
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

/** Waits until all are connected, and all have heard all that was said until now. */
export async function allHaveHeard(clients, what, areThere = () => clients.every(({ socket }) => socket.connected)) {
  await until(areThere, `${what}: all clients are connected`, PATIENCE);
  const said = clients.map(({ name, acknowledged }) => ({ name, acknowledged }));
  await until(() => clients.every((client) => client.missing(said) === 0), `${what}: all have heard all`, PATIENCE).catch((error) => {
    throw new Error(`${error.message}; missing: ${clients.map((client) => client.missing(said))}`);
  });
  const sum = (of) => clients.reduce((all, client) => all + of(client), 0);
  const longest = Math.max(...clients.map(({ longest }) => longest));
  console.log(`# ${what}: ${sum((client) => client.acknowledged)} said, ${sum((client) => client.again)} of them again, heard by ${clients.length}; ` +
    `${sum((client) => client.returns)} returns, the longest after ${longest} ms`);
  for (const client of clients) client.longest = 0;
  assert.deepEqual(clients.map(({ fresh }) => fresh), clients.map(() => 0), "everybody came back as who he was");
  assert.deepEqual(clients.map((client) => client.doubled()), clients.map(() => 0), "nothing was heard twice");
}
