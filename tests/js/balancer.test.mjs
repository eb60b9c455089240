// Three nodes behind a balancer, as clients see them: the real client and raw bytes. What one node does, the three have to do together.
import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import path from "node:path";
import lookup from "socket.io-client-v2";
import msgpack from "socket.io-msgpack-parser";
import { scratch, startNats } from "./cluster.mjs";
import {
  PATIENCE, RawPolling, RawSocket, Server, ask, client, collect, connect, connectMany, connected, done, once, ownNamespace, rawClient, rawEngine,
  request, settle, until, within,
} from "./lib.mjs";

const NODES = 3;
const UNKNOWN = { code: 1, message: "Session ID unknown" };
const TRANSPORTS = { "polling alone": ["polling"], "websocket alone": ["websocket"], "an upgrade": ["polling", "websocket"] };

const place = scratch("balancer");
let natsUrl;

before(async () => {
  const [{ port }] = await startNats(place, 1, true);
  natsUrl = `nats://127.0.0.1:${port}`;
});

// ---------------------------------------------------------------- the balancer and its nodes

class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }

  static start(flags, port) {
    return super.start("SOCIABLE_BALANCER", flags, port);
  }
}

/** Where nodes are: the list for `--nodes`. */
const listed = (nodes) => nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");

const healthOf = async (node) => JSON.parse((await request(`${node.url}/healthz`)).text);

let clusters = 0;

