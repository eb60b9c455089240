// Pods of a rendered manifest as processes of this machine: their environment, their probes, and how the kubelet ends them.
//
// Only what belongs to a cluster is replaced: addresses, ports, and the folders where secrets and disks are mounted.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { pause } from "./cluster.mjs";
import { freePort, request, until } from "./lib.mjs";

const run = promisify(execFile);
const LOOPBACK = "127.0.0.1";

/** The objects that `tests/k8s` has rendered. */
export class Manifests {
  constructor(file) {
    this.all = JSON.parse(readFileSync(file, "utf8"));
  }

  get(kind, name) {
    const found = this.all.find((it) => it.kind === kind && it.metadata.name === name);
    assert.ok(found, `${kind} ${name}`);
    return found;
  }
}

/** Cores, as `resourceFieldRef` gives them: rounded up. */
const cores = (text) => Math.ceil(text.endsWith("m") ? parseInt(text, 10) / 1000 : Number(text));

export class Pod {
  output = "";

  /** `program` stands for the image, `secret(name, key)` gives what a Secret holds. */
  constructor(manifests, workload, name, { program, secret, folder, cleanup }) {
    this.manifests = manifests;
    this.spec = workload.spec.template.spec;
    [this.container] = this.spec.containers;
    Object.assign(this, { name, program, secret, cleanup });
    this.folder = path.join(folder, name);
    mkdirSync(this.folder);
  }

  /** Gives each port of the container one of this machine. */
  async choosePorts() {
    this.ports = {};
    for (const { name, containerPort } of this.container.ports) this.ports[name] = { inside: containerPort, port: await freePort() };
    return this;
  }

  port(name) {
    return this.ports[name].port;
  }

  /** The same with the ports of this machine. */
  here(text) {
    const ports = Object.values(this.ports);
    return text.replace(/\b0\.0\.0\.0\b/g, LOOPBACK).replace(/(127\.0\.0\.1:)(\d+)/g, (all, host, inside) => {
      const known = ports.find((it) => it.inside === Number(inside));
      return known ? host + known.port : all;
    });
  }

  /** The environment of the container. */
  get environment() {
    const env = {};
    for (const { configMapRef } of this.container.envFrom ?? []) Object.assign(env, this.manifests.get("ConfigMap", configMapRef.name).data);
    for (const { name, value, valueFrom } of this.container.env) {
      if (value !== undefined) env[name] = value.replace(/\$\((\w+)\)/g, (_, variable) => env[variable]);
      else if (valueFrom.fieldRef) env[name] = { "metadata.name": this.name, "status.podIP": LOOPBACK }[valueFrom.fieldRef.fieldPath];
      else if (valueFrom.secretKeyRef) env[name] = this.secret(valueFrom.secretKeyRef.name, valueFrom.secretKeyRef.key);
      else if (valueFrom.resourceFieldRef) env[name] = String(cores(this.container.resources.requests[valueFrom.resourceFieldRef.resource.split(".")[1]]));
      assert.ok(env[name], `${this.name} knows ${name}`);
    }
    return env;
  }

