// Balancers that are killed, replaced, reloaded or stopped under their clients.
import { test } from "node:test";
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { RawSocket, ask, once, rawClient, until, within } from "../lib.mjs";
import {
  Balancer, QUERY, allReady, assertPolls, assertTalks, clientOnEach, echoed, newSession, oneOnEach, place, pollingOnEach, send, startNodes, tagOf,
  world,
} from "./world.mjs";

test("sessions continue through another balancer after a kill", async (t) => {
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
    await until(() => socket.connected, "the client reconnects");
    assert.equal(await ask(socket, "echo", 1), 1);
  }
});

test("session alternates between two balancers and upgrades", async (t) => {
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

/** Polls and opens sessions, each time on a new connection, until stopped. A wrong answer is thrown. */
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
  // The caller awaits it at the end.
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

test("handover refuses no connection and keeps websockets", async (t) => {
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
    await until(() => former.output.includes("draining connections="), "the one before leaves");
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

test("SIGHUP applies a changed file and keeps tunnels", async (t) => {
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
  assert.match(balancer.output, /the previous ones stay in effect/);
  await same("a file that can't be used");
  await allReady(balancer, nodes.slice(1));
});

test("stopped balancer drains polls and websockets", async (t) => {
  // With one worker, earlier bytes have arrived when a later request is answered.
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
  await until(() => send(here.balancer).then(() => false, ({ code }) => code === "ECONNREFUSED"), "the balancer accepts no more");
  polling.app = here.nodes[0];
  assert.equal((await polling.post(echoed("by another way"))).text, "ok");
  assert.equal((await last).text, echoed("by another way"));
  await assertTalks(raw, "still here");
  await raw.gone();
  assert.deepEqual(await within(here.balancer.exit, "its end"), { code: 0, signal: null });
});

test("idle balancer stops at once; a second signal ends a drain", async (t) => {
  const here = await world(t, [], { balancerFlags: ["--drain-time", "3600"] });
  const empty = await Balancer.start([...here.list, "--drain-time", "3600"]);
  const raw = await rawClient(t, here);
  assert.deepEqual(await empty.stop(), { code: 0, signal: null });
  here.balancer.child.kill("SIGTERM");
  await until(() => here.balancer.output.includes("draining connections="), "the balancer leaves");
  await assertTalks(raw, "still here");
  assert.deepEqual(await here.balancer.stop("SIGINT"), { code: 0, signal: null });
  await raw.gone();
});
