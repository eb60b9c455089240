// The end of a pod by the production manifest, on real processes. Three NATS servers have its configuration,
// permissions and TLS. Three nodes and two balancers have its environment.
//
// A node, a balancer and a NATS server are stopped as the kubelet does it. Clients use the balancers
// meanwhile, by polling and by WebSocket. Each process ends well before the grace period, and no client
// misses anything.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Manager } from "socket.io-client";
import { scratch } from "./cluster.mjs";
import { BalancerPod, Manifests, NatsPod, NodePod } from "./kubernetes.mjs";
import { ask, connected, request, until } from "./lib.mjs";

const CLIENTS = 60;
/** The time between two sessions of those who will not hear that a node goes. */
const CROWD_MS = 50;
const ROOM = "all";
/** Whatever was ended has been ended for so long at most when all is well again. */
const HEAL_MS = 60_000;

const place = scratch("kubernetes");
const { cleanup } = place;
const manifests = new Manifests(process.env.MANIFESTS);

// ---------------------------------------------------------------- what production keeps secret

const folder = path.join(place.folder, "secrets");
execFileSync(process.env.SECRETS_SH, [folder]);
const secrets = (file) => path.join(folder, "/", file);
const secret = (name, key) => {
  assert.equal(name, "nats-passwords");
  return readFileSync(secrets(key), "utf8");
};

// ---------------------------------------------------------------- pods

const pods = (Kind, workload, program) => (name) => new Kind(manifests, workload, name, { program, secret, ...place }).choosePorts();
const natsPod = pods(NatsPod, manifests.get("StatefulSet", "nats"), process.env.NATS_SERVER);
const nodePod = pods(NodePod, manifests.get("Deployment", "sociable-node"), process.env.NODE_BIN);
const balancerPod = pods(BalancerPod, manifests.get("Deployment", "sociable-balancer"), process.env.SOCIABLE_BALANCER);

const ready = (started) => Promise.all(started.map((pod) => pod.ready()));

// ---------------------------------------------------------------- clients

/** A client that is in the room and notes what is said there. When its connection is lost it comes by the next balancer. */
class Client {
  heard = [];
  renewed = 0;
  recovered = 0;

  constructor(at, urls) {
    const transports = at % 2 ? ["websocket"] : ["polling"];
    this.manager = new Manager(urls[at % urls.length], { transports, reconnectionDelay: 100, reconnectionDelayMax: 500, forceNew: true });
    this.manager.on("reconnect_attempt", () => { this.manager.uri = urls[++at % urls.length]; });
    this.socket = this.manager.socket("/");
    this.socket.once("connect", () => this.socket.on("connect", () => { this.socket.recovered ? this.recovered++ : this.renewed++; }));
    this.socket.on("said", ({ text }) => this.heard.push(Number(text)));
    cleanup.push(() => this.manager._close());
  }

  /** The first characters of a session's id are the tag of its node. */
  get tag() { return this.manager.engine.id?.slice(0, 4); }
}

/** Sends increasing numbers, by a client whose node does not stop. */
class Speaker {
  said = 0;
  #ends = false;

