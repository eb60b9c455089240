// Emitters outside of the nodes: `sociable-ctl` and the example in Python. Each of two nodes has a real
// client, once without and once with a shared history.
import { before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { scratch, startNats } from "./cluster.mjs";
import { PATIENCE, Server, ask, connect, connected, done, once, ownNamespace, settle, until } from "./lib.mjs";

const run = promisify(execFile);
const env = (name) => process.env[name] ?? assert.fail(`${name} is not set (\`cargo xtask test\` sets it)`);

const EMITTERS = {
  "sociable-ctl": { program: env("SOCIABLE_CTL"), args: [] },
  "emit.py": { program: env("PYTHON"), args: ["-B", env("EMIT_PY")] },
};

/** How nodes and emitters of each cluster are started. */
const CLUSTERS = {
  "the live lane": { cluster: "emitters", nodeFlags: [], flags: [], nodes: [] },
  "a history": { cluster: "emitters-kept", nodeFlags: ["--recovery", "60000", "--jetstream"], flags: ["--jetstream"], nodes: [] },
};

const place = scratch("emitters");
let url;

before(async () => {
  const [{ port }] = await startNats(place, 1, true);
  url = `nats://127.0.0.1:${port}`;
  for (const { cluster, nodeFlags, nodes } of Object.values(CLUSTERS)) {
    for (const name of ["a", "b"]) {
      nodes.push(await Server.start("ACCEPTANCE", ["--nats", url, "--cluster", cluster, "--node-name", name, ...nodeFlags]));
    }
  }
});

const cases = Object.entries(EMITTERS).flatMap(([name, emitter]) => Object.entries(CLUSTERS).map(([way, cluster]) => [`${name}, by ${way}`, emitter, cluster]));
for (const [name, { program, args }, { cluster, flags, nodes }] of cases) {
  describe(name, () => {
    /** Returns when NATS has what it says. */
    const tell = (...more) => run(program, [...args, "--nats", url, "--cluster", cluster, ...flags, ...more], { timeout: PATIENCE });

    /** All the news that a client hears. With a history each event has its offset behind its arguments. */
    function news(socket) {
      const heard = [];
      socket.on("news", (...args) => {
        if (flags.length > 0) args.pop();
        heard.push(args.length === 1 ? args[0] : args);
      });
      return heard;
    }

    /** Two clients on each node; the first of each is in the room `red`. Nodes know of all. */
    async function clients(t, nsp = "/api") {
      const all = [];
      for (const node of nodes) all.push(await connect(t, node, nsp), await connect(t, node, nsp));
      const [a, other, b, stranger] = all;
      for (const socket of [a, b]) await ask(socket, "join", "red");
      await until(async () => (await done(a, { do: "fetchSockets" })).length === all.length, "the nodes know each other");
      return { a, other, b, stranger, all };
    }

    /** The rooms of a client, but for its own. */
    const rooms = async (socket) => (await done(socket, { do: "rooms" })).filter((room) => room !== socket.id);
    /** Waits for a last event: by then all earlier ones, of any process, have come. */
    async function last(...sockets) {
      const ends = sockets.map((socket) => once(socket, "last"));
      await tell("--namespace", sockets[0].nsp, "emit", "last");
      await Promise.all(ends);
    }

    test("event reaches a room on all nodes with its arguments", async (t) => {
      const { other, b, all } = await clients(t);
      const heard = all.map(news);
      const long = "é🦀".repeat(20_000);
      for (const payload of ['{"hello": "from outside", "n": 1.5}', "no JSON", JSON.stringify("x".repeat(200)), JSON.stringify(long)]) {
        await tell("--namespace", "/api", "--to", "red", "emit", "news", payload, "2");
      }
      await tell("--namespace", "/api", "--except", "red", "emit", "news", "0");
      await tell("--namespace", "/api", `--to=${b.id}`, `--to=${other.id}`, "emit", "news");
      await tell("--namespace", "/other", "emit", "news", "99");
      await last(...all);
      const inRed = [[{ hello: "from outside", n: 1.5 }, 2], ["no JSON", 2], ["x".repeat(200), 2], [long, 2]];
      assert.deepEqual(heard, [inRed, [0, []], [...inRed, []], [0]]);
    });

    test("an event reaches the namespace /", async (t) => {
      const both = await Promise.all(nodes.map((node) => connect(t, node, "/")));
      for (const socket of both) await ask(socket, "join", "red");
      const heard = both.map(news);
      await tell("--to", "red", "emit", "news", "[1]");
      await until(() => heard.every(({ length }) => length === 1), "both hear it");
      assert.deepEqual(heard, [[[1]], [[1]]]);
    });

    test("sockets join and leave rooms", async (t) => {
      const { a, other, b, stranger, all } = await clients(t);
      await tell("--namespace", "/api", "--to", "red", `--except=${a.id}`, "join", "blue", "green");
      await tell("--namespace", "/api", "join", "all");
      await last(...all);
      assert.deepEqual(await Promise.all([a, other, b, stranger].map(rooms)), [["all", "red"], ["all"], ["all", "blue", "green", "red"], ["all"]]);
      await tell("--namespace", "/api", "--to", "blue", "leave", "blue", "red");
      await last(...all);
      assert.deepEqual(await Promise.all([a, b].map(rooms)), [["all", "red"], ["all", "green"]]);
    });

    test("sockets are disconnected, with and without their connection", async (t) => {
      const { a, other, b, stranger, all } = await clients(t);
      // Each is in another namespace too, by the same connection.
      const [besideA, besideOther, besideB, besideStranger] = all.map((socket) => socket.io.socket(ownNamespace()));
      await Promise.all([besideA, besideOther, besideB, besideStranger].map(connected));
      const ends = [a, b].map((socket) => once(socket, "disconnect"));
      await tell("--namespace", "/api", "--to", "red", "disconnect");
      for (const [reason] of await Promise.all(ends)) assert.equal(reason, "io server disconnect");
      await settle(besideA, besideB);
      assert.ok(other.connected && stranger.connected, "the others stay");

      const closed = [besideOther, besideStranger].map((socket) => once(socket, "disconnect"));
      await tell("--namespace", "/api", "disconnect", "--close", "--all");
      await Promise.all(closed);
      await settle(besideA, besideB);
    });

    test("disconnected client gets the event when it recovers", { skip: flags.length === 0 }, async (t) => {
      const socket = await connect(t, nodes[0], "/api", { reconnection: true, reconnectionDelay: 50 });
      const { id } = socket;
      const heard = news(socket);
      await tell("--namespace", "/api", `--to=${id}`, "emit", "news", "1");
      await until(() => heard.length === 1, "the first");
      const back = once(socket, "connect");
      socket.io.uri = nodes[1].url;
      socket.io.engine.close();
      await tell("--namespace", "/api", `--to=${id}`, "emit", "news", "2");
      await back;
      assert.equal(socket.recovered, true);
      await until(() => heard.length === 2, "the second");
      assert.deepEqual(heard, [1, 2]);
    });

    test("server event reaches the application of every node", async (t) => {
      const { a, b } = await clients(t);
      const notes = async (socket) => (await done(socket, { do: "log" })).notes.filter((note) => note[0]?.from === name);
      await tell("--namespace", "/api", "server", "note", JSON.stringify({ from: name }));
      await until(async () => (await notes(a)).length === 1 && (await notes(b)).length === 1, "both were told");
    });
  });
}
