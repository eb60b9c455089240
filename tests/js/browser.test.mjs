// The page of `sociable-node` in a real Chromium: what a first-time visitor does.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { PATIENCE, freshNode } from "./lib.mjs";

const SCREENSHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../target/screenshots", import.meta.url));

const CLIENT_FILES = fileURLToPath(new URL("node_modules/socket.io-client/dist", import.meta.url));

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Tests run as root in containers, where the sandbox can't start; the rest keeps the browser from calling home.
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--disable-dev-shm-usage",
    ],
  });
});
after(() => browser?.close());

/** Gives the test a function that opens tabs, and takes a picture of each tab if it fails. */
function pageTest(title, body, { flags = [], ...contextOptions } = {}) {
  test(title, async (t) => {
    const node = await freshNode(t, ...flags);
    const context = await browser.newContext({ viewport: { width: 1000, height: 700 }, ...contextOptions });
    context.setDefaultTimeout(PATIENCE);
    const tabs = [];
    const problems = [];
    const isOurs = (url) => new URL(url).host === new URL(node.url).host || url.startsWith("data:");
    await context.route((url) => !isOurs(url.href), (route) => route.abort());
    const openTab = async () => {
      const tab = await context.newPage();
      tabs.push(tab);
      tab.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(`console: ${message.text()}`));
      tab.on("pageerror", (error) => problems.push(`error: ${error.message}`));
      tab.on("request", (request) => isOurs(request.url()) || problems.push(`request to ${request.url()}`));
      tab.on("websocket", (socket) => isOurs(socket.url()) || problems.push(`websocket to ${socket.url()}`));
      await tab.goto(node.url);
      await hasText(tab, "#status", "connected");
      return tab;
    };
    try {
      await body({ t, node, context, openTab, problems });
      assert.deepEqual(problems, [], "no error in the console, no request to another host");
    } catch (error) {
      mkdirSync(SCREENSHOTS, { recursive: true });
      for (const [i, tab] of tabs.entries()) {
        const path = join(SCREENSHOTS, `${title.replace(/\W+/g, "-")}-${i + 1}.png`);
        await tab.screenshot({ path }).then(() => console.error(`screenshot: ${path}`), () => {});
      }
      throw error;
    } finally {
      await context.close();
    }
  });
}

/** Waits until an element's visible text contains this (or is it, with `exact`). */
async function hasText(tab, selector, text, exact = selector !== "#log") {
  const found = tab.waitForFunction(
    ([selector, text, exact]) => {
      const shown = document.querySelector(selector)?.innerText.trim();
      return exact ? shown === text : shown?.includes(text);
    },
    [selector, text, exact],
  );
  await found.catch(async () => {
    const shown = await tab.innerText(selector);
    assert.fail(`${selector} shows ${JSON.stringify(shown)}, not ${JSON.stringify(text)}`);
  });
}

async function enter(tab, name, room) {
  await tab.fill("#name", name);
  await tab.fill("#room", room);
  await tab.click("#join");
  await hasText(tab, "#log", `You are in ${room}.`);
}

async function say(tab, text) {
  await tab.fill("#text", text);
  await tab.click("#say");
}

const logOf = (tab) => tab.innerText("#log");

pageTest("two tabs talk to each other through a room", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "kitchen");
  await hasText(ann, "#log", "Ben has joined.");

  await say(ben, "Is there any tea?");
  await hasText(ann, "#log", "Is there any tea?");
  await hasText(ann, "#log", "Ben");
  await say(ann, "There is.");
  await hasText(ben, "#log", "There is.");
  await hasText(ben, "#log", "Is there any tea?");

  await hasText(ann, "#connections", "2");
  await hasText(ann, "#rooms-count", "1");
  assert.notEqual(await ann.innerText("#node"), "–", "the node tells its name");
  assert.match(await ann.innerText("#rate"), /^\d+$/);

  await ben.close();
  await hasText(ann, "#log", "Ben has left.");
  await hasText(ann, "#connections", "1");
});

