// The official client in a real browser: all transports at once, on a page of another origin than the server's.
import assert from "node:assert/strict";
import { done, sharedApp, until } from "../lib.mjs";
import { TRANSPORTS, endsAs, start } from "./clients.mjs";
import { Link } from "./link.mjs";
import { closeTab, pageTest } from "./world.mjs";

/** Pings come often, and a client is lost soon. */
const app = () => sharedApp("--ping-interval", "300", "--ping-timeout", "2000", "--recovery", "60000");
/** Pings come often, but nobody is lost for being slow. */
const patient = () => sharedApp("--ping-interval", "200", "--ping-timeout", "60000", "--recovery", "60000");
/** No ping comes in the time of a test, so each poll waits. */
const quiet = () => sharedApp("--recovery", "60000");

pageTest("clients connect and upgrade", async (context) => {
  const { tab, names } = await start(context, await patient());
  for (const name of names) {
    const { value } = await tab.run((name) => clients[name].socket.emitWithAck("op", { do: "id" }), name);
    assert.equal(value.transport, endsAs(name), name);
  }
});

pageTest("text and binary pass unchanged both ways, with acks", async (context) => {
  const { tab, witness, names, tell, emit, ids } = await start(context, await patient());
  const bytes = [...Array(256).keys()];
  await emit("binary", Buffer.from(bytes));
  for (const name of names) {
    const answers = await tab.run(async (name, bytes) => {
      const { socket } = clients[name];
      const plain = (binary) => [binary.constructor.name, ...new Uint8Array(binary)];
      const ask = (...args) => socket.emitWithAck("echo", ...args);
      const big = new Uint8Array(300_000).map((_, i) => i * 7);
      const back = new Uint8Array(await ask(big));
      return {
        text: await ask("zażółć 🧦 \u2028 \0"),
        nested: await ask({ deep: [Uint8Array.from(bytes)] }).then(({ deep }) => plain(deep[0])),
        view: plain(await ask(new Uint8Array(Uint8Array.from(bytes).buffer, 10, 3))),
        blob: plain(await ask(new Blob([Uint8Array.from(bytes)]))),
        file: plain(await ask(new File(["file"], "name"))),
        big: back.length === big.length && back.every((byte, i) => byte === big[i]),
      };
    }, name, bytes);
    assert.deepEqual(answers, {
      text: "zażółć 🧦 \u2028 \0",
      nested: ["ArrayBuffer", ...bytes],
      view: ["ArrayBuffer", 10, 11, 12],
      blob: ["ArrayBuffer", ...bytes],
      file: ["ArrayBuffer", ...Buffer.from("file")],
      big: true,
    }, name);
    await until(async () => (await tell(name)).binaries.length, `${name}: the binary of the server`);
    assert.deepEqual((await tell(name)).binaries, [["ArrayBuffer", ...bytes]], name);
    const asked = { do: "emitWithAck", to: [ids[name]], event: "question", timeout: 60_000 };
    assert.deepEqual(await done(witness, { ...asked, args: [{ text: "🧦" }] }), [{ text: "🧦" }], name);
  }
});

pageTest("clients recover after a cut that nobody saw", async (context) => {
  const server = await app();
  const link = await Link.to(server.port);
  context.t.after(() => link.close());
  const { names, ids, tell, emit } = await start(context, server, { url: link.url });
  await emit("number", 0);
  for (const name of names) await until(async () => (await tell(name)).numbers.length === 1, `${name}: the number before the cut`);
  assert.ok(link.silence() >= names.length);
  for (let n = 1; n < 5; n++) await emit("number", n);
  for (const name of names) {
    await until(async () => (await tell(name)).numbers.length === 5, `${name}: the numbers of the time of the cut`);
    const { connects, ends, numbers } = await tell(name);
    assert.deepEqual(numbers, [0, 1, 2, 3, 4], name);
    assert.deepEqual(ends, ["ping timeout"], name);
    assert.deepEqual(connects, [{ id: ids[name], recovered: false }, { id: ids[name], recovered: true }], name);
  }
});

