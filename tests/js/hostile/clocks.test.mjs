// Nodes whose clocks differ by more than a client may be away. The ages of sessions go by the clock of the NATS server.
//
// `libfaketime` moves the clock of a node and leaves its timers alone. `cargo xtask test` installs it.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import path from "node:path";
import { scratch, startNats } from "../cluster.mjs";
import { Server, ask, until } from "../lib.mjs";
import { comeBack, lose, member } from "./member.mjs";

const place = scratch("clocks");
/** Seconds by which the clocks of the three nodes are off. */
const CLOCKS = [0, 30, -30];

/** The library that is loaded before a program whose clock is moved. */
const FAKETIME = execFileSync("faketime", ["-m", "-f", "+0s", "printenv", "LD_PRELOAD"], { encoding: "utf8" }).trim();

/** Names the node program with its clock moved, for `Server.start`. */
function clocked(seconds) {
  const script = path.join(place.folder, `node-${seconds}`);
  const offset = `${seconds < 0 ? "" : "+"}${seconds}s`;
  writeFileSync(script, `#!/bin/sh
export LD_PRELOAD='${FAKETIME}' FAKETIME="${offset}" FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1
exec "${process.env.NODE_BIN}" "$@"
`);
  chmodSync(script, 0o755);
  process.env[`CLOCKED_${seconds}`] = script;
  return `CLOCKED_${seconds}`;
}

let nats;
let clusters = 0;

/** Nodes with these clocks, with a recovery time of so many seconds. */
async function nodes(t, clocks, recovery) {
  nats ??= startNats(place, 1, true).then(([server]) => server);
  const cluster = `clocks-${process.pid}-${++clusters}`;
  const shared = ["--nats", `nats://127.0.0.1:${(await nats).port}`, "--cluster", cluster, "--jetstream", "--recovery", String(recovery)];
  const all = [];
  for (const seconds of clocks) {
    const node = await Server.start(clocked(seconds), [...shared, "--node-name", `clock${seconds}`, "--log", "warn"]);
    t.after(() => node.stop("SIGKILL"));
    node.clock = seconds;
    all.push(node);
  }
  return Object.assign(all, { cluster });
}

/** The number of writes of sessions. */
async function writes({ cluster }) {
  const state = await fetch(`http://127.0.0.1:${(await nats).monitor}/jsz?streams=1`).then((answer) => answer.json());
  const streams = state.account_details.flatMap((account) => account.stream_detail);
  return streams.find(({ name }) => name === `KV_sociable-${cluster}-sessions`).state.last_seq;
}

/** Says something in a room. */
async function say({ socket, room }, text) {
  assert.equal(await ask(socket, "say", room, text), true);
}

const texts = ({ heard }) => heard.map(({ text }) => text);

test("clients recover on every node when clocks differ", { timeout: 120_000 }, async (t) => {
  const all = await nodes(t, CLOCKS, 20);
  for (const from of all) {
    for (const to of all) {
      const room = `${from.clock} to ${to.clock}`;
      const speaker = await member(t, all[(all.indexOf(to) + 1) % all.length], room);
      const client = await member(t, from, room);
      await say(speaker, "first");
      await until(() => client.heard.length === 1, "the first event");
      // The time of the node itself shows that its clock is moved.
      const own = await member(t, from, `${room}, own`);
      await say(own, "time");
      await until(() => own.heard.length === 1, "its own event");
      const off = (own.heard[0].at - Date.now()) / 1000;
      assert.ok(Math.abs(off - from.clock) < 10, `the clock of ${from.clock} is ${off} s off`);
      await lose(client);
      await say(speaker, "missed");
      await comeBack(client, to);
      assert.deepEqual([client.socket.recovered, client.socket.id], [true, client.id], room);
      await say(speaker, "last");
      await until(() => client.heard.length >= 3, `all events, ${room}`).catch(() => {});
      assert.deepEqual(texts(client), ["first", "missed", "last"], room);
      for (const { manager } of [speaker, client, own]) manager._close();
    }
  }
});

for (const clock of CLOCKS) {
  test(`expired sessions of a node ${clock} s off are refused`, { timeout: 120_000 }, async (t) => {
    const recovery = 2;
    const cluster = await nodes(t, [clock, ...CLOCKS], recovery);
    const [owner, ...others] = cluster;
    const clients = [];
    for (const to of others) {
      const client = await member(t, owner, `to ${to.clock}`);
      await say(client, "first");
      await until(() => client.heard.length === 1, "the first event");
      clients.push({ ...client, to });
    }
    const before = await writes(cluster);
    await Promise.all(clients.map(lose));
    await until(async () => await writes(cluster) >= before + clients.length, "their loss is written");
    // An owner that lives would delete what has expired.
    await owner.stop("SIGKILL");
    const since = Date.now();
    await until(() => Date.now() - since > recovery * 2_000, "the recovery time has passed");
    for (const { to, id, socket, ...client } of clients) {
      await comeBack({ ...client, socket }, to);
      assert.equal(socket.recovered, false, `at the node ${to.clock} s off`);
      assert.notEqual(socket.id, id);
    }
  });
}
