// The overlays on a real Kubernetes, under faults, rollouts and maintenance. `cargo xtask k8s-cluster` runs
// this: it starts the cluster, and passes its addresses.
//
// All the while, 100 clients send 20 broadcasts a second to each other. After each event every client is there,
// as the socket that it was, and has every broadcast once. OUT gets the table of what each event cost.
import { after, before, describe, test } from "node:test";
import { Api } from "./kubernetes-cluster/api.mjs";
import { scalesDown, scalesUp } from "./kubernetes-cluster/autoscaler.mjs";
import { authorityReplaced, certificateExpired } from "./kubernetes-cluster/certificates.mjs";
import { diskFull } from "./kubernetes-cluster/disk.mjs";
import { containerKilled, frozenForAWhile, frozenForGood, nodeDrains, nothingHappens, podDeleted } from "./kubernetes-cluster/ends.mjs";
import { evictions, machineDrained, machineLost, scaled } from "./kubernetes-cluster/machines.mjs";
import { natsAway, nodesFull, quorumLost, workerDeadlocked } from "./kubernetes-cluster/probes.mjs";
import { badImage, badNats, badSetting, rollback, rollingUpdate, wrongPassword } from "./kubernetes-cluster/rollouts.mjs";
import { Table } from "./kubernetes-cluster/table.mjs";
import { BALANCER, NATS, NODE, World } from "./kubernetes-cluster/world.mjs";

const table = new Table(process.env.OUT);

/** Runs events on an overlay, one after the other. */
function drill(overlay, url, events) {
  describe(`overlay ${overlay}`, { skip: !url && "no such cluster" }, () => {
    let api, world;
    before(async () => {
      api = await Api.start();
      world = await World.start(api, overlay, url, table);
    }, { timeout: 600_000 });
    after(async () => {
      world?.stop();
      if (!process.env.DRILL_KEEP) await world?.remove();
      api?.stop();
    });
    for (const [name, event] of events) test(name, { timeout: 900_000 }, () => event(world));
  });
}

drill("dev", process.env.CLUSTER_URL_DEV, [
  ["clients miss nothing when nothing happens", nothingHappens],
  ["node pod moves its clients when deleted", podDeleted(NODE)],
  ["balancer pod is replaced when deleted", podDeleted(BALANCER)],
  ["NATS pod is replaced when deleted", podDeleted(NATS)],
  ["node is restarted when killed", containerKilled(NODE)],
  ["balancer is restarted when killed", containerKilled(BALANCER)],
  ["NATS is restarted when killed", containerKilled(NATS)],
  ["readiness fails when a node drains", nodeDrains],
  ["clients move when their node freezes", frozenForAWhile(NODE)],
  ["clients wait when their balancer freezes", frozenForAWhile(BALANCER)],
  ["events wait when NATS freezes", frozenForAWhile(NATS)],
  ["nodes are replaced one by one", rollingUpdate(NODE)],
  ["balancer is replaced before it goes", rollingUpdate(BALANCER)],
  ["NATS is replaced", rollingUpdate(NATS)],
  ["budget of nodes refuses a second eviction", evictions(NODE)],
  ["pods move when a machine is drained", machineDrained],
  ["pods move when a machine is lost", machineLost],
  ["clients stay when nodes are added", scaled(2, 4)],
  ["clients move when nodes are removed", scaled(4, 2)],
  ["bad image replaces no node", badImage(NODE)],
  ["bad setting replaces no node", badSetting],
  ["nodes live when NATS is away", natsAway],
  ["nodes are ready when full", nodesFull],
  ["node is restarted when its worker is deadlocked", workerDeadlocked],
  ["clients stay when the disk of NATS is full", diskFull],
]);

drill("production", process.env.CLUSTER_URL_PRODUCTION, [
  ["clients miss nothing when nothing happens", nothingHappens],
  ["node pod moves its clients when deleted", podDeleted(NODE)],
  ["balancer pod moves its clients when deleted", podDeleted(BALANCER)],
  ["NATS pod is replaced when deleted", podDeleted(NATS)],
  ["node is restarted when killed", containerKilled(NODE)],
  ["balancer is restarted when killed", containerKilled(BALANCER)],
  ["NATS server is restarted when killed", containerKilled(NATS)],
  ["readiness fails when a node drains", nodeDrains],
  ["nodes are replaced one by one", rollingUpdate(NODE)],
  ["balancers are replaced one by one", rollingUpdate(BALANCER)],
  ["NATS servers are replaced one by one", rollingUpdate(NATS)],
  ["budget of nodes refuses a second eviction", evictions(NODE)],
  ["budget of balancers refuses a second eviction", evictions(BALANCER)],
  ["budget of NATS refuses a second eviction", evictions(NATS)],
  ["pods move when a machine is drained", machineDrained],
  ["pods move when a machine is lost", machineLost],
  ["bad image replaces no node", badImage(NODE)],
  ["bad image replaces no balancer", badImage(BALANCER)],
  ["wrong password replaces no node", wrongPassword],
  ["bad setting replaces one NATS server alone", badNats],
  ["autoscaler adds nodes under load", scalesUp],
  ["autoscaler removes nodes without load", scalesDown],
  ["nodes live when NATS is away", natsAway],
  ["events wait when NATS has no majority", quorumLost],
  ["new authority of NATS is trusted without a restart", authorityReplaced],
  ["nodes live when the certificate of NATS expires", certificateExpired],
  ["nodes are ready when full", nodesFull],
  ["node is restarted when its worker is deadlocked", workerDeadlocked],
  ["clients stay when the disk of NATS is full", diskFull],
  ["liveness ends a frozen node", frozenForGood(NODE)],
  ["liveness ends a frozen balancer", frozenForGood(BALANCER)],
  ["liveness ends a frozen NATS server", frozenForGood(NATS)],
  ["nodes are replaced by the version before", rollback(NODE)],
]);