  /** Starts it, and waits as the kubelet does: until it has started, then until it is ready. */
  async start(env, args = []) {
    this.child = spawn(this.program, args, { env, cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => (this.output = (this.output + chunk).slice(-1e5)));
    this.ended = null;
    this.exit = new Promise((resolve) => {
      this.child.once("exit", (code, signal) => resolve({ code, signal }));
      this.child.once("error", (error) => resolve({ error }));
    });
    this.exit.then((ended) => (this.ended = ended));
    this.cleanup.push(() => this.child.kill("SIGKILL"));
    return this;
  }

  async ready() {
    for (const which of ["startup", "readiness"]) {
      const { periodSeconds, failureThreshold } = this.container[`${which}Probe`];
      // A busy machine may make it wait to be ready, but not to start: there the manifest gives it enough.
      const patience = which === "startup" ? periodSeconds * failureThreshold * 1000 : 60_000;
      await until(async () => {
        assert.equal(this.ended, null, `${this.name} has ended: ${this.output.slice(-2000)}`);
        return await this.passes(which);
      }, `the ${which} probe of ${this.name} passes\n${this.output.slice(-2000)}`, patience);
    }
    return this;
  }

  /** Whether a probe of the manifest passes now. */
  async passes(which) {
    const { path: asked, port } = this.container[`${which}Probe`].httpGet;
    return await request(`http://${LOOPBACK}:${this.port(port)}${asked}`).then(({ status }) => status >= 200 && status < 400, () => false);
  }

  /** Ends it as the kubelet does: the hook, SIGTERM, and SIGKILL for what is there when the grace period is over. Gives how it ended. */
  async terminate() {
    const { terminationGracePeriodSeconds: grace } = this.spec;
    const overdue = setTimeout(() => this.child.kill("SIGKILL"), grace * 1000);
    try {
      const { exec, sleep } = this.container.lifecycle.preStop;
      if (sleep) await pause(sleep.seconds * 1000);
      else await this.runHook(exec.command);
      this.child.kill("SIGTERM");
      return await this.exit;
    } finally {
      clearTimeout(overdue);
    }
  }

  async runHook([program, ...args]) {
    await run(program, args);
  }
}

export class NodePod extends Pod {
  async begin(nats, secrets) {
    const env = this.environment;
    const replaced = { SOCIABLE_HOST: LOOPBACK, SOCIABLE_PORT: String(this.port("http")), SOCIABLE_NATS: nats, SOCIABLE_NATS_CA: secrets("ca.crt") };
    for (const name of ["SOCIABLE_ADMIN_ADDR", "SOCIABLE_ADVERTISE"]) replaced[name] = this.here(env[name]);
    this.url = `http://${LOOPBACK}:${this.port("http")}`;
    return await this.start({ ...env, ...replaced });
  }
}

export class BalancerPod extends Pod {
  async begin(nats, secrets, nodes) {
    const env = this.environment;
    const replaced = {
      SOCIABLE_NATS: nats,
      SOCIABLE_NATS_CA: secrets("ca.crt"),
      // The nodes that DNS would return.
      SOCIABLE_BALANCER_NODES: nodes.map((node) => `${LOOPBACK}:${node.port("http")}`).join(","),
      SOCIABLE_BALANCER_TLS_CERT: secrets("tls.crt"),
      SOCIABLE_BALANCER_TLS_KEY: secrets("tls.key"),
    };
    for (const name of ["LISTEN", "TLS_LISTEN", "ADMIN_ADDR"].map((it) => `SOCIABLE_BALANCER_${it}`)) replaced[name] = this.here(env[name]);
    this.url = `http://${LOOPBACK}:${this.port("http")}`;
    return await this.start({ ...env, ...replaced });
  }
}

export class NatsPod extends Pod {
  /** `peers` are all servers, this one too: the routes of the manifest lead to them in their order. */
  async begin(secrets, peers) {
    const config = this.spec.volumes.find(({ name }) => name === "config").configMap.name;
    for (const [file, text] of Object.entries(this.manifests.get("ConfigMap", config).data)) {
      const routed = text.replace(/nats-(\d+)\.nats:\d+/g, (_, n) => `${LOOPBACK}:${peers[n].port("routes")}`);
      const listening = routed.replace(/"0\.0\.0\.0:\d+"/g, (address) => this.here(address));
      writeFileSync(path.join(this.folder, file), this.mounted(listening.replaceAll("/etc/nats-tls/", secrets(""))));
    }
    const args = this.container.args.map((arg) => arg.replace("/etc/nats", this.folder));
    return await this.start({ ...this.environment }, args);
  }

  /** Its disk and what it writes otherwise are in its folder. */
  mounted(text) {
    return text.replaceAll('"/data"', `"${path.join(this.folder, "data")}"`).replaceAll("/run/nats/", `${this.folder}/`);
  }

  async runHook([, ...args]) {
    await run(this.program, args.map((arg) => this.mounted(arg)));
  }
}
