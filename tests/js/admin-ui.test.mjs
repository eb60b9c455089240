// The page of `@socket.io/admin-ui` in a real Chromium, through a balancer onto three nodes. nginx serves it with the settings
// of `deploy/admin-ui`. With ADMIN_UI_CROWD, that many sockets are on the cluster meanwhile, and the times of echoes are
// compared: see the last test.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { fork, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import bcrypt from "bcryptjs";
import { chromium } from "playwright-core";
import { io } from "socket.io-client";
import { listens, pause, scratch, startNats } from "./cluster.mjs";
import { Balancer, PATIENCE, Server, ask, connected, freePort, once, until, within } from "./lib.mjs";

const SCREENSHOTS = process.env.SCREENSHOTS ?? fileURLToPath(new URL("../../target/screenshots", import.meta.url));
const PAGE = fileURLToPath(new URL("node_modules/@socket.io/admin-ui/ui/dist", import.meta.url));
const NGINX_CONF = readFileSync(new URL("../../deploy/admin-ui/nginx.conf", import.meta.url), "utf8");
const CROWD = Number(process.env.ADMIN_UI_CROWD ?? 0);
const NAMES = ["node-1", "node-2", "node-3"];
const PASSWORD = "changeit";

const place = scratch("admin-ui");
let browser, balancer, page;
const nodes = [];

/** nginx with the settings of the image, at other addresses. Returns its URL. */
async function startNginx(port) {
  const file = path.join(place.folder, "nginx.conf");
  const settings = NGINX_CONF.replaceAll("/tmp/", `${place.folder}/nginx-`).replace("root /page;", `root ${PAGE};`)
    .replace("listen 8080;", `listen 127.0.0.1:${port};`).replace(/balancer-\d:8080/g, `127.0.0.1:${balancer.port}`);
  writeFileSync(file, settings);
  // nginx takes the variable NGINX for sockets that it inherits.
  const { NGINX = "nginx", ...env } = process.env;
  const args = ["-p", place.folder, "-e", "stderr", "-c", file, "-g", "daemon off; master_process off;"];
  const child = spawn(NGINX, args, { env, stdio: "inherit" });
  place.cleanup.push(() => child.kill("SIGKILL"));
  await listens(port, "nginx listens");
  return `http://127.0.0.1:${port}`;
}

before(async () => {
  const users = path.join(place.folder, "users");
  writeFileSync(users, `# for tests\nada:${bcrypt.hashSync(PASSWORD, 6)}\n`);
  const [nats] = await startNats(place, 1);
  const bus = `nats://127.0.0.1:${nats.port}`;
  const pagePort = await freePort();
  for (const name of NAMES) {
    const flags = (port) => ["--nats", bus, "--node-name", name, "--advertise", `127.0.0.1:${port}`, "--admin-ui-users", users,
      "--admin-ui-mode", "development", "--cors-origin", `http://127.0.0.1:${pagePort}`, "--cors-credentials", "--drain-time", "0"];
    nodes.push(await Server.start("NODE_BIN", flags));
  }
  balancer = await Balancer.start(["--nats", bus]);
  await until(() => fetch(`${balancer.url}/readyz`).then((answer) => answer.ok, () => false), "the balancer has nodes");
  page = await startNginx(pagePort);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--disable-dev-shm-usage",
    ],
  });
});
after(() => browser?.close());

/** Opens a browser without any state. The fonts of the page come from elsewhere, and are left out. */
async function openBrowser(t) {
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 } });
  context.setDefaultTimeout(PATIENCE);
  await context.route((url) => url.hostname !== "127.0.0.1", (route) => route.abort());
  const tab = await context.newPage();
  t.after(async () => {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await tab.screenshot({ path: path.join(SCREENSHOTS, `admin-ui-${t.name.replace(/\W+/g, "-")}.png`) }).catch(() => {});
    await context.close();
  });
  await tab.goto(page);
  return tab;
}

async function logIn(tab, server, password) {
  await tab.getByLabel("Server URL").fill(server);
  await tab.getByLabel("Username").fill("ada");
  await tab.getByLabel("Password").fill(password);
  await tab.getByRole("button", { name: "Connect" }).click();
}

/** Shows a list of the page: `sockets`, `rooms`, `servers`. */
const show = (tab, list) => tab.goto(`${page}/#/${list}/`);

/** A client of the main namespace, through the balancer. */
async function visitor(t) {
  const socket = io(balancer.url, { transports: ["websocket"], forceNew: true, reconnection: false });
  t.after(() => socket.disconnect());
  await connected(socket);
  return socket;
}

const logins = (kind) => nodes.map((node, at) => [at, node.output.split(`login by ${kind}`).length - 1]).filter(([, count]) => count > 0);

