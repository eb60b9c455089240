// Attacks of clients on a node's memory: sessions with huge headers, and packets with long bodies. The node
// runs in a memory cgroup of the shipped size.
//
// The node has the settings of k8s/base/node/node.env. Without writable cgroups, its peak is compared with
// that size. HOSTILE_SESSIONS and HOSTILE_HEADER select a longer attack by headers.
import { test } from "node:test";
import assert from "node:assert/strict";
import { freePort, within } from "../lib.mjs";
import { GIB, Wire, peak, shippedNode } from "./attack.mjs";

const SESSIONS = Number(process.env.HOSTILE_SESSIONS ?? 12_000);
const HEADER = Number(process.env.HOSTILE_HEADER ?? 100_000);
/** Connections that attack at the same time, from two addresses. */
const CONNECTIONS = 32;
/** Sessions that send a long body, of 1 MB each. */
const BODIES = 1_500;

test("node keeps its memory when sessions come with huge headers", { timeout: Math.max(600_000, SESSIONS * 30) }, async (t) => {
  const admin = await freePort();
  const node = await shippedNode(t, "--admin-addr", `127.0.0.1:${admin}`);

  // Many headers, some of which fit into what is kept.
  const headers = Array.from({ length: 80 }, (_, n) => `X-Huge-${n}: ${"x".repeat(HEADER / 80)}\r\n`).join("");
  const handshake = `GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n${headers}\r\n`;
  const join = (sid) => `POST /socket.io/?EIO=4&transport=polling&sid=${sid} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40`;
  const told = { opened: 0, joined: 0, refused: 0, lost: 0 };
  let left = SESSIONS;
  const attack = async (address) => {
    let wire = new Wire(node.port, address);
    while (left-- > 0 && node.alive) {
      const opened = await wire.ask(handshake);
      if (opened?.status !== 200) {
        told[opened ? "refused" : "lost"] += 1;
        if (!opened) wire = new Wire(node.port, address);
        continue;
      }
      told.opened += 1;
      // The client joins, so that its session is not one without a namespace.
      const joined = await wire.ask(join(JSON.parse(opened.body.slice(1)).sid));
      if (joined?.status === 200) told.joined += 1;
    }
    wire.socket.destroy();
  };
  const begun = Date.now();
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, n) => attack(n % 2 ? "127.0.0.1" : "127.0.0.2")));

  assert.ok(node.alive, `the node lives: ${JSON.stringify(node.ended)}, ${JSON.stringify(told)}`);
  const most = peak(node);
  const metrics = await within(fetch(`http://127.0.0.1:${admin}/metrics`).then((answer) => answer.text()), "the metrics");
  const budget = Number(/^sociable_session_memory_bytes (\d+)/m.exec(metrics)?.[1]);
  t.diagnostic(`${JSON.stringify(told)} in ${Date.now() - begun} ms; peak ${(most / 2 ** 20).toFixed()} MiB; counted ${(budget / 2 ** 20).toFixed()} MiB`);
  assert.ok(most < GIB, `a peak of ${most} bytes`);
  assert.ok(told.opened > 0 && told.lost === 0, JSON.stringify(told));
  // Clients are still served, or refused for now.
  const { status } = await fetch(`${node.url}/healthz`);
  assert.equal(status, 200);
});

test("node keeps its memory when long packets await attachments", { timeout: 600_000 }, async (t) => {
  const node = await shippedNode(t);
  // Each session keeps the head of a packet, which is a slice of all that came with it.
  const body = `42["x","${"x".repeat(990_000)}"]\x1e451-["x",{"_placeholder":true,"num":0}]`;
  const target = "/socket.io/?EIO=4&transport=polling";
  const post = (sid, body) => `POST ${target}&sid=${sid} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  let left = BODIES;
  const told = { sent: 0, refused: 0, lost: 0 };
  const attack = async () => {
    let wire = new Wire(node.port);
    while (left-- > 0 && node.alive) {
      const opened = await wire.ask(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const sid = opened?.status === 200 && JSON.parse(opened.body.slice(1)).sid;
      if (sid) {
        await wire.ask(post(sid, "40"));
        await wire.ask(`GET ${target}&sid=${sid} HTTP/1.1\r\nHost: a\r\n\r\n`);
      }
      const answer = sid ? await wire.ask(post(sid, body)) : opened;
      told[answer ? (answer.status === 200 ? "sent" : "refused") : "lost"] += 1;
      if (answer?.status !== 200) wire = new Wire(node.port);
    }
    wire.socket.destroy();
  };
  await Promise.all(Array.from({ length: 8 }, attack));
  assert.ok(node.alive, `the node lives: ${JSON.stringify(node.ended)}, ${JSON.stringify(told)}`);
  const most = peak(node);
  t.diagnostic(`${JSON.stringify(told)}; peak ${(most / 2 ** 20).toFixed()} MiB`);
  assert.ok(told.sent > BODIES / 2, JSON.stringify(told));
  assert.ok(most < GIB / 4, `a peak of ${most} bytes`);
});
