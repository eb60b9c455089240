// The certificate of the NATS servers: renewed by another authority, and expired.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { until } from "../lib.mjs";
import { signal } from "./faults.mjs";
import { isReady, nameOf, restartsOf } from "./pods.mjs";
import { NATS, NODE, PATIENCE, eventually } from "./world.mjs";

const SECRET = "nats-tls";
const FILES = ["ca.crt", "tls.crt", "tls.key"];
const SCRIPT = new URL("../../../k8s/secrets.sh", import.meta.url).pathname;
const openssl = (...args) => execFileSync("openssl", args, { stdio: "pipe" });

/** A new authority, with a certificate for the servers. */
function authority(world) {
  const folder = path.join(mkdtempSync(path.join(tmpdir(), "sociable-authority-")), "secrets");
  execFileSync(SCRIPT, [folder, world.namespace], { stdio: "pipe" });
  return { folder, ...Object.fromEntries(FILES.map((file) => [file, readFileSync(path.join(folder, file), "utf8")])) };
}

/** A certificate of this authority for the same key, that ended years ago. */
function expired({ folder }) {
  const file = (name) => path.join(folder, name);
  writeFileSync(file("index.txt"), "");
  writeFileSync(file("ca.conf"), `[ca]\ndefault_ca = d\n[d]\ndatabase = ${file("index.txt")}\nnew_certs_dir = ${folder}\ndefault_md = sha256\npolicy = p\nrand_serial = yes\n[p]\ncommonName = supplied\n[e]\nsubjectAltName = DNS:nats-0.nats,DNS:nats-1.nats,DNS:nats-2.nats\nextendedKeyUsage = serverAuth,clientAuth\n`);
  openssl("req", "-new", "-key", file("tls.key"), "-subj", "/CN=nats", "-out", file("expired.csr"));
  openssl("ca", "-batch", "-config", file("ca.conf"), "-extensions", "e", "-cert", file("ca.crt"), "-keyfile", file("ca.key"), "-in", file("expired.csr"),
    "-out", file("expired.crt"), "-notext", "-startdate", "20200101000000Z", "-enddate", "20210101000000Z");
  return readFileSync(file("expired.crt"), "utf8");
}

const secretPath = (world) => `/api/v1/namespaces/${world.namespace}/secrets/${SECRET}`;

async function present(world) {
  const { data } = await world.api.get(secretPath(world));
  return Object.fromEntries(FILES.map((file) => [file, Buffer.from(data[file], "base64").toString()]));
}

/** Changes files of the Secret, waits until the servers see them, and has each read them again. No connection ends for that. */
async function change(world, files) {
  await world.api.patch(secretPath(world), { stringData: files });
  for (const pod of world.ready(NATS)) {
    for (const [file, text] of Object.entries(files)) {
      const seen = () => world.kubectl("exec", nameOf(pod), "--", "cat", `/etc/nats-tls/${file}`);
      await eventually(async () => (await seen()).trim() === text.trim(), `${nameOf(pod)} sees ${file}`);
    }
    await world.kubectl("exec", nameOf(pod), "--", "nats-server", "--signal", "reload=/run/nats/nats.pid");
  }
}

/** A node that starts anew connects with the certificates of now. */
async function restartNode(world) {
  const pod = world.crowd.busiest(world.ready(NODE));
  await signal(pod, "KILL");
  await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod), "it starts again", PATIENCE);
  return pod;
}

export const authorityReplaced = (world) => world.event("the authority and the certificate of NATS are replaced", async () => {
  const before = await present(world);
  const next = authority(world);
  world.authority = next;
  // First both are trusted, then the certificate changes, then the old authority goes.
  await change(world, { "ca.crt": before["ca.crt"] + next["ca.crt"] });
  await change(world, { "tls.crt": next["tls.crt"], "tls.key": next["tls.key"] });
  await change(world, { "ca.crt": next["ca.crt"] });
  const pod = await restartNode(world);
  await until(() => isReady(world.pod(nameOf(pod))), "the node connects", PATIENCE);
});

export const certificateExpired = (world) => world.event("the certificate of NATS has expired", async () => {
  await change(world, { "tls.crt": expired(world.authority) });
  await world.crowd.more(100);
  const pod = await restartNode(world);
  await until(() => restartsOf(world.pod(nameOf(pod))) > restartsOf(pod) + 1, "the node does not start", PATIENCE);
  const log = await world.kubectl("logs", nameOf(pod), "--previous", "--tail=3");
  console.log(`# a node without a valid certificate of NATS: ${log.trim()}`);
  assert.match(log, /expired/i);
  await change(world, { "tls.crt": world.authority["tls.crt"] });
  await until(() => isReady(world.pod(nameOf(pod))), "the node starts", PATIENCE);
});
