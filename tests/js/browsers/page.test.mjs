// The page of `sociable-node` in a real browser: what a first-time visitor does.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { freshNode } from "../lib.mjs";
import { closeTab, pageTest, shows, showsExactly, textOf } from "./world.mjs";

const CLIENT_FILES = fileURLToPath(new URL("../node_modules/socket.io-client/dist", import.meta.url));

/** A test with a node of its own, and a function that opens tabs on its page. */
function nodePageTest(title, body, { flags = [], ...options } = {}) {
  pageTest(title, async ({ t, openTab }) => {
    const node = await freshNode(t, ...flags);
    await body({
      node,
      openTab: async () => {
        const tab = await openTab(node.url);
        await showsExactly(tab, "#status", "connected");
        return tab;
      },
    });
  }, options);
}

async function enter(tab, name, room) {
  await tab.fill("#name", name);
  await tab.fill("#room", room);
  await tab.click("#join");
  await shows(tab, "#log", `You are in ${room}.`);
}

async function say(tab, text) {
  await tab.fill("#text", text);
  await tab.click("#say");
}

const logOf = (tab) => textOf(tab, "#log");

nodePageTest("two tabs talk to each other through a room", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "kitchen");
  await shows(ann, "#log", "Ben has joined.");

  await say(ben, "Is there any tea?");
  await shows(ann, "#log", "Is there any tea?");
  await shows(ann, "#log", "Ben");
  await say(ann, "There is.");
  await shows(ben, "#log", "There is.");
  await shows(ben, "#log", "Is there any tea?");

  await showsExactly(ann, "#connections", "2");
  await showsExactly(ann, "#rooms-count", "1");
  assert.notEqual(await textOf(ann, "#node"), "–", "the node tells its name");
  assert.match(await textOf(ann, "#rate"), /^\d+$/);

  await closeTab(ben);
  await shows(ann, "#log", "Ben has left.");
  await showsExactly(ann, "#connections", "1");
});

nodePageTest("page connects to the namespace of the demonstration", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "kitchen");
  await say(ben, "in another namespace");
  await shows(ann, "#log", "in another namespace");
  await showsExactly(ann, "#rooms-count", "1");
}, { flags: ["--demo", "/demo & <more>"] });

nodePageTest("rooms are apart", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "garden");
  await say(ben, "only in the garden");
  await shows(ben, "#log", "only in the garden");

  // A later message in the garden arrives. The earlier one did not, and no message of the garden shows in the
  // kitchen.
  await enter(ann, "Ann", "garden");
  await say(ben, "now we are two");
  await shows(ann, "#log", "now we are two");
  assert.doesNotMatch(await logOf(ann), /only in the garden/);
  await ann.click("#rooms li:first-child button:first-child");
  await shows(ann, "#log", "You are in kitchen.");
  assert.doesNotMatch(await logOf(ann), /now we are two/);

  await ann.click("[aria-label='Leave garden']");
  await shows(ben, "#log", "Ann has left.");
  assert.doesNotMatch(await textOf(ann, "#rooms"), /garden/);
});

nodePageTest("markup in a name, a room and a message stays text", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  const markup = `<img src=x onerror="document.title='taken over'">`;
  await enter(ann, "Ann", markup);
  await enter(ben, markup.slice(0, 40), markup);
  await say(ben, markup);
  await say(ben, "behind it");
  await shows(ann, "#log", "behind it");
  assert.ok((await logOf(ann)).includes(markup), "the message shows as it was written");
  assert.deepEqual(await ann.run(() => [document.querySelectorAll("img").length, document.title]), [0, "Sociable"]);
});

nodePageTest("a tab that loses its connection comes back to its rooms", async ({ node, openTab }) => {
  const ann = await openTab();
  await enter(ann, "Ann", "kitchen");
  await node.stop();
  await shows(ann, "#status", "not connected");
  await shows(ann, "#log", "The connection is lost.");
  assert.equal(await ann.run(() => document.querySelector("#say").disabled), true);

  await node.restart();
  await showsExactly(ann, "#status", "connected");
  await say(ann, "here again");
  await shows(ann, "#log", "here again");
}, {
  // Chromium writes each refused connection to the console, and Firefox some.
  expects: [/WebSocket connection to .* failed/, /can.t establish a connection to the server at ws:/],
});

nodePageTest("the page fits a phone", async ({ openTab }) => {
  const ann = await openTab();
  await ann.resize(360, 640);
  await enter(ann, "Ann", "a room with a name that is rather long for a narrow screen");
  await say(ann, "w".repeat(300));
  await shows(ann, "#log", "w".repeat(300));
  const { window, wide, tall, button } = await ann.run(() => ({
    window: innerWidth,
    wide: document.documentElement.scrollWidth - innerWidth,
    tall: document.documentElement.scrollHeight - innerHeight,
    button: document.querySelector("#say").checkVisibility(),
  }));
  // The toolbar of WebKit's browser is the widest.
  assert.ok(window < 480, `the window is ${window} px wide`);
  assert.ok(wide <= 0 && tall <= 0, `nothing sticks out of the window (${wide} px across, ${tall} px down)`);
  assert.ok(button);
});

nodePageTest("a page loads the official client from the node, as a script and as a module", async ({ openTab }) => {
  const tab = await openTab();
  for (const name of ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js"]) {
    const id = await tab.run(async (url) => {
      const asScript = () => new Promise((resolve, reject) => {
        document.head.append(Object.assign(document.createElement("script"), { src: url, onload: () => resolve(window), onerror: reject }));
      });
      const { io } = url.includes(".esm.") ? await import(url) : await asScript();
      const socket = io({ forceNew: true });
      return await new Promise((resolve, reject) => {
        socket.on("connect", () => resolve(socket.id));
        socket.on("connect_error", reject);
      });
    }, `/socket.io/${name}`);
    assert.match(id, /^\S{20}$/, name);
  }
}, { flags: ["--serve-client", CLIENT_FILES] });
