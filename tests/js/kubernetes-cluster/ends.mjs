// Pods and their processes that end: in order, by force, or not at all while they do nothing.
import assert from "node:assert/strict";
import { until } from "../lib.mjs";
import { freeze, signal } from "./faults.mjs";
import { containerOf, isReady, nameOf, restartsOf } from "./pods.mjs";
import { visitors } from "./visitors.mjs";
import { BALANCER, NATS, NODE, PATIENCE, eventually } from "./world.mjs";

const LABEL = { [NODE]: "node", [BALANCER]: "balancer", [NATS]: "NATS server" };

/** Of several, that whose end costs most. */
const victim = (world, name) => world.crowd.busiest(world.ready(name));

export const podDeleted = (name) => (world) => world.event(`a ${LABEL[name]} pod is deleted`, async () => {
  const pod = victim(world, name);
  await world.kubectl("delete", "pod", nameOf(pod), "--wait=false");
  await until(() => world.pod(nameOf(pod))?.metadata.uid !== pod.metadata.uid, "the pod is gone", PATIENCE);
  // The last state of a container may be missing.
  assert.equal(world.ended.get(pod.metadata.uid) ?? 0, 0, "its process ended by itself, in its grace period");
});

export const containerKilled = (name) => (world) => world.event(`a ${LABEL[name]} is killed (SIGKILL)`, async () => {
  const pod = victim(world, name);
  await signal(pod, "KILL");
  await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod), "the kubelet starts it again", PATIENCE);
});

/** A process that stops by a signal, past the kubelet: the pod stays, and its readiness alone says that it drains. */
export const nodeDrains = (world) => world.event("a node drains (SIGTERM)", async () => {
  // The drain then takes longer than a probe.
  const guests = await visitors(world.url, 300);
  try {
    const pod = victim(world, NODE);
    await signal(pod, "TERM");
    await until(() => !isReady(world.pod(nameOf(pod))), "readiness takes it out", PATIENCE);
    assert.ok(world.crowd.on(nameOf(pod)).length > 0, "clients are still there");
    assert.equal(restartsOf(world.pod(nameOf(pod))), restartsOf(pod), "liveness lets it drain");
    await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod), "it starts again", PATIENCE);
  } finally {
    guests.leave();
  }
});

/** Frozen until Kubernetes has noticed and, if it is a node, its clients have moved. */
export const frozenForAWhile = (name) => (world) => world.event(`a ${LABEL[name]} is frozen (SIGSTOP), and thaws`, async () => {
  const pod = victim(world, name);
  world.frozen.add(containerOf(pod));
  const thaw = await freeze(pod);
  try {
    await until(() => !isReady(world.pod(nameOf(pod))), "readiness takes it out", PATIENCE);
    if (name === NODE) await until(() => world.crowd.on(nameOf(pod)).length === 0, "its clients are elsewhere", PATIENCE);
  } finally {
    await thaw();
  }
  await until(() => isReady(world.pod(nameOf(pod))), "it is ready again", PATIENCE);
});

/** Frozen for good: liveness fails, and the kubelet replaces it. */
export const frozenForGood = (name) => (world) => world.event(`a ${LABEL[name]} is frozen (SIGSTOP), until its liveness probe ends it`, async () => {
  const pod = victim(world, name);
  world.frozen.add(containerOf(pod));
  await freeze(pod);
  await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod), "the kubelet starts it again", PATIENCE);
});

export const nothingHappens = (world) => world.event("nothing happens", async () => {
  await world.crowd.more(100);
  for (const [name, port] of [[NODE, 3001], [BALANCER, 8081]]) {
    for (const pod of world.ready(name)) await eventually(() => world.ask(pod, port, "/readyz").then(() => true, () => false), `${nameOf(pod)} answers`);
  }
});
