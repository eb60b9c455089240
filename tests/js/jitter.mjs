// A network that cuts every connection again and again, and clients behind it that must hear each message once.
import net from "node:net";
import { Manager } from "socket.io-client";

/** Numbers from 0 to 1 that a seed decides (mulberry32), so that a run can be repeated. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const between = (random, from, to) => from + random() * (to - from);

/**
 * One client's way to a port. While it is cutting, it ends all of the client's connections every 5 to 15 s, half of the times by RST and else by FIN, and
 * refuses new ones for 0.5 to 3 s.
 */
export class BadLink {
  cuts = 0;
  #open = new Set();
  #refusesUntil = 0;
  #server;
  #timer;

  constructor(target, random) {
    this.target = target;
    this.random = random;
    this.#server = net.createServer({ noDelay: true }, (near) => this.#join(near));
  }

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
    return this;
  }

  begin() {
    this.#timer = setTimeout(() => { this.#cut(); this.begin(); }, between(this.random, 5_000, 15_000));
  }

  calm() {
    clearTimeout(this.#timer);
  }

  close() {
    this.calm();
    this.#server.close();
    for (const link of this.#open) link.ends.forEach((end) => end.destroy());
  }

  #join(near) {
    near.on("error", () => {});
    if (Date.now() < this.#refusesUntil) return void near.resetAndDestroy();
    const far = net.connect({ port: this.target, host: "127.0.0.1", noDelay: true });
    const link = { ends: [near, far], cut: false };
    this.#open.add(link);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("data", (data) => link.cut || to.write(data));
      from.on("error", () => {});
      from.on("close", () => { this.#open.delete(link); if (!link.cut) to.destroySoon(); });
    }
  }

  #cut() {
    this.cuts++;
    this.#refusesUntil = Date.now() + between(this.random, 500, 3_000);
    const reset = this.random() < 0.5;
    for (const link of this.#open) {
      link.cut = true;
      if (reset) {
        link.ends.forEach((end) => end.resetAndDestroy());
      } else {
        link.ends.forEach((end) => end.end());
        // A side that ignores the end of the stream is closed.
        setTimeout(() => link.ends.forEach((end) => end.destroy()), 200);
      }
    }
  }
}

/** A client in the room that notes how often it heard each number. */
export class Listener {
  heard = [];
  doubled = [];
  disordered = [];
  recovered = 0;
  renewed = 0;
  joined = false;
  #top = -1;

  constructor(url, transports) {
    this.manager = new Manager(url, { transports, reconnectionDelay: 200, reconnectionDelayMax: 2_000, forceNew: true });
    this.socket = this.manager.socket("/");
    this.socket.on("connect", () => {
      if (this.joined && this.socket.recovered) return void this.recovered++;
      if (this.joined) this.renewed++;
      this.socket.emit("join", "room", () => { this.joined = true; });
    });
    this.socket.on("msg", (n) => {
      if (this.heard[n]) return void this.doubled.push(n);
      this.heard[n] = true;
      if (n < this.#top) this.disordered.push(n);
      this.#top = Math.max(this.#top, n);
    });
  }

  /** The numbers below `count` that it never heard. */
  missing(count) {
    return Array.from({ length: count }, (_, n) => n).filter((n) => !this.heard[n]);
  }

  close() {
    this.manager._close();
  }
}
