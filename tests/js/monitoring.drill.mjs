// Prometheus in the cluster of docker-compose.yml. Prometheus finds all nodes and balancers, its rules are
// valid, and every query of the Grafana dashboard works. `cargo xtask compose-test` runs this.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { io } from "socket.io-client";
import { pause } from "./cluster.mjs";
import { until } from "./lib.mjs";

const PATIENCE = 120_000;
const PROMETHEUS = `http://127.0.0.1:${process.env.PROMETHEUS_PORT ?? "9090"}`;
const SOCIABLE = `http://127.0.0.1:${process.env.SOCIABLE_PORT_1 ?? "3000"}`;
const DASHBOARD = JSON.parse(readFileSync(new URL("../../deploy/grafana/dashboards/sociable.json", import.meta.url), "utf8"));
const ALERTS = readFileSync(new URL("../../deploy/prometheus/alerts.yml", import.meta.url), "utf8").match(/- alert:/g).length;

const [program, ...first] = (process.env.COMPOSE ?? "docker-compose").split(" ");
const compose = (...args) => promisify(execFile)(program, [...first, ...args]);
/** A port of a container that does not listen yet may accept and say nothing. */
const answers = async (address) => (await Promise.race([fetch(address).catch(() => undefined), pause(5_000)]))?.status === 200;
const ask = async (path) => {
  const answer = await (await fetch(`${PROMETHEUS}/api/v1/${path}`)).json();
  assert.equal(answer.status, "success", `${path}: ${answer.error}`);
  return answer.data;
};
const query = async (expression) => (await ask(`query?query=${encodeURIComponent(expression)}`)).result;

let socket;
before(async () => {
  await until(() => answers(`${PROMETHEUS}/-/ready`), "Prometheus is ready", PATIENCE);
  await until(() => answers(`${SOCIABLE}/readyz`), "a node answers", PATIENCE);
  socket = io(SOCIABLE, { forceNew: true });
  await until(() => socket.connected, "a client is connected", PATIENCE);
});
after(() => socket?.disconnect());

test("settings and rules are valid", async () => {
  const { stdout } = await compose("exec", "-T", "prometheus", "promtool", "check", "config", "/etc/prometheus/prometheus.yml");
  assert.match(stdout, new RegExp(`${ALERTS} rules found`));
});

test("Prometheus scrapes all nodes and both balancers", async () => {
  const up = async (job) => (await query(`up{job="${job}"} == 1`)).length;
  await until(async () => await up("sociable-node") === 3 && await up("sociable-balancer") === 2, "three nodes and two balancers answer", PATIENCE);
  await until(async () => (await query("sum(sociable_sessions) == 1")).length === 1, "the session is counted", PATIENCE);
});

test("every query of the dashboard has a result", async () => {
  const targets = DASHBOARD.panels.flatMap((panel) => (panel.targets ?? []).map(({ expr }) => [panel.title, expr]));
  assert.ok(targets.length > 20);
  for (const [title, expr] of targets) {
    const expression = expr.replaceAll("$__rate_interval", "30s").replaceAll("$node", ".*");
    assert.doesNotMatch(expression, /\$/, title);
    await until(async () => (await query(expression)).length > 0, `"${title}" shows something: ${expression}`, PATIENCE);
  }
});

test("every series of rules and dashboard exists", async () => {
  const rules = readFileSync(new URL("../../deploy/prometheus/alerts.yml", import.meta.url), "utf8");
  const named = new Set(`${rules} ${JSON.stringify(DASHBOARD.panels.map(({ targets }) => targets))}`.match(/\bsociable_[a-z_]+/g));
  const known = new Set(await ask("label/__name__/values"));
  assert.deepEqual([...named].filter((name) => !known.has(name)), []);
});

test("no alert fires", async () => {
  const { groups } = await ask("rules");
  const firing = groups.flatMap(({ rules }) => rules).filter(({ state }) => state === "firing").map(({ name }) => name);
  assert.deepEqual(firing, []);
});