test("wrong password is refused, the right one shows all servers", async (t) => {
  const tab = await openBrowser(t);
  await logIn(tab, balancer.url, "wrong");
  await tab.getByText("Invalid credentials").waitFor();
  await logIn(tab, balancer.url, PASSWORD);
  await tab.getByText("Invalid credentials").waitFor({ state: "hidden" });
  await show(tab, "servers");
  for (const name of NAMES) await tab.getByRole("cell", { name, exact: true }).waitFor();
});

test("socket is listed, joined to a room and disconnected", async (t) => {
  // The page shows the main namespace first if it has a socket.
  const early = await visitor(t);
  const tab = await openBrowser(t);
  await logIn(tab, page, PASSWORD);
  await tab.getByLabel("Password").waitFor({ state: "hidden" });
  await show(tab, "sockets");
  await tab.getByText(early.id).first().click();
  await tab.getByText(early.id).first().waitFor();
  await tab.getByLabel("Join a room").fill("red");
  await tab.locator("form").filter({ has: tab.getByLabel("Join a room") }).locator("button[type=submit]").click();
  await tab.getByRole("cell", { name: "red", exact: true }).waitFor();
  const other = await visitor(t);
  const { id } = other;
  await show(tab, "rooms");
  await tab.getByRole("cell", { name: "red", exact: true }).waitFor();
  await show(tab, "sockets");
  await tab.getByText(id).first().waitFor();
  const gone = once(other, "disconnect");
  await tab.locator("tr", { hasText: id }).locator("button").click();
  assert.deepEqual((await gone)[0], "io server disconnect");
  await tab.getByText(id).first().waitFor({ state: "hidden" });
  const output = nodes.map((node) => node.output).join("");
  assert.match(output, /command performed.*user="ada".*command="join"/);
  assert.match(output, /command performed.*user="ada".*command="_disconnect"/);
  assert.doesNotMatch(output, new RegExp(PASSWORD));
});

test("reload on another node keeps the login", async (t) => {
  const before = new Map(logins("session id"));
  const tab = await openBrowser(t);
  await logIn(tab, page, PASSWORD);
  await tab.getByLabel("Password").waitFor({ state: "hidden" });
  await until(() => tab.evaluate(() => localStorage.getItem("session_id")), "the page has a session id");
  // The balancer chooses the node of each connection: reloads end up on all of them.
  const fresh = () => logins("session id").filter(([at, count]) => count > (before.get(at) ?? 0)).map(([at]) => at);
  await until(async () => {
    await tab.reload();
    await tab.locator(".v-app-bar").getByText(/^connected$/i).first().waitFor();
    return fresh().length >= 2;
  }, "reloads were on two nodes", PATIENCE * 3);
  assert.equal(await tab.getByLabel("Password").isVisible(), false, "no dialog");
});

/** The times of echoes through the acknowledgement of the demonstration, in ms. */
async function echoes(socket, count) {
  const times = [];
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    await ask(socket, "leave", "no such room");
    times.push(performance.now() - begun);
    await pause(2);
  }
  return times.sort((a, b) => a - b);
}

const p99 = (times) => times[Math.floor(times.length * 0.99)];

/** Connects that many sockets to the nodes, in processes of their own: a process may not have many more open files. */
async function gather(t, count) {
  const all = [];
  for (let left = count; left > 0; left -= 10_000) {
    const child = fork(fileURLToPath(new URL("crowd.mjs", import.meta.url)), [Math.min(left, 10_000), ...nodes.map(({ url }) => url)]);
    t.after(() => child.kill("SIGKILL"));
    all.push(new Promise((resolve, reject) => child.once("message", resolve).once("exit", () => reject(new Error("the crowd has ended")))));
  }
  await within(Promise.all(all), "the crowd is connected", 600_000);
}

// Opt-in, since it takes minutes and much memory: ADMIN_UI_CROWD=20000.
test("crowd is not slowed down by a page that looks", { skip: !CROWD && "ADMIN_UI_CROWD is not set" }, async (t) => {
  await gather(t, CROWD);
  const asker = await visitor(t);
  await echoes(asker, 500);
  const times = { without: [], with: [] };
  for (let round = 1; round <= 5; round++) {
    times.without.push(p99(await echoes(asker, 1000)));
    const tab = await openBrowser(t);
    await logIn(tab, page, PASSWORD);
    await show(tab, "sockets");
    await tab.getByText(/1-20 of \d+/).waitFor();
    times.with.push(p99(await echoes(asker, 1000)));
    const shown = await tab.getByText(/1-20 of \d+/).innerText();
    await tab.context().close();
    console.log(`# round ${round}: p99 of an echo ${times.without.at(-1).toFixed(2)} ms, ${times.with.at(-1).toFixed(2)} ms while a page looks (${shown})`);
    // Longer than the lease by which the nodes look.
    await pause(8_000);
  }
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1].toFixed(2);
  console.log(`# ${CROWD} sockets: median of p99 ${median(times.without)} ms, ${median(times.with)} ms while a page looks`);
});
