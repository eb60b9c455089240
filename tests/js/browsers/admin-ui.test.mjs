// The page of `@socket.io/admin-ui` in each browser: its dialog, its lists, and two of its commands. `admin-ui.test.mjs` of the
// folder above has the rest, through a balancer onto three nodes.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import bcrypt from "bcryptjs";
import { connect, freshNode, once, settingsFile, until } from "../lib.mjs";
import { pageTest } from "./world.mjs";

const FOLDER = fileURLToPath(new URL("../node_modules/@socket.io/admin-ui/ui/dist", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".svg": "image/svg+xml" };
const PASSWORD = "changeit";

/** Serves the page. Returns its URL. */
async function servePage(t) {
  const server = createServer((request, response) => {
    const name = path.normalize(new URL(request.url, "http://localhost").pathname).replace(/\/$/, "/index.html");
    try {
      const body = readFileSync(path.join(FOLDER, name));
      response.writeHead(200, { "content-type": TYPES[path.extname(name)] ?? "application/octet-stream" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}`;
}

/** A test with a node and the open page. */
function adminTest(title, body) {
  pageTest(title, async ({ t, openTab }) => {
    const page = await servePage(t);
    const users = settingsFile(t, `ada:${bcrypt.hashSync(PASSWORD, 6)}\n`);
    const node = await freshNode(t, "--admin-ui-users", users, "--admin-ui-mode", "development", "--node-name", "node-1",
      "--cors-origin", page, "--cors-credentials");
    await body({ t, node, tab: await openTab(page) });
  }, {
    // The fonts of the page come from elsewhere, and a browser that does not get them writes that to its console.
    expects: [/^request to https:\/\/(fonts\.googleapis\.com|cdn\.jsdelivr\.net)\//, /^console: .*(fonts\.googleapis\.com|cdn\.jsdelivr\.net|net::ERR_)/],
  });
}

/**
 * Marks what the page shows by its text, and returns a selector for it. The page has no names of its own for its elements.
 * `within` narrows the search to the element around it.
 */
async function find(tab, selector, text, { within } = {}) {
  let found;
  await until(async () => {
    found = await tab.run((selector, text, within) => {
      const isSeen = (element) => element.getClientRects().length > 0;
      const all = [...document.querySelectorAll(selector)].filter((element) => isSeen(element) && element.innerText.trim().toLowerCase().includes(text.toLowerCase()));
      // The innermost one.
      const last = all.filter((element) => !all.some((other) => other !== element && element.contains(other))).at(0);
      const wanted = within && last ? last.closest(within[0])?.querySelector(within[1]) : last;
      if (!wanted) return null;
      wanted.dataset.found ??= String(window.founds = (window.founds ?? 0) + 1);
      return `[data-found="${wanted.dataset.found}"]`;
    }, selector, text, within ?? null);
    return found;
  }, `the page shows ${text}`);
  return found;
}

/** Returns whether the page shows this text. */
const shown = (tab, text) => tab.run((text) => document.body.innerText.toLowerCase().includes(text.toLowerCase()), text);
const shows = (tab, text) => until(() => shown(tab, text), `the page shows ${text}`);
const hides = (tab, text) => until(async () => !(await shown(tab, text)), `the page hides ${text}`);

const field = (tab, label) => find(tab, "label", label, { within: [".v-input", "input"] });

/** Fills a field. The page keeps the text of a field, and writes it back unless the field was emptied with an event. */
async function fill(tab, label, text) {
  const selector = await field(tab, label);
  await tab.run((selector) => {
    const input = document.querySelector(selector);
    input.value = "";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  }, selector);
  await tab.fill(selector, text);
}
const show = (tab, list) => tab.run((list) => void (location.hash = `#/${list}/`), list);

async function logIn(tab, server, password) {
  await fill(tab, "Server URL", server);
  await fill(tab, "Username", "ada");
  await fill(tab, "Password", password);
  await tab.click(await find(tab, "button", "Connect"));
}

adminTest("admin UI refuses a wrong password and lists the servers after the right one", async ({ tab, node }) => {
  await logIn(tab, node.url, "wrong");
  await shows(tab, "Invalid credentials");
  await logIn(tab, node.url, PASSWORD);
  await hides(tab, "Invalid credentials");
  await show(tab, "servers");
  await find(tab, "td", "node-1");
});

adminTest("admin UI joins a socket to a room and disconnects another", async ({ t, tab, node }) => {
  const early = await connect(t, node, "/", { transports: ["websocket"], reconnection: false });
  await logIn(tab, node.url, PASSWORD);
  await hides(tab, "Password");
  await show(tab, "sockets");
  await tab.click(await find(tab, "td", early.id));
  await fill(tab, "Join a room", "red");
  await tab.click(await find(tab, "label", "Join a room", { within: ["form", "button[type=submit]"] }));
  await find(tab, "td", "red");

  const other = await connect(t, node, "/", { transports: ["websocket"], reconnection: false });
  await show(tab, "rooms");
  await find(tab, "td", "red");
  await show(tab, "sockets");
  const { id } = other;
  const gone = once(other, "disconnect");
  await tab.click(await find(tab, "td", id, { within: ["tr", "button"] }));
  assert.equal((await gone)[0], "io server disconnect");
  await show(tab, "sockets");
  await hides(tab, id);
  assert.match(node.output, /command performed.*user="ada".*command="join"/);
  assert.match(node.output, /command performed.*user="ada".*command="_disconnect"/);
});
