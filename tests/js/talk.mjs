// Conversations with one server, whose answers are recorded in a form that does not depend on the run.
import { until } from "./lib.mjs";
import { WEBSOCKET_HEADERS, Wire, text } from "./wire.mjs";

export const POLLING = "EIO=4&transport=polling";
export const WEBSOCKET = "EIO=4&transport=websocket";

/** The headers that are compared. Others tell of the HTTP server, or of the time. */
const HEADERS = /^(content-type|content-encoding|cache-control|set-cookie|x-xss-protection|upgrade|sec-websocket-.*|access-control-.*)$/;

const REFUSED_HEADERS = /^(content-type|connection|sec-websocket-version)$/;

/** A conversation with one server. It records the answers in a form that does not depend on the run. */
export class Talk {
  told = [];
  #names = new Map();
  #wires = [];

  constructor(server, base) {
    Object.assign(this, { server, base });
  }

  /** Replaces what each run draws anew, by the order of its appearance. */
  plain(text) {
    const named = (drawn, kind) => {
      if (!this.#names.has(drawn)) this.#names.set(drawn, `<${kind} ${this.#names.size + 1}>`);
      return this.#names.get(drawn);
    };
    return text.replace(/"(sid|pid)":"([^"]{20})"/g, (_, key, drawn) => `"${key}":"${named(drawn, "id")}"`)
      .replace(/(io=)([\w-]{20})/g, (_, key, drawn) => `${key}${named(drawn, "id")}`);
  }

  tell(line) {
    this.told.push(typeof line === "string" ? this.plain(line) : line);
  }

  wire() {
    const wire = new Wire(this.server);
    this.#wires.push(wire);
    return wire;
  }

  close() {
    this.#wires.forEach((wire) => wire.close());
  }

  target(query) {
    return `${this.base}?${query}`;
  }

  /** Records the next response of a connection. */
  async answer(wire, compared = HEADERS) {
    const response = await wire.response();
    if (response === null) {
      this.tell("no response");
      return null;
    }
    const { status, headers, body } = response;
    const fields = Object.entries(headers).filter(([name]) => compared.test(name)).map(([name, value]) => `${name}: ${value}`).sort();
    this.tell(`${status} [${fields.join("; ")}] ${body.toString(headers["content-type"] === "application/octet-stream" ? "hex" : "utf8")}`);
    return response;
  }

  /** Sends a request on a connection of its own, and records the response. */
  ask(method, query, headers, body) {
    return this.answer(this.wire().ask(method, this.target(query), headers, body));
  }

  async frame(wire) {
    const frame = await wire.frame();
    this.tell(frame);
    return frame;
  }

  /** Opens a polling session, which is not recorded. */
  async polling(revision = 4) {
    const { body } = await this.wire().ask("GET", this.target(`EIO=${revision}&transport=polling`)).response();
    const sid = /"sid":"([^"]+)"/.exec(body.toString())[1];
    return { sid, query: `EIO=${revision}&transport=polling&sid=${sid}`, upgrade: `EIO=${revision}&transport=websocket&sid=${sid}` };
  }

  /** Whether a session still has a say. */
  async alive({ query }) {
    const { status } = await this.wire().ask("POST", this.target(query), {}, "3").response();
    this.tell(status === 200 ? "the session lives" : "the session is gone");
  }

  /** Waits until the server has noticed the end of a session. */
  async gone({ query }) {
    const ask = () => this.wire().ask("GET", this.target(query)).response();
    await until(async () => (await ask()).body.includes('"code":1'), "the session is unknown");
  }

  /** Records the reason for which a session ended. Only the engine alone prints it. */
  async ended({ sid }) {
    const reason = await until(() => new RegExp(`closed ${sid}: (.*)`).exec(this.server.output)?.[1], "the session ends");
    this.tell(`ended by ${reason}`);
  }
}

/** Sends a request for a WebSocket, and records the answer. Gives the connection. */
export async function upgrade(talk, query, headers = {}, compared) {
  const wire = talk.wire().ask("GET", talk.target(query), { ...WEBSOCKET_HEADERS, ...headers });
  await talk.answer(wire, compared);
  return wire;
}

/** Opens a WebSocket for a session, without a record. */
export async function opened(talk, query) {
  const wire = talk.wire().ask("GET", talk.target(query), WEBSOCKET_HEADERS);
  await wire.response();
  return wire;
}

/** Opens a session on a WebSocket. */
export async function session(talk, query = WEBSOCKET) {
  const wire = await opened(talk, query);
  const sid = /"sid":"([^"]+)"/.exec(await wire.frame())[1];
  return { wire, sid, query: `${POLLING}&sid=${sid}`, upgrade: `${WEBSOCKET}&sid=${sid}` };
}

/** A request for a WebSocket that is refused: the answer, and the end of the connection. Headers of CORS are on all our answers. */
export const refused = (query, headers) => async (talk) => {
  const wire = await upgrade(talk, query, headers, REFUSED_HEADERS);
  talk.tell(`then ${(await wire.rest()).length} bytes`);
};

/** Sends bytes on the WebSocket of a session, then a message. Records the frames up to the echo or to the end. */
export const sends = (...frames) => async (talk) => {
  const { wire } = await session(talk);
  wire.send(...frames, text("4last"));
  talk.tell((await wire.framesUntil("text 4last")).join(", "));
};
