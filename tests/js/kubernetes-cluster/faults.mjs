// Faults of containers, workers and machines. Each machine of the cluster has a Docker engine, whose socket is
// in the folder ENGINES.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { holdWorker } from "../threads.mjs";
import { containerOf } from "./pods.mjs";

const run = promisify(execFile);
/** The processes of a container, by the numbers that they have on this machine. */
const PROCESSES = "/sys/fs/cgroup/pids/sociable-k8s";

const docker = async (machine, ...args) => {
  const { stdout } = await run("docker", ["-H", `unix://${path.join(process.env.ENGINES, `${machine}.sock`)}`, ...args]);
  return stdout.trim();
};

/** Sends a signal to the process of a pod, past the kubelet. */
export const signal = (pod, name) => docker(pod.spec.nodeName, "kill", `--signal=${name}`, containerOf(pod));

/** Stops a pod's process for a while, without a word to anybody. Returns the way back. */
export async function freeze(pod) {
  await signal(pod, "STOP");
  // The container may have ended meanwhile.
  return () => signal(pod, "CONT").catch(() => {});
}

/** Blocks the worker of a node that has one, as a deadlock would. Without it `serves` is false. Returns the way back. */
export function blockWorker(pod, serves) {
  const [pid] = readFileSync(path.join(PROCESSES, containerOf(pod), "cgroup.procs"), "utf8").split("\n");
  return holdWorker(pid, serves);
}

/** Pulls the cable of a machine. Returns the way back. */
export async function unplug(machine) {
  const link = (state) => run("ip", ["link", "set", `kube-${machine}`, state]);
  await link("down");
  return () => link("up");
}
