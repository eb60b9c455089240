// The traces that `sociable-node` sends, as a collector of OpenTelemetry gets them.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { certificates } from "./certificates.mjs";
import { scratch, startNats } from "./cluster.mjs";
import { ask, connect, freshNode, once, until } from "./lib.mjs";
import { collector } from "./otlp.mjs";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const TRACEPARENT = `00-${TRACE}-${SPAN}-01`;

/** Variables for the nodes of a test. */
function environment(t, variables) {
  Object.assign(process.env, { OTEL_BSP_SCHEDULE_DELAY: "50", ...variables });
  t.after(() => Object.keys(variables).forEach((name) => delete process.env[name]));
}

/** The outcome of `--check` with these flags. */
const check = (...flags) => spawnSync(process.env.NODE_BIN, ["--check", ...flags], { encoding: "utf8" });

describe("spans", () => {
  test("follow the conventions of messaging, without what users write", async (t) => {
    const { posted, spans, span, url } = await collector(t);
    environment(t, {});
    const node = await freshNode(t, "--node-name", "traced-node", "--otlp-endpoint", url, "--log", "warn");
    const socket = await connect(t, node, "/");
    await ask(socket, "join", "a secret room", "ada");
    const join = await span("process / join");
    assert.equal(join.kind, "consumer");
    assert.deepEqual({ ...join.attributes, "messaging.client.id": undefined }, {
      "messaging.system": "socketio", "messaging.operation.name": "process", "messaging.operation.type": "process",
      "messaging.destination.name": "/", "messaging.socketio.event": "join", "messaging.client.id": undefined,
    });
    assert.ok(join.attributes["messaging.client.id"] && join.attributes["messaging.client.id"] !== socket.id, "the id is shortened");
    assert.equal(join.resource["service.name"], "sociable-node");
    assert.equal(join.resource["service.instance.id"], "traced-node");
    assert.match(join.resource["service.version"], /^\d+\.\d+\.\d+/);
    assert.equal(join.scope.name, "sociable");
    assert.match(join.scope.schema, /^https:\/\/opentelemetry\.io\/schemas\//);
    const opened = spans().find(({ name }) => name === "connect /");
    assert.equal(opened.kind, "server");
    assert.equal(opened.attributes["url.path"], "/socket.io/");
    assert.equal(opened.attributes["network.peer.address"], "127.0.0.1");
    assert.ok(posted.every(({ path, headers }) => path === "/v1/traces" && headers["content-type"] === "application/x-protobuf"));
    assert.ok(!posted.some(({ body }) => body.includes("a secret room")), "what users write is not told");
    assert.ok(!node.output.includes("join"), "the log goes by its own filter");
    // What waits is sent at the end.
    await ask(socket, "leave", "a secret room");
    await node.stop();
    assert.ok(spans().some(({ name }) => name === "process / leave"));
  });

  for (const transports of [["websocket"], ["polling"]]) {
    test(`belong to the trace that a handshake over ${transports} names`, async (t) => {
      const { span, url } = await collector(t);
      environment(t, {});
      const node = await freshNode(t, "--otlp-endpoint", url);
      const extraHeaders = { traceparent: TRACEPARENT, tracestate: "vendor=1" };
      const socket = await connect(t, node, "/", { transports, extraHeaders });
      await ask(socket, "join", "red", "ada");
      const opened = await span("connect /");
      assert.deepEqual([opened.trace, opened.parent, opened.state], [TRACE, SPAN, "vendor=1"]);
      const join = await span("process / join");
      assert.deepEqual(join.links, [{ trace: TRACE, id: SPAN }], "events are linked to the handshake");
      assert.ok(join.trace !== TRACE && join.parent === "", "a session may last for days");
    });
  }

  test("ignore a malformed traceparent, and follow one that is not sampled", async (t) => {
    const { spans, span, url } = await collector(t);
    environment(t, {});
    const node = await freshNode(t, "--otlp-endpoint", url);
    for (const traceparent of ["00-0-0-01", `00-${TRACE}-${SPAN}-01-more`, `00-${"0".repeat(32)}-${SPAN}-01`, "x".repeat(2000)]) {
      await connect(t, node, "/", { extraHeaders: { traceparent } });
    }
    const unsampled = await connect(t, node, "/", { extraHeaders: { traceparent: `00-${TRACE}-${SPAN}-00` } });
    await ask(unsampled, "join", "red", "ada");
    await span("process / join");
    const opened = spans().filter(({ name }) => name === "connect /");
    assert.equal(opened.length, 4, "the client that does not record is not recorded");
    assert.ok(opened.every(({ trace, parent }) => trace !== TRACE && parent === ""));
  });
});

describe("an event that crosses nodes", () => {
  for (const [kind, jetstream, flags] of [
    ["messages", false, []], ["a history of each node", false, ["--recovery", "60"]], ["a shared history", true, ["--recovery", "60", "--jetstream"]],
  ]) {
    test(`has one trace by ${kind}`, async (t) => {
      const [{ port }] = await startNats(scratch("traces"), 1, jetstream);
      const { spans, span, url } = await collector(t);
      environment(t, {});
      const start = (name) => freshNode(t, "--nats", `nats://127.0.0.1:${port}`, "--node-name", name, "--otlp-endpoint", url, ...flags);
      const [a, b] = [await start("a"), await start("b")];
      const [sender, receiver] = [await connect(t, a, "/"), await connect(t, b, "/")];
      await ask(sender, "join", "red", "ada");
      await ask(receiver, "join", "red", "bob");
      const said = once(receiver, "said");
      await ask(sender, "say", "red", "hello");
      await said;
      const say = await span("process / say");
      const child = (name, parent) => until(() => spans().find((span) => span.name === name && span.parent === parent.id), `${name} has a parent`);
      const send = await child("send /", say);
      const deliver = await child("deliver /", send);
      assert.deepEqual([say, send, deliver].map((span) => span.resource["service.instance.id"]), ["a", "a", "b"]);
      assert.deepEqual([send.trace, deliver.trace], [say.trace, say.trace]);
      assert.deepEqual([send.kind, deliver.kind], ["producer", "consumer"]);
      assert.equal(send.attributes["messaging.socketio.event"], "said");
      assert.equal(deliver.attributes["messaging.operation.type"], "process");
    });
  }
});

describe("a collector", () => {
  test("is reached by TLS, by a root of its own and with a certificate", async (t) => {
    const { folder } = scratch("otlp");
    const [server, client] = [certificates("localhost", folder), certificates("node", folder)];
    const tls = { key: readFileSync(server.key), cert: readFileSync(server.certificate), ca: readFileSync(client.ca), requestCert: true };
    const { posted, span, url } = await collector(t, { ...tls, rejectUnauthorized: true });
    environment(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_CERTIFICATE: server.ca, OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=blue",
      OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: client.certificate, OTEL_EXPORTER_OTLP_CLIENT_KEY: client.key,
    });
    const node = await freshNode(t);
    await ask(await connect(t, node, "/"), "join", "red", "ada");
    await span("process / join");
    assert.deepEqual([posted[0].peer, posted[0].path, posted[0].headers["x-tenant"]], ["node", "/v1/traces", "blue"]);
  });

  test("whose root is unknown gets nothing", async (t) => {
    const server = certificates("localhost", scratch("otlp").folder);
    const { posted, refused, url } = await collector(t, { key: readFileSync(server.key), cert: readFileSync(server.certificate) });
    environment(t, {});
    const node = await freshNode(t, "--otlp-endpoint", url);
    await ask(await connect(t, node, "/"), "join", "red", "ada");
    await until(() => refused.some((code) => code?.includes("UNKNOWN_CA")), "the node refuses the certificate");
    await until(() => node.output.includes("BatchSpanProcessor.ExportError"), "the log tells of it");
    assert.equal(posted.length, 0);
  });
});

