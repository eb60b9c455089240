// Metrics as Prometheus sees them: promtool finds no fault in names, rules and settings, and a real Prometheus evaluates every expression of the
// dashboard and every alert against nodes and a balancer. `cargo xtask test --only monitoring` runs this.
import { before, test } from "node:test";
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { listens, scratch, startNats } from "./cluster.mjs";
import { Server, connect, freePort, request, settingsFile, until } from "./lib.mjs";

const PATIENCE = 60_000;
const NODES = 2;
const DEPLOY = fileURLToPath(new URL("../../deploy", import.meta.url));
const DASHBOARD = JSON.parse(readFileSync(path.join(DEPLOY, "grafana/dashboards/sociable.json"), "utf8"));
const ALERTS = readFileSync(path.join(DEPLOY, "prometheus/alerts.yml"), "utf8");
const GUIDE = readFileSync(fileURLToPath(new URL("../../docs/guide/metrics.md", import.meta.url)), "utf8");
const place = scratch("monitoring");

class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }
}

/** Runs promtool on a text or on files. Returns the code and the output. */
function promtool(args, input) {
  const { status, stdout, stderr } = spawnSync(process.env.PROMTOOL, args, { input, encoding: "utf8" });
  return { status, output: stdout + stderr };
}

const targets = { node: [], balancer: [] };
let first, prometheus;

const ask = async (query) => {
  const answer = await (await fetch(`${prometheus}/api/v1/${query}`)).json();
  assert.equal(answer.status, "success", `${query}: ${answer.error}`);
  return answer.data;
};
const evaluate = async (expression) => (await ask(`query?query=${encodeURIComponent(expression)}`)).result;
const expressions = DASHBOARD.panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => [panel.title, expr]));

before(async () => {
  const [{ port: nats }] = await startNats(place, 1, true);
  const servers = [];
  const cluster = ["--nats", `nats://127.0.0.1:${nats}`, "--cluster", `monitoring-${process.pid}`, "--recovery", "120", "--jetstream"];
  const here = { after: (end) => place.cleanup.push(end) };
  // Parts that are off by default have their series too.
  const secret = settingsFile(here, "a secret of this test, which is long enough");
  const settings = settingsFile(here, `[namespaces."/tokens".jwt]\nsecret-file = "${secret}"\n[namespaces."/hooked"]\nconnect = "http://127.0.0.1:9/"\n`);
  const keys = path.join(place.folder, "keys.toml");
  writeFileSync(keys, `[keys.all]\nsecret = "${"0123456789".repeat(4)}"\noperations = ["*"]\n`);
  const users = settingsFile(here, "ada:$2y$10$QOFuDnHyYzVDpm1NI8dKveQ8I5SbTyRsvnBfyHCVrU7ql.BQYtMv2\n");
  const parts = ["--config", settings, "--api-addr", "127.0.0.1:0", "--api-keys", keys, "--admin-ui-users", users];
  for (let n = 0; n < NODES; n++) {
    const admin = await freePort();
    const flags = (port) => [...cluster, ...parts, "--advertise", `127.0.0.1:${port}`, "--node-name", `node-${n}`, "--admin-addr", `127.0.0.1:${admin}`];
    servers.push(await Server.start("NODE_BIN", flags));
    targets.node.push(`127.0.0.1:${admin}`);
  }
  [first] = servers;
  const admin = await freePort();
  const balancer = await Balancer.start("SOCIABLE_BALANCER", ["--nodes", servers.map(({ port }) => `127.0.0.1:${port}`).join(","), "--admin-addr", `127.0.0.1:${admin}`]);
  targets.balancer.push(`127.0.0.1:${admin}`);
  place.cleanup.push(() => [...servers, balancer].forEach((server) => server.child.kill("SIGKILL")));
  await until(async () => (await fetch(`http://${targets.balancer[0]}/readyz`)).status === 200, "the balancer is ready");
  await connect(here, balancer, "/");

  const config = path.join(place.folder, "prometheus.yml");
  copyFileSync(path.join(DEPLOY, "prometheus/alerts.yml"), path.join(place.folder, "alerts.yml"));
  const job = (name) => `  - { job_name: sociable-${name}, static_configs: [{ targets: ${JSON.stringify(targets[name])} }] }`;
  const lines = ["global: { scrape_interval: 1s, evaluation_interval: 1s }", "rule_files: [alerts.yml]", "scrape_configs:", job("node"), job("balancer")];
  writeFileSync(config, `${lines.join("\n")}\n`);
  const port = await freePort();
  const data = path.join(place.folder, "data");
  mkdirSync(data);
  const flags = [`--config.file=${config}`, `--storage.tsdb.path=${data}`, `--web.listen-address=127.0.0.1:${port}`, "--log.level=warn"];
  const child = spawn(process.env.PROMETHEUS, flags, { stdio: "ignore" });
  place.cleanup.push(() => child.kill("SIGKILL"));
  await listens(port, "Prometheus listens");
  prometheus = `http://127.0.0.1:${port}`;
});

