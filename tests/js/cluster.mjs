// Shared parts of the tests of whole clusters: a folder for processes' files, and NATS servers.
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

/** A link to a port of this machine. While it is cut, it swallows all bytes in both directions, without a notice. */
export async function startLink({ cleanup }, target) {
  const link = { cut: false, open: new Set() };
  const server = net.createServer((near) => {
    if (link.cut) return link.open.add(near.on("error", () => {}));
    const far = net.connect(target, "127.0.0.1");
    link.open.add(near).add(far);
    for (const [from, to] of [[near, far], [far, near]]) {
      from.on("data", (data) => link.cut || to.write(data));
      from.on("error", () => {}).on("close", () => { link.open.delete(from); if (!link.cut) to.destroy(); });
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanup.push(() => { server.close(); link.open.forEach((socket) => socket.destroy()); });
  link.port = server.address().port;
  link.heal = () => { link.cut = false; link.open.forEach((socket) => socket.destroy()); };
  return link;
}

/** Each history reserves a gibibyte; without this, a server takes no more of them than three quarters of what the disk has free. */
const RESERVABLE = "64GB";

/**
 * A cluster of NATS servers. They do not advertise each other to clients, so each link can be cut. With `links` the last of them and
 * the others meet by links alone, which are put there.
 */
export async function startNats(place, count, jetstream, links) {
  const { name, folder, cleanup } = place;
  const ports = await Promise.all(Array.from({ length: count * 3 }, freePort));
  if (links) for (let i = 0; i < count; i++) links.push(await startLink(place, ports[count + i]));
  /** Returns the port by which the server `from` reaches the server `to`. */
  const route = (from, to) => links && (from === count - 1 || to === count - 1) ? links[to].port : ports[count + to];
  const servers = [];
  for (let i = 0; i < count; i++) {
    const file = path.join(folder, `nats-${i}.conf`);
    const monitor = ports[count * 2 + i];
    const routes = Array.from({ length: count }, (_, to) => `nats://127.0.0.1:${route(i, to)}`).filter((_, to) => to !== i).join(", ");
    const advertise = links ? `, advertise: "127.0.0.1:${links[i].port}"` : "";
    const lines = [
      `server_name: "nats-${i}"`,
      `listen: "127.0.0.1:${ports[i]}"`,
      `http: "127.0.0.1:${monitor}"`,
      ...(count > 1 ? [`cluster { name: ${name}, listen: "127.0.0.1:${ports[count + i]}", routes: [${routes}], no_advertise: true${advertise} }`] : []),
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