/** Nodes, all of one cluster, and how a balancer finds them. */
async function startNodes(flags = [], { variable = "ACCEPTANCE", joined = false } = {}) {
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
async function allReady(balancer, nodes) {
  const seen = new Set();
  await until(async () => {
    seen.add(await newSession(balancer));
    return nodes.every(({ tag }) => seen.has(tag));
  }, "new sessions come to every node");
}

/** Nodes and a balancer for one test. */
async function world(t, flags, { balancerFlags = [], ...options } = {}) {
  const { nodes, cluster, list } = await startNodes(flags, options);
  const balancer = await Balancer.start([...list, ...balancerFlags]);
  t.after(() => Promise.all([...nodes, balancer].map((server) => server.stop("SIGKILL"))));
  await allReady(balancer, nodes);
  return { nodes, cluster, list, balancer, url: balancer.url };
}

const tagOf = (id) => id.slice(0, 4);

/** Opens a session and gives the tag of its node. */
async function newSession(app) {
  const answer = await send(app);
  assert.equal(answer.status, 200, answer.text);
  return tagOf(JSON.parse(answer.text.slice(1)).sid);
}

/** Calls until each node was met, and gives what was made there first, in the order of the nodes. */
async function oneOnEach(nodes, make, tagOfIt) {
  const met = new Map();
  await until(async () => {
    const made = await make();
    const tag = tagOfIt(made);
    if (!met.has(tag)) met.set(tag, made);
    return nodes.every((node) => met.has(node.tag));
  }, "every node is met");
  return nodes.map(({ tag }) => met.get(tag));
}

const clientOnEach = (t, { nodes, balancer }, nsp, options) =>
  oneOnEach(nodes, () => connect(t, balancer, nsp, options), (socket) => tagOf(socket.io.engine.id));

const pollingOnEach = ({ nodes, balancer }) => oneOnEach(nodes, () => RawPolling.open(balancer), ({ sid }) => tagOf(sid));

// ---------------------------------------------------------------- raw HTTP

const QUERY = { EIO: "4", transport: "polling" };

/** One request: status, headers and text. Each has a connection of its own, unless an agent says otherwise. */
function send(app, { query = QUERY, at = "/socket.io/", method = "GET", headers = {}, body, agent = false } = {}) {
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

/** What is said beside the date and the handling of the connection. */
function essence({ status, headers, text }) {
  const { date, connection, "keep-alive": keepAlive, "transfer-encoding": encoding, ...rest } = headers;
  return { status, headers: rest, text };
}

const json = ({ text }) => JSON.parse(text);

const refused = (answer, status, code, message) => {
  assert.equal(answer.status, status, answer.text);
  assert.deepEqual(json(answer), { code, message });
};

/** An echo by polling: what comes back. */
async function pollEcho(polling, value) {
  const posted = await polling.post(`42/api,["echo",${JSON.stringify(value)}]`);
  assert.equal(posted.status, 200, posted.text);
  return await polling.get();
}

const echoed = (value) => `42/api,["echo",${JSON.stringify(value)}]`;

async function assertPolls(polling, value) {
  assert.deepEqual(await pollEcho(polling, value), { status: 200, text: echoed(value) });
}

async function assertTalks(raw, value) {
  raw.send(`42/api,["echo",${JSON.stringify(value)}]`);
  assert.equal(await raw.next(), echoed(value));
}

/** Announces a long body and sends none of it: the line of the answer. */
function announced(app, query, length) {
  const answer = new Promise((resolve, reject) => {
    const socket = net.connect(app.port, "127.0.0.1");
    socket.once("data", (data) => { resolve(data.toString().split("\r\n")[0]); socket.destroy(); }).once("error", reject);
    const target = `/socket.io/?${new URLSearchParams(query)}`;
    socket.write(`POST ${target} HTTP/1.1\r\nhost: here\r\ncontent-type: text/plain\r\ncontent-length: ${length}\r\n\r\n`);
  });
  return within(answer, "the refusal of a long body");
}

// ---------------------------------------------------------------- what each way to find nodes has to do

for (const way of ["a list", "announcements"]) {
  describe(`nodes that are found by ${way}`, () => {
    let here;
    before(async () => {
      const { nodes, cluster, list } = await startNodes(["--max-payload", "3000000"], { joined: true });
      const balancer = await Balancer.start(way === "a list" ? list : cluster);
      await allReady(balancer, nodes);
      here = { nodes, balancer, url: balancer.url, port: balancer.port };
    });
    after(() => Promise.all([...here.nodes, here.balancer].map((server) => server.stop("SIGKILL"))));

    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      test(`many clients by ${name}: each stays with its node`, async (t) => {
        const nsp = ownNamespace();
        const clients = Array.from({ length: 60 }, () => client(t, here, nsp, { transports }));
        const lost = [];
        const upgrades = clients.map((socket) => {
          socket.on("disconnect", (reason) => lost.push(reason));
          return transports.length === 2 ? until(() => socket.io.engine.transport.name === "websocket", "the upgrade") : undefined;
        });
        await Promise.all(clients.map(connected));
        for (let round = 0; round < 3; round++) {
          const answers = await Promise.all(clients.map((socket, n) => ask(socket, "echo", `${round}:${n}`)));
          assert.deepEqual(answers, clients.map((_, n) => `${round}:${n}`));
        }
        await Promise.all(upgrades);
        const expected = transports.at(-1);
        const ids = await Promise.all(clients.map((socket) => done(socket, { do: "id" })));
        assert.ok(ids.every(({ transport }) => transport === expected));
        for (const { tag } of here.nodes) {
          assert.ok(clients.some((socket) => tagOf(socket.io.engine.id) === tag), `nobody came to the node ${tag}`);
        }
        const names = new Map(here.nodes.map(({ tag }, n) => [tag, `node-${n}`]));
        ids.forEach(({ node }, n) => assert.equal(node, names.get(tagOf(clients[n].io.engine.id)), "the tag tells the node"));
        assert.deepEqual(lost, []);
      });

      test(`a long message and a binary one by ${name}, both ways, to each node`, async (t) => {
        const sockets = await clientOnEach(t, here, ownNamespace(), { transports });
        const bytes = Buffer.alloc(1 << 20).map((_, n) => (n * 31) % 251);
        const text = "ä€😀x".repeat(100_000);
        for (const socket of sockets) {
          const back = await ask(socket, "echo", { deep: [bytes] });
          assert.ok(Buffer.from(back.deep[0]).equals(bytes));
          assert.equal(await ask(socket, "echo", text), text);
        }
      });

      test(`what one client says reaches those on all nodes once, by ${name}`, async (t) => {
        const nsp = ownNamespace();
        const sockets = await clientOnEach(t, here, nsp, { transports });
        const heard = sockets.map((socket) => collect(socket, "msg"));
        await Promise.all([ask(sockets[0], "join", "red"), ask(sockets[1], "join", ["red", "blue"])]);
        await done(sockets[2], { do: "emit", to: ["red", "blue"], event: "msg", args: ["to rooms"] });
        await done(sockets[2], { do: "emit", from: "socket", event: "msg", args: ["to others"] });
        await done(sockets[0], { do: "emit", to: [sockets[2].id], event: "msg", args: [Buffer.from([1, 2, 3])] });
        await until(() => heard[0].length >= 2 && heard[1].length >= 2 && heard[2].length >= 1, "all is heard");
        await settle(...sockets);
        assert.deepEqual(heard.slice(0, 2), [["to rooms", "to others"], ["to rooms", "to others"]]);
        assert.deepEqual(heard[2].map((bytes) => [...bytes]), [[1, 2, 3]]);

        await ask(sockets[1], "leave", "red");
        await done(sockets[2], { do: "emit", to: ["red"], event: "msg", args: ["to one"] });
        await done(sockets[2], { do: "emit", except: ["red"], event: "msg", args: ["to the rest"] });
        await until(() => heard[0].length >= 3 && heard[1].length >= 3 && heard[2].length >= 2, "all is heard");
        await settle(...sockets);
        assert.deepEqual([heard[0].at(-1), heard[1].at(-1), heard[2].at(-1)], ["to one", "to the rest", "to the rest"]);
        assert.deepEqual(heard.map(({ length }) => length), [3, 3, 2]);
      });
    }

    test("answers are gathered from clients on all nodes", async (t) => {
      const sockets = await clientOnEach(t, here, ownNamespace());
      sockets.forEach((socket, n) => socket.on("who", (ack) => ack(n)));
      const one = { do: "emitWithAck", event: "who", args: [], timeout: 10_000 };
      // Others are in this namespace too, from the search for one on each node: they don't answer.
      await Promise.all(sockets.map((socket) => ask(socket, "join", "asked")));
      assert.deepEqual((await done(sockets[0], { ...one, to: ["asked"] })).sort(), [0, 1, 2]);
      const told = await done(sockets[1], { do: "fetchSockets", to: ["asked"] });
      assert.deepEqual(told.map(({ id }) => id), sockets.map(({ id }) => id).sort());
      assert.equal((await done(sockets[0], { do: "serverSideEmitWithAck", event: "whoami", args: [] })).length, NODES - 1);
    });

    test("a refusal by middleware, an unknown namespace, and a second namespace on the same connection", async (t) => {
      const [socket] = await clientOnEach(t, here, "/guarded", { auth: { token: "open sesame" } });
      assert.equal(await ask(socket, "echo", 1), 1);
      const strange = client(t, here, "/guarded", { auth: { token: "no" }, transports: ["polling"] });
      await assert.rejects(connected(strange), (error) => error.message === "not authorized" && error.data.code === "E_AUTH");
      await assert.rejects(connected(client(t, here, "/nowhere")), { message: "Invalid namespace" });
      const second = socket.io.socket("/api");
      await connected(second);
      assert.equal(await ask(second, "echo", 2), 2);
      second.disconnect();
      assert.equal(await ask(socket, "echo", 3), 3);
    });

    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      test(`ends of connections by ${name}, from either side`, async (t) => {
        const nsp = ownNamespace();
        const [leaves, closes, thrown] = await connectMany(t, 3, here, nsp, { transports });
        const watchers = await clientOnEach(t, here, nsp);
        const reasons = async (id) => {
          const logs = await Promise.all(watchers.map((watcher) => done(watcher, { do: "log" })));
          return logs.flatMap(({ disconnects }) => disconnects).find((end) => end.id === id)?.reason;
        };
        const ids = [leaves.id, closes.id, thrown.id];
        const told = once(thrown, "disconnect");
        leaves.disconnect();
        closes.io.engine.close();
        await done(watchers[0], { do: "disconnectSockets", to: [thrown.id], close: true });
        assert.match((await told)[0], /^io server disconnect$|^transport (close|error)$/);
        const ended = await Promise.all(ids.map((id) => until(() => reasons(id), "the end is noted")));
        assert.equal(ended[0], "client namespace disconnect");
        assert.match(ended[1], /^transport (close|error)$/);
        assert.equal(ended[2], "server namespace disconnect");
      });
    }

    test("the handshake is that of the node, by either transport", async (t) => {
      const keys = ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"];
      const polling = await RawPolling.open(here);
      assert.deepEqual(Object.keys(polling.handshake).sort(), keys);
      assert.deepEqual(polling.handshake.upgrades, ["websocket"]);
      assert.equal(polling.handshake.maxPayload, 3_000_000);
      const raw = await rawEngine(t, here);
      assert.deepEqual(Object.keys(raw.handshake).sort(), keys);
      assert.deepEqual(raw.handshake.upgrades, []);
    });

    test("refusals are those of a node", async () => {
      const [node] = here.nodes;
      const strange = {
        "an unknown transport": [{ query: { EIO: "4", transport: "pigeon" } }, 0, "Transport unknown"],
        "no transport": [{ query: { EIO: "4" } }, 0, "Transport unknown"],
        "a handshake by POST": [{ method: "POST", body: "40" }, 2, "Bad handshake method"],
        "a handshake by PUT": [{ method: "PUT", body: "" }, 2, "Bad handshake method"],
        "a handshake by DELETE": [{ method: "DELETE" }, 2, "Bad handshake method"],
      };
      for (const [what, [options, code, message]] of Object.entries(strange)) {
        const [through, direct] = await Promise.all([send(here, options), send(node, options)]);
        refused(through, 400, code, message);
        assert.deepEqual(essence(through), essence(direct), what);
      }
    });

    test("a session id that no node has is unknown, whatever it looks like", async () => {
      const ghost = `${here.nodes[0].tag}${"A".repeat(16)}`;
      for (const sid of ["nobody", "A".repeat(20), `${"_".repeat(19)}!`, ghost]) {
        refused(await send(here, { query: { ...QUERY, sid } }), 400, 1, UNKNOWN.message);
        refused(await send(here, { query: { ...QUERY, sid }, method: "POST", body: "40" }), 400, 1, UNKNOWN.message);
        const raw = new RawSocket(here, { sid });
        await assert.rejects(within(raw.opened, "the refusal"), /400/, sid);
      }
    });

    test("several packets in one POST keep their order, at each node", async () => {
      for (const polling of await pollingOnEach(here)) {
        await polling.connect();
        const packets = Array.from({ length: 50 }, (_, n) => echoed(n));
        assert.equal((await polling.post(packets.join("\x1e"))).text, "ok");
        const back = [];
        while (back.length < packets.length) back.push(...(await polling.get()).text.split("\x1e"));
        assert.deepEqual(back, packets);
      }
    });

    test("two polls at once end their session and no other", async () => {
      const [polling, other] = await pollingOnEach(here);
      await other.connect();
      await polling.connect();
      const answers = await Promise.all([polling.get(), polling.get()]);
      assert.ok(answers.some(({ status }) => status === 400), JSON.stringify(answers));
      assert.deepEqual(JSON.parse((await polling.get()).text), UNKNOWN);
      await assertPolls(other, "here");
    });

    test("a session is upgraded by hand at each node: probe, noop, upgrade", async (t) => {
      for (const polling of await pollingOnEach(here)) {
        await polling.connect();
        const waiting = polling.get();
        const raw = new RawSocket(here, { sid: polling.sid });
        t.after(() => raw.terminate());
        await within(raw.opened, "the websocket opens");
        raw.send("2probe");
        assert.equal(await raw.next(), "3probe");
        assert.equal((await waiting).text, "6");
        raw.send("5");
        await assertTalks(raw, "by websocket");
      }
    });

    test("events that are sent during an upgrade come once and in order", async (t) => {
      const socket = client(t, here, ownNamespace(), { transports: ["polling", "websocket"] });
      const back = collect(socket, "echo");
      const upgraded = once(socket.io.engine, "upgrade");
      let sent = 0;
      const sending = setInterval(() => { for (let n = 0; n < 5; n++) socket.emit("echo", sent++); }, 2);
      t.after(() => clearInterval(sending));
      await upgraded;
      await until(() => back.length >= 300, "echoes come");
      clearInterval(sending);
      await ask(socket, "echo", "end");
      assert.deepEqual(back, Array.from({ length: sent }, (_, n) => n));
    });

    test("binary frames go through as they are, at each node", async (t) => {
      const raws = await oneOnEach(here.nodes, () => rawClient(t, here), (raw) => tagOf(raw.handshake.sid));
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
      const head = '451-/api,["echo",{"_placeholder":true,"num":0}]';
      for (const raw of raws) {
        raw.send(head, bytes);
        assert.equal(await raw.next(), head);
        assert.deepEqual(await raw.next(), bytes);
      }
      for (const polling of await pollingOnEach(here)) {
        await polling.connect();
        await polling.post(`${head}\x1eb${bytes.toString("base64")}`);
        const packets = [];
        while (packets.length < 2) packets.push(...(await polling.get()).text.split("\x1e"));
        assert.deepEqual(packets, [head, `b${bytes.toString("base64")}`]);
      }
    });

    test("what is too long is refused with 413, with a length or without, and other sessions notice nothing", async () => {
      const [polling, other] = await pollingOnEach(here);
      await other.connect();
      await polling.connect();
      const query = { ...QUERY, sid: polling.sid };
      assert.match(await announced(here, query, 3_000_001), /^HTTP\/1\.1 413 /);
      // Of a body without a length as much is read as may be. Who still writes then may see the end of the connection before the answer.
      const headers = { "content-type": "text/plain", "transfer-encoding": "chunked" };
      const outcome = await send(here, { query, method: "POST", headers, body: "4".repeat(3_000_001) }).then(({ status }) => status, ({ code }) => code);
      assert.ok([413, "EPIPE", "ECONNRESET"].includes(outcome), String(outcome));
      await assertPolls(other, "here");
    });

    test("ten sessions of three nodes share two connections", async (t) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 2 });
      t.after(() => agent.destroy());
      const connections = new Set();
      const ask = async (sid, body) => {
        const query = sid ? { ...QUERY, sid } : QUERY;
        const options = body === undefined ? { query } : { query, method: "POST", body, headers: { "content-type": "text/plain" } };
        const answer = await send(here, { ...options, agent });
        Object.values(agent.sockets).concat(Object.values(agent.freeSockets)).flat().forEach((socket) => connections.add(socket));
        assert.equal(answer.status, 200, answer.text);
        return answer.text;
      };
      const sids = [];
      await until(async () => {
        sids.push(JSON.parse((await ask()).slice(1)).sid);
        return sids.length >= 10 && here.nodes.every(({ tag }) => sids.some((sid) => tagOf(sid) === tag));
      }, "there are sessions on every node");
      await Promise.all(sids.map((sid) => ask(sid, "40/api,")));
      const opened = await Promise.all(sids.map((sid) => ask(sid)));
      assert.ok(opened.every((text) => text.startsWith("40/api,{")), opened.join());
      for (let round = 0; round < 10; round++) {
        await Promise.all(sids.map((sid) => ask(sid, echoed(`${sid} ${round}`))));
        assert.deepEqual(await Promise.all(sids.map((sid) => ask(sid))), sids.map((sid) => echoed(`${sid} ${round}`)));
      }
      assert.ok(connections.size <= 2, `${connections.size} connections were made`);
    });
  });
}

