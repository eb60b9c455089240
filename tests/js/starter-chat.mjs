// The chat of `examples/starter-python`, as its clients see it. The same tests run on processes and on containers.
import { test } from "node:test";
import assert from "node:assert/strict";
import { io } from "socket.io-client";
import { pause } from "./cluster.mjs";
import { until, within } from "./lib.mjs";

const HOLD = { reconnectionDelay: 100, reconnectionDelayMax: 1000, transports: ["polling", "websocket"], forceNew: true };

/** The events of the chat, with the numbers of their arguments. Recovery puts an offset behind them. */
const EVENTS = { said: 1, joined: 1, left: 1, announced: 2 };

/** Everything that a client hears, in order. */
function hear(socket) {
  const heard = [];
  for (const [event, length] of Object.entries(EVENTS)) socket.on(event, (...args) => heard.push([event, ...args.slice(0, length)]));
  return heard;
}

/**
 * Tests the chat at the address of its backend.
 *
 * @param {() => string} address returns the address of the backend.
 * @param {(socket) => Promise<string>} killNode kills the node of a client, and returns the id of the lost session.
 * @param {number} patience the longest wait, in milliseconds.
 */
export function testChat(address, killNode, patience) {
  const clients = {};
  const wait = (question, what) => until(question, what, patience);
  const ask = (socket, event, text) => within(socket.emitWithAck(event, text), `the answer to "${event}"`, patience);

  async function post(path, body, headers = {}) {
    const answer = await fetch(address() + path, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });
    return { status: answer.status, body: await answer.json().catch(() => undefined) };
  }

  async function login(name) {
    const { status, body } = await post("/login", { name, password: { ada: "analytical", grace: "compiler" }[name] });
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  }

  async function enter(name) {
    const { token, url } = await login(name);
    clients[name]?.disconnect();
    const socket = clients[name] = io(`${url}/chat`, { ...HOLD, auth: { token } });
    socket.token = token;
    socket.heard = hear(socket);
    await wait(() => socket.connected, `${name} is connected`);
    return socket;
  }

  test("login with a wrong password is refused", async () => {
    // A port of a container that does not listen yet may accept and say nothing.
    const answers = () => fetch(`${address()}/healthz`).then((answer) => answer.ok, () => false);
    await wait(() => Promise.race([answers(), pause(5_000)]), "the backend answers");
    assert.deepEqual(await post("/login", { name: "ada", password: "compiler" }), { status: 401, body: { detail: "wrong name or password" } });
  });

  test("client without a token is refused", async () => {
    const { url } = await login("ada");
    const socket = io(`${url}/chat`, { ...HOLD, auth: { token: "forged" } });
    // The cluster may still be starting: other errors are no answer of the backend.
    const errors = [];
    socket.on("connect_error", (error) => { if (error.data) errors.push(error); else setTimeout(() => socket.connect(), 200); });
    await wait(() => errors.length > 0, "the client is refused");
    socket.disconnect();
    assert.deepEqual([errors[0].message, errors[0].data], ["log in first", { code: "E_LOGIN" }]);
  });

  test("clients join a room and hear each other", async () => {
    const ada = await enter("ada");
    assert.deepEqual(await ask(ada, "join", "lobby"), { room: "lobby", history: [] });
    const grace = await enter("grace");
    assert.equal((await ask(grace, "join", "lobby")).room, "lobby");
    const { id } = await ask(grace, "say", " hello ");
    const said = ["said", { id, name: "grace", text: "hello" }];
    await wait(() => ada.heard.length === 2 && grace.heard.length === 1, "both have heard it");
    assert.deepEqual([ada.heard, grace.heard], [[["joined", "grace"], said], [said]]);
  });

  test("rooms have the count of the whole cluster", async () => {
    await wait(async () => (await (await fetch(`${address()}/rooms`)).json()).lobby === 2, "two are in the lobby");
  });

  test("nonsense is answered with an error", async () => {
    const wrong = { error: { message: "`say` takes one text of 1 to 2000 characters" } };
    for (const text of ["", 7, { $binary: 1 }, "x".repeat(2001), Buffer.from("bytes")]) assert.deepEqual(await ask(clients.ada, "say", text), wrong);
    assert.deepEqual(await ask(clients.ada, "join", "cellar"), { error: { message: "there is no room `cellar`" } });
  });

  test("announcement reaches clients in all rooms", async () => {
    const { ada, grace } = clients;
    await ask(ada, "join", "kitchen");
    const answer = await post("/announcements", { text: "tea" }, { Authorization: `Bearer ${grace.token}` });
    assert.equal(answer.status, 204, JSON.stringify(answer.body));
    for (const socket of [ada, grace]) {
      await wait(() => socket.heard.some(([event]) => event === "announced"), "both have heard it");
      assert.deepEqual(socket.heard.findLast(([event]) => event === "announced"), ["announced", "grace", "tea"]);
    }
    assert.ok(grace.heard.some(([event, name]) => event === "left" && name === "ada"), "the lobby hears who has left");
  });

  test("room hears of a client that has gone", async () => {
    const { ada, grace } = clients;
    await ask(grace, "join", "kitchen");
    grace.disconnect();
    await wait(() => ada.heard.some(([event, name]) => event === "left" && name === "grace"), "the kitchen hears it");
    const again = await enter("grace");
    const { history } = await ask(again, "join", "lobby");
    assert.deepEqual(history.map(({ name, text }) => [name, text]), [["grace", "hello"]]);
    await ask(ada, "join", "lobby");
  });

  test("clients of a killed node go on and miss nothing", async () => {
    const { ada, grace } = clients;
    const { id } = ada;
    const lost = await killNode(ada);
    // Grace, whether she moves too or not, speaks while Ada is away.
    const texts = ["one", "two", "three"];
    for (const text of texts) {
      await wait(async () => grace.connected && (await grace.timeout(5000).emitWithAck("say", text).catch(() => ({}))).id, "grace speaks");
    }
    await wait(() => ada.connected && ada.io.engine.id !== lost, "ada is back");
    assert.deepEqual([ada.recovered, ada.id], [true, id]);
    const heard = () => ada.heard.filter(([event, { text }]) => event === "said" && texts.includes(text)).map(([, { text }]) => text);
    await wait(() => texts.every((text) => heard().includes(text)), "ada has heard all");
    assert.ok((await ask(ada, "say", "I am back")).id);
    assert.equal((await ask(ada, "join", "garden")).room, "garden");
  });

  return { clients, enter, ask, wait };
}
