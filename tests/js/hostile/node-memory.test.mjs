// One client against the memory of a node: sessions with huge headers, in a memory cgroup of the shipped size.
//
// The node has the settings of k8s/base/node/node.env. Where cgroups can't be written, its peak is compared with that size.
// HOSTILE_SESSIONS and HOSTILE_HEADER choose a longer attack.
import { test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync, chmodSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Server, freePort, until, within } from "../lib.mjs";
import { scratch } from "../cluster.mjs";

const GIB = 2 ** 30;
const SESSIONS = Number(process.env.HOSTILE_SESSIONS ?? 12_000);
const HEADER = Number(process.env.HOSTILE_HEADER ?? 100_000);
/** Connections that attack at the same time, from two addresses. */
const CONNECTIONS = 32;

/** The shipped settings that do not name addresses or other services. */
function shippedFlags() {
  const file = readFileSync(new URL("../../../k8s/base/node/node.env", import.meta.url), "utf8");
  const settings = [...file.matchAll(/^SOCIABLE_(MAX_[A-Z_]+|RECOVERY)=(.+)$/gm)];
  return settings.flatMap(([, name, value]) => [`--${name.toLowerCase().replaceAll("_", "-")}`, value]);
}

/** A script that starts the node in a memory cgroup, and the folder of that; none if cgroups can't be written. */
function cgroup({ folder }) {
  const name = `sociable-hostile-${process.pid}`;
  for (const [root, limit] of [["/sys/fs/cgroup/memory", "memory.limit_in_bytes"], ["/sys/fs/cgroup", "memory.max"]]) {
    const group = path.join(root, name);
    try {
      mkdirSync(group);
      if (!existsSync(path.join(group, limit))) continue;
      writeFileSync(path.join(group, limit), String(GIB));
    } catch {
      continue;
    }
    const script = path.join(folder, "in-cgroup");
    writeFileSync(script, `#!/bin/sh\necho $$ > ${group}/cgroup.procs\nexec "${process.env.NODE_BIN}" "$@"\n`);
    chmodSync(script, 0o755);
    return { script, group };
  }
  return {};
}

/** A connection on which one request follows the other. */
class Wire {
  read = "";

  constructor(port, localAddress) {
    this.socket = net.connect({ port, host: "127.0.0.1", localAddress });
    this.socket.setEncoding("latin1");
    this.ended = new Promise((resolve) => this.socket.once("close", resolve));
    this.socket.on("error", () => {});
  }

  /** The status and the body of the answer; null if the connection ends. */
  async ask(request) {
    this.socket.write(request);
    for (;;) {
      const end = this.read.indexOf("\r\n\r\n");
      const length = end < 0 ? null : Number(/content-length: (\d+)/i.exec(this.read.slice(0, end))?.[1] ?? 0);
      if (length !== null && this.read.length >= end + 4 + length) {
        const answer = { status: Number(this.read.slice(9, 12)), body: this.read.slice(end + 4, end + 4 + length) };
        this.read = this.read.slice(end + 4 + length);
        return answer;
      }
      const more = await Promise.race([new Promise((resolve) => this.socket.once("data", resolve)), this.ended.then(() => null)]);
      if (typeof more !== "string") return null;
      this.read += more;
    }
  }
}

test("node keeps its memory when sessions come with huge headers", { timeout: 600_000 }, async (t) => {
  const place = scratch("hostile-memory");
  const { script, group } = cgroup(place);
  process.env.HOSTILE_NODE = script ?? process.env.NODE_BIN;
  const admin = await freePort();
  const node = await Server.start("HOSTILE_NODE", [...shippedFlags(), "--admin-addr", `127.0.0.1:${admin}`, "--log", "warn"]);
  t.after(async () => {
    await node.stop("SIGKILL");
    if (group) await until(() => { try { rmdirSync(group); return true; } catch { return false; } }, "the cgroup is empty");
  });

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
      // It joins, so that it is not merely on its way in.
      const joined = await wire.ask(join(JSON.parse(opened.body.slice(1)).sid));
      if (joined?.status === 200) told.joined += 1;
    }
    wire.socket.destroy();
  };
  const begun = Date.now();
  await Promise.all(Array.from({ length: CONNECTIONS }, (_, n) => attack(n % 2 ? "127.0.0.1" : "127.0.0.2")));

  assert.ok(node.alive, `the node lives: ${JSON.stringify(node.ended)}, ${JSON.stringify(told)}`);
  const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]) * 1024;
  const metrics = await within(fetch(`http://127.0.0.1:${admin}/metrics`).then((answer) => answer.text()), "the metrics");
  const budget = Number(/^sociable_session_memory_bytes (\d+)/m.exec(metrics)?.[1]);
  t.diagnostic(`${JSON.stringify(told)} in ${Date.now() - begun} ms; peak ${(peak / 2 ** 20).toFixed()} MiB; counted ${(budget / 2 ** 20).toFixed()} MiB`);
  assert.ok(peak < GIB, `a peak of ${peak} bytes`);
  assert.ok(told.opened > 0 && told.lost === 0, JSON.stringify(told));
  // Clients are served all the same, or told to come again.
  const { status } = await fetch(`${node.url}/healthz`);
  assert.equal(status, 200);
});
