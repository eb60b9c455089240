// Rooms whose names a hostile client chooses. Their cost is the server's CPU time, compared with that of
// ordinary names.
import { test } from "node:test";
import assert from "node:assert/strict";
import fs from "node:fs";
import { ask, collect, connect, done, freshApp, freshNode, op } from "../lib.mjs";

/** Names in one message. */
const CHUNK = 2_000;

/** The time that a server has had the processor, in ticks of 10 ms. */
function ticks(server) {
  const stat = fs.readFileSync(`/proc/${server.child.pid}/stat`, "utf8");
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return Number(user) + Number(system);
}

/** The server's CPU time for a task. */
async function cost(server, act) {
  const before = ticks(server);
  await act();
  // The clock of the processor is coarse.
  return Math.max(ticks(server) - before, 3);
}

async function inChunks(socket, what, rooms) {
  for (let from = 0; from < rooms.length; from += CHUNK) {
    const { ok, error } = await op(socket, { do: what, rooms: rooms.slice(from, from + CHUNK) });
    assert.ok(ok, error);
  }
}

const ordinary = (count) => Array.from({ length: count }, (_, number) => `an ordinary name ${String(number).padStart(15, "0")}`);

/** Names of 32 characters that share one hash of `rustc-hash` 2: the last eight undo what the first sixteen did. */
function colliding(count) {
  const MASK = (1n << 64n) - 1n;
  const mix = (x, y) => ((x * y) & MASK) ^ ((x * y) >> 64n);
  const word = Buffer.from("sociable").readBigUInt64LE();
  const names = [];
  const last = Buffer.alloc(8);
  for (let number = 0; names.length < count; number++) {
    const first = Buffer.from(String(number).padStart(16, "0"));
    const mixed = mix(0x243f6a8885a308d3n ^ first.readBigUInt64LE(), 0xa4093822299f31d0n ^ first.readBigUInt64LE(8));
    last.writeBigUInt64LE(mixed ^ word);
    if (last.every((byte) => byte < 0x80)) names.push(`${first}attacker${last}`);
  }
  return names;
}

test("names that share a hash cost no more than others", async (t) => {
  const COUNT = 20_000;
  const costs = [];
  for (const rooms of [ordinary(COUNT), colliding(COUNT)]) {
    const app = await freshApp(t);
    const socket = await connect(t, app);
    costs.push(await cost(app, () => inChunks(socket, "join", rooms)));
    await app.stop("SIGKILL");
  }
  t.diagnostic(`${COUNT} joins: ${costs[0]} ticks for ordinary names, ${costs[1]} for colliding ones`);
  assert.ok(costs[1] <= 3 * costs[0], costs.join(" and "));
});

for (const [what, flags] of [["", []], [" with recovery", ["--recovery", "60000"]]]) {
  test(`leaving rooms${what} has linear cost`, async (t) => {
    const app = await freshApp(t, ...flags);
    const socket = await connect(t, app);
    const [few, many] = [2_000, 20_000];
    const costs = [];
    for (const rooms of [ordinary(few), ordinary(many)]) {
      await inChunks(socket, "join", rooms);
      costs.push(await cost(app, () => inChunks(socket, "leave", rooms)));
      assert.equal((await done(socket, { do: "rooms" })).length, 1);
    }
    t.diagnostic(`${costs[0]} ticks to leave ${few} rooms, ${costs[1]} to leave ${many}`);
    assert.ok(costs[1] <= 20 * costs[0], costs.join(" and "));
  });
}

test("visitor of the page gets no event of another's own room", async (t) => {
  const node = await freshNode(t);
  const [victim, spy] = [await connect(t, node, "/"), await connect(t, node, "/")];
  const heard = collect(victim, "said");
  for (const room of [victim.id, `/#${victim.id}`, "AbCdEfGhIjKlMnOpQrSt"]) {
    assert.deepEqual(await ask(spy, "join", room, "spy"), { error: "a room cannot have the id of a socket as its name" });
    assert.deepEqual(await ask(spy, "say", room, "hello"), { error: "you are not in this room" });
  }
  assert.equal((await ask(victim, "join", "red", "victim")).members, 1);
  assert.deepEqual(heard, []);
});
