// `sociable-node` as a process: its settings file, its checks, its probe, its administration.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import http from "node:http";
import bcrypt from "bcryptjs";
import { client, connect, connected, freePort, freshNode, once, request, settingsFile as file, until } from "./lib.mjs";

/** A hash of bcrypt, of no password. */
const ANY_HASH = `$2b$10$${"a".repeat(22)}${"b".repeat(31)}`;

/** Runs the node to its end. */
function run(args, env = {}) {
  const { status, stdout, stderr } = spawnSync(process.env.NODE_BIN, args, { encoding: "utf8", env: { ...process.env, ...env }, timeout: 15_000 });
  return { status, text: stdout + stderr };
}

describe("the environment", () => {
  const told = (env, ...args) => run(["--check", ...args], { SOCIABLE_NATS: "", ...env });

  test("ignores empty variables and switches that are off", () => {
    const empty = { SOCIABLE_NATS_USER: "", SOCIABLE_NATS_TOKEN: "", SOCIABLE_PORT: "", SOCIABLE_CONFIG: "", SOCIABLE_CORS_ORIGIN: "" };
    assert.deepEqual(told(empty), { status: 0, text: "" });
    for (const off of ["", "false", "0", "no", "OFF"]) assert.deepEqual(told({ SOCIABLE_JETSTREAM: off }), { status: 0, text: "" }, off);
    for (const on of ["true", "1", "yes"]) assert.match(told({ SOCIABLE_JETSTREAM: on }).text, /--nats/, on);
  });

  test("does not show its values in --help", () => {
    const { text } = run(["--help"], { SOCIABLE_NATS: "nats://me:sesame@127.0.0.1", SOCIABLE_NATS_PASSWORD: "sesame" });
    assert.match(text, /SOCIABLE_NATS_PASSWORD/);
    assert.doesNotMatch(text, /sesame/);
  });
});

describe("a file of settings", () => {
  test("is overridden by flags and the environment", async (t) => {
    const name = file(t, 'path = "/live/"\nnode-name = "of the file"\nport = 1\n');
    const node = await freshNode(t, "--config", name, "--node-name", "of the flag");
    const { text } = await request(node.url + "/healthz");
    assert.equal(JSON.parse(text).name, "of the flag");
    const socket = client(t, node, "/", { path: "/live/" });
    await connected(socket);
  });

  test("is checked like the flags, without a start", (t) => {
    const check = (text, env) => run(["--check", "--config", file(t, text)], env);
    for (const origins of ['["https://a.example"]', '["*"]', '["null", "capacitor://localhost", "http://[::1]:3000"]']) {
      assert.deepEqual(check(`port = 4000\ncors-origin = ${origins}\n`), { status: 0, text: "" });
    }
    for (const [text, told] of [
      ["prot = 4000", "`prot` is no setting"],
      ["port = 70000", "70000"],
      ["port = ", "node.toml"],
      ["jetstream = true", "--nats"],
      ['nats = "nats://127.0.0.1"\ncluster = "a b"', "a b"],
      ["ping-interval = 0", "line 1, column 17: `ping-interval`"],
      ["max-sessions = 0", "max_sessions"],
      ['port = 4000\nadmin-addr = "127.0.0.1:4000"', "--admin-addr"],
      ['nats = "nats://127.0.0.1"\nnats-ca = "/nowhere/ca.pem"', "/nowhere/ca.pem"],
      ['nats = "nats://127.0.0.1"\nnats-credentials = "/nowhere/node.creds"', "/nowhere/node.creds"],
      ['nats = "nats://127.0.0.1"\nnats-nkey = "SUCH"', "nkey"],
      ['admin-ui-users = "/nowhere/users"', "cannot serve the admin UI: cannot read /nowhere/users"],
      [`admin-ui-users = "${file(t, "ada:changeit")}"`, "is no bcrypt hash: make one by `htpasswd -nB ada`"],
      [`admin-ui-users = "${file(t, `ada:${ANY_HASH}`)}"\nadmin-ui-namespace = "/"`, "`/` is the namespace of the demonstration"],
      [`admin-ui-users = "${file(t, `ada:${ANY_HASH}`)}"\nadmin-ui-secret = "${file(t, "\n")}"`, "the secret is empty: write one"],
      ['cors-credentials = true', "--cors-origin"],
      ['port = 4000\ncors-origin = ["https://a.example", "b.example"]', "line 2, column 15: `cors-origin`: an origin has a scheme: write it as https://example.com"],
      ['cors-origin = ["https://a.example/"]', "`cors-origin`: an origin ends with its host or port"],
      ['allow-origin = ["a.example"]', "line 1, column 16: `allow-origin`: an origin has a scheme"],
      ['allow-origin = ["*"]', "`allow-origin`: `*` is no origin here: leave the flag out"],
      ['otlp-endpoint = "ftp://collector"', "line 1, column 17: `otlp-endpoint`"],
      ["[webhooks]\nretries = 3\ntimeout-ms = 0\n", "line 3, column 1: `timeout-ms` is 0"],
      ['[webhooks]\nsecret-files = ["/nowhere/secret"]\n', "line 2, column 1: cannot read the secret in /nowhere/secret"],
      ['[namespaces."/a"]\nconnect = "backend"\n', 'line 2, column 11: `namespaces."/a".connect`: the text is no URL'],
      ['[namespaces."/a"]\nconnect = { url = "http://b/", batch = true }\n', "line 2, column 1: `connect` has `batch`"],
      ['[namespaces."/a".events]\nsay = "http://b/"\ndisconnect = "http://b/"\n', "line 3, column 1: `events` has `disconnect`"],
    ]) {
      const { status, text: said } = check(text);
      assert.notEqual(status, 0, text);
      assert.ok(said.includes(told), `${text}: ${said}`);
    }
    // The environment wins over the file, even if it turns a switch off.
    assert.equal(check("port = 70000", { SOCIABLE_PORT: "4000" }).status, 0);
    assert.equal(check("jetstream = true", { SOCIABLE_JETSTREAM: "false" }).status, 0);
    assert.equal(run(["--check"], { SOCIABLE_CONFIG: "/nowhere/node.toml" }).status, 1);
  });
});