describe("the variables of OpenTelemetry", () => {
  test("name the collector, the resource and the compression", async (t) => {
    const { posted, span, url } = await collector(t);
    environment(t, {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/own/path`, OTEL_EXPORTER_OTLP_COMPRESSION: "gzip", OTEL_SERVICE_NAME: "chat",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test,service.instance.id=seven",
    });
    const node = await freshNode(t);
    await ask(await connect(t, node, "/"), "join", "red", "ada");
    const { resource } = await span("process / join");
    assert.deepEqual(["service.name", "service.instance.id", "deployment.environment.name"].map((name) => resource[name]), ["chat", "seven", "test"]);
    assert.deepEqual([posted[0].path, posted[0].headers["content-encoding"]], ["/own/path", "gzip"]);
  });

  for (const [what, variables, flags] of [
    ["a sampler", { OTEL_TRACES_SAMPLER: "always_off" }, []],
    ["a share by a flag, before the sampler", { OTEL_TRACES_SAMPLER: "always_on" }, ["--otlp-share", "0"]],
    ["a disabled SDK", { OTEL_SDK_DISABLED: "true" }, []],
  ]) {
    test(`send nothing by ${what}`, async (t) => {
      const { posted, url } = await collector(t);
      environment(t, variables);
      const node = await freshNode(t, "--otlp-endpoint", url, ...flags);
      await ask(await connect(t, node, "/"), "join", "red", "ada");
      await node.stop();
      assert.equal(posted.length, 0);
    });
  }

  test("are refused with a remedy if they are faulty", (t) => {
    environment(t, { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" });
    const endpoint = ["--otlp-endpoint", "http://127.0.0.1:4318"];
    const { status, stderr } = check(...endpoint);
    assert.ok(status !== 0 && stderr.includes("OTEL_EXPORTER_OTLP_PROTOCOL: write http/protobuf"), stderr);
    assert.equal(check().status, 0, "without a collector they do not matter");
    process.env.OTEL_EXPORTER_OTLP_PROTOCOL = "http/protobuf";
    environment(t, { OTEL_EXPORTER_OTLP_CERTIFICATE: "/nowhere.pem" });
    assert.match(check("--otlp-endpoint", "https://localhost:4318").stderr, /cannot read \/nowhere\.pem: .*OTEL_EXPORTER_OTLP_CERTIFICATE/);
    assert.match(check("--otlp-share", "2").stderr, /from 0 to 1/);
  });
});