// ---------------------------------------------------------------- what nodes are told

test("pings go both ways through the balancer, and who does not answer is closed", async (t) => {
  const here = await world(t, ["--ping-interval", "200", "--ping-timeout", "1500"]);
  const raw = await rawClient(t, here);
  const polling = await connect(t, here, "/api", { transports: ["polling"] });
  let pings = 0;
  polling.io.on("ping", () => pings++);
  await until(() => raw.pings >= 4 && pings >= 4, "pings come");
  await assertTalks(raw, "alive");
  assert.equal(await ask(polling, "echo", 1), 1);
  const deaf = await rawEngine(t, here, { manual: true });
  assert.equal(await deaf.next(), "2");
  await deaf.gone();
  const silent = await RawPolling.open(here);
  const gone = await until(async () => {
    const { status, text } = await silent.post("6");
    return status === 400 && text;
  }, "a session that answers no ping is gone");
  assert.deepEqual(JSON.parse(gone), UNKNOWN);
});

test("with websocket alone, polling is refused and websockets are spread", async (t) => {
  const { nodes, list } = await startNodes(["--transports", "websocket"]);
  const balancer = await Balancer.start(list);
  t.after(() => Promise.all([...nodes, balancer].map((server) => server.stop("SIGKILL"))));
  refused(await send(balancer), 400, 0, "Transport unknown");
  for (const socket of await clientOnEach(t, { nodes, balancer })) assert.equal(await ask(socket, "echo", 1), 1);
});

