// Three nodes behind a balancer do together what one node does, in each way to find them.
import { after, before, describe, test } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import {
  RawPolling, RawSocket, ask, client, collect, connectMany, connected, done, once, ownNamespace, rawClient, rawEngine, settle, until, within,
} from "../lib.mjs";
import {
  Balancer, NODES, QUERY, TRANSPORTS, UNKNOWN, allReady, announced, assertPolls, assertTalks, clientOnEach, echoed, essence, oneOnEach,
  pollingOnEach, refused, send, startNodes, tagOf,
} from "./world.mjs";

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
      test(`clients by ${name} stay with their nodes`, async (t) => {
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

      test(`long and binary messages pass both ways by ${name}`, async (t) => {
        const sockets = await clientOnEach(t, here, ownNamespace(), { transports });
        const bytes = Buffer.alloc(1 << 20).map((_, n) => (n * 31) % 251);
        const text = "ä€😀x".repeat(100_000);
        for (const socket of sockets) {
          const back = await ask(socket, "echo", { deep: [bytes] });
          assert.ok(Buffer.from(back.deep[0]).equals(bytes));
          assert.equal(await ask(socket, "echo", text), text);
        }
      });

      test(`broadcast by ${name} reaches all nodes once`, async (t) => {
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

    test("broadcast ack gathers answers of all nodes", async (t) => {
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

    test("refused and second namespaces work through the balancer", async (t) => {
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
      test(`connections by ${name} end from either side`, async (t) => {
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

    test("handshake is the node's by either transport", async (t) => {
      const keys = ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"];
      const polling = await RawPolling.open(here);
      assert.deepEqual(Object.keys(polling.handshake).sort(), keys);
      assert.deepEqual(polling.handshake.upgrades, ["websocket"]);
      assert.equal(polling.handshake.maxPayload, 3_000_000);
      const raw = await rawEngine(t, here);
      assert.deepEqual(Object.keys(raw.handshake).sort(), keys);
      assert.deepEqual(raw.handshake.upgrades, []);
    });

    test("refusals equal those of a node", async () => {
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

    test("session id of no node is unknown in every form", async () => {
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

    test("concurrent polls end their session alone", async () => {
      const [polling, other] = await pollingOnEach(here);
      await other.connect();
      await polling.connect();
      const answers = await Promise.all([polling.get(), polling.get()]);
      assert.ok(answers.some(({ status }) => status === 400), JSON.stringify(answers));
      assert.deepEqual(JSON.parse((await polling.get()).text), UNKNOWN);
      await assertPolls(other, "here");
    });

    test("session upgrades at each node by probe, noop and upgrade", async (t) => {
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

    test("events during an upgrade arrive once and in order", async (t) => {
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

    test("binary frames pass unchanged at each node", async (t) => {
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

    test("body that is too long gets 413 and affects no other session", async () => {
      const [polling, other, third] = await pollingOnEach(here);
      await other.connect();
      await polling.connect();
      await third.connect();
      assert.match(await announced(here, { ...QUERY, sid: polling.sid }, 3_000_001), /^HTTP\/1\.1 413 /);
      // Its node has ended the session, though the balancer knew the limit.
      assert.match((await polling.get()).text, /Session ID unknown/);
      const query = { ...QUERY, sid: third.sid };
      // A body without a length is read up to the limit. A client that still writes may see the end of the
      // connection before the answer.
      const headers = { "content-type": "text/plain", "transfer-encoding": "chunked" };
      const outcome = await send(here, { query, method: "POST", headers, body: "4".repeat(3_000_001) }).then(({ status }) => status, ({ code }) => code);
      assert.ok([413, "EPIPE", "ECONNRESET"].includes(outcome), String(outcome));
      await until(async () => (await third.get()).text.includes("Session ID unknown"), "its session ends, too");
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
