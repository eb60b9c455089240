// Shared parts of attacks on one node: the shipped settings, a memory cgroup of the shipped size, and raw
// requests.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Server, until } from "../lib.mjs";
import { scratch } from "../cluster.mjs";

export const GIB = 2 ** 30;
/** An attacker answers pings. Here none are sent for an hour, so that a slow machine keeps its sessions, too. */
const LASTING = ["--ping-interval", "3600000"];

/** The shipped settings that do not name addresses or other services. */
function shippedFlags() {
  const file = readFileSync(new URL("../../../k8s/base/node/node.env", import.meta.url), "utf8");
  const settings = [...file.matchAll(/^SOCIABLE_(MAX_[A-Z_]+|RECOVERY)=(.+)$/gm)];
  return settings.flatMap(([, name, value]) => [`--${name.toLowerCase().replaceAll("_", "-")}`, value]);
}

let groups = 0;

/** A script that starts the node in a memory cgroup, and the folder of that; none if cgroups can't be written. */
function cgroup({ folder }) {
  const name = `sociable-hostile-${process.pid}-${++groups}`;
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
export class Wire {
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

/** A node with the shipped settings, in a cgroup of the shipped size where cgroups can be written. */
export async function shippedNode(t, ...flags) {
  const { script, group } = cgroup(scratch("hostile-memory"));
  process.env.HOSTILE_NODE = script ?? process.env.NODE_BIN;
  const node = await Server.start("HOSTILE_NODE", [...shippedFlags(), ...LASTING, "--log", "warn", ...flags]);
  t.after(async () => {
    await node.stop("SIGKILL");
    if (group) await until(() => { try { rmdirSync(group); return true; } catch { return false; } }, "the cgroup is empty");
  });
  return node;
}

/** The most memory that a node had, in bytes. */
export const peak = (node) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${node.child.pid}/status`, "utf8"))[1]) * 1024;