test("cookies and CORS are those of the node, with a session id and without", async (t) => {
  const origin = "http://page.example";
  const { nodes, balancer } = await world(t, ["--cookie", "io", "--cors-origin", origin, "--cors-credentials"]);
  const opened = await send(balancer, { headers: { origin } });
  const { sid } = JSON.parse(opened.text.slice(1));
  assert.match(opened.headers["set-cookie"].join(), new RegExp(`^io=${sid};`));
  assert.equal(opened.headers["access-control-allow-origin"], origin);
  assert.equal(opened.headers["access-control-allow-credentials"], "true");
  const asks = { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  const owner = nodes.find(({ tag }) => tag === tagOf(sid));
  for (const query of [QUERY, { ...QUERY, sid }]) {
    const options = { query, method: "OPTIONS", headers: asks };
    const [through, direct] = await Promise.all([send(balancer, options), send(owner, options)]);
    assert.equal(through.status, 204);
    assert.equal(through.headers["access-control-allow-origin"], origin);
    assert.deepEqual(essence(through), essence(direct));
  }
  // The cookie goes to the node as it comes, and more of them too.
  const socket = await connect(t, balancer, "/api", { extraHeaders: { cookie: `io=${sid}; taste=sweet` }, transports: ["polling", "websocket"] });
  const { headers } = await done(socket, { do: "handshake" });
  assert.equal(headers.cookie, `io=${sid}; taste=sweet`);
});

test("what has no session is spread over the nodes", async (t) => {
  const { nodes, balancer } = await world(t, [], { variable: "NODE_BIN" });
  assert.deepEqual(await oneOnEach(nodes, () => healthOf(balancer), ({ tag }) => tag).then((all) => all.map(({ name }) => name)), ["node-0", "node-1", "node-2"]);
  const [through, direct] = await Promise.all([balancer, nodes[0]].map((app) => send(app, { at: "/", query: {} })));
  assert.equal(through.status, 200);
  assert.deepEqual(essence(through), essence(direct));
  const [missing, there] = await Promise.all([balancer, nodes[0]].map((app) => send(app, { at: "/no/such/page", query: {} })));
  assert.equal(there.status, 404);
  assert.deepEqual(essence(missing), essence(there));
});

test("clients of Socket.IO 2 find their node, by each transport", async (t) => {
  const { nodes, balancer } = await world(t, ["--eio3"]);
  for (const transports of Object.values(TRANSPORTS)) {
    const connectOld = async () => {
      const socket = lookup(`${balancer.url}/api`, { forceNew: true, reconnection: false, transports, timeout: PATIENCE });
      t.after(() => socket.io.close());
      await once(socket, "connect");
      return socket;
    };
    for (const socket of await oneOnEach(nodes, connectOld, (socket) => tagOf(socket.io.engine.id))) {
      if (transports.length === 2) await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
      const bytes = Buffer.from([0, 1, 254, 255]);
      const answer = within(new Promise((resolve) => socket.emit("echo", { deep: [bytes] }, resolve)), "the acknowledgement");
      assert.deepEqual(await answer, { deep: [bytes] });
    }
  }
});

test("packets of another parser go through as they are", async (t) => {
  const here = await world(t, ["--parser", "msgpack"]);
  for (const transports of Object.values(TRANSPORTS)) {
    for (const socket of await clientOnEach(t, here, "/api", { transports, parser: msgpack })) {
      const bytes = Buffer.from([0, 1, 254, 255]);
      assert.deepEqual(Buffer.from((await ask(socket, "echo", { deep: [bytes], n: 1.5 })).deep[0]), bytes);
    }
  }
});

test("what is no HTTP is refused, and what comes in pieces is waited for", async (t) => {
  const { balancer, nodes } = await world(t);
  const [answer] = await rawHttp(balancer, ["\x16\x03\x01garbage\r\n\r\n"]);
  assert.match(answer, /^HTTP\/1\.1 400 /);
  const query = new URLSearchParams(QUERY);
  const pieces = [...`GET /socket.io/?${query} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n`];
  const [head, body] = await rawHttp(balancer, pieces);
  assert.match(head, /^HTTP\/1\.1 200 /);
  assert.ok(nodes.some(({ tag }) => body.includes(`"sid":"${tag}`)), body);
});

/** Writes these pieces, each by itself, and gives head and body of what comes until the end. */
function rawHttp(app, pieces) {
  const answer = new Promise((resolve, reject) => {
    let text = "";
    const socket = net.connect({ port: app.port, host: "127.0.0.1", noDelay: true });
    socket.on("data", (data) => (text += data)).on("error", reject).on("end", () => resolve(text.split("\r\n\r\n")));
    const next = () => pieces.length && socket.write(pieces.shift(), next);
    socket.on("connect", next);
  });
  return within(answer, "the answer, and the end of the connection");
}

// ---------------------------------------------------------------- nodes that go

test("a node that is killed takes its own sessions with it and no others", async (t) => {
  const here = await world(t, [], { joined: true, balancerFlags: ["--dead-after", "3"] });
  const { nodes, balancer } = here;
  const [lost, ...others] = await pollingOnEach(here);
  for (const polling of [lost, ...others]) await polling.connect();
  const [lostSocket, ...otherSockets] = await clientOnEach(t, here, "/api", { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 50 });
  const ends = otherSockets.map((socket) => collect(socket, "disconnect"));
  const gone = once(lostSocket, "disconnect");
  await nodes[0].stop("SIGKILL");
  for (let n = 0; n < 20; n++) assert.notEqual(await newSession(balancer), nodes[0].tag);
  await gone;
  await connected(lostSocket);
  assert.notEqual(tagOf(lostSocket.io.engine.id), nodes[0].tag);
  for (const polling of others) await assertPolls(polling, "still here");
  await until(async () => {
    const { status, text } = await lost.get();
    assert.ok([400, 502, 503].includes(status), `${status} ${text}`);
    return status === 400;
  }, "its sessions are unknown");
  for (let n = 0; n < 20; n++) {
    const { status, text } = await lost.get();
    assert.equal(status, 400);
    assert.deepEqual(JSON.parse(text), UNKNOWN);
  }
  for (const polling of others) await assertPolls(polling, "and still");
  for (const socket of otherSockets) assert.equal(await ask(socket, "echo", 1), 1);
  assert.deepEqual(ends, [[], []]);

  // Another process in its place is another node.
  await nodes[0].restart();
  const { tag } = await healthOf(nodes[0]);
  assert.notEqual(tag, nodes[0].tag);
  await until(async () => (await newSession(balancer)) === tag, "it gets sessions");
  refused(await send(balancer, { query: { ...QUERY, sid: lost.sid } }), 400, 1, UNKNOWN.message);
});

test("a node that drains gets no new sessions, and those that it has go on until it closes them", async (t) => {
  const here = await world(t, ["--drain-time", "3600000"], { joined: true });
  const { nodes, balancer } = here;
  const raws = [];
  await until(async () => {
    raws.push(await rawClient(t, balancer));
    return nodes.every(({ tag }) => raws.filter(({ handshake }) => tagOf(handshake.sid) === tag).length >= 10);
  }, "there are sessions on every node");
  const [polling, ...others] = await pollingOnEach(here);
  for (const each of [polling, ...others]) await each.connect();
  const [going] = nodes;
  const its = raws.filter(({ handshake }) => tagOf(handshake.sid) === going.tag);
  going.child.kill("SIGTERM");
  await until(async () => (await healthOf(going)).draining, "it says that it is going");
  its.forEach((raw, n) => raw.send(echoed(n)));
  await Promise.any(its.map(async (raw, n) => assert.equal(await raw.next(), echoed(n))));
  // One that polls is told to go by a close packet, and never that it is unknown before.
  await until(async () => {
    const { status, text } = await polling.get();
    assert.equal(status, 200, text);
    return text.split("\x1e").includes("1");
  }, "it is told to go");
  // From when it is known that it goes, nothing comes to it.
  await until(async () => {
    const tags = await Promise.all(Array.from({ length: 20 }, () => newSession(balancer)));
    return !tags.includes(going.tag);
  }, "the balancer knows");
  for (let n = 0; n < 30; n++) assert.notEqual(await newSession(balancer), going.tag);
  await Promise.all(its.map((raw) => raw.gone()));
  assert.deepEqual(await within(going.exit, "its end"), { code: 0, signal: null });
  for (const each of others) await assertPolls(each, "still here");
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`a client by ${name} is recovered on another node when its own is stopped`, async (t) => {
    const here = await world(t, ["--jetstream", "--recovery", "60000", "--drain-time", "1000"], { joined: true });
    const nsp = ownNamespace();
    const reconnection = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };
    const [socket, witness] = await clientOnEach(t, here, nsp, { transports, ...reconnection });
    if (transports.length === 2) await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
    const heard = [];
    socket.on("n", (n) => heard.push(n));
    const { id } = socket;
    await ask(socket, "join", "red");
    await done(socket, { do: "setData", data: { name: "Ann" } });
    let sent = 0;
    const emit = () => done(witness, { do: "emit", to: ["red"], event: "n", args: [sent++] });
    await emit();
    await until(() => heard.length === 1, "it hears");
    const lost = once(socket, "disconnect");
    here.nodes[0].child.kill("SIGTERM");
    while (socket.connected) await emit();
    await lost;
    await emit();
    // A balancer that has not heard yet that the node is going may send it there once more.
    await until(() => socket.connected && tagOf(socket.io.engine.id) !== here.nodes[0].tag, "it is at another node");
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    assert.deepEqual((await done(socket, { do: "rooms" })).sort(), [id, "red"].sort());
    await emit();
    await until(() => heard.length >= sent, "all is heard");
    await settle(socket);
    assert.deepEqual(heard, Array.from({ length: sent }, (_, n) => n));
    assert.deepEqual(await within(here.nodes[0].exit, "its end"), { code: 0, signal: null });
  });
}

