// 100 real clients in one room, half of them polling, and 20 numbered broadcasts a second from client to client.
//
// A broadcast counts once its node has acknowledged it: NATS has then persisted it. From then on it is due at
// every client, once.
import { Manager } from "socket.io-client";
import { pause } from "../cluster.mjs";
import { kept } from "../kept.mjs";
import { until } from "../lib.mjs";

const ROOM = "drill";
/** More broadcasts than there will be. */
const MOST = 1 << 18;
/** A node gives an event up after 60 s. */
const ANSWER_MS = 75_000;
const PATIENCE = 240_000;
const PENDING = 0, CONFIRMED = 1, UNCONFIRMED = 2;

const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

/** Half poll. A quarter has a WebSocket at once, a quarter upgrades to it. */
const TRANSPORTS = [["polling"], ["websocket"], ["polling"], ["polling", "websocket"]];

class Client {
  heard = new Uint8Array(MOST);
  member = false;
  /** The pod of its node, by the figures that each node sends to its clients. */
  pod = undefined;

  constructor(crowd, index) {
    Object.assign(this, { crowd, name: `client-${index}`, transports: TRANSPORTS[index % TRANSPORTS.length] });
    this.agent = kept(crowd.url);
    const options = { transports: this.transports, reconnectionDelay: 200, reconnectionDelayMax: 2000, forceNew: true };
    // A WebSocket has a connection of its own.
    if (this.transports.length === 1 && this.transports[0] === "polling") options.agent = this.agent;
    this.manager = new Manager(crowd.url, options);
    this.manager.on("open", () => { this.sid = this.manager.engine.id; });
    this.manager.on("close", (reason, details) => this.#unknown(details));
    this.socket = this.manager.socket("/");
    this.socket.on("connect", () => this.#connected());
    this.socket.on("disconnect", (reason) => this.#lost(reason));
    this.socket.on("figures", ({ node }) => { this.pod = node; });
    this.socket.on("said", ({ text }) => this.#hear(Number(text)));
  }

  #connected() {
    if (this.lostAt) {
      this.crowd.period.away = Math.max(this.crowd.period.away, Date.now() - this.lostAt);
      if (this.socket.recovered) this.crowd.period.recovered++;
      else this.crowd.period.renewed++;
    }
    this.member &&= this.socket.recovered;
    if (!this.member) this.#enter();
  }

  #lost(reason) {
    this.lostAt = Date.now();
    this.pod = undefined;
    this.crowd.period.cut.add(this.name);
    this.crowd.period.cuts.set(reason, (this.crowd.period.cuts.get(reason) ?? 0) + 1);
  }

  /** Notes an answer "Session ID unknown". */
  #unknown(details) {
    if (details?.description !== 400) return;
    const { code } = JSON.parse(details.context.responseText);
    if (code === 1) this.crowd.period.unknown.push({ tag: this.sid.slice(0, 4), at: Date.now() });
  }

  async #enter() {
    while (this.socket.connected && !this.member) {
      const answer = await this.socket.timeout(ANSWER_MS).emitWithAck("join", ROOM, this.name).catch(() => undefined);
      if (answer?.room === ROOM) this.member = true;
      else await pause(200);
    }
  }

  #hear(n) {
    const { period } = this.crowd;
    if (this.heard[n]++) period.twice++;
    const now = Date.now();
    if (this.heardAt) period.silence = Math.max(period.silence, now - this.heardAt);
    this.heardAt = now;
  }

  get there() {
    return this.socket.connected && this.member;
  }

  get tag() {
    return this.socket.connected ? this.sid.slice(0, 4) : undefined;
  }

  close() {
    this.manager._close();
    this.agent.destroy();
  }
}

/** What happened to all clients during an event. */
const newPeriod = (from) => ({ from, begun: Date.now(), cut: new Set(), cuts: new Map(), recovered: 0, renewed: 0, twice: 0, unknown: [], away: 0, silence: 0 });

export class Crowd {
  sent = 0;
  state = new Uint8Array(MOST);
  /** Why broadcasts were not confirmed. */
  complaints = new Map();

  constructor(url, count, rate) {
    Object.assign(this, { url, rate });
    this.period = newPeriod(0);
    this.clients = Array.from({ length: count }, (_, index) => new Client(this, index));
  }

