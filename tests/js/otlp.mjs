// A collector of OpenTelemetry: it takes spans by OTLP over HTTP or HTTPS, and reads the protobuf.
import http from "node:http";
import https from "node:https";
import { gunzipSync } from "node:zlib";
import { until } from "./lib.mjs";

/** The kinds of spans, by their numbers. */
const KINDS = [null, "internal", "server", "client", "producer", "consumer"];

/** The fields of a message of protobuf: for each number the values, integers and bytes. */
function fields(bytes) {
  const found = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const skip = (length) => bytes.subarray(at, (at += length));
  while (at < bytes.length) {
    const tag = Number(varint());
    const type = tag & 7;
    const value = type === 0 ? varint() : skip(type === 1 ? 8 : type === 5 ? 4 : Number(varint()));
    found.set(tag >> 3, [...(found.get(tag >> 3) ?? []), value]);
  }
  return { all: (number) => found.get(number) ?? [], one: (number) => found.get(number)?.[0] };
}

const text = (bytes) => bytes?.toString("utf8") ?? "";
const hex = (bytes) => bytes?.toString("hex") ?? "";

/** Attributes as an object. */
function attributes(list) {
  return Object.fromEntries(list.map((bytes) => {
    const pair = fields(bytes);
    const value = fields(pair.one(2));
    const [string, boolean, integer] = [value.one(1), value.one(2), value.one(3)];
    return [text(pair.one(1)), string ? text(string) : boolean !== undefined ? boolean === 1n : Number(integer)];
  }));
}

function span(bytes, resource, scope) {
  const read = fields(bytes);
  const status = fields(read.one(15) ?? Buffer.alloc(0));
  return {
    trace: hex(read.one(1)), id: hex(read.one(2)), state: text(read.one(3)), parent: hex(read.one(4)), name: text(read.one(5)),
    kind: KINDS[Number(read.one(6))], attributes: attributes(read.all(9)),
    links: read.all(13).map((link) => ({ trace: hex(fields(link).one(1)), id: hex(fields(link).one(2)) })),
    status: { message: text(status.one(2)), code: Number(status.one(3) ?? 0n) }, resource, scope,
  };
}

/** The spans of one request. */
function spans(body) {
  return fields(body).all(1).flatMap((bytes) => {
    const group = fields(bytes);
    const resource = attributes(fields(group.one(1)).all(1));
    return group.all(2).flatMap((bytes) => {
      const part = fields(bytes);
      const scope = { name: text(fields(part.one(1)).one(1)), version: text(fields(part.one(1)).one(2)), schema: text(part.one(3)) };
      return part.all(2).map((bytes) => span(bytes, resource, scope));
    });
  });
}

/** A collector. `tls` has the options of an HTTPS server. */
export async function collector(t, tls) {
  const posted = [];
  const take = async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts);
    const plain = request.headers["content-encoding"] === "gzip" ? gunzipSync(body) : body;
    const peer = request.socket.getPeerCertificate?.()?.subject?.CN;
    posted.push({ path: request.url, headers: request.headers, body: plain, peer, spans: spans(plain) });
    response.end();
  };
  const server = tls ? https.createServer(tls, take) : http.createServer(take);
  const refused = [];
  server.on("tlsClientError", (error) => refused.push(error.code));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => { server.closeAllConnections(); server.close(); });
  const all = () => posted.flatMap(({ spans }) => spans);
  return {
    posted,
    /** The codes of handshakes that failed. */
    refused,
    spans: all,
    url: `${tls ? "https://localhost" : "http://127.0.0.1"}:${server.address().port}`,
    /** The first span with this name of the node, or of any. */
    span: (name, node) => until(
      () => all().find((span) => span.name === name && (!node || span.resource["service.instance.id"] === node)), `a span "${name}" is sent`,
    ),
  };
}
