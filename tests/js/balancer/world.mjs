// Nodes of one cluster, a balancer in front of them, and how the tests of the balancer ask both.
import { before } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { scratch, startNats } from "../cluster.mjs";
import { Balancer, RawPolling, Server, connect, done, request, until, within } from "../lib.mjs";

export { Balancer };
export const NODES = 3;
export const UNKNOWN = { code: 1, message: "Session ID unknown" };
export const TRANSPORTS = { "polling alone": ["polling"], "websocket alone": ["websocket"], "an upgrade": ["polling", "websocket"] };

export const place = scratch("balancer");
let natsUrl;

before(async () => {
  const [{ port }] = await startNats(place, 1, true);
  natsUrl = `nats://127.0.0.1:${port}`;
});

/** Where nodes are: the list for `--nodes`. */
export const listed = (nodes) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");

export const healthOf = async (node) => JSON.parse((await request(`${node.url}/healthz`)).text);

let clusters = 0;

/** Nodes, all of one cluster, and how a balancer finds them. */
export async function startNodes(flags = [], { variable = "ACCEPTANCE", joined = false } = {}) {
  const cluster = ["--nats", natsUrl, "--cluster", `balancer-${process.pid}-${++clusters}`];
  const own = (port) => [...(joined ? [...cluster, "--advertise", `127.0.0.1:${port}`] : []), ...flags];
  const nodes = await Promise.all(Array.from({ length: NODES }, (_, n) => {
    return Server.start(variable, (port) => [...own(port), "--node-name", `node-${n}`]);
  }));
  for (const node of nodes) node.tag = (await healthOf(node)).tag;
  if (joined) {
    await Promise.all(nodes.map(async (node) => {
      const ends = [];
      const socket = await connect({ after: (end) => ends.push(end) }, node);
      await until(async () => (await done(socket, { do: "serverCount" })) === NODES, "the nodes know each other");
      ends.forEach((end) => end());
    }));
  }
  return { nodes, cluster, list: ["--nodes", listed(nodes)] };
}

/** Returns when new sessions come to each of these nodes. */
export async function allReady(balancer, nodes) {
  const seen = new Set();
  await until(async () => {
    seen.add(await newSession(balancer));
    return nodes.every(({ tag }) => seen.has(tag));
  }, "new sessions come to every node");
}

/** Nodes and a balancer for one test. */
export async function world(t, flags, { balancerFlags = [], ...options } = {}) {
  const { nodes, cluster, list } = await startNodes(flags, options);
  const balancer = await Balancer.start([...list, ...balancerFlags]);
  t.after(() => Promise.all([...nodes, balancer].map((server) => server.stop("SIGKILL"))));
  await allReady(balancer, nodes);
  return { nodes, cluster, list, balancer, url: balancer.url };
}

export const tagOf = (id) => id.slice(0, 4);

/** Opens a session and gives the tag of its node. */
export async function newSession(app) {
  const answer = await send(app);
  assert.equal(answer.status, 200, answer.text);
  return tagOf(JSON.parse(answer.text.slice(1)).sid);
}

/** Calls until each node was met, and gives what was made there first, in the order of the nodes. */
export async function oneOnEach(nodes, make, tagOfIt) {
  const met = new Map();
  await until(async () => {
    const made = await make();
    const tag = tagOfIt(made);
    if (!met.has(tag)) met.set(tag, made);
    return nodes.every((node) => met.has(node.tag));
  }, "every node is met");
  return nodes.map(({ tag }) => met.get(tag));
}

export const clientOnEach = (t, { nodes, balancer }, nsp, options) =>
  oneOnEach(nodes, () => connect(t, balancer, nsp, options), (socket) => tagOf(socket.io.engine.id));

export const pollingOnEach = ({ nodes, balancer }) => oneOnEach(nodes, () => RawPolling.open(balancer), ({ sid }) => tagOf(sid));

export const QUERY = { EIO: "4", transport: "polling" };

/** One request: status, headers and text. Each has a connection of its own, unless an agent says otherwise. */
export function send(app, { query = QUERY, at = "/socket.io/", method = "GET", headers = {}, body, agent = false } = {}) {
  const search = new URLSearchParams(query).toString();
  const options = { method, headers, agent, host: "127.0.0.1", port: app.port, path: search ? `${at}?${search}` : at };
  const answer = new Promise((resolve, reject) => {
    const asked = http.request(options, (res) => {
      const chunks = [];
      res.on("data", (chunk) => chunks.push(chunk)).on("error", reject);
      res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, text: Buffer.concat(chunks).toString() }));
    });
    asked.on("error", reject).end(body);
  });
  return within(answer, `the answer to ${method} ${options.path}`);
}

/** An answer without the date and the fields of the connection. */
export function essence({ status, headers, text }) {
  const { date, connection, "keep-alive": keepAlive, "transfer-encoding": encoding, ...rest } = headers;
  return { status, headers: rest, text };
}

export const json = ({ text }) => JSON.parse(text);

export const refused = (answer, status, code, message) => {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(json(answer), { code, message });
};

/** Returns the answer to an echo by polling. */
export async function pollEcho(polling, value) {
  const posted = await polling.post(`42/api,["echo",${JSON.stringify(value)}]`);
  assert.equal(posted.status, 200, posted.text);
  return await polling.get();
}

export const echoed = (value) => `42/api,["echo",${JSON.stringify(value)}]`;

export async function assertPolls(polling, value) {
  assert.deepEqual(await pollEcho(polling, value), { status: 200, text: echoed(value) });
}

export async function assertTalks(raw, value) {
  raw.send(`42/api,["echo",${JSON.stringify(value)}]`);
  assert.equal(await raw.next(), echoed(value));
}

/** Announces a long body and sends none of it: the line of the answer. */
export function announced(app, query, length) {
  const answer = new Promise((resolve, reject) => {
    const socket = net.connect(app.port, "127.0.0.1");
    socket.once("data", (data) => { resolve(data.toString().split("\r\n")[0]); socket.destroy(); }).once("error", reject);
    const target = `/socket.io/?${new URLSearchParams(query)}`;
    socket.write(`POST ${target} HTTP/1.1\r\nhost: here\r\ncontent-type: text/plain\r\ncontent-length: ${length}\r\n\r\n`);
  });
  return within(answer, "the refusal of a long body");
}