// ---------------------------------------------------------------- balancers that come and go

test("a balancer that is killed has nothing to remember: sessions go on through the next", async (t) => {
  const here = await world(t);
  const pollings = await pollingOnEach(here);
  for (const polling of pollings) await polling.connect();
  const options = { reconnection: true, reconnectionDelay: 20, reconnectionDelayMax: 100 };
  const sockets = await clientOnEach(t, here, "/api", options);
  const ends = sockets.map((socket) => once(socket, "disconnect"));
  await here.balancer.stop("SIGKILL");
  await Promise.all(ends);
  await here.balancer.restart();
  for (const polling of pollings) await assertPolls(polling, "as before");
  for (const socket of sockets) {
    await until(() => socket.connected, "it reconnects");
    assert.equal(await ask(socket, "echo", 1), 1);
  }
});

test("polls of one session alternate between two balancers, and its upgrade comes by either", async (t) => {
  const here = await world(t);
  const other = await Balancer.start(here.list);
  t.after(() => other.stop("SIGKILL"));
  await allReady(other, here.nodes);
  for (const polling of await pollingOnEach(here)) {
    await polling.connect();
    for (let n = 0; n < 10; n++) {
      polling.app = n % 2 ? here.balancer : other;
      assert.equal((await polling.post(echoed(n))).text, "ok");
      polling.app = n % 2 ? other : here.balancer;
      assert.equal((await polling.get()).text, echoed(n));
    }
    polling.app = here.balancer;
    const waiting = polling.get();
    const raw = new RawSocket(other, { sid: polling.sid });
    t.after(() => raw.terminate());
    await within(raw.opened, "the websocket opens");
    raw.send("2probe");
    assert.equal(await raw.next(), "3probe");
    assert.equal((await waiting).text, "6");
    raw.send("5");
    await assertTalks(raw, "by the other");
  }
});

