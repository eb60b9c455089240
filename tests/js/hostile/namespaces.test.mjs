// Namespaces whose names hostile clients choose.
import { test } from "node:test";
import assert from "node:assert/strict";
import { RawSocket, ask, connect, freshApp } from "../lib.mjs";

test("a few clients can't create all namespaces", async (t) => {
  const [CLIENTS, NAMES, ALLOWED] = [20, 150, 100];
  const app = await freshApp(t);
  const hostile = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, client) => {
      const socket = new RawSocket(app);
      t.after(() => socket.socket.terminate());
      await socket.opened;
      await socket.next("the open packet");
      const packets = Array.from({ length: NAMES }, (_, name) => `40/dyn-${client}${String(name).padStart(4, "0")},`);
      socket.send(...packets);
      const answers = [];
      while (answers.length < NAMES) {
        const packet = await socket.next("an answer");
        if (packet.startsWith("40/") || packet.startsWith("44/")) answers.push(packet);
      }
      return { socket, answers };
    }),
  );
  for (const { answers } of hostile) {
    assert.equal(answers.filter((answer) => answer.startsWith("40/")).length, ALLOWED);
    assert.equal(answers.filter((answer) => answer.endsWith('{"message":"Too many namespaces"}')).length, NAMES - ALLOWED);
  }
  const guest = await connect(t, app, "/dyn-77");
  assert.equal(await ask(guest, "echo", "here"), "here");
  for (const { socket } of hostile) socket.socket.terminate();
  assert.ok((await connect(t, app, "/dyn-78")).connected);
});
