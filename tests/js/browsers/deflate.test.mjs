// permessage-deflate in a real browser: what the browser negotiated, and the bytes that pass.
import assert from "node:assert/strict";
import { sharedApp, until } from "../lib.mjs";
import { TRANSPORTS, start } from "./clients.mjs";
import { Link } from "./link.mjs";
import { pageTest } from "./world.mjs";

const { websocket, upgrade } = TRANSPORTS;
const OPTIONS = { options: [["websocket", { transports: websocket }], ["upgrade", { transports: upgrade }]] };

/** Far above the threshold, and easy to compress. */
const NEWS = Array.from({ length: 1000 }, (_, n) => ({ id: n, room: "red", text: `the news number ${n}` }));
const LENGTH = JSON.stringify(NEWS).length;

const extensions = (tab, name) => tab.run((name) => clients[name].socket.io.engine.transport.ws.extensions, name);

/** The page with its clients behind a link that counts bytes. */
async function startOn(context, ...flags) {
  const server = await sharedApp(...flags);
  const link = await Link.to(server.port);
  context.t.after(() => link.close());
  const world = await start(context, server, { url: link.url, ...OPTIONS });
  /** Returns the bytes of both directions during an action. */
  const measure = async (action) => {
    const { sent, received } = link;
    await action();
    return { sent: link.sent - sent, received: link.received - received };
  };
  return { ...world, measure };
}

pageTest("browser negotiates compression and uses it both ways", async (context) => {
  const { tab, names, tell, emit, measure } = await startOn(context, "--per-message-deflate");
  for (const name of names) {
    assert.match(await extensions(tab, name), /^permessage-deflate\b/, name);
    const echo = await measure(async () => {
      const equal = await tab.run(async (name, news) => {
        const [back, bytes] = await clients[name].socket.emitWithAck("echo", [news, new TextEncoder().encode(JSON.stringify(news))]);
        const text = JSON.stringify(news);
        return [JSON.stringify(back) === text, new TextDecoder().decode(bytes) === text];
      }, name, NEWS);
      assert.deepEqual(equal, [true, true], name);
    });
    // An echo has the news twice: as text and as bytes.
    assert.ok(echo.sent < LENGTH && echo.received < LENGTH, `${name}: ${JSON.stringify(echo)} bytes, of ${2 * LENGTH} each way`);
  }
  const broadcast = await measure(async () => {
    await emit("number", NEWS);
    for (const name of names) await until(async () => (await tell(name)).numbers.length === 1, `${name}: the broadcast`);
  });
  for (const name of names) assert.deepEqual((await tell(name)).numbers, [NEWS], name);
  assert.ok(broadcast.received < LENGTH, `${broadcast.received} bytes of a broadcast of ${LENGTH} to ${names.length} clients`);
  // A short one goes as it is.
  await emit("number", 7);
  for (const name of names) await until(async () => (await tell(name)).numbers.at(-1) === 7, `${name}: the short broadcast`);
});

pageTest("browser gets messages as they are without compression", async (context) => {
  const { tab, names, tell, emit, measure } = await startOn(context);
  for (const name of names) assert.equal(await extensions(tab, name), "", name);
  const { received } = await measure(async () => {
    await emit("number", NEWS);
    for (const name of names) await until(async () => (await tell(name)).numbers.length === 1, `${name}: the broadcast`);
  });
  assert.ok(received > names.length * LENGTH, `${received} bytes`);
});
