// Shared parts of the tests: servers, clients (the real one, raw websocket, raw polling) and waits for
// outcomes.
//
// Every wait has a deadline, and ends with its outcome. No test sleeps for a guessed time.
import { after } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Manager } from "socket.io-client";
import { WebSocket } from "ws";

/** The longest wait for an outcome. A failing test reports after this time. */
export const PATIENCE = 15_000;

// ---------------------------------------------------------------- waiting

/** Lets a promise run into a deadline, so that a lost message fails the test instead of hanging it. */
export function within(promise, what, ms = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next such event of an emitter. */
export function once(emitter, event, what = `"${event}"`) {
  return within(new Promise((resolve) => emitter.once(event, (...args) => resolve(args))), what);
}

/** Asks again until the answer is truthy: for states that no event announces. */
export async function until(question, what, ms = PATIENCE) {
  const deadline = Date.now() + ms;
  for (;;) {
    const answer = await question();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** All that a client hears of one event, in order. */
export function collect(socket, event) {
  const heard = [];
  socket.on(event, (...args) => heard.push(args.length === 1 ? args[0] : args));
  return heard;
}

/**
 * Returns when all that the server had sent to these clients before has arrived. Order holds for each client, so an echo is the mark:
 * what is not there behind it was never sent. That is how a test shows that something does *not* come.
 */
export async function settle(...sockets) {
  await Promise.all(sockets.map((socket) => ask(socket, "echo", "settled")));
}

let counter = 0;
/** A namespace of the acceptance app that no other test uses. */
export const ownNamespace = () => `/dyn-${process.pid}${++counter}`;

// ---------------------------------------------------------------- servers

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** A server process. Its output is kept for the message of a failure. */
export class Server {
  output = "";

  constructor(binary, flags, port) {
    this.binary = binary;
    this.flags = flags;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#spawn();
  }

  /** Flags that depend on the port are a function of it. */
  static async start(variable, flags, port) {
    const binary = process.env[variable];
    if (!binary) throw new Error(`${variable} must be the path of the binary under test (\`cargo xtask test\` sets it)`);
    port ??= await freePort();
    return await new this(binary, typeof flags === "function" ? flags(port) : flags, port).#ready();
  }

  /** The arguments of its listening address. */
  at(port) {
    return ["--port", String(port)];
  }

  #spawn() {
    const { binary, flags } = this;
    this.ended = null;
    // A `.mjs` in place of the binary lets these tests be tried on the JavaScript server.
    const [file, args] = binary.endsWith(".mjs") ? [process.execPath, [binary]] : [binary, []];
    this.child = spawn(file, [...args, ...this.at(this.port), ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    this.exit = new Promise((resolve) => {
      this.child.once("exit", (code, signal) => resolve({ code, signal }));
      this.child.once("error", (error) => resolve({ error }));
    });
    this.exit.then((exit) => (this.ended = exit));
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => (this.output += chunk));
    servers.add(this);
  }

  /** Waits until the port is served; a process that ends before that is the failure. */
  async #ready() {
    await until(async () => {
      if (this.ended) throw new Error(`the server ended at its start: ${JSON.stringify(this.ended)}\n${this.output.slice(-2000)}`);
      return await fetch(this.url + "/").then((res) => res.arrayBuffer().then(() => true), () => false);
    }, "the server answers").catch((error) => {
      throw new Error(`${error.message}\n${this.output.slice(-2000)}`);
    });
    return this;
  }

  get alive() {
    return !this.ended;
  }

  /** Sends a signal and waits for the end of the process. */
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    servers.delete(this);
    return await within(this.exit, `the server to end by ${signal}`);
  }

  /** Starts it again on the same port. */
  async restart() {
    this.#spawn();
    return await this.#ready();
  }
}

/** A balancer. */
export class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }

  static start(flags, port) {
    return super.start("SOCIABLE_BALANCER", flags, port);
  }
}

const servers = new Set();
const killAll = () => servers.forEach((server) => server.child.kill("SIGKILL"));
after(killAll);
process.on("exit", killAll);

async function forTest(t, variable, flags) {
  const server = await Server.start(variable, flags);
  t.after(() => server.stop("SIGKILL"));
  return server;
}

/** The acceptance app for one test alone: it may be stopped. */
export const freshApp = (t, ...flags) => forTest(t, "ACCEPTANCE", flags);

/** The node binary with its page. */
export const freshNode = (t, ...flags) => forTest(t, "NODE_BIN", flags);

