// Machines that are emptied or lost, budgets that hold, and the number of pods.
import assert from "node:assert/strict";
import { until } from "../lib.mjs";
import { kubectl } from "./api.mjs";
import { unplug } from "./faults.mjs";
import { nameOf } from "./pods.mjs";
import { BALANCER, NATS, NODE, PATIENCE, eventually } from "./world.mjs";

const LABEL = { [NODE]: "node", [BALANCER]: "balancer", [NATS]: "NATS server" };
const ALL = [NODE, BALANCER, NATS];

const machineOf = (pod) => pod.spec.nodeName;
const onMachine = (world, machine, name) => world.of(name).filter((pod) => machineOf(pod) === machine);

/** A second eviction is refused until the first pod has been replaced. */
export const evictions = (name) => (world) => world.event(`a ${LABEL[name]} is evicted, and the budget refuses the next`, async () => {
  const [first, second] = world.ready(name);
  await world.evict(first);
  const refusal = await world.evict(second).then(() => assert.fail("the second was evicted too"), (error) => error);
  assert.equal(refusal.status, 429, refusal.message);
  await until(() => world.pod(nameOf(first))?.metadata.uid !== first.metadata.uid, "it is gone", PATIENCE);
  await world.settled("it was replaced");
});

/** Waits until all nodes and balancers are on other machines. A NATS server may wait for this one: in production each has a machine of its own. */
const elsewhere = (world, machine) => until(() => [NODE, BALANCER].every((name) => {
  return world.ready(name).filter((pod) => machineOf(pod) !== machine).length >= world.workload(name).spec.replicas;
}) && world.ready(NATS).length >= world.workload(NATS).spec.replicas - 1, "all nodes and balancers are elsewhere", PATIENCE);

/** The machine with the most of our pods, of those that may be emptied. */
function machineToEmpty(world, spare = () => false) {
  const machines = new Set(ALL.flatMap((name) => world.of(name)).map(machineOf));
  const load = (machine) => ALL.reduce((sum, name) => sum + onMachine(world, machine, name).length, 0);
  const able = [...machines].filter((machine) => !spare(machine) && onMachine(world, machine, NODE).length > 0);
  assert.ok(able.length > 0, "there is a machine for it");
  return able.sort((a, b) => load(b) - load(a))[0];
}

export const machineDrained = (world) => world.event("a machine is drained (kubectl drain)", async () => {
  const machine = machineToEmpty(world);
  try {
    await kubectl("drain", machine, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=500s");
    for (const name of ALL) assert.equal(onMachine(world, machine, name).length, 0, `${name} is elsewhere`);
    await elsewhere(world, machine);
  } finally {
    await kubectl("uncordon", machine);
  }
});

async function isUp(world, machine) {
  const { status } = await world.api.get(`/api/v1/nodes/${machine}`);
  return status.conditions.find(({ type }) => type === "Ready").status === "True";
}

/** Pods go from a machine with this taint. From Kubernetes 1.28 on they are also forgotten, so that a StatefulSet starts them elsewhere. */
const LOST = "node.kubernetes.io/out-of-service=nodeshutdown";

/** The cable is pulled. A single NATS server is not on that machine: without it there would be no cluster. */
export const machineLost = (world) => world.event("a machine is lost", async () => {
  const alone = world.of(NATS).length === 1;
  const machine = machineToEmpty(world, (machine) => alone && onMachine(world, machine, NATS).length > 0);
  const plug = await unplug(machine);
  try {
    await eventually(async () => !await isUp(world, machine), "Kubernetes misses the machine");
    // The operator knows that it is gone. Kubernetes alone would wait for five minutes.
    await kubectl("taint", "nodes", machine, `${LOST}:NoExecute`);
    await elsewhere(world, machine);
  } finally {
    await plug();
    await eventually(() => isUp(world, machine), "the machine is back");
    await kubectl("taint", "nodes", machine, `${LOST}:NoExecute-`);
  }
});

export const scaled = (from, to) => (world) => world.event(`nodes are scaled from ${from} to ${to}`, async () => {
  assert.equal(world.workload(NODE).spec.replicas, from);
  await world.kubectl("scale", `deployment/${NODE}`, `--replicas=${to}`);
  await until(() => world.workload(NODE).spec.replicas === to, "the number is known", PATIENCE);
  await world.settled("the pods are there");
});
