// permessage-deflate through a balancer: the tunnels of HTTP/1.1 and HTTP/2 pass offers, answers and frames as they are.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import http2 from "node:http2";
import path from "node:path";
import zlib from "node:zlib";
import { WebSocket } from "ws";
import { freePort, once, until, within } from "../lib.mjs";
import { place, world } from "./world.mjs";

const TARGET = "/engine.io/?EIO=4&transport=websocket";
const TEXT = `4${'{"room":"red"},'.repeat(500)}`;
const FLAGS = ["--engine", "--per-message-deflate", "--takeover", "--path", "/socket.io/"];

test("a tunnel of HTTP/1.1 carries compressed messages", async (t) => {
  const { url } = await world(t, FLAGS);
  const socket = new WebSocket(`${url.replace("http", "ws")}${TARGET.replace("engine", "socket")}`, { perMessageDeflate: { threshold: 0 } });
  t.after(() => socket.terminate());
  await once(socket, "message");
  assert.equal(socket.extensions, "permessage-deflate");
  const before = socket._socket.bytesRead;
  for (let n = 0; n < 3; n++) {
    const answer = once(socket, "message");
    socket.send(TEXT);
    assert.equal((await answer)[0].toString(), TEXT);
  }
  assert.ok(socket._socket.bytesRead - before < 500);
});

/** A frame of a client, compressed. */
function frame(deflated) {
  assert.ok(deflated.length < 126);
  const mask = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([Buffer.from([0xc1, 0x80 | deflated.length]), mask, deflated.map((byte, at) => byte ^ mask[at % 4])]);
}

test("a tunnel of HTTP/2 carries compressed messages", async (t) => {
  const [key, cert] = [path.join(place.folder, "deflate.key"), path.join(place.folder, "deflate.pem")];
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
  execFileSync("openssl", [...request, "-keyout", key, "-out", cert], { stdio: "pipe" });
  const port = await freePort();
  await world(t, FLAGS, { balancerFlags: ["--tls-listen", `127.0.0.1:${port}`, "--tls-cert", cert, "--tls-key", key] });
  const session = http2.connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
  t.after(() => session.destroy());
  await until(() => session.remoteSettings?.enableConnectProtocol, "the balancer allows WebSockets");

  const stream = session.request({
    ":method": "CONNECT", ":protocol": "websocket", ":path": TARGET.replace("engine", "socket"), "sec-websocket-version": "13",
    "sec-websocket-extensions": "permessage-deflate; server_max_window_bits=11; client_max_window_bits",
  });
  let bytes = Buffer.alloc(0);
  stream.on("data", (chunk) => (bytes = Buffer.concat([bytes, chunk])));
  const [headers] = await within(once(stream, "response"), "the response");
  assert.equal(headers[":status"], 200);
  assert.equal(headers["sec-websocket-extensions"], "permessage-deflate; server_max_window_bits=11");
  await until(() => bytes.length > 4 && bytes.length >= 2 + bytes[1], "the open packet");
  bytes = bytes.subarray(2 + bytes[1]);

  const sent = zlib.deflateRawSync(TEXT, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
  stream.write(frame(sent.subarray(0, -4)));
  await until(() => bytes.length > 2 && bytes.length >= 2 + bytes[1], "the compressed answer");
  assert.equal(bytes[0], 0xc1);
  const payload = Buffer.concat([bytes.subarray(2, 2 + bytes[1]), Buffer.from([0, 0, 0xff, 0xff])]);
  assert.equal(zlib.inflateRawSync(payload, { windowBits: 11, finishFlush: zlib.constants.Z_SYNC_FLUSH }).toString(), TEXT);
});