/** A file of settings with this text, for the time of the test. */
export function settingsFile(t, text) {
  const folder = mkdtempSync(path.join(tmpdir(), "sociable-settings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const name = path.join(folder, "node.toml");
  writeFileSync(name, text);
  return name;
}

const shared = new Map();
/** The acceptance app with these flags, one for all tests of a file. A test uses a namespace of its own on it. */
export function sharedApp(...flags) {
  const key = flags.join(" ");
  if (!shared.has(key)) shared.set(key, Server.start("ACCEPTANCE", flags));
  return shared.get(key);
}

// ---------------------------------------------------------------- the real client

/** A client of `socket.io-client` that is not connected yet. Each has a connection of its own. */
export function client(t, app, nsp = "/api", { auth, ...options } = {}) {
  const manager = new Manager(app.url, { reconnection: false, transports: ["websocket"], timeout: PATIENCE, ...options });
  t.after(() => manager._close());
  return manager.socket(nsp, { auth });
}

/** A connected client. */
export async function connect(t, app, nsp, options) {
  const socket = client(t, app, nsp, options);
  await connected(socket);
  return socket;
}

export async function connectMany(t, count, app, nsp, options) {
  return await Promise.all(Array.from({ length: count }, () => connect(t, app, nsp, options)));
}

/** Waits for the connection; a refusal is thrown. */
export function connected(socket) {
  if (socket.connected) return Promise.resolve();
  const outcome = new Promise((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  return within(outcome, "the connection");
}

/** An event with an acknowledgement, which must come. */
export function ask(socket, event, ...args) {
  return within(socket.emitWithAck(event, ...args), `the acknowledgement of "${event}"`);
}

/** An op of the acceptance app: its whole answer. */
export const op = (socket, request) => ask(socket, "op", request);

/** An op that must succeed: its value. */
export async function done(socket, request) {
  const answer = await op(socket, request);
  assert.equal(answer.ok, true, `${JSON.stringify(request)}: ${answer.error}`);
  return answer.value;
}

/** The server is there and serves a new client. */
export async function assertServes(t, app, options) {
  assert.ok(app.alive, `the server has ended: ${JSON.stringify(app.ended)}\n${app.output.slice(-2000)}`);
  const socket = await connect(t, app, "/api", options);
  assert.equal(await ask(socket, "echo", "still here"), "still here");
  socket.disconnect();
}

// ---------------------------------------------------------------- raw websocket

/** A websocket that speaks packet by packet. Pings are answered, unless `manual`, and are not among the packets. */
export class RawSocket {
  #packets = [];
  #waiting = [];
  pings = 0;

  constructor(app, query = {}, { manual = false } = {}) {
    const search = new URLSearchParams({ EIO: "4", transport: "websocket", ...query });
    this.socket = new WebSocket(`${app.url.replace("http", "ws")}/socket.io/?${search}`, { perMessageDeflate: false });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once("open", resolve);
      this.socket.once("error", reject);
    });
    this.closed = new Promise((resolve) => this.socket.once("close", (code) => resolve(code)));
    // Resets are an outcome like others: they end in `closed`.
    this.socket.on("error", () => {});
    this.opened.catch(() => {});
    this.socket.on("message", (data, isBinary) => {
      const packet = isBinary ? data : data.toString();
      if (packet === "2" && !manual) {
        this.pings++;
        return this.socket.send("3");
      }
      const waiting = this.#waiting.shift();
      if (waiting) waiting(packet);
      else this.#packets.push(packet);
    });
  }

  send(...packets) {
    for (const packet of packets) this.socket.send(packet);
  }

  /** The next packet of the server. */
  next(what = "a packet") {
    if (this.#packets.length) return Promise.resolve(this.#packets.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), what);
  }

  /** The server closes this connection: the close code. */
  gone(what = "the server closes the websocket") {
    return within(this.closed, what);
  }

  /** Packets that came and were not awaited. */
  get rest() {
    return this.#packets;
  }

  terminate() {
    this.socket.terminate();
  }
}

/** A raw websocket with an open Engine.IO session, as yet in no namespace. `handshake` is what the server opened it with. */
export async function rawEngine(t, app, options) {
  const raw = new RawSocket(app, {}, options);
  t.after(() => raw.terminate());
  await within(raw.opened, "the websocket opens");
  const open = await raw.next("the open packet");
  assert.equal(open[0], "0", open);
  raw.handshake = JSON.parse(open.slice(1));
  return raw;
}

/** A raw websocket in a namespace of the acceptance app (one that sends nothing by itself). */
export async function rawClient(t, app, nsp = "/api", options) {
  const raw = await rawEngine(t, app, options);
  raw.send(`40${nsp},`);
  const answer = await raw.next("the answer to CONNECT");
  assert.ok(answer.startsWith(`40${nsp},{`), answer);
  raw.sid = JSON.parse(answer.slice(answer.indexOf("{"))).sid;
  return raw;
}

// ---------------------------------------------------------------- raw polling

/** A polling session, request by request. */
export class RawPolling {
  constructor(app) {
    this.app = app;
  }

  static async open(app) {
    const polling = new RawPolling(app);
    const answer = await polling.get();
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.text[0], "0", answer.text);
    polling.handshake = JSON.parse(answer.text.slice(1));
    polling.sid = polling.handshake.sid;
    return polling;
  }

  #url() {
    const search = new URLSearchParams({ EIO: "4", transport: "polling", ...(this.sid && { sid: this.sid }) });
    return `${this.app.url}/socket.io/?${search}`;
  }

  get() {
    return request(this.#url());
  }

  post(body) {
    return request(this.#url(), { method: "POST", body, headers: { "content-type": "text/plain;charset=UTF-8" } });
  }

  /** Enters a namespace. */
  async connect(nsp = "/api") {
    assert.equal((await this.post(`40${nsp},`)).text, "ok");
    const { text } = await this.get();
    assert.ok(text.startsWith(`40${nsp},{`), text);
    return JSON.parse(text.slice(text.indexOf("{"))).sid;
  }
}

/** One HTTP request: status and text. */
export async function request(url, init) {
  const answer = fetch(url, init).then(async (res) => ({ status: res.status, text: await res.text() }));
  return await within(answer, `the answer to ${init?.method ?? "GET"} ${url}`);
}
