"use strict";

/**
 * A small Socket.IO client (protocol 5 on Engine.IO 4): websocket, one namespace, text packets, and no more than our pages need.
 * It shows how little the protocol asks for; an application takes `socket.io-client`.
 */
class SocketClient {
  // The first wait before a reconnection; each failure doubles it, up to the longest.
  static FIRST_DELAY = 500;
  static LONGEST_DELAY = 10_000;
  static ACK_TIMEOUT = 10_000;

  #handlers = new Map();
  #acks = new Map();
  #nextAck = 0;
  #failures = 0;
  #silence;
  #retry;
  #socket;
  #namespace;
  #auth;
  id = null;

  /**
   * `url`: the server's path, e.g. `/socket.io/`. `auth`: what the namespace asks for to let one in.
   * Own events: `connect`, `disconnect`, `retry` (ms) and `refused` (why).
   */
  constructor(url, { namespace = "/", auth } = {}) {
    // Packets of the main namespace do not name it.
    this.#namespace = namespace === "/" ? "" : namespace + ",";
    this.#auth = auth === undefined ? "" : JSON.stringify(auth);
    this.url = new URL(url, location.href);
    this.url.protocol = this.url.protocol === "https:" ? "wss:" : "ws:";
    this.url.search = "EIO=4&transport=websocket";
    this.#open();
    // A network that has come back is no reason to sit out the wait.
    addEventListener("online", () => { if (this.#retry) this.#open(); });
  }

  on(event, handler) {
    this.#handlers.set(event, handler);
  }

  /** Emits an event and promises the first argument of its acknowledgement. */
  request(event, ...args) {
    if (!this.id) return Promise.reject(new Error("not connected"));
    const ack = this.#nextAck++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#settle(ack, () => reject(new Error("no answer"))), SocketClient.ACK_TIMEOUT);
      this.#acks.set(ack, { resolve, reject, timer });
      this.#send("2", ack, [event, ...args]);
    });
  }

  /** Closes the connection for good. */
  close() {
    this.#drop();
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  #send(type, ack, args) {
    this.#socket.send(`4${type}${this.#namespace}${ack}${JSON.stringify(args)}`);
  }

  #open() {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const socket = this.#socket = new WebSocket(this.url);
    socket.onmessage = ({ data }) => { if (socket === this.#socket && typeof data === "string") this.#packet(data); };
    socket.onclose = () => { if (socket === this.#socket) this.#closed(); };
  }

  /** One Engine.IO packet: its first character is the type. */
  #packet(text) {
    const body = text.slice(1);
    switch (text[0]) {
      case "0": { // open
        const { pingInterval, pingTimeout } = JSON.parse(body);
        this.patience = pingInterval + pingTimeout;
        this.#beat();
        this.#socket.send(`40${this.#namespace}${this.#auth}`);
        break;
      }
      case "1": this.#drop(); break; // close
      case "2": this.#beat(); this.#socket.send("3"); break; // ping
      case "4": this.#message(body); break;
    }
  }

  /** One Socket.IO packet: type, namespace unless it is the main one, acknowledgement id if any, JSON. */
  #message(text) {
    const [, type, ack, json] = /^(\d)(?:\/[^,]*,)?(\d*)([^]*)$/.exec(text) ?? [];
    switch (type) {
      case "0": // connected
        this.id = JSON.parse(json).sid;
        this.#failures = 0;
        this.#emit("connect", this.id);
        break;
      case "2": { // event
        const [event, ...args] = JSON.parse(json);
        const answer = this.#emit(event, ...args);
        if (ack) this.#send("3", ack, [answer ?? null]);
        break;
      }
      case "3": // acknowledgement
        this.#settle(Number(ack), ({ resolve }) => resolve(JSON.parse(json)[0]));
        break;
      case "1": // put out by the server
        this.#drop();
        break;
      case "4": // refused; whoever listens may close, or it is tried again
        this.#drop();
        this.#emit("refused", JSON.parse(json).message);
        break;
    }
  }

  #emit(event, ...args) {
    return this.#handlers.get(event)?.(...args);
  }

  #settle(ack, how) {
    const pending = this.#acks.get(ack);
    if (!pending) return;
    clearTimeout(pending.timer);
    this.#acks.delete(ack);
    how(pending);
  }

  /** The server pings; if it stops to, the connection is dead even where the socket seems open. */
  #beat() {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#drop(), this.patience);
  }

  /** Gives the connection up without waiting for a closing handshake that a dead peer would never answer. */
  #drop() {
    if (!this.#socket) return;
    this.#socket.close();
    this.#closed();
  }

  #closed() {
    this.#socket = null;
    clearTimeout(this.#silence);
    for (const ack of [...this.#acks.keys()]) this.#settle(ack, ({ reject }) => reject(new Error("disconnected")));
    if (this.id) {
      this.id = null;
      this.#emit("disconnect");
    }
    // Half to one and a half times the wait, so that the clients of a restarted node don't all come at once.
    const delay = Math.min(SocketClient.LONGEST_DELAY, SocketClient.FIRST_DELAY * 2 ** this.#failures++) * (0.5 + Math.random());
    this.#emit("retry", delay);
    this.#retry = setTimeout(() => this.#open(), delay);
  }
}