pageTest("page connects to the namespace of the demonstration", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "kitchen");
  await say(ben, "in another namespace");
  await hasText(ann, "#log", "in another namespace");
  await hasText(ann, "#rooms-count", "1");
}, { flags: ["--demo", "/demo & <more>"] });

pageTest("rooms are apart", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  await enter(ann, "Ann", "kitchen");
  await enter(ben, "Ben", "garden");
  await say(ben, "only in the garden");
  await hasText(ben, "#log", "only in the garden");

  // A later message in the garden arrives. The earlier one did not, and no message of the garden shows in the
  // kitchen.
  await enter(ann, "Ann", "garden");
  await say(ben, "now we are two");
  await hasText(ann, "#log", "now we are two");
  assert.doesNotMatch(await logOf(ann), /only in the garden/);
  await ann.click("#rooms button:has-text('kitchen')");
  await hasText(ann, "#log", "You are in kitchen.");
  assert.doesNotMatch(await logOf(ann), /now we are two/);

  await ann.click("[aria-label='Leave garden']");
  await hasText(ben, "#log", "Ann has left.");
  assert.doesNotMatch(await ann.innerText("#rooms"), /garden/);
});

pageTest("markup in a name, a room and a message stays text", async ({ openTab }) => {
  const ann = await openTab();
  const ben = await openTab();
  const markup = `<img src=x onerror="document.title='taken over'">`;
  await enter(ann, "Ann", markup);
  await enter(ben, markup.slice(0, 40), markup);
  await say(ben, markup);
  await say(ben, "behind it");
  await hasText(ann, "#log", "behind it");
  assert.ok((await logOf(ann)).includes(markup), "the message shows as it was written");
  assert.equal(await ann.locator("img").count(), 0);
  assert.equal(await ann.title(), "Sociable");
});

pageTest("a tab that loses its connection comes back to its rooms", async ({ node, openTab, problems }) => {
  const ann = await openTab();
  await enter(ann, "Ann", "kitchen");
  await node.stop();
  await hasText(ann, "#status", "not connected", false);
  await hasText(ann, "#log", "The connection is lost.");
  assert.equal(await ann.isDisabled("#say"), true);

  await node.restart();
  await hasText(ann, "#status", "connected");
  await say(ann, "here again");
  await hasText(ann, "#log", "here again");
  // The browser writes each refused connection to the console: those are expected here.
  problems.splice(0, problems.length, ...problems.filter((problem) => !/WebSocket connection to .* failed/.test(problem)));
});

pageTest("the page fits a phone", async ({ openTab }) => {
  const ann = await openTab();
  await enter(ann, "Ann", "a room with a name that is rather long for a narrow screen");
  await say(ann, "w".repeat(300));
  await hasText(ann, "#log", "w".repeat(300));
  const { wide, tall } = await ann.evaluate(() => ({
    wide: document.documentElement.scrollWidth - innerWidth,
    tall: document.documentElement.scrollHeight - innerHeight,
  }));
  assert.ok(wide <= 0 && tall <= 0, `nothing sticks out of the window (${wide} px across, ${tall} px down)`);
  assert.ok(await ann.isVisible("#say"));
}, { viewport: { width: 360, height: 640 }, isMobile: true, colorScheme: "dark" });

pageTest("a page loads the official client from the node, as a script and as a module", async ({ openTab }) => {
  const tab = await openTab();
  const connects = (module) => tab.evaluate(async (module) => {
    const { io } = module ? await import(module) : window;
    const socket = io({ forceNew: true });
    return new Promise((resolve, reject) => {
      socket.on("connect", () => resolve(socket.id));
      socket.on("connect_error", reject);
    });
  }, module);
  for (const name of ["socket.io.js", "socket.io.min.js"]) {
    await tab.addScriptTag({ url: `/socket.io/${name}` });
    assert.match(await connects(), /^\S{20}$/, name);
  }
  assert.match(await connects("/socket.io/socket.io.esm.min.js"), /^\S{20}$/);
}, { flags: ["--serve-client", CLIENT_FILES] });