pageTest("clients of a frozen tab are dropped, and recover", async (context) => {
  const { tab, names, ids, tell, emit, reasonOf } = await start(context, await app());
  await emit("number", 0);
  for (const name of names) await until(async () => (await tell(name)).numbers.length === 1, `${name}: the number before the freeze`);
  await tab.freeze();
  try {
    for (const name of names) {
      await until(() => reasonOf(ids[name]), `${name}: the server drops the client`);
      assert.equal(await reasonOf(ids[name]), "ping timeout", name);
    }
    for (let n = 1; n < 5; n++) await emit("number", n);
  } finally {
    await tab.thaw();
  }
  for (const name of names) {
    await until(async () => (await tell(name)).numbers.length === 5, `${name}: the numbers of the time of the freeze`);
    const { connects, ends, numbers } = await tell(name);
    assert.deepEqual(numbers, [0, 1, 2, 3, 4], name);
    assert.equal(ends.length, 1, `${name}: ${ends}`);
    assert.deepEqual(connects, [{ id: ids[name], recovered: false }, { id: ids[name], recovered: true }], name);
  }
}, {
  // Chromium writes the ends of connections to the console, and Firefox some.
  expects: [/WebSocket connection to .* failed/, /responded with a status of 400/, /connection to ws:.* was interrupted/],
});

pageTest("clients of a hidden tab stay connected", async (context) => {
  const { tab, witness, names, ids, tell, emit } = await start(context, await patient());
  await tab.hide();
  await until(() => tab.run(() => document.hidden), "the tab is hidden");
  const before = await Promise.all(names.map(tell));
  for (const [i, name] of names.entries()) {
    await emit("number", i);
    await until(async () => (await tell(name)).pings > before[i].pings + 5, `${name}: pings come to the hidden tab`);
    const asked = { do: "emitWithAck", to: [ids[name]], event: "question", timeout: 60_000, args: [name] };
    assert.deepEqual(await done(witness, asked), [name]);
  }
  assert.equal(await tab.run(() => document.hidden), true);
  await tab.show();
  await until(() => tab.run(() => !document.hidden), "the tab is shown");
  for (const name of names) {
    const { connects, ends, numbers } = await tell(name);
    assert.deepEqual([connects.length, ends, numbers], [1, [], [0, 1, 2]], name);
  }
});

/** Returns when the polls of so many clients wait at the server: a poll that is not there yet would end unseen. */
async function polls(tab, server, count) {
  await until(() => tab.run((count) => waitingPolls === count, count), `${count} clients poll`);
  // The answer to a later request.
  await tab.run((url) => fetch(url, { mode: "no-cors" }).then(() => {}), `${server.url}/healthz`);
}

for (const [what, leave] of Object.entries({ reload: (tab) => tab.reload(), end: closeTab })) {
  pageTest(`server sees the ${what} of a page`, async (context) => {
    const options = Object.entries(TRANSPORTS).flatMap(([name, transports]) => [
      [name, { transports }],
      [`${name}, closeOnBeforeunload`, { transports, closeOnBeforeunload: true }],
    ]);
    const server = await quiet();
    const { tab, names, ids, reasonOf } = await start(context, server, { options });
    await polls(tab, server, names.filter((name) => endsAs(name) === "polling").length);
    await leave(tab);
    for (const name of names) {
      const reason = await until(() => reasonOf(ids[name]), `${name}: the server sees the ${what}`);
      // The JavaScript server reports these reasons. The abort of a poll races the close packet of its client.
      const known = endsAs(name) === "polling" ? ["transport error", "transport close"] : ["transport close"];
      assert.ok(known.includes(reason), `${name}: ${reason}`);
    }
  }, {
    // Firefox may write the end of a connection to the console.
    expects: [/connection to ws:.* was interrupted/],
  });
}
