// One overlay on the cluster: its pods, as they are now, the clients before it, and the events that befall it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { pause } from "../cluster.mjs";
import { until } from "../lib.mjs";
import { Watched, kubectl } from "./api.mjs";
import { Crowd } from "./clients.mjs";
import { containerOf, isReady, nameOf } from "./pods.mjs";

const CLIENTS = Number(process.env.DRILL_CLIENTS ?? 100);
/** Broadcasts a second. */
const RATE = 20;
/** A cluster has this long to reach a state. A node may drain for a minute, and a killed container waits before it starts again. */
export const PATIENCE = 300_000;

const NAME = "app.kubernetes.io/name";
export const NODE = "sociable-node", BALANCER = "sociable-balancer", NATS = "nats";

/** Asks not too often: each question is a request. */
export const eventually = (question, what, ms = PATIENCE) => until(async () => {
  const answer = await question();
  if (!answer) await pause(250);
  return answer;
}, what, ms);

export class World {
  /** How the containers of ended pods ended, by pod. */
  ended = new Map();
  /** Containers that were stopped for a while: their sessions are not those of living nodes. */
  frozen = new Set();
  /** The image of each workload before its update. */
  images = new Map();
  /** The containers of nodes by the tags of their session ids. */
  tags = new Map();

  constructor(api, overlay, namespace, url, table) {
    Object.assign(this, { api, overlay, namespace, url, table });
  }