test("users of the admin UI are read again when their file changes", async (t) => {
  const line = (name) => `${name}:${bcrypt.hashSync("changeit", 4)}\n`;
  const users = file(t, line("ada") + line("bob"));
  const node = await freshNode(t, "--admin-ui-users", users);
  const logIn = (username) => connect(t, node, "/admin", { auth: { username, password: "changeit" } });
  const [ada, bob] = [await logIn("ada"), await logIn("bob")];
  writeFileSync(users, "ada\n");
  await until(() => node.output.includes("admin UI users not read again"), "the fault is logged");
  assert.deepEqual([ada.connected, bob.connected], [true, true], "a fault changes nothing");
  const gone = once(bob, "disconnect");
  writeFileSync(users, line("ada") + line("eve"));
  assert.equal((await gone)[0], "io server disconnect");
  await logIn("eve");
  await assert.rejects(logIn("bob"), /invalid credentials/);
  assert.equal(ada.connected, true);
  assert.match(node.output, /admin UI users read again users=\["ada", "eve"\]/);
});

test("clients of Socket.IO 2 are served when enabled", async (t) => {
  const [strict, open] = await Promise.all([freshNode(t), freshNode(t, "--allow-eio3")]);
  const ask = (node) => request(`${node.url}/socket.io/?EIO=3&transport=polling`);
  assert.deepEqual([(await ask(strict)).status, (await ask(open)).status], [400, 200]);
});

test("probe reports whether the node of these settings is well", async (t) => {
  const node = await freshNode(t, "--host", "0.0.0.0");
  assert.deepEqual(run(["--probe", "--host", "0.0.0.0", "--port", String(node.port)]), { status: 0, text: "" });
  await node.stop();
  const { status, text } = run(["--probe"], { SOCIABLE_PORT: String(node.port) });
  assert.equal(status, 1);
  assert.ok(text.includes("does not answer"), text);
});

test("administration hides the log under foreign names", async (t) => {
  const port = await freePort();
  const node = await freshNode(t, "--admin-addr", `127.0.0.1:${port}`);
  await connect(t, node, "/");
  const admin = `http://127.0.0.1:${port}`;
  const accept = "application/openmetrics-text;version=1.0.0";
  const metrics = await request(admin + "/metrics", { headers: { host: "node-1.example", accept } });
  assert.equal(metrics.status, 200);
  assert.match(metrics.text, /^sociable_sockets\{nsp="\/"\} 1$/m);
  assert.match(metrics.text, /^# EOF\n$/m);
  const names = metrics.text.split("\n").filter((line) => line.startsWith("# TYPE ")).map((line) => line.split(" ")[2]);
  assert.equal(new Set(names).size, names.length, "no name is told twice");
  assert.ok(names.every((name) => /^(sociable|process)_[a-z_]+$/.test(name)), "all names are ours");
  const plain = (await request(admin + "/metrics")).text;
  assert.match(plain, /^# TYPE sociable_sessions_opened_total counter$/m);
  assert.doesNotMatch(plain, /# EOF/);
  assert.equal((await request(admin + "/healthz")).status, 200);
  assert.equal((await request(admin + "/readyz")).status, 200);
  assert.equal((await request(node.url + "/metrics")).status, 404, "clients are not shown them");
});

test("administration lists actors only under an address", async (t) => {
  const port = await freePort();
  const node = await freshNode(t, "--admin-addr", `127.0.0.1:${port}`);
  const admin = `http://127.0.0.1:${port}`;
  const alive = async () => {
    const { status, text } = await request(admin + "/actors");
    assert.equal(status, 200);
    const { kinds, last_deaths } = JSON.parse(text);
    assert.deepEqual(last_deaths, []);
    assert.ok(kinds.every(({ deaths, restarts }) => deaths === 0 && restarts === 0));
    return Object.fromEntries(kinds.map(({ kind, alive }) => [kind, alive]));
  };
  const { worker, ...none } = await alive();
  assert.ok(worker >= 1);
  assert.deepEqual(none, { session: 0, namespace: 0, room: 0, socket: 0 });
  const socket = await connect(t, node, "/");
  assert.deepEqual(await alive(), { worker, session: 1, namespace: 1, room: 0, socket: 1 });
  const metrics = await request(admin + "/metrics");
  assert.match(metrics.text, /^sociable_actors\{kind="socket"\} 1$/m);
  assert.match(metrics.text, /^sociable_actor_deaths_total\{kind="room"\} 0$/m);
  socket.disconnect();
  await until(async () => (await alive()).session === 0, "the session is gone");
  // fetch leaves the header `Host` as it is.
  const named = http.get(admin + "/actors", { headers: { host: "node-1.example" } });
  const [refused] = await once(named, "response");
  refused.resume();
  assert.equal(refused.statusCode, 404);
  assert.equal((await request(node.url + "/actors")).status, 404, "clients are not shown them");
});

test("log can be lines of JSON", async (t) => {
  const node = await freshNode(t, "--log-format", "json");
  await until(() => node.output.includes("listening on"), "the address is logged");
  const lines = node.output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  assert.ok(lines.some(({ level, message, target }) => level === "INFO" && message.startsWith("listening on") && target), node.output);
});
