// Faults on real processes: three nodes, three NATS servers, 300 clients of which a third poll, 100 broadcasts a second. One after the other a
// node is killed, a NATS server is killed, and a node is cut off from NATS for 20 s by a link that swallows everything.
//
// The live lane promises at most once, in order. What is lost is counted, by the clients and by the nodes, and printed.
import { after, test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Manager } from "socket.io-client";
import { Server, freePort, until } from "./lib.mjs";

const NODES = 3;
const CLIENTS = 300;
const RATE = 100;
const CUT_MS = 20_000;
/** A cluster that has lost something has this long to be whole again. */
const HEAL_MS = 30_000;

const folder = mkdtempSync(path.join(tmpdir(), "sociable-faults-"));
const cleanup = [];
after(() => {
  cleanup.reverse().forEach((end) => end());
  rmSync(folder, { recursive: true, force: true });
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Three NATS servers that are one. They tell clients nothing of each other, so that each link is one that can be cut. */
async function startNats() {
  const ports = await Promise.all(Array.from({ length: NODES * 2 }, freePort));
  const routes = ports.slice(NODES).map((port) => `nats://127.0.0.1:${port}`).join(", ");
  const servers = [];
  for (let i = 0; i < NODES; i++) {
    const file = path.join(folder, `nats-${i}.conf`);
    writeFileSync(file, `listen: "127.0.0.1:${ports[i]}"\ncluster { name: faults, listen: "127.0.0.1:${ports[NODES + i]}", routes: [${routes}], no_advertise: true }\n`);
    const process_ = spawn(process.env.NATS_SERVER ?? "nats-server", ["--config", file], { stdio: "ignore" });
    cleanup.push(() => process_.kill("SIGKILL"));
    servers.push({ port: ports[i], process: process_ });
  }
  for (const { port } of servers) {
    await until(() => new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => { socket.destroy(); resolve(true); }).on("error", () => resolve(false));
    }), "NATS listens");
  }
  return servers;
}

/** Links of one node to a NATS server. While it is cut, what comes is swallowed, in both directions, and nobody is told. */
async function startLink(target) {
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

/** A client that notes what it hears, and goes to another node when its own is gone. */
class Client {
  last = -1;
  doubled = 0;
  disordered = 0;
  heard = new Set();

  constructor(urls, at, polls) {
    this.manager = new Manager(urls[at % urls.length], {
      transports: polls ? ["polling"] : ["websocket"], reconnectionDelay: 100, reconnectionDelayMax: 500, forceNew: true,
    });
    this.manager.on("reconnect_attempt", () => { this.manager.uri = urls[++at % urls.length]; });
    this.socket = this.manager.socket("/api");
    this.socket.on("news", (n) => {
      if (this.heard.has(n)) this.doubled++;
      else if (n < this.last) this.disordered++;
      this.heard.add(n);
      this.last = Math.max(this.last, n);
    });
  }

  close() { this.socket.disconnect(); }
}

test("a cluster that loses a node, a NATS server and a link", { timeout: 240_000 }, async () => {
  const nats = await startNats();
  const nodes = [];
  for (let i = 0; i < NODES; i++) {
    // Each prefers a server of its own.
    const links = await Promise.all(nats.map((_, n) => startLink(nats[(i + n) % NODES].port)));
    const urls = links.map(({ port }) => `nats://127.0.0.1:${port}`).join(",");
    const server = await Server.start("ACCEPTANCE", ["--nats", urls, "--cluster", `faults-${process.pid}`, "--node-name", `node-${i}`]);
    cleanup.push(() => server.child.kill("SIGKILL"));
    nodes.push({ links, server, url: server.url });
  }
  const urls = nodes.map(({ url }) => url);

  const publisher = new Manager(urls[0], { transports: ["websocket"] }).socket("/api");
  cleanup.push(() => publisher.disconnect());
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(urls, i, i % 3 === 0));
  cleanup.push(() => clients.forEach((client) => client.close()));
  const allThere = () => until(() => publisher.connected && clients.every(({ socket }) => socket.connected), "all are connected", HEAL_MS);
  await allThere();
  await until(async () => (await publisher.emitWithAck("op", { do: "serverCount" })).value === NODES, "the nodes know each other");

  let sent = 0;
  const emit = () => publisher.emit("op", { do: "emit", event: "news", args: [sent++] }, () => {});
  const began = Date.now();
  // A clock that ticks late makes up for it.
  const publishing = setInterval(() => { while (sent < ((Date.now() - began) * RATE) / 1000) emit(); }, 1000 / RATE);
  cleanup.push(() => clearInterval(publishing));

  /** Runs a fault, waits until the cluster is whole again, and tells what it cost. */
  const during = async (what, fault) => {
    const from = sent;
    const begun = Date.now();
    await fault();
    await allThere();
    // Whole: something sent from now on reaches everybody.
    let probe;
    await until(async () => {
      probe = sent;
      await until(() => sent > probe, "broadcasts go on");
      return await until(() => clients.every(({ heard }) => heard.has(probe)), "all hear it", 2000).catch(() => false);
    }, `the cluster is whole after: ${what}`, HEAL_MS);
    const whole = Date.now() - begun;
    const due = probe - from;
    const lost = clients.map(({ heard }) => Array.from({ length: due }, (_, n) => from + n).filter((n) => !heard.has(n)).length);
    const losers = lost.filter((n) => n > 0).length;
    const total = lost.reduce((sum, n) => sum + n, 0);
    console.log(`${what}: whole after ${(whole / 1000).toFixed(1)} s, ${due} broadcasts, ${total} of ${due * CLIENTS} deliveries lost, by ${losers} clients`);
    return { losers, total };
  };

  const quiet = await during("nothing happens", () => pause(3000));
  assert.equal(quiet.losers, 0, "nobody loses anything while nothing happens");

  const ofLast = (client) => client.manager.uri === urls[2];
  const killed = clients.filter(ofLast).length;
  const kill = await during("a node is killed", async () => { nodes[2].server.child.kill("SIGKILL"); await pause(2000); });
  assert.ok(kill.losers <= killed, "only clients of the killed node lose anything");
  await until(async () => (await publisher.emitWithAck("op", { do: "serverCount" })).value === NODES - 1, "it is found to be dead", HEAL_MS);
  const fetched = await publisher.emitWithAck("op", { do: "fetchSockets" });
  assert.equal(fetched.value.length, CLIENTS + 1, "all are told of, without waiting for the dead");

  await during("a NATS server is killed", async () => { nats[0].process.kill("SIGKILL"); await pause(2000); });

  await during(`a node is cut off from NATS for ${CUT_MS / 1000} s`, async () => {
    nodes[1].links.forEach((link) => { link.cut = true; });
    await pause(CUT_MS);
    nodes[1].links.forEach((link) => link.heal());
  });
  await until(async () => (await publisher.emitWithAck("op", { do: "serverCount" })).value === NODES - 1, "they know each other again", HEAL_MS);

  clearInterval(publishing);
  const doubled = clients.reduce((sum, client) => sum + client.doubled, 0);
  const disordered = clients.reduce((sum, client) => sum + client.disordered, 0);
  console.log(`${sent} broadcasts in all: ${doubled} came twice, ${disordered} out of order`);
  assert.equal(doubled, 0, "nothing comes twice");
  assert.equal(disordered, 0, "nothing comes out of order");
});
