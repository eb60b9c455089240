// The autoscaler of nodes, with a stand-in for the metrics server. The stand-in reports for each pod the CPU
// that a ConfigMap states by the pod's name label.
import assert from "node:assert/strict";
import { until } from "../lib.mjs";
import { NODE, PATIENCE, eventually } from "./world.mjs";

const SYSTEM = "/api/v1/namespaces/kube-system/configmaps";
const NAME = "metrics-stand-in";

async function report(world, data) {
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: NAME }, data };
  await world.api.patch(`${SYSTEM}/${NAME}`, { data }).catch(() => world.api.post(SYSTEM, body));
}

/** A share of the CPU that a node requests. */
function share(world, factor) {
  const { cpu } = world.workload(NODE).spec.template.spec.containers[0].resources.requests;
  const millis = cpu.endsWith("m") ? parseInt(cpu, 10) : Number(cpu) * 1000;
  return `${Math.round(millis * factor)}m`;
}

const path = async (world) => `/apis/autoscaling/${await world.api.version("autoscaling", "HorizontalPodAutoscaler")}/namespaces/${world.namespace}/horizontalpodautoscalers/${NODE}`;

export const scalesUp = (world) => world.event("the autoscaler adds nodes", async () => {
  const { spec } = await world.api.get(await path(world));
  assert.equal(world.workload(NODE).spec.replicas, spec.minReplicas);
  await report(world, { [NODE]: share(world, 0.9) });
  // One step: two at most, or a half.
  await until(() => world.workload(NODE).spec.replicas > spec.minReplicas, "the load adds nodes", PATIENCE);
  await report(world, { [NODE]: share(world, 0.55) });
  await world.settled("more nodes");
});

/** The wait of ten minutes before the first is removed is shortened, and stays so: the longer one would bring the removed nodes back. */
export const scalesDown = (world) => world.event("the autoscaler removes nodes", async () => {
  const { spec } = await world.api.get(await path(world));
  const policies = spec.behavior.scaleDown.policies.map((policy) => ({ ...policy, periodSeconds: 30 }));
  await world.api.patch(await path(world), { spec: { behavior: { scaleDown: { stabilizationWindowSeconds: 15, policies } } } });
  await report(world, { [NODE]: share(world, 0.1) });
  await eventually(() => world.workload(NODE).spec.replicas === spec.minReplicas, "the number is the least");
  await world.settled("fewer nodes");
});
