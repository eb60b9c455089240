// A full disk of NATS. A small file system takes the place of the volume of a server, and is filled.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { until } from "../lib.mjs";
import { freeze, signal } from "./faults.mjs";
import { isReady, nameOf, restartsOf } from "./pods.mjs";
import { NATS, NODE, PATIENCE, eventually } from "./world.mjs";

const run = promisify(execFile);
const SIZE_MIB = 64;

/** The folder that holds the data of a server. */
async function folderOf(world, pod) {
  const claim = pod.spec.volumes.find(({ persistentVolumeClaim }) => persistentVolumeClaim).persistentVolumeClaim.claimName;
  const { spec } = await world.api.get(`/api/v1/namespaces/${world.namespace}/persistentvolumeclaims/${claim}`);
  return (await world.api.get(`/api/v1/persistentvolumes/${spec.volumeName}`)).spec.hostPath.path;
}

/** Exchanges what is behind the folder while the server is frozen, then has it start anew. */
async function exchange(world, name, act) {
  const pod = world.pod(name);
  await freeze(pod);
  await act();
  await signal(pod, "KILL");
  await until(() => restartsOf(world.pod(name)) > restartsOf(pod) && isReady(world.pod(name)), "it starts again", PATIENCE);
}

export async function diskFull(world) {
  const [pod] = world.ready(NATS);
  const name = nameOf(pod);
  const folder = await folderOf(world, pod);
  const aside = mkdtempSync(path.join(tmpdir(), "sociable-disk-"));
  await world.event("NATS gets a small disk", () => exchange(world, name, async () => {
    await run("cp", ["-a", `${folder}/.`, aside]);
    await run("mount", ["-t", "tmpfs", "-o", `size=${SIZE_MIB}m,mode=777`, "tmpfs", folder]);
    await run("cp", ["-a", `${aside}/.`, folder]);
  }));
  await world.event("the disk of NATS is full", async () => {
    const ballast = path.join(folder, "ballast");
    const { bavail, bsize } = statfsSync(folder);
    writeFileSync(ballast, Buffer.alloc(bavail * bsize));
    assert.equal(statfsSync(folder).bavail, 0);
    const readiness = () => Promise.all(world.of(NODE).map((it) => world.ask(it, 3001, "/readyz").catch((error) => error.message)));
    await eventually(async () => (await world.kubectl("logs", name, "--tail=200")).includes("no space left"), "NATS logs it");
    console.log(`# NATS: ${(await world.kubectl("logs", name, "--tail=200")).split("\n").filter((line) => /no space|JetStream|[Ee]rror/.test(line)).slice(0, 5).join(" | ")}`);
    await world.crowd.more(200, []);
    console.log(`# readiness of nodes: ${JSON.stringify(await readiness())}`);
    await run("rm", [ballast]);
    await world.crowd.more(100, []);
    console.log(`# readiness with room again: ${JSON.stringify(await readiness())}`);
    await signal(world.pod(name), "KILL");
    await until(() => isReady(world.pod(name)), "NATS is ready", PATIENCE);
  }, { loses: true });
  await world.event("NATS gets its disk back", () => exchange(world, name, async () => {
    await run("cp", ["-a", `${folder}/.`, aside]);
    await run("umount", ["-l", folder]);
    await run("sh", ["-c", `rm -rf "${folder}"/* && cp -a "${aside}"/. "${folder}"`]);
  }));
}
