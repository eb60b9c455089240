// Probes that fail as they should, and only those.
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { pause } from "../cluster.mjs";
import { until } from "../lib.mjs";
import { blockWorker, freeze } from "./faults.mjs";
import { containerOf, isReady, nameOf, restartsOf } from "./pods.mjs";
import { BALANCER, NATS, NODE, PATIENCE, eventually } from "./world.mjs";
import { visitors } from "./visitors.mjs";

/** A blocked process accepts a connection, and says nothing. */
const SILENCE_MS = 5_000;
const answers = (world, pod, port, question) => Promise.race([world.ask(pod, port, question).then(() => true, () => false), pause(SILENCE_MS)]);
const restarts = (world, name) => Object.fromEntries(world.of(name).map((pod) => [nameOf(pod), restartsOf(pod)]));

/** A worker that never runs again serves nobody. Its readiness fails first, then its liveness. */
export const workerDeadlocked = (world) => world.event("the worker of a node is deadlocked", async () => {
  const pod = world.crowd.busiest(world.ready(NODE));
  world.frozen.add(containerOf(pod));
  const release = await blockWorker(pod, async () => await answers(world, pod, 3000, "/readyz") || !await answers(world, pod, 3001, "/readyz"));
  try {
    assert.ok(await answers(world, pod, 3001, "/metrics"), "the administration answers");
    await until(() => !isReady(world.pod(nameOf(pod))), "readiness takes it out", PATIENCE);
    await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod), "liveness ends it", PATIENCE);
  } finally {
    release();
  }
});

/** Freezes so many NATS servers until `act` is done. */
async function withoutNats(world, count, act) {
  const thaws = await Promise.all(world.ready(NATS).slice(0, count).map(freeze));
  try {
    await act();
  } finally {
    await Promise.all(thaws.map((thaw) => thaw()));
  }
}

/** Nodes without NATS are not ready. They live, and so do the connections of their clients. */
export const natsAway = (world) => world.event("NATS is away", async () => {
  const before = [NODE, BALANCER].map((name) => restarts(world, name));
  await withoutNats(world, Infinity, async () => {
    await until(() => world.ready(NODE).length === 0, "no node is ready", PATIENCE);
    await world.crowd.more(20, []);
    assert.ok(world.crowd.there, "all clients are there");
    assert.ok(world.ready(BALANCER).length > 0, "balancers are ready, for nodes serve their own clients");
  });
  await world.settled("NATS is back");
  assert.deepEqual([NODE, BALANCER].map((name) => restarts(world, name)), before, "nothing was restarted");
});

/** Two of three servers are away: nothing is persisted. */
export const quorumLost = (world) => world.event("two of three NATS servers are away", async () => {
  const before = restarts(world, NODE);
  await withoutNats(world, 2, async () => {
    await until(() => world.ready(NATS).length <= 1, "two servers are not ready", PATIENCE);
    await world.crowd.more(20, []);
    console.log(`# readiness of nodes: ${await Promise.all(world.of(NODE).map((pod) => world.ask(pod, 3001, "/readyz").catch((error) => error.message)))}`);
  });
  await world.settled("they are back");
  assert.deepEqual(restarts(world, NODE), before, "no node was restarted");
});

/** A new client that tries once. Returns its socket, if it comes in. */
const comes = (world) => new Promise((resolve) => {
  const socket = io(world.url, { transports: ["websocket"], forceNew: true, reconnection: false });
  socket.once("connect", () => resolve(socket));
  socket.once("connect_error", () => resolve());
});

const MOST = 120;
/** So many places are filled one by one. */
const LAST = 30;

/** Full nodes are ready: their sessions need a route. New clients are refused until there is room. */
export async function nodesFull(world) {
  const { replicas } = world.workload(NODE).spec;
  await world.event(`nodes get a limit of ${MOST} sessions`, async () => {
    await world.kubectl("set", "env", `deployment/${NODE}`, `SOCIABLE_MAX_SESSIONS=${MOST}`);
    await world.kubectl("rollout", "status", `deployment/${NODE}`);
  });
  await world.event("all nodes are full", async () => {
    const before = restarts(world, NODE);
    const guests = await visitors(world.url, replicas * MOST - world.crowd.clients.length - LAST);
    const last = [];
    try {
      await eventually(async () => {
        const guest = await comes(world);
        if (guest) last.push(guest);
        const [balancer] = world.ready(BALANCER);
        return !guest && await world.metric(balancer, 8081, 'sociable_balancer_nodes{state="full"}') === replicas;
      }, "a new client is refused, and the balancer counts full nodes");
      await world.crowd.more(100);
      assert.equal(world.ready(NODE).length, replicas, "full nodes are ready");
      assert.deepEqual(restarts(world, NODE), before, "and live");
    } finally {
      guests.leave();
      last.forEach((guest) => guest.disconnect());
    }
    const socket = await eventually(() => comes(world), "a new client comes in again");
    socket.disconnect();
  });
}
