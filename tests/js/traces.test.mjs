// The traces that `sociable-node` sends, as a collector of OpenTelemetry gets them.
import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import http from "node:http";
import { ask, connect, freshNode, until } from "./lib.mjs";

/** A collector: the posted bodies with their paths, and the address. */
async function collector(t) {
  const posted = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    posted.push({ path: request.url, type: request.headers["content-type"], body: Buffer.concat(parts) });
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  return { posted, url: `http://127.0.0.1:${server.address().port}` };
}

/** True if all of these are in one body, as text that a protobuf has as it is. */
const together = (posted, ...texts) => posted.some(({ body }) => texts.every((text) => body.includes(text)));

test("event is a span with its namespace and no user data", async (t) => {
  const { posted, url } = await collector(t);
  const node = await freshNode(t, "--node-name", "traced-node", "--otlp-endpoint", url, "--log", "warn");
  const socket = await connect(t, node, "/");
  await ask(socket, "join", "a secret room", "ada");
  await until(() => together(posted, "join", "namespace", "sociable-node", "traced-node"), "the span is sent");
  assert.ok(posted.every(({ path, type }) => path === "/v1/traces" && type === "application/x-protobuf"));
  assert.ok(!together(posted, "a secret room"), "user data is not exported");
  assert.ok(!node.output.includes("join"), "the log goes by its own filter");
  // Waiting spans are sent at the end.
  await ask(socket, "leave", "a secret room");
  await node.stop();
  assert.ok(together(posted, "leave"));
});

test("zero ratio sends no span, and a bad ratio is refused", async (t) => {
  const { posted, url } = await collector(t);
  const node = await freshNode(t, "--otlp-endpoint", url, "--otlp-share", "0");
  const socket = await connect(t, node, "/");
  await ask(socket, "join", "red", "ada");
  await node.stop();
  assert.equal(posted.length, 0);
  const { status, stderr } = spawnSync(process.env.NODE_BIN, ["--check", "--otlp-share", "2"], { encoding: "utf8" });
  assert.ok(status !== 0 && stderr.includes("from 0 to 1"), stderr);
});
