// A cluster of docker-compose.yml, with faults, as clients on the published ports see it. `cargo xtask
// compose-test` runs this: it starts the cluster, and passes the command as COMPOSE (`docker-compose` or
// `docker compose`).
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { pause } from "./cluster.mjs";
import { Client, PATIENCE, TRANSPORTS, allHaveHeard as heard, compose, containers, docker, untilReady, url } from "./compose.mjs";
import { until } from "./lib.mjs";

const CLIENTS = 12;
const ROOM = "drill";
const PORTS = [process.env.SOCIABLE_PORT_1 ?? "3000", process.env.SOCIABLE_PORT_2 ?? "3001"];

/** The name by which the node in a container shows itself: the container's own. */
const nameOf = (container) => container.slice(0, 12);

/** Says a text in the demonstration. */
async function say(socket, text) {
  const answer = await socket.emitWithAck("say", ROOM, text).catch(() => undefined);
  if (answer && answer !== true) throw new Error(JSON.stringify(answer));
  return answer;
}

/** A client in the room of the demonstration, who knows the name of its node. */
async function enter(index) {
  const client = new Client(`client-${index}`, url(PORTS[index % PORTS.length]), { transports: TRANSPORTS[index % TRANSPORTS.length] }, say);
  clients.push(client);
  client.socket.on("figures", ({ node }) => { client.node = node; });
  client.socket.on("disconnect", () => { client.node = undefined; });
  const answer = await (await client.connected()).timeout(PATIENCE).emitWithAck("join", ROOM, client.name);
  assert.equal(answer.room, ROOM, JSON.stringify(answer));
}

const clients = [];
const nodes = () => new Set(clients.map(({ node }) => node).filter(Boolean));
const allAreThere = () => clients.every(({ socket, node }) => socket.connected && node);
const allHaveHeard = (what) => heard(clients, what, allAreThere);

before(async () => {
  await untilReady(PORTS);
  const running = (await containers("node")).length;
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => enter(index)));
  assert.equal(running, 3, "there are three nodes");
  for (const client of clients) client.speak();
});

after(() => clients.forEach(({ socket }) => socket.disconnect()));

test("messages cross nodes and balancers; clients see their node", async () => {
  await allHaveHeard("at the start");
  assert.equal(nodes().size, 3, `clients are on ${[...nodes()]}`);
});

test("the page is at both ports", async () => {
  for (const port of PORTS) {
    const page = await (await fetch(url(port))).text();
    assert.match(page, /<dd id="node">/);
    for (const part of ["client.js", "chat.js", "style.css"]) assert.equal((await fetch(`${url(port)}/${part}`)).status, 200, part);
  }
});

test("a node is killed", async () => {
  const [victim] = await containers("node");
  assert.ok(nodes().has(nameOf(victim)));
  await docker("kill", "--signal=KILL", victim);
  await until(() => allAreThere() && !nodes().has(nameOf(victim)), "all clients are on other nodes", PATIENCE);
  await allHaveHeard("a node was killed");
  await docker("start", victim);
});

test("a node is paused for 20 s", async () => {
  const paused = (await containers("node")).find((node) => nodes().has(nameOf(node)));
  await docker("pause", paused);
  await pause(20_000);
  await docker("unpause", paused);
  await allHaveHeard("a node was paused");
});

test("a node is scaled away", async () => {
  const before = await containers("node");
  await compose("up", "-d", "--scale", "node=2", "--no-recreate");
  const left = await containers("node");
  assert.equal(left.length, 2);
  const gone = before.find((node) => !left.includes(node));
  await until(() => allAreThere() && !nodes().has(nameOf(gone)), "all clients are on the others", PATIENCE);
  await allHaveHeard("a node was scaled away");
});

test("five nodes take clients", async () => {
  await compose("up", "-d", "--scale", "node=5", "--no-recreate");
  assert.equal((await containers("node")).length, 5);
  // New clients go where there are fewest, so none come to nodes that have some.
  const seen = nodes();
  const visit = () => new Promise((resolve) => {
    const socket = io(url(PORTS[seen.size % 2]), { transports: ["websocket"], forceNew: true, reconnection: false });
    const done = (node) => { resolve(node); socket.disconnect(); };
    socket.on("figures", ({ node }) => done(node)).on("connect_error", () => done()).on("disconnect", () => done());
  });
  await until(async () => {
    for (const node of await Promise.all(Array.from({ length: 5 }, visit))) if (node) seen.add(node);
    return seen.size === 5;
  }, "new clients have been on five nodes", PATIENCE).catch((error) => { throw new Error(`${error.message}: only on ${[...seen]}`); });
  await allHaveHeard("there are five nodes");
});

test("a balancer is killed, and started again", async () => {
  const [balancer] = await containers("balancer-1");
  await docker("kill", "--signal=KILL", balancer);
  await docker("start", balancer);
  await allHaveHeard("a balancer was killed");
});

if (process.env.NATS_MODE === "cluster") {
  // One of them is the leader of the stream.
  for (const name of ["nats-1", "nats-2", "nats-3"]) {
    test(`a NATS server is killed: ${name}`, async () => {
      const [server] = await containers(name);
      await docker("kill", "--signal=KILL", server);
      await pause(10_000);
      await allHaveHeard(`${name} was killed`);
      await docker("start", server);
      // The others need it before the next one goes.
      await pause(10_000);
    });
  }
}

test("the whole cluster is stopped, and started again", async () => {
  await compose("down");
  await compose("up", "-d");
  await allHaveHeard("all was stopped");
});

test("every acknowledged number reached every client", async () => {
  await Promise.all(clients.map((client) => client.hush()));
  await allHaveHeard("in the end");
  const said = clients.reduce((all, { acknowledged }) => all + acknowledged, 0);
  assert.ok(said > CLIENTS * 100, `${said} were said`);
});