/** Polls and opens sessions, each time on a new connection, until it is told to end. What is not answered as it should be is thrown. */
function keepAsking(app, polling) {
  let going = true;
  let rounds = 0;
  const asking = (async () => {
    const query = { ...QUERY, sid: polling.sid };
    while (going) {
      const posted = await send(app, { query, method: "POST", headers: { "content-type": "text/plain" }, body: echoed(rounds) });
      assert.equal(posted.text, "ok");
      assert.equal((await send(app, { query })).text, echoed(rounds));
      await newSession(app);
      rounds++;
    }
  })();
  // It is looked at in the end.
  asking.catch(() => {});
  return {
    /** Returns when so many rounds more have been made. */
    more: (count) => {
      const wanted = rounds + count;
      return Promise.race([until(() => rounds >= wanted, "clients are answered"), asking]);
    },
    end: () => { going = false; return within(asking, "the last answer"); },
  };
}

test("a balancer takes over from the one before: no connection is refused, and websockets stay", async (t) => {
  const socket = path.join(place.folder, "handover");
  const here = await world(t, [], { balancerFlags: ["--handover", socket] });
  const [polling] = await pollingOnEach(here);
  await polling.connect();
  const raw = await rawClient(t, here);
  const asking = keepAsking(here.balancer, polling);
  await asking.more(5);
  let former = here.balancer;
  for (let n = 0; n < 2; n++) {
    const next = await Balancer.start([...here.list, "--handover", socket], former.port);
    t.after(() => next.stop("SIGKILL"));
    await until(() => former.output.includes("leaving"), "the one before leaves");
    await asking.more(10);
    await assertTalks(raw, n);
    former = next;
  }
  await asking.end();
  assert.ok(here.balancer.alive, "the first stays for its websocket");
  raw.terminate();
  assert.deepEqual(await within(here.balancer.exit, "its end"), { code: 0, signal: null });
  await newSession(former);
});

