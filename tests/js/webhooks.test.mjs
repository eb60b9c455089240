// Webhooks of `sociable-node` as a process, with real clients and with backends that work, fail and come back.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import net from "node:net";
import { UNAVAILABLE, backend, nodeWith } from "./backend.mjs";
import { ask, client, connect, connected, once, until, within } from "./lib.mjs";

/** A backend that treats each connection in its own way. */
async function raw(t, handle) {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => handle(socket));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return `http://127.0.0.1:${server.address().port}/`;
}

const QUICK = "backoff-ms = 10\nmax-backoff-ms = 100\nbreaker-open-ms = 100\n";

const refusal = async (socket) => {
  const [error] = await once(socket, "connect_error");
  return { message: error.message, data: error.data };
};

test("a client is let in, answered and told of", async (t) => {
  const app = await backend(t, (hook) => {
    if (hook.kind === "connect" && !hook.auth.name) return { error: { message: "who are you?", data: { code: 7 } } };
    if (hook.kind === "connect") return { data: { name: hook.auth.name }, join: ["all"], emit: [{ rooms: [hook.socket], event: "welcome" }] };
    if (hook.event === "say") return { ack: hook.args, emit: [{ rooms: ["all"], event: "said", args: [hook.data.name, ...hook.args] }] };
  });
  const keys = ["connect", "connected", "disconnected"].map((key) => `${key} = "${app.url}"\n`).join("");
  const server = await nodeWith(t, `[namespaces."/chat"]\n${keys}[namespaces."/chat".events]\n"*" = "${app.url}"\n`);
  assert.deepEqual(await refusal(client(t, server, "/chat").connect()), { message: "who are you?", data: { code: 7 } });
  const ada = client(t, server, "/chat", { auth: { name: "Ada" } });
  const welcome = once(ada, "welcome");
  await connected(ada);
  await welcome;
  const bob = await connect(t, server, "/chat", { auth: { name: "Bob" } });
  const said = [once(ada, "said"), once(bob, "said")];
  assert.deepEqual(await within(bob.timeout(10_000).emitWithAck("say", Buffer.from([1, 2])), "the acknowledgement"), Buffer.from([1, 2]));
  for (const heard of said) assert.deepEqual(await heard, ["Bob", Buffer.from([1, 2])]);
  bob.emit("other", 1);
  const id = bob.id;
  bob.disconnect();
  await until(() => app.seen.some((hook) => hook.kind === "disconnected"), "the end is told");
  const kinds = app.seen.filter((hook) => hook.socket === id).map((hook) => hook.event ?? hook.kind);
  assert.deepEqual(kinds, ["connect", "connected", "say", "other", "disconnected"]);
  assert.deepEqual(app.seen.at(-1).rooms, ["all"]);
});

test("a pattern has webhooks, and a stopping node tells of every socket", async (t) => {
  const app = await backend(t);
  const server = await nodeWith(t, `[namespaces."/org-*"]\ndisconnected = "${app.url}"\n`);
  await Promise.all(["/org-a", "/org-b", "/org-c"].map((name) => connect(t, server, name)));
  await server.stop();
  assert.deepEqual(app.seen.map((hook) => [hook.namespace, hook.reason]).sort(), ["a", "b", "c"].map((name) => [`/org-${name}`, "server shutting down"]));
});

describe("a backend", () => {
  const hooks = (url, more = "") => `[webhooks]\n${QUICK}${more}[namespaces."/chat"]\nconnect = "${url}"\n[namespaces."/chat".events]\n"*" = "${url}"\n`;

  test("that is dead and comes back disturbs no other namespace", async (t) => {
    const app = await backend(t);
    const calm = await backend(t, () => ({ ack: ["calm"] }));
    const server = await nodeWith(t, `${hooks(app.url, "deadline-ms = 1000\n")}[namespaces."/calm".events]\n"*" = "${calm.url}"\n`);
    const socket = await connect(t, server, "/chat");
    const other = await connect(t, server, "/calm");
    await app.stop();
    for (let n = 0; n < 10; n++) assert.deepEqual(await ask(socket, "say"), UNAVAILABLE);
    assert.deepEqual(await refusal(client(t, server, "/chat").connect()), { message: UNAVAILABLE.error.message, data: UNAVAILABLE.error.data });
    assert.equal(await server.metric("sociable_webhook_breakers_open", app.url), 1);
    assert.equal(await ask(other, "say"), "calm");
    const back = await backend(t, () => ({ ack: ["back"] }), app.port);
    await until(async () => (await ask(socket, "say")) === "back", "the circuit breaker closes");
    await connect(t, server, "/chat");
    assert.equal(await server.metric("sociable_webhook_breakers_open", back.url), 0);
  });

  test("that is slow gets the event again, and the client an error", async (t) => {
    let slow = true;
    const app = await backend(t, (hook) => (slow && hook.kind === "event" ? new Promise(() => {}) : { ack: ["quick"] }));
    const server = await nodeWith(t, hooks(app.url, "timeout-ms = 100\ndeadline-ms = 1000\n"));
    const socket = await connect(t, server, "/chat");
    assert.deepEqual(await ask(socket, "say"), UNAVAILABLE);
    const ids = app.seen.filter((hook) => hook.kind === "event").map((hook) => hook.headers["ce-id"]);
    assert.ok(ids.length > 1 && new Set(ids).size === 1, ids.join());
    slow = false;
    await until(async () => (await ask(socket, "say")) === "quick", "the circuit breaker closes");
  });

  test("that answers nonsense gives the client an error", async (t) => {
    const answers = [
      "",
      "220 mail.example ESMTP\r\n",
      "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
      "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
      'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"allowed":1}',
    ];
    for (const text of answers) {
      const url = await raw(t, (socket) => socket.end(text));
      const server = await nodeWith(t, hooks(url, "retries = 1\n"));
      assert.equal((await refusal(client(t, server, "/chat").connect())).message, "backend unavailable", text);
      await server.stop("SIGKILL");
    }
  });

  test("that answers 10 MB is read up to the limit", async (t) => {
    const LONG = 10 << 20;
    let taken = 0;
    const url = await raw(t, (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n`);
      // Piece by piece: what the system has not taken does not count.
      const piece = Buffer.alloc(64 << 10, " ");
      let sent = 0;
      const next = () => (sent < LONG ? socket.write(piece, (error) => error || ((sent += piece.length), next())) : socket.end());
      next();
      socket.once("close", () => (taken = sent || 1));
    });
    const server = await nodeWith(t, hooks(url, "answer-bytes = 10000\n"));
    assert.equal((await refusal(client(t, server, "/chat").connect())).message, "backend unavailable");
    await until(() => taken, "the connection ends");
    assert.ok(taken < LONG, `${taken} bytes`);
    assert.equal(await server.metric("sociable_webhook_requests_total", 'result="nonsense"'), 1);
  });
});
