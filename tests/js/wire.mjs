// Raw HTTP and WebSocket bytes over TCP, for tests of exact answers. A client library would hide or repair what these tests compare.
import net from "node:net";
import { randomBytes } from "node:crypto";
import { within } from "./lib.mjs";

/** The key of RFC 6455, section 1.3. */
export const WEBSOCKET_HEADERS = {
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** A masked frame of a client. */
export function frame(opcode, payload = "", { fin = true, bits = 0 } = {}) {
  const bytes = Buffer.from(payload);
  const short = bytes.length < 126;
  const head = Buffer.alloc(short ? 2 : bytes.length < 65536 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | bits | opcode;
  head[1] = 0x80 | (short ? bytes.length : head.length === 4 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(bytes.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(bytes.length), 2);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, bytes.map((byte, at) => byte ^ mask[at % 4])]);
}

export const text = (payload) => frame(1, payload);

/** The bytes of a request. Headers without a value are left out. */
export function requestBytes(method, target, headers = {}, body) {
  const fields = { Host: "test", ...(body !== undefined && { "Content-Length": Buffer.byteLength(body) }), ...headers };
  const lines = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1"), Buffer.from(body ?? "")]);
}

/** One TCP connection. */
export class Wire {
  #bytes = Buffer.alloc(0);
  #wake = () => {};
  ended = false;

  constructor(server) {
    this.socket = net.connect(server.port, "127.0.0.1");
    this.socket.setNoDelay(true);
    const note = (change) => (...args) => {
      change(...args);
      this.#wake();
    };
    this.socket.on("data", note((chunk) => (this.#bytes = Buffer.concat([this.#bytes, chunk]))));
    // A reset ends the connection like a close: which of both comes is a matter of timing.
    for (const event of ["end", "error", "close"]) this.socket.on(event, note(() => (this.ended = true)));
  }

  send(...parts) {
    for (const part of parts) this.socket.write(part);
    return this;
  }

  ask(method, target, headers, body) {
    this.method = method;
    return this.send(requestBytes(method, target, headers, body));
  }

  close() {
    this.socket.destroy();
  }

  /** Waits until `take` gives something but undefined. Null means the end of the connection. */
  #until(take, what) {
    const taken = new Promise((resolve) => {
      const settle = (value) => {
        // Later bytes are for the next who waits.
        this.#wake = () => {};
        resolve(value);
      };
      const look = () => {
        const value = take();
        if (value !== undefined) settle(value);
        else if (this.ended) settle(null);
      };
      this.#wake = look;
      look();
    });
    return within(taken, what);
  }

  #take(length) {
    const taken = this.#bytes.subarray(0, length);
    this.#bytes = this.#bytes.subarray(length);
    return taken;
  }

  /** The next response: status, headers, body. Null if the connection ended without one. */
  async response() {
    const head = await this.#until(() => {
      const end = this.#bytes.indexOf("\r\n\r\n");
      return end < 0 ? undefined : this.#take(end + 4).toString("latin1");
    }, "the head of a response");
    if (head === null) return null;
    const [line, ...lines] = head.trimEnd().split("\r\n");
    const status = Number(line.split(" ")[1]);
    const headers = {};
    for (const field of lines) {
      const [name, value] = [field.slice(0, field.indexOf(":")).toLowerCase(), field.slice(field.indexOf(":") + 1).trim()];
      headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    return { status, headers, body: await this.#body(status, headers) };
  }

  async #body(status, headers) {
    if (this.method === "HEAD" || status < 200 || status === 204 || status === 304) return Buffer.alloc(0);
    if (headers["transfer-encoding"] === "chunked") {
      const chunks = [];
      for (;;) {
        const chunk = await this.#until(() => {
          const end = this.#bytes.indexOf("\r\n");
          const length = end < 0 ? 0 : parseInt(this.#bytes.subarray(0, end).toString(), 16);
          if (end < 0 || this.#bytes.length < end + length + 4) return undefined;
          this.#take(end + 2);
          const chunk = this.#take(length);
          this.#take(2);
          return chunk;
        }, "a chunk");
        if (chunk === null || chunk.length === 0) return Buffer.concat(chunks);
        chunks.push(chunk);
      }
    }
    const length = Number(headers["content-length"] ?? 0);
    return (await this.#until(() => (this.#bytes.length < length ? undefined : this.#take(length)), "a body")) ?? this.#take(Infinity);
  }

  /** The next frame of the server, as text: its kind and payload. `end` is the end of the connection. */
  async frame() {
    const taken = await this.#until(() => {
      const bytes = this.#bytes;
      if (bytes.length < 2) return undefined;
      const short = bytes[1] & 127;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (bytes.length < start) return undefined;
      const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < start + length) return undefined;
      const frame = this.#take(start + length);
      return { opcode: frame[0] & 15, payload: frame.subarray(start) };
    }, "a frame");
    if (taken === null) return "end";
    const { opcode, payload } = taken;
    if (opcode === 1) return `text ${payload}`;
    if (opcode === 2) return `binary ${payload.toString("hex")}`;
    if (opcode === 8) return payload.length >= 2 ? `close ${payload.readUInt16BE(0)}` : "close";
    return `${opcode} ${payload.toString("hex")}`;
  }

  /** The frames up to one, or to the close. */
  async framesUntil(last) {
    const frames = [];
    do frames.push(await this.frame());
    while (!/^(end|close.*)$/.test(frames.at(-1)) && frames.at(-1) !== last);
    return frames;
  }

  /** All bytes up to the end of the connection. */
  async rest() {
    await this.#until(() => undefined, "the end of the connection");
    return this.#take(Infinity);
  }
}