test("a changed file is read at SIGHUP: new sessions go by it, and tunnels stay", async (t) => {
  const { nodes } = await startNodes();
  const file = path.join(place.folder, "balancer.toml");
  const write = (some) => writeFileSync(file, `nodes = ${JSON.stringify(some.map(({ port }) => `127.0.0.1:${port}`))}\n`);
  write(nodes.slice(0, 2));
  const balancer = await Balancer.start(["--config", file]);
  t.after(() => Promise.all([...nodes, balancer].map((server) => server.stop("SIGKILL"))));
  await allReady(balancer, nodes.slice(0, 2));
  const before = { nodes: nodes.slice(0, 2), balancer };
  const raws = await oneOnEach(before.nodes, () => rawClient(t, balancer), (raw) => tagOf(raw.handshake.sid));
  const pollings = await pollingOnEach(before);
  for (const polling of pollings) await polling.connect();
  const reload = async (some) => {
    some ? write(some) : writeFileSync(file, "nodes = 5\n");
    const told = balancer.output.length;
    balancer.child.kill("SIGHUP");
    await until(() => /settings/.test(balancer.output.slice(told)), "the file is read");
  };
  await reload(nodes.slice(1));
  await allReady(balancer, nodes.slice(1));
  await until(async () => {
    const tags = await Promise.all(Array.from({ length: 20 }, () => newSession(balancer)));
    return !tags.includes(nodes[0].tag);
  }, "the node that is not named any more gets no new sessions");
  const same = async (what) => {
    for (const raw of raws) await assertTalks(raw, what);
    for (const polling of pollings) await assertPolls(polling, what);
  };
  await same("other nodes");
  await reload(null);
  assert.match(balancer.output, /those before hold/);
  await same("a file that can't be used");
  await allReady(balancer, nodes.slice(1));
});