  static async start(api, overlay, url, table) {
    const file = path.join(process.env.OVERLAYS, `${overlay}.yaml`);
    const namespace = readFileSync(file, "utf8").match(/^ {2}namespace: (\S+)$/m)[1];
    const world = new World(api, overlay, namespace, url, table);
    // An old API does not know all fields.
    await kubectl("apply", "--validate=false", "-f", file);
    const collection = (group, kind) => new Watched(api, `${group}/namespaces/${namespace}/${kind}`).start();
    world.pods = await collection("/api/v1", "pods");
    world.deployments = await collection("/apis/apps/v1", "deployments");
    world.sets = await collection("/apis/apps/v1", "statefulsets");
    world.policy = await api.version("policy", "PodDisruptionBudget");
    world.pods.on((type, pod) => { if (pod) world.#note(pod); });
    // An autoscaler sets the number of pods itself.
    const autoscalers = `/apis/autoscaling/v1/namespaces/${namespace}/horizontalpodautoscalers`;
    for (const { spec } of (await api.get(autoscalers)).items) {
      await until(() => world.workload(spec.scaleTargetRef.name)?.spec.replicas >= spec.minReplicas, "the autoscaler has set the number of pods", PATIENCE);
    }
    await world.settled("at the start");
    world.crowd = new Crowd(url, CLIENTS, RATE);
    await world.crowd.start();
    return world;
  }

  /** Deletes the overlay, so that the next one has room. */
  async remove() {
    await kubectl("delete", "namespace", this.namespace, "--wait", "--timeout=300s");
  }

  stop() {
    this.crowd?.stop();
    for (const watched of [this.pods, this.deployments, this.sets]) watched?.stop();
  }

  // ---------------------------------------------------------------- pods

  #note(pod) {
    const end = pod.status.containerStatuses?.[0]?.state.terminated;
    if (end && pod.metadata.deletionTimestamp) this.ended.set(pod.metadata.uid, end.exitCode);
  }

  workload(name) {
    return this.deployments.get(name) ?? this.sets.get(name);
  }

  /** The pods of a workload that are to stay. */
  of(name) {
    return this.pods.all.filter((pod) => pod.metadata.labels[NAME] === name && !pod.metadata.deletionTimestamp);
  }

  ready(name) {
    return this.of(name).filter(isReady);
  }

  pod(name) {
    return this.pods.get(name);
  }

  /** A workload is as its description says, and nothing of before is left. */
  isSettled(name) {
    const { metadata, spec, status } = this.workload(name);
    const all = this.pods.all.filter((pod) => pod.metadata.labels[NAME] === name);
    return status.observedGeneration === metadata.generation && status.updatedReplicas === spec.replicas
      && all.length === spec.replicas && all.every(isReady);
  }

  async settled(what) {
    await until(() => [NODE, BALANCER, NATS].every((name) => this.isSettled(name)), `all pods are ready: ${what}`, PATIENCE).catch((error) => {
      throw new Error(`${error.message}: ${this.pods.all.map((pod) => `${nameOf(pod)} ${pod.status.phase}${isReady(pod) ? " ready" : ""}`).join(", ")}`);
    });
  }

  /**
   * Follows the pods of a workload. The returned function ends that, and returns the least that were ready whenever one was told to go, and the
   * most that there were. A busy machine may fail a probe, but no controller may end a pod then.
   */
  followPods(name) {
    const going = new Set(this.pods.all.filter(({ metadata }) => metadata.deletionTimestamp).map(({ metadata }) => metadata.uid));
    let least = Infinity;
    let most = this.of(name).length;
    const off = this.pods.on((_, pod) => {
      most = Math.max(most, this.of(name).length);
      if (pod?.metadata.labels[NAME] !== name || !pod.metadata.deletionTimestamp || going.has(pod.metadata.uid)) return;
      going.add(pod.metadata.uid);
      least = Math.min(least, this.ready(name).length);
    });
    return () => { off(); return { least, most }; };
  }

  /** What a pod serves at a port. */
  ask(pod, port, question) {
    return this.api.text(`/api/v1/namespaces/${this.namespace}/pods/http:${nameOf(pod)}:${port}/proxy${question}`);
  }

  /** The value of a series of a pod, or the sum of all with this beginning. */
  async metric(pod, port, series) {
    const lines = (await this.ask(pod, port, "/metrics")).split("\n").filter((line) => line.startsWith(series));
    return lines.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(" "))), 0);
  }

  evict(pod) {
    const path = `/api/v1/namespaces/${this.namespace}/pods/${nameOf(pod)}/eviction`;
    return this.api.post(path, { apiVersion: `policy/${this.policy}`, kind: "Eviction", metadata: { name: nameOf(pod), namespace: this.namespace } });
  }

  kubectl(...args) {
    return kubectl("--namespace", this.namespace, ...args);
  }

  // ---------------------------------------------------------------- events

  /** Notes which container each client's node is, to know later whether it lived. */
  #learn() {
    for (const { tag, pod } of this.crowd.clients) {
      const container = tag && pod && this.pod(pod) && containerOf(this.pod(pod));
      if (container && !this.tags.has(tag)) this.tags.set(tag, container);
    }
  }

  isLiving(tag) {
    const container = this.tags.get(tag);
    return !this.frozen.has(container) && this.pods.all.some((pod) => containerOf(pod) === container && isReady(pod));
  }

  /**
   * An event: `act` makes it happen, and waits until Kubernetes is done with it. Then all clients must be there, as who they were, and must have
   * every broadcast once. `loses: true` is for events that may cost that.
   */
  async event(name, act, { loses = false } = {}) {
    const { crowd } = this;
    await crowd.whole(`before: ${name}`);
    crowd.begin();
    this.#learn();
    const learning = setInterval(() => this.#learn(), 500);
    let fault;
    try {
      await act();
    } catch (error) {
      fault = error;
    }
    await this.settled(name).catch((error) => { fault ??= error; });
    let cost;
    try {
      cost = await crowd.end(name);
    } finally {
      clearInterval(learning);
    }
    const living = cost.unknown.filter(({ tag }) => this.isLiving(tag));
    const row = { overlay: this.overlay, clients: CLIENTS, event: name, ...cost, unknown: living.length, unknownInAll: cost.unknown.length };
    this.table.add({ ...row, ...(fault && { fault: fault.message }) });
    console.log(`# ${this.overlay}: ${JSON.stringify(row)}`);
    if (fault) throw fault;
    if (!loses) assert.deepEqual({ lost: row.lost, renewed: row.renewed }, { lost: 0, renewed: 0 }, "nothing is lost, and all are who they were");
    assert.equal(row.twice, 0, "nothing comes twice");
    assert.equal(row.unknown, 0, "no session of a living node is unknown");
    return row;
  }
}