  async start() {
    await this.allThere("at the start");
    const begun = Date.now();
    let turn = 0;
    let done = 0;
    // A clock that ticks late makes up for it.
    this.ticking = setInterval(() => {
      for (const due = ((Date.now() - begun) * this.rate) / 1000; done < due; done++) this.#broadcast(turn += 7);
    }, 1000 / this.rate);
    await this.whole("at the start");
    this.begin();
  }

  stop() {
    clearInterval(this.ticking);
    this.clients.forEach((client) => client.close());
  }

  #broadcast(turn) {
    const able = this.clients.filter(({ there }) => there);
    if (able.length === 0) return;
    const n = this.sent++;
    const { socket } = able[turn % able.length];
    const refused = (why) => {
      this.state[n] = UNCONFIRMED;
      this.complaints.set(why, (this.complaints.get(why) ?? 0) + 1);
    };
    socket.timeout(ANSWER_MS).emitWithAck("say", ROOM, String(n)).then(
      (answer) => { if (answer === true) this.state[n] = CONFIRMED; else refused(JSON.stringify(answer)); },
      (error) => refused(error.message),
    );
  }

  get there() {
    return this.clients.every(({ there }) => there);
  }

  allThere(what) {
    return until(() => this.there, `all clients are connected: ${what}`, PATIENCE);
  }

  /** Waits until a broadcast that is sent from now on has reached all. */
  async whole(what) {
    for (;;) {
      await this.allThere(what);
      const probe = this.sent;
      await until(() => this.state[probe] !== PENDING, `a broadcast is answered: ${what}`, PATIENCE);
      if (this.state[probe] === UNCONFIRMED) continue;
      await until(() => this.clients.every(({ heard }) => heard[probe]), `all hear: ${what}`, PATIENCE);
      if (this.there) return;
    }
  }

  /** Waits until so many further broadcasts were sent, and have reached these clients. */
  async more(count, clients = this.clients) {
    const mark = this.sent + count;
    const reached = (client) => client.heard.subarray(mark - count, this.sent).reduce((total, n) => total + (n > 0), 0) >= count;
    await until(() => this.sent >= mark && clients.every(reached), `${count} more broadcasts arrive`, PATIENCE);
  }

  begin() {
    this.period = newPeriod(this.sent);
    this.complaints = new Map();
    this.clients.forEach((client) => { client.heardAt = Date.now(); });
  }

  on(pod) {
    return this.clients.filter((client) => client.pod === pod);
  }

  /** The pod with the most clients, of these. */
  busiest(pods) {
    return [...pods].sort((a, b) => this.on(b.metadata.name).length - this.on(a.metadata.name).length)[0];
  }

  /** How many due deliveries have not come, of the broadcasts from one number to another. */
  missing(from, to) {
    let missing = 0;
    for (let n = from; n < to; n++) {
      if (this.state[n] !== CONFIRMED) continue;
      for (const { heard } of this.clients) if (!heard[n]) missing++;
    }
    return missing;
  }

  count(from, to, state) {
    return sum(Array.from(this.state.subarray(from, to), (it) => Number(it === state)));
  }

  /** Ends the event: waits until all is well again, and returns what it cost. */
  async end(what) {
    await this.whole(what);
    const { period, sent } = this;
    const seconds = (Date.now() - period.begun) / 1000;
    const { from } = period;
    await until(() => this.count(from, sent, PENDING) === 0, `all broadcasts are answered: ${what}`, PATIENCE);
    // The last ones may be on their way.
    await until(() => this.missing(from, sent) === 0, "nothing is missing", 20_000).catch(() => {});
    return {
      cut: period.cut.size,
      recovered: period.recovered,
      renewed: period.renewed,
      lost: this.missing(from, sent),
      twice: period.twice,
      unconfirmed: this.count(from, sent, UNCONFIRMED),
      broadcasts: sent - from,
      unknown: period.unknown,
      seconds,
      away: period.away / 1000,
      silence: period.silence / 1000,
      reasons: Object.fromEntries(period.cuts),
      complaints: Object.fromEntries(this.complaints),
    };
  }
}