test("a balancer that is stopped answers what waits, lets websockets go on for its time, and ends well", async (t) => {
  // One worker: what it was sent before has arrived when it answers something later.
  const here = await world(t, [], { balancerFlags: ["--drain-time", "3", "--workers", "1"] });
  const [polling] = await pollingOnEach(here);
  await polling.connect();
  const raw = await rawClient(t, here);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const poll = { query: { ...QUERY, sid: polling.sid }, agent };
  await polling.post(echoed("at once"));
  assert.equal((await send(here.balancer, poll)).text, echoed("at once"));
  const last = send(here.balancer, poll);
  await newSession(here.balancer);
  here.balancer.child.kill("SIGTERM");
  await until(() => send(here.balancer).then(() => false, ({ code }) => code === "ECONNREFUSED"), "it accepts no more");
  polling.app = here.nodes[0];
  assert.equal((await polling.post(echoed("by another way"))).text, "ok");
  assert.equal((await last).text, echoed("by another way"));
  await assertTalks(raw, "still here");
  await raw.gone();
  assert.deepEqual(await within(here.balancer.exit, "its end"), { code: 0, signal: null });
});

test("a balancer that nobody is on stops at once, and a second signal ends one that drains", async (t) => {
  const here = await world(t, [], { balancerFlags: ["--drain-time", "3600"] });
  const empty = await Balancer.start([...here.list, "--drain-time", "3600"]);
  const raw = await rawClient(t, here);
  assert.deepEqual(await empty.stop(), { code: 0, signal: null });
  here.balancer.child.kill("SIGTERM");
  await until(() => here.balancer.output.includes("leaving"), "it leaves");
  await assertTalks(raw, "still here");
  assert.deepEqual(await here.balancer.stop("SIGINT"), { code: 0, signal: null });
  await raw.gone();
});
