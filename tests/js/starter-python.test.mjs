// `examples/starter-python` without containers: its backend, two nodes with its settings, a balancer and NATS as processes.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { scratch, startNats } from "./cluster.mjs";
import { Balancer, PATIENCE, Server, freePort, until } from "./lib.mjs";
import { testChat } from "./starter-chat.mjs";

const STARTER = fileURLToPath(new URL("../../examples/starter-python/", import.meta.url));
const CLIENT = fileURLToPath(new URL("node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url));
const place = scratch("starter-python");
const nodes = [];
let backend;

/** The backend, by the command of its image. */
class Backend extends Server {
  at(port) {
    return ["-B", "-m", "uvicorn", "--factory", "chat.app:create", "--app-dir", STARTER, "--port", String(port)];
  }
}

/** The settings of the starter, with the addresses of this machine. */
function settings(backend) {
  const text = readFileSync(path.join(STARTER, "cluster/settings.toml"), "utf8");
  const file = path.join(place.folder, "settings.toml");
  const local = [
    ["http://backend:8000", `http://127.0.0.1:${backend}`],
    ["http://127.0.0.1:8000", `http://127.0.0.1:${backend}`],
    ["/etc/chat/", path.join(STARTER, "cluster/")],
    ["/run/secrets/", path.join(STARTER, "secrets/")],
  ];
  writeFileSync(file, local.reduce((text, [from, to]) => text.replaceAll(from, to), text));
  return file;
}

before(async () => {
  const [{ port: nats }] = await startNats(place, 1, true);
  const [port, balancer, ...apis] = await Promise.all(Array.from({ length: 4 }, freePort));
  const cluster = ["--nats", `nats://127.0.0.1:${nats}`, "--cluster", "starter"];
  const flags = [...cluster, "--config", settings(port), "--recovery", "60", "--jetstream"];
  for (const api of apis) {
    const own = (port) => [...flags, "--api-addr", `127.0.0.1:${api}`, "--advertise", `127.0.0.1:${port}`, "--node-name", `node-${api}`];
    nodes.push(await Server.start("NODE_BIN", own));
  }
  await Balancer.start([...cluster, "--nodes", nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")], balancer);
  Object.assign(process.env, {
    SECRETS_DIR: path.join(STARTER, "secrets"), API_URL: `http://127.0.0.1:${apis[0]}`, SOCKET_URL: `http://127.0.0.1:${balancer}`,
  });
  backend = await Backend.start("PYTHON", [], port);
});

/** Kills the node of a client. The backend calls the first node, so the client moves to the second one before. */
async function killNode(socket) {
  const tags = await Promise.all(nodes.map(async ({ url }) => (await (await fetch(`${url}/healthz`)).json()).tag));
  const isOn = () => tags.findIndex((tag) => socket.io.engine.id?.startsWith(tag));
  while (isOn() !== 1) {
    socket.io.engine.close();
    await until(() => socket.connected && isOn() >= 0, "the client is on a node", PATIENCE);
  }
  const { id } = socket.io.engine;
  await nodes[1].stop("SIGKILL");
  return id;
}

const { clients, enter, ask, wait } = testChat(() => backend.url, killNode, 60_000);

test("clients stay while the backend is away", async () => {
  const { ada } = clients;
  await backend.stop("SIGKILL");
  const away = { error: { message: "backend unavailable", data: { code: "E_BACKEND" } } };
  assert.deepEqual(await ask(ada, "say", "is anybody there?"), away);
  assert.equal(ada.connected, true);
  await backend.restart();
  await wait(async () => (await ask(ada, "join", "lobby")).room === "lobby", "the backend answers again");
  await enter("grace");
});

test("page logs in and chats, by the official client", async (t) => {
  assert.ok(readFileSync(path.join(STARTER, "page/socket.io.min.js")).equals(readFileSync(CLIENT)), "the file of the npm package");
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  t.after(() => browser.close());
  const tabs = {};
  for (const [name, password] of [["ada", "analytical"], ["grace", "compiler"]]) {
    const tab = tabs[name] = await (await browser.newContext()).newPage();
    tab.setDefaultTimeout(PATIENCE);
    await tab.goto(backend.url);
    await tab.fill("#name", name);
    await tab.fill("#password", "wrong");
    await tab.click("#login button");
    await tab.getByText("wrong name or password").waitFor();
    await tab.fill("#password", password);
    await tab.click("#login button");
    await tab.getByText("lobby (").waitFor();
  }
  await tabs.ada.fill("#text", "from a page");
  await tabs.ada.click("#say button");
  for (const tab of Object.values(tabs)) await tab.locator("#messages").getByText("ada from a page").waitFor();
});

after(() => Object.values(clients).forEach((socket) => socket.disconnect()));