  constructor(node) {
    this.manager = new Manager(node.url, { transports: ["websocket"], reconnection: false });
    this.socket = this.manager.socket("/");
    cleanup.push(() => { this.#ends = true; this.manager._close(); });
  }

  async begin() {
    await connected(this.socket);
    await ask(this.socket, "join", ROOM, "speaker");
    this.talk = this.#talk();
    // The caller awaits it at the end, and then sees an earlier failure.
    this.talk.catch(() => {});
  }

  async #talk() {
    while (!this.#ends) {
      assert.equal(await ask(this.socket, "say", ROOM, String(this.said)), true);
      this.said++;
    }
  }

  async end() {
    this.#ends = true;
    await this.talk;
  }
}

const tag = async (node) => JSON.parse((await request(`${node.url}/healthz`)).text).tag;

// ---------------------------------------------------------------- the test

test("pods end as the manifest says and clients miss nothing", { timeout: 800_000 }, async (t) => {
  const servers = await Promise.all([0, 1, 2].map((n) => natsPod(`nats-${n}`)));
  for (const server of servers) await server.begin(secrets, servers);
  await ready(servers);
  const nats = servers.map((server) => `nats://127.0.0.1:${server.port("client")}`).join(",");

  const nodes = await Promise.all(["a", "b", "c"].map((letter) => nodePod(`sociable-node-${letter}`)));
  // The replacement starts before a node stops. Balancers have its address from the start, as by DNS.
  const next = await nodePod("sociable-node-d");
  for (const node of nodes) await node.begin(nats, secrets);
  await ready(nodes);
  const balancers = await Promise.all(["left", "right"].map((side) => balancerPod(`sociable-balancer-${side}`)));
  for (const balancer of balancers) await balancer.begin(nats, secrets, [...nodes, next]);
  await ready(balancers);
  const [going, staying] = nodes;
  const tags = new Map();
  for (const node of nodes) tags.set(await tag(node), node.name);
  const goingTag = [...tags].find(([, name]) => name === going.name)[0];

  const clients = Array.from({ length: CLIENTS }, (_, at) => new Client(at, balancers.map(({ url }) => url)));
  await Promise.all(clients.map(({ socket }) => connected(socket)));
  for (const [at, { socket }] of clients.entries()) assert.equal((await ask(socket, "join", ROOM, `client ${at}`)).room, ROOM);
  const speaker = new Speaker(staying);
  await speaker.begin();
  await until(() => clients.every(({ heard }) => heard.length > 0), "all hear");

  /** All are there, as who they were, and hear what is said from now on. */
  const whole = async (what) => {
    await until(() => clients.every(({ socket }) => socket.connected), `all are connected after ${what}`, HEAL_MS);
    const mark = speaker.said + 1;
    await until(() => clients.every(({ heard }) => heard.at(-1) >= mark), `all hear after ${what}`, HEAL_MS);
    assert.equal(clients.filter(({ renewed }) => renewed).length, 0, `nobody came back as another after ${what}`);
  };
  /** How it ends. If it had to be killed that is by a signal. */
  const endsWell = async (pod) => {
    const begun = Date.now();
    const ended = await pod.terminate();
    t.diagnostic(`${pod.name} ended after ${((Date.now() - begun) / 1000).toFixed(1)} s of ${pod.spec.terminationGracePeriodSeconds} s`);
    assert.deepEqual(ended, { code: 0, signal: null }, `${pod.name}\n${pod.output.slice(-3000)}`);
  };

  await t.test("probes pass while all is well", async () => {
    for (const pod of [...servers, ...nodes, ...balancers]) {
      for (const which of ["startup", "liveness", "readiness"]) assert.ok(await pod.passes(which), `${which} of ${pod.name}`);
    }
    for (const node of nodes) {
      const { text } = await request(`http://127.0.0.1:${node.port("admin")}/metrics`);
      assert.match(text, /^sociable_sessions\{transport="[a-z]+"\} [1-9]/m, "the autoscaler's metric exists");
    }
  });

  await t.test("balancers find nodes with the manifest's NATS permissions", async () => {
    // They may only listen: nodes speak every few seconds.
    for (const balancer of balancers) {
      await until(async () => {
        const { sources } = JSON.parse((await request(`http://127.0.0.1:${balancer.port("admin")}/nodes`)).text);
        const heard = sources.find(({ source }) => source.startsWith("nats"));
        return heard?.names === nodes.length && heard.trouble === null;
      }, "all nodes are heard", HEAL_MS);
    }
  });

  await t.test("replaced node moves its clients to the others", async () => {
    await (await next.begin(nats, secrets)).ready();
    tags.set(await tag(next), next.name);
    assert.ok(clients.some(({ tag }) => tag === goingTag), "the node has clients");
    // A client without the other nodes opens sessions on it all the time, more than are closed at first. The
    // drain therefore takes its full time.
    const crowd = setInterval(() => fetch(`${going.url}/socket.io/?EIO=4&transport=polling`).then((res) => res.text()).catch(() => {}), CROWD_MS);
    cleanup.push(() => clearInterval(crowd));
    const ended = endsWell(going);
    ended.catch(() => {});
    await until(async () => !(await going.passes("readiness")), "the node is not ready", HEAL_MS);
    assert.ok(await going.passes("liveness"), "and lives");
    assert.equal(going.ended, null, going.output.slice(-2000));
    await ended;
    clearInterval(crowd);
    await whole("a node went");
    const counts = new Map([...tags.values()].map((name) => [name, 0]));
    for (const { tag } of clients) counts.set(tags.get(tag), counts.get(tags.get(tag)) + 1);
    t.diagnostic(`clients now: ${[...counts].map(([name, count]) => `${name} ${count}`).join(", ")}`);
    assert.equal(counts.get(going.name), 0);
    assert.ok(clients.some(({ recovered }) => recovered), "some came from there");
  });

  await t.test("clients of a stopped balancer use the other", async () => {
    await endsWell(balancers[0]);
    await whole("a balancer went");
  });

  await t.test("two NATS servers suffice when one stops", async () => {
    await endsWell(servers[0]);
    await whole("a NATS server went");
    await until(() => staying.passes("readiness"), "nodes are not cut off", HEAL_MS);
  });

  for (const { name, output } of servers) assert.doesNotMatch(output, /violation/i, `${name} refused what nobody should try`);
  await speaker.end();
  await until(() => clients.every(({ heard }) => heard.at(-1) === speaker.said - 1), "all hear the last", HEAL_MS);
  for (const { heard } of clients) {
    const all = Array.from({ length: speaker.said - heard[0] }, (_, n) => heard[0] + n);
    assert.deepEqual(heard, all, "each hears everything once and in order");
  }
  t.diagnostic(`${CLIENTS} clients heard ${speaker.said} messages; ${clients.reduce((sum, { recovered }) => sum + recovered, 0)} came back`);
});
