// New versions, and the way back from bad ones.
import assert from "node:assert/strict";
import { until } from "../lib.mjs";
import { nameOf, waitsFor } from "./pods.mjs";
import { BALANCER, NATS, NODE, PATIENCE } from "./world.mjs";

const LABEL = { [NODE]: "nodes", [BALANCER]: "balancers", [NATS]: "NATS" };
const CONTAINER = { [NODE]: "node", [BALANCER]: "balancer", [NATS]: "nats" };
const resource = (name) => `${name === NATS ? "statefulset" : "deployment"}/${name}`;

/** Waits for the end of a rollout, as an operator does. */
const rollout = (world, name) => world.kubectl("rollout", "status", resource(name), "--timeout=600s");

/** Runs a change of a workload. No more pods may be missing meanwhile, and no more may be there, than its strategy says. */
async function within(world, name, change) {
  const { spec } = world.workload(name);
  const limits = spec.strategy?.rollingUpdate ?? { maxUnavailable: 1, maxSurge: 0 };
  const watched = world.followPods(name);
  try {
    await change();
    await rollout(world, name);
    await world.settled("the rollout is over");
  } finally {
    const { least, most } = watched();
    assert.ok(least >= spec.replicas - limits.maxUnavailable, `${least} of ${spec.replicas} were ready`);
    assert.ok(most <= spec.replicas + limits.maxSurge, `${most} pods for ${spec.replicas}`);
  }
}

export const rollingUpdate = (name) => (world) => world.event(`rolling update of ${LABEL[name]}`, async () => {
  const before = world.of(name).map(nameOf);
  const [container] = world.workload(name).spec.template.spec.containers;
  const next = container.image.endsWith(":next") ? world.images.get(name) : `${container.image.replace(/:[^:]*$/, "")}:next`;
  world.images.set(name, container.image);
  await within(world, name, () => world.kubectl("set", "image", resource(name), `${CONTAINER[name]}=${next}`));
  if (name !== NATS) assert.ok(world.of(name).every((pod) => !before.includes(nameOf(pod))), "all are new");
});

export const rollback = (name) => (world) => world.event(`rollback of ${LABEL[name]}`, async () => {
  await within(world, name, () => world.kubectl("rollout", "undo", resource(name)));
});

/** A version that cannot run. It must get no further than its first pod, and the others must not notice. */
const bad = (title, name, change, shows) => (world) => world.event(`${title}, rolled back`, async () => {
  const before = new Map(world.of(name).map((pod) => [nameOf(pod), pod.metadata.uid]));
  await within(world, name, async () => {
    await change(world);
    await until(() => world.of(name).some((pod) => shows.test(waitsFor(pod) ?? "")), "the new pod does not run", PATIENCE);
    await world.crowd.more(100);
    await world.kubectl("rollout", "undo", resource(name));
  });
  const kept = world.of(name).filter((pod) => before.get(nameOf(pod)) === pod.metadata.uid);
  assert.equal(kept.length, name === NATS ? before.size - 1 : before.size, "no other pod was touched");
});

/** The registry is a port of the machine itself, at which nobody listens. */
export const badImage = (name) => bad(`a bad image of ${LABEL[name]}`, name,
  (world) => world.kubectl("set", "image", resource(name), `${CONTAINER[name]}=127.0.0.1:1/${name}:absent`), /ImagePull/);

/** A value that the program refuses. */
export const badSetting = bad("a bad setting of nodes", NODE,
  (world) => world.kubectl("set", "env", resource(NODE), "SOCIABLE_RECOVERY=never"), /CrashLoop/);

/** A setting that the program accepts, and with which it cannot work. */
export const wrongPassword = bad("a wrong password of nodes", NODE,
  (world) => world.kubectl("set", "env", resource(NODE), "SOCIABLE_NATS_PASSWORD=wrong"), /CrashLoop/);

export const badNats = bad("a bad setting of NATS", NATS, (world) => world.kubectl("patch", resource(NATS), "--type=json", "--patch",
  JSON.stringify([{ op: "replace", path: "/spec/template/spec/containers/0/args", value: ["--config", "/etc/nats/absent.conf"] }])), /CrashLoop/);
