// The requests that nodes get through a balancer, and the answers that clients get.
import { test } from "node:test";
import assert from "node:assert/strict";
import net from "node:net";
import lookup from "socket.io-client-v2";
import msgpack from "socket.io-msgpack-parser";
import { PATIENCE, RawPolling, ask, connect, done, once, rawClient, rawEngine, until, within } from "../lib.mjs";
import {
  Balancer, QUERY, TRANSPORTS, UNKNOWN, assertTalks, clientOnEach, essence, healthOf, oneOnEach, refused, send, startNodes, tagOf, world,
} from "./world.mjs";

test("pings pass both ways, and a silent client is closed", async (t) => {
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

test("websocket-only nodes refuse polling and share websockets", async (t) => {
  const { nodes, list } = await startNodes(["--transports", "websocket"]);
  const balancer = await Balancer.start(list);
  t.after(() => Promise.all([...nodes, balancer].map((server) => server.stop("SIGKILL"))));
  refused(await send(balancer), 400, 0, "Transport unknown");
  for (const socket of await clientOnEach(t, { nodes, balancer })) assert.equal(await ask(socket, "echo", 1), 1);
});

test("cookies and CORS headers come from the node", async (t) => {
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

test("requests without a session are spread over the nodes", async (t) => {
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

test("packets of another parser pass unchanged", async (t) => {
  const here = await world(t, ["--parser", "msgpack"]);
  for (const transports of Object.values(TRANSPORTS)) {
    for (const socket of await clientOnEach(t, here, "/api", { transports, parser: msgpack })) {
      const bytes = Buffer.from([0, 1, 254, 255]);
      assert.deepEqual(Buffer.from((await ask(socket, "echo", { deep: [bytes], n: 1.5 })).deep[0]), bytes);
    }
  }
});

test("invalid HTTP is refused, and partial requests may complete", async (t) => {
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
