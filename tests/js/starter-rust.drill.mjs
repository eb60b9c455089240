// `examples/starter-rust` in the place of `sociable-node`, with nodes that stop and are killed. `cargo xtask
// compose-test` runs this: it starts the containers, and passes the command as COMPOSE.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { Client, PATIENCE, TRANSPORTS, allHaveHeard as heard, containers, docker, untilReady, url } from "./compose.mjs";
import { until } from "./lib.mjs";

const CLIENTS = 9;
const ROOM = "lobby";
const PORTS = [process.env.SOCIABLE_PORT_1 ?? "3000", process.env.SOCIABLE_PORT_2 ?? "3001"];

const clients = [];
const allHaveHeard = (what) => heard(clients, what);
const tags = () => new Set(clients.map(({ tag }) => tag).filter(Boolean));

async function post(port, path, body, headers = {}) {
  return await fetch(url(port) + path, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });
}

/** Says a text in the chat. The acknowledgement is the message. */
async function say(socket, text) {
  const answer = await socket.emitWithAck("say", { room: ROOM, text }).catch(() => undefined);
  if (answer?.error) throw new Error(JSON.stringify(answer));
  return answer?.text === text;
}

/** A user who logged in at one balancer, and talks through the other. */
async function enter(index) {
  const name = `user-${index}`;
  const login = await post(PORTS[index % 2], "/login", { name });
  assert.equal(login.status, 200);
  const { token } = await login.json();
  // Half of the clients have a cookie, as browsers do.
  const credentials = index % 2 ? { auth: { token } } : { extraHeaders: { cookie: login.headers.get("set-cookie").split(";")[0] } };
  const client = new Client(name, `${url(PORTS[(index + 1) % 2])}/chat`, { transports: TRANSPORTS[index % 3], ...credentials }, say);
  clients[index] = Object.assign(client, { token });
  const joined = await (await client.connected()).timeout(PATIENCE).emitWithAck("join", ROOM);
  assert.equal(joined.room, ROOM, JSON.stringify(joined));
}

/** The tag of the node in a container. The network of the cluster has no way in but from this machine. */
async function tagOf(container) {
  const address = (await docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)).trim();
  return (await (await fetch(`http://${address}:3000/healthz`)).json()).tag;
}

/** A container whose node has clients, with its tag. */
async function victim() {
  for (const container of await containers("node")) {
    const tag = await tagOf(container).catch(() => undefined);
    if (tags().has(tag)) return { container, tag };
  }
  assert.fail(`no node has clients: ${[...tags()]}`);
}

before(async () => {
  await untilReady(PORTS);
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => enter(index)));
  for (const client of clients) client.speak();
});

after(() => clients.forEach(({ socket }) => socket.disconnect()));

test("users on all nodes hear each other", async () => {
  assert.equal((await containers("node")).length, 3, "there are three nodes");
  await allHaveHeard("at the start");
  assert.ok(tags().size > 1, `clients are on ${[...tags()]}`);
  const { members } = await clients[0].socket.emitWithAck("join", ROOM);
  assert.deepEqual(members, clients.map(({ name }) => name).sort());
});

test("container is healthy by its own check", async () => {
  const state = async (container) => (await docker("inspect", "--format", "{{.State.Health.Status}}", container)).trim();
  for (const container of await containers("node")) await until(async () => (await state(container)) === "healthy", "the node is healthy", PATIENCE);
});

test("client without a token is refused", async () => {
  const socket = io(`${url(PORTS[0])}/chat`, { forceNew: true, reconnection: false, auth: { token: "forged" } });
  const error = await new Promise((resolve) => socket.once("connect_error", resolve));
  assert.deepEqual([error.message, error.data], ["log in first", { code: "E_LOGIN" }]);
  socket.disconnect();
});

test("route reaches the users of all nodes", async () => {
  const heard = clients.map(({ socket }) => new Promise((resolve) => socket.once("announced", resolve)));
  const answer = await post(PORTS[0], `/rooms/${ROOM}/announcements`, { text: "lunch" }, { Authorization: `Bearer ${clients[0].token}` });
  assert.equal(answer.status, 200);
  for (const { name, text } of await Promise.all(heard)) assert.deepEqual([name, text], ["user-0", "lunch"]);
});

test("a node is killed", async () => {
  const { container, tag } = await victim();
  await docker("kill", "--signal=KILL", container);
  await until(() => clients.every((client) => client.tag && client.tag !== tag), "all clients are on other nodes", PATIENCE);
  await allHaveHeard("a node was killed");
  await docker("start", container);
});

test("a node is stopped", async () => {
  const { container, tag } = await victim();
  await docker("stop", "--time", "30", container);
  await until(() => clients.every((client) => client.tag && client.tag !== tag), "all clients are on other nodes", PATIENCE);
  await allHaveHeard("a node was stopped");
  assert.equal((await docker("inspect", "--format", "{{.State.ExitCode}}", container)).trim(), "0", "the node stopped by itself");
});

test("logout closes the user's sockets on every node", async () => {
  const [first] = clients;
  await first.hush();
  const closed = new Promise((resolve) => first.socket.once("disconnect", resolve));
  const answer = await post(PORTS[1], "/logout", {}, { Authorization: `Bearer ${first.token}` });
  assert.equal(answer.status, 204);
  await closed;
  first.socket.disconnect();
  clients.shift();
  await allHaveHeard("a user has logged out");
});

test("every acknowledged message reached every user", async () => {
  await Promise.all(clients.map((client) => client.hush()));
  await allHaveHeard("in the end");
  assert.ok(clients.every(({ acknowledged }) => acknowledged > 10), clients.map(({ acknowledged }) => acknowledged).join());
});
