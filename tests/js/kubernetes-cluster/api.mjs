// The API of a Kubernetes cluster. `kubectl proxy` logs in, so that a question costs no process.
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { pause } from "../cluster.mjs";
import { within } from "../lib.mjs";

const run = promisify(execFile);
const [program, ...first] = (process.env.KUBECTL ?? "kubectl").split(" ");
/** A command of kubectl may wait for a rollout. */
const PATIENCE = 600_000;

/** Runs kubectl. Returns its output; a failure has its complaint. */
export async function kubectl(...args) {
  const { stdout } = await run(program, [...first, ...args], { maxBuffer: 1 << 26, timeout: PATIENCE });
  return stdout;
}

/** An answer of the API other than 2xx. */
export class Refused extends Error {
  constructor(status, text) {
    super(`${status}: ${text.slice(0, 500)}`);
    this.status = status;
  }
}

export class Api {
  static async start() {
    const api = new Api();
    api.proxy = spawn(program, [...first, "proxy", "--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
    process.on("exit", () => api.stop());
    const [line] = await within(new Promise((resolve) => createInterface(api.proxy.stdout).once("line", (...line) => resolve(line))), "kubectl proxy");
    api.url = `http://${line.match(/127\.0\.0\.1:\d+/)[0]}`;
    return api;
  }

  stop() {
    this.proxy.kill("SIGKILL");
  }

  async text(path, init) {
    const answer = await fetch(this.url + path, init);
    const text = await answer.text();
    if (!answer.ok) throw new Refused(answer.status, text);
    return text;
  }

  async get(path) {
    return JSON.parse(await this.text(path));
  }

  async post(path, body) {
    return JSON.parse(await this.text(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
  }

  async patch(path, body) {
    return JSON.parse(await this.text(path, { method: "PATCH", headers: { "Content-Type": "application/merge-patch+json" }, body: JSON.stringify(body) }));
  }

  /** The newest version of a group that the cluster has: old clusters have beta versions of today's objects. */
  async version(group, kind) {
    const { versions } = await this.get(`/apis/${group}`);
    for (const { version } of [...versions].sort((a, b) => rank(b.version) - rank(a.version))) {
      const { resources } = await this.get(`/apis/${group}/${version}`);
      if (resources.some((resource) => resource.kind === kind)) return version;
    }
    throw new Error(`the cluster has no ${kind} in ${group}`);
  }
}

/** v2 is newer than v2beta2, and that than v1. */
function rank(version) {
  const [, major, , beta] = version.match(/^v(\d+)((?:beta|alpha)(\d+))?$/);
  return Number(major) * 100 + (beta ? Number(beta) - 50 : 0);
}

/** All objects of a collection, as they are now. */
export class Watched {
  objects = new Map();
  #listeners = new Set();
  #ended = false;

  constructor(api, path) {
    Object.assign(this, { api, path });
  }

  async start() {
    await this.#list();
    this.#follow();
    return this;
  }

  stop() {
    this.#ended = true;
    this.abort?.abort();
  }

  get all() {
    return [...this.objects.values()];
  }

  get(name) {
    return this.objects.get(name);
  }

  /** Calls `act` after each change, until the returned function is called. */
  on(act) {
    this.#listeners.add(act);
    return () => this.#listeners.delete(act);
  }

  async #list() {
    const { items, metadata } = await this.api.get(this.path);
    this.objects = new Map(items.map((item) => [item.metadata.name, item]));
    this.version = metadata.resourceVersion;
    this.#changed();
  }

  #changed(type, object) {
    for (const act of this.#listeners) act(type, object);
  }

  async #follow() {
    while (!this.#ended) {
      try {
        this.abort = new AbortController();
        const answer = await fetch(`${this.api.url}${this.path}?watch=1&resourceVersion=${this.version}`, { signal: this.abort.signal });
        for await (const line of createInterface(Readable.fromWeb(answer.body))) this.#take(JSON.parse(line));
      } catch {
        // A watch may end at any time, also because its version is too old: then everything is listed anew.
        if (!this.#ended) await this.#list().catch(() => pause(500));
      }
    }
  }

  #take({ type, object }) {
    if (type === "ERROR") throw new Error(object.message);
    this.version = object.metadata.resourceVersion;
    if (type === "DELETED") this.objects.delete(object.metadata.name);
    else this.objects.set(object.metadata.name, object);
    this.#changed(type, object);
  }
}
