// What the tests of whole clusters share: a place for what their processes leave, and NATS servers.
import { after } from "node:test";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort, until } from "./lib.mjs";

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A folder for the time of the tests, and what is to be ended with them, the latest first. */
export function scratch(name) {
  const folder = mkdtempSync(path.join(tmpdir(), `sociable-${name}-`));
  const cleanup = [];
  const clean = () => {
    while (cleanup.length) cleanup.pop()();
    rmSync(folder, { recursive: true, force: true });
  };
  after(clean);
  process.on("exit", clean);
  return { name, folder, cleanup };
}

/** Waits until somebody listens at a port of this machine. */
export const listens = (port, what) => until(() => new Promise((resolve) => {
  const socket = net.connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); }).on("error", () => resolve(false));
}), what);

/** Each history reserves a gibibyte; without this, a server takes no more of them than three quarters of what the disk has free. */
const RESERVABLE = "64GB";

/** NATS servers that are one. They tell clients nothing of each other, so that each link is one that can be cut. */
export async function startNats({ name, folder, cleanup }, count, jetstream) {
  const ports = await Promise.all(Array.from({ length: count * 3 }, freePort));
  const routes = ports.slice(count, count * 2).map((port) => `nats://127.0.0.1:${port}`).join(", ");
  const servers = [];
  for (let i = 0; i < count; i++) {
    const file = path.join(folder, `nats-${i}.conf`);
    const monitor = ports[count * 2 + i];
    const lines = [
      `server_name: "nats-${i}"`,
      `listen: "127.0.0.1:${ports[i]}"`,
      `http: "127.0.0.1:${monitor}"`,
      ...(count > 1 ? [`cluster { name: ${name}, listen: "127.0.0.1:${ports[count + i]}", routes: [${routes}], no_advertise: true }`] : []),
      ...(jetstream ? [`jetstream { store_dir: "${path.join(folder, `store-${i}`)}", max_file_store: ${RESERVABLE} }`] : []),
    ];
    writeFileSync(file, lines.join("\n"));
    const process_ = spawn(process.env.NATS_SERVER ?? "nats-server", ["--config", file], { stdio: "ignore" });
    cleanup.push(() => process_.kill("SIGKILL"));
    servers.push({ port: ports[i], monitor, process: process_ });
  }
  for (const { port } of servers) await listens(port, "NATS listens");
  await Promise.all(servers.map(({ port }) => listens(port, "NATS listens")));
  return servers;
}
