// Bad networks: three nodes with a history on JetStream behind a balancer, and 20 numbered broadcasts a
// second. The connections of clients are cut every few seconds. Each client gets each broadcast once and in
// order, even if a node is killed meanwhile. A third of the clients poll.
//
// JITTER_SECONDS is the length of each run. JITTER_SEED repeats the cuts of an earlier one.
import { test } from "node:test";
import assert from "node:assert/strict";
import { Manager } from "socket.io-client";
import { pause, scratch, startNats } from "./cluster.mjs";
import { BadLink, Listener, randomFrom } from "./jitter.mjs";
import { Server, connected, freePort, until } from "./lib.mjs";

const NODES = 3;
const CLIENTS = 90;
const RATE = 20;
const SECONDS = Number(process.env.JITTER_SECONDS ?? 30);
const SEED = Number(process.env.JITTER_SEED ?? Math.floor(Math.random() * 2 ** 32));
/** The time in which the last clients recover after the cuts. */
const CALM_MS = 60_000;

const place = scratch("jitter");

class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }
}

for (const kill of [false, true]) {
  test(`recovery loses nothing${kill ? " when a node dies" : ""}`, { timeout: SECONDS * 2000 + 300_000 }, async (t) => {
    console.log(`the seed is ${SEED}: JITTER_SEED=${SEED} repeats the cuts`);
    const [nats] = await startNats(place, 1, true);
    const common = ["--nats", `nats://127.0.0.1:${nats.port}`, "--cluster", `jitter-${process.pid}-${kill}`];
    const start = async (port, n) => await Server.start("ACCEPTANCE", [
      ...common, "--jetstream", "--recovery", "120000", "--node-name", `n${n}`, "--advertise", `127.0.0.1:${port}`], port);
    const ports = await Promise.all(Array.from({ length: NODES }, freePort));
    const nodes = await Promise.all(ports.map(start));
    const balancer = await Balancer.start("SOCIABLE_BALANCER", common);
    t.after(() => [...nodes, balancer].forEach((server) => server.child.kill("SIGKILL")));

    const links = await Promise.all(Array.from({ length: CLIENTS }, (_, n) => new BadLink(balancer.port, randomFrom(SEED + n)).listen()));
    const listeners = links.map(({ url }, n) => new Listener(url, n % 3 === 0 ? ["polling"] : ["websocket"]));
    const publisher = new Manager(nodes[0].url, { transports: ["websocket"] }).socket("/");
    t.after(() => { [...listeners, ...links].forEach((end) => end.close()); publisher.io._close(); });
    await connected(publisher);
    await until(() => listeners.every(({ joined }) => joined), "all are in the room", CALM_MS);

    links.forEach((link) => link.begin());
    const total = RATE * SECONDS;
    const began = Date.now();
    for (let n = 0; n < total; n++) {
      publisher.emit("broadcast", "room", n);
      if (kill && n === total / 2) nodes[NODES - 1].child.kill("SIGKILL");
      if (kill && n === total / 2 + RATE) nodes[NODES - 1] = await start(ports[NODES - 1], NODES - 1);
      await pause(Math.max(0, began + (n + 1) * 1000 / RATE - Date.now()));
    }
    links.forEach((link) => link.calm());
    const whole = () => listeners.every(({ socket, heard }) => socket.connected && heard[total - 1]);
    // The next lines print the missing broadcasts.
    await until(whole, "all heard the last", CALM_MS).catch((error) => console.log(error.message));

    // Doubled broadcasts would arrive now.
    await pause(1_000);
    const sum = (count) => listeners.reduce((all, listener) => all + count(listener), 0);
    console.log(`${total} broadcasts, ${sum(({ recovered }) => recovered)} recoveries, ${sum(({ renewed }) => renewed)} new sessions, ${links.reduce((all, { cuts }) => all + cuts, 0)} cuts`);
    for (const [n, listener] of listeners.entries()) {
      const { doubled, disordered, recovered } = listener;
      assert.deepEqual({ missing: listener.missing(total), doubled, disordered }, { missing: [], doubled: [], disordered: [] }, `client ${n}, ${recovered} recoveries`);
    }
    assert.ok(sum(({ recovered }) => recovered) > 0, "clients were cut and recovered");
    assert.equal(sum(({ renewed }) => renewed), 0, "no client began anew");
  });
}