test("promtool finds nothing in the metrics of node and balancer", async () => {
  // It would find a fault where there is one.
  assert.notEqual(promtool(["check", "metrics"], "# TYPE things counter\nthings 1\n").status, 0);
  for (const target of [...targets.node, ...targets.balancer]) {
    const { text } = await request(`http://${target}/metrics`);
    assert.ok(text.length > 5_000, text);
    assert.deepEqual(promtool(["check", "metrics"], text), { status: 0, output: "" }, target);
  }
});

test("the guide has every metric, and no other", async () => {
  const exported = new Set();
  for (const target of [...targets.node, ...targets.balancer]) {
    const { text } = await request(`http://${target}/metrics`);
    for (const [, name] of text.matchAll(/^# TYPE (\S+)/gm)) exported.add(name);
  }
  // Each table begins with the names. The texts before say what they begin with.
  const documented = new Set();
  let prefix = "";
  for (const line of GUIDE.split("\n")) {
    if (/^##? /.test(line)) prefix = "";
    prefix = /(?:begins|goes on) with `([a-z_]+)`/.exec(line)?.[1].replace(/^discovery_$/, "sociable_balancer_discovery_") ?? prefix;
    const [, names, type] = /^\| (`[a-z_`, ]+`) \| (counter|gauge|histogram)/.exec(line) ?? [];
    if (type) for (const [, name] of names.matchAll(/`([a-z_]+)`/g)) documented.add(/^(sociable|process)_/.test(name) ? name : prefix + name);
  }
  // It is there while a balancer drains.
  documented.delete("sociable_balancer_drain_deadline_timestamp_seconds");
  assert.deepEqual([...documented].sort(), [...exported].sort());
});

test("promtool finds nothing in alerts and settings", () => {
  const rules = promtool(["check", "rules", path.join(DEPLOY, "prometheus/alerts.yml")]);
  assert.equal(rules.status, 0, rules.output);
  assert.match(rules.output, new RegExp(`SUCCESS: ${ALERTS.match(/- alert:/g).length} rules found`));
  const config = promtool(["check", "config", path.join(DEPLOY, "prometheus/prometheus.yml")]);
  assert.equal(config.status, 0, config.output);
});

test("node and balancer have the figures of their process and build", async () => {
  for (const name of ["cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "threads", "open_fds", "max_fds", "start_time_seconds"]) {
    await until(async () => (await evaluate(`process_${name} > 0`)).length === NODES + 1, `process_${name} of all`, PATIENCE);
  }
  const builds = await evaluate("sociable_build_info");
  assert.equal(new Set(builds.map(({ metric }) => metric.version)).size, 1);
  assert.equal(builds.length, NODES + 1);
});

test("every expression of the dashboard has an answer", async () => {
  assert.ok(expressions.length > 25);
  for (const [title, expr] of expressions) {
    const expression = expr.replaceAll("$__rate_interval", "10s").replaceAll("$node", ".*");
    assert.doesNotMatch(expression, /\$/, title);
    await until(async () => (await evaluate(expression)).length > 0, `"${title}" shows something: ${expression}`, PATIENCE);
  }
});

test("every series of alerts and dashboard exists with its labels", async () => {
  const text = `${ALERTS} ${expressions.map(([, expr]) => expr).join(" ")}`;
  const known = new Set(await ask("label/__name__/values"));
  const named = new Set(text.match(/\b(?:sociable|process)_[a-z_]+/g));
  assert.deepEqual([...named].filter((name) => !known.has(name)), []);
  // A selector by a value that does not exist never fires.
  for (const [selector] of text.matchAll(/\b(?:sociable|process)_[a-z_]+\{[a-z]+="[a-z_]+"\}/g)) {
    assert.ok((await evaluate(selector)).length > 0, selector);
  }
});

test("alerts are evaluated and none fires", async () => {
  const rules = async () => (await ask("rules")).groups.flatMap((group) => group.rules);
  const count = ALERTS.match(/- alert:/g).length;
  await until(async () => (await rules()).filter(({ health }) => health === "ok").length === count, "all are evaluated", PATIENCE);
  assert.deepEqual((await rules()).filter(({ state }) => state === "firing").map(({ name }) => name), []);
});

test("the alert on targets matches when a node is killed", async () => {
  const expression = ALERTS.match(/expr: (up\{.*)/)[1];
  assert.deepEqual(await evaluate(expression), []);
  first.child.kill("SIGKILL");
  await until(async () => (await evaluate(expression)).length === 1, "it is noticed", PATIENCE);
});
