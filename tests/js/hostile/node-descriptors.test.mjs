// One client attacks the descriptors of a node, with more connections than the limit on open files.
import { test } from "node:test";
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import { WebSocket } from "ws";
import { Server, freePort, once, until, within } from "../lib.mjs";
import { scratch, startNats } from "../cluster.mjs";

const FILES = 256;
const CONNECTIONS = 1_000;

test("node answers probes when its connections are all taken", { timeout: 120_000 }, async (t) => {
  const place = scratch("hostile-descriptors");
  const [nats] = await startNats(place, 1, false);
  const script = path.join(place.folder, "few-files");
  writeFileSync(script, `#!/bin/sh\nulimit -n ${FILES}\nexec "${process.env.NODE_BIN}" "$@"\n`);
  chmodSync(script, 0o755);
  process.env.HOSTILE_NODE = script;
  const admin = await freePort();
  const node = await Server.start("HOSTILE_NODE", ["--admin-addr", `127.0.0.1:${admin}`, "--nats", `nats://127.0.0.1:${nats.port}`, "--workers", "2"]);
  t.after(() => node.stop("SIGKILL"));
  assert.match(node.output, /limit on connections/);

  /** The status of an answer on a connection of its own, as probes make them. */
  const probe = (path) => within(new Promise((resolve, reject) => {
    http.get({ port: admin, host: "127.0.0.1", path, agent: false }, (answer) => resolve(answer.resume().statusCode)).on("error", reject);
  }), `an answer to ${path}`);
  const client = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
  const heard = [];
  client.on("message", (data) => heard.push(String(data)));
  await once(client, "open");
  client.send("40");
  await until(() => heard.some((message) => message.startsWith("40")), "the client joins");

  const told = { refused: 0, ended: 0 };
  const sockets = [];
  for (let n = 0; n < CONNECTIONS; n++) {
    const socket = net.connect(node.port, "127.0.0.1");
    socket.on("data", (data) => { if (String(data).startsWith("HTTP/1.1 503")) told.refused += 1; });
    socket.on("error", () => {}).on("close", () => { told.ended += 1; });
    // The node keeps the connection for another request.
    socket.on("connect", () => socket.write("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"));
    sockets.push(socket);
    if (n % 50 === 0) {
      assert.equal(await probe("/healthz"), 200, `a probe after ${n} connections`);
      assert.equal(await probe("/readyz"), 200, `a probe after ${n} connections`);
    }
  }
  assert.equal(await probe("/healthz"), 200, "a probe when all connections are there");
  await until(() => told.ended >= CONNECTIONS - FILES, "connections beyond the limit are closed");
  t.diagnostic(JSON.stringify(told));
  assert.ok(told.refused > 0, "clients are told to come again");
  assert.equal(await probe("/readyz"), 200);
  // A client that is there is served.
  client.send("41");
  client.send("40");
  await until(() => heard.filter((message) => message.startsWith("40")).length === 2, "the client joins anew");
  const metrics = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
  assert.ok(Number(/^sociable_connections_shed_total (\d+)/m.exec(metrics)[1]) >= CONNECTIONS - FILES);
  for (const socket of sockets) socket.destroy();
  client.close();
  // Their end makes room.
  await until(() => fetch(`${node.url}/healthz`).then((answer) => answer.ok, () => false), "there is room again");
});
