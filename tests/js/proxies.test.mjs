// Real nginx and HAProxy in front of two nodes, and of two balancers. Each runs with default settings and
// with those of the guide. No request of a client may make a proxy mark a node as failed.
import { before, describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { listens, scratch } from "./cluster.mjs";
import { PATIENCE, Server, ask, connect, freePort, once, request, until, within } from "./lib.mjs";

const place = scratch("proxies");
const GUIDE = readFileSync(new URL("../../docs/guide/proxies.md", import.meta.url), "utf8");

/** The block of this language in the guide, with other addresses. */
function ofTheGuide(language, port, [one, two]) {
  const block = GUIDE.match(new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``))[1];
  return block.replaceAll("10.0.0.1:3000", `127.0.0.1:${one.port}`).replaceAll("10.0.0.2:3000", `127.0.0.1:${two.port}`)
    .replace("listen 80;", `listen 127.0.0.1:${port};`).replace("bind :80", `bind 127.0.0.1:${port}`);
}

let proxies = 0;

/** Starts a proxy with a file of settings. */
async function startProxy(program, args, port, settings) {
  const folder = path.join(place.folder, `proxy-${++proxies}`);
  mkdirSync(folder);
  const file = path.join(folder, "proxy.conf");
  writeFileSync(file, settings(folder));
  const child = spawn(program, args(file, folder), { stdio: ["ignore", "pipe", "pipe"] });
  place.cleanup.push(() => child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  await listens(port, `${program} listens`).catch((error) => { throw new Error(`${error.message}\n${output}`); });
  return { port, url: `http://127.0.0.1:${port}` };
}

const nginx = (port, site) => startProxy(process.env.NGINX ?? "nginx", (file, folder) => ["-p", folder, "-e", "stderr", "-c", file], port, (folder) => `
  daemon off; master_process off; pid ${folder}/pid;
  events {}
  http {
    access_log off;
    ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join(" ")}
    ${site}
  }`);

const haproxy = (port, site) => startProxy(process.env.HAPROXY ?? "haproxy", (file) => ["-db", "-f", file], port, () => site);

/** The proxies: as they come, and as the guide has them. */
const PROXIES = {
  "nginx as it comes": (port, [one, two]) => nginx(port, `
    client_max_body_size 16m;
    upstream nodes { server 127.0.0.1:${one.port}; server 127.0.0.1:${two.port}; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://nodes; } }`),
  "nginx without buffering": (port, [one, two]) => nginx(port, `
    client_max_body_size 16m;
    upstream nodes { server 127.0.0.1:${one.port}; server 127.0.0.1:${two.port}; }
    server { listen 127.0.0.1:${port}; location / { proxy_pass http://nodes; proxy_http_version 1.1; proxy_request_buffering off; } }`),
  "HAProxy as it comes": (port, [one, two]) => haproxy(port, `
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:${port}
  default_backend nodes
backend nodes
  server one 127.0.0.1:${one.port} check inter 1h observe layer7 error-limit 1 on-error mark-down
  server two 127.0.0.1:${two.port} check inter 1h observe layer7 error-limit 1 on-error mark-down
`),
  "nginx of the guide": (port, upstreams) => nginx(port, ofTheGuide("nginx", port, upstreams)),
  "HAProxy of the guide": (port, upstreams) => haproxy(port, ofTheGuide("haproxy", port, upstreams)),
};

class Balancer extends Server {
  at(port) {
    return ["--listen", `127.0.0.1:${port}`];
  }
}

const upstreams = {};

before(async () => {
  upstreams.nodes = await Promise.all([0, 1].map(() => Server.start("NODE_BIN", [])));
  const nodes = upstreams.nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");
  upstreams.balancers = await Promise.all([0, 1].map(() => Balancer.start("SOCIABLE_BALANCER", ["--nodes", nodes, "--guess-rate", "10000"])));
  upstreams.tags = await Promise.all(upstreams.nodes.map(async ({ url }) => JSON.parse((await request(`${url}/healthz`)).text).tag));
  for (const { url } of upstreams.balancers) {
    await until(async () => (await request(`${url}/socket.io/?EIO=4&transport=polling`)).status === 200, "the balancer finds the nodes");
  }
});

const POLLING = "/socket.io/?EIO=4&transport=polling";
const SIZES = [1_000, 300_000, 900_000, 5_000_000];
const WAYS = ["length", "chunked", "expect", "half-sent"];

/** Sends a whole request before it reads anything. The status of the answer, or what became of the connection. */
function post(port, line, length, way) {
  const body = Buffer.alloc(length, "x");
  const head = [line, "Host: test", way === "chunked" ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`];
  if (way === "expect") head.push("Expect: 100-continue");
  const outcome = new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    let answer = "";
    socket.on("error", (error) => resolve(error.code)).on("close", () => resolve("closed"));
    socket.on("data", (chunk) => {
      answer = (answer + chunk).replace(/^HTTP\/1.1 100 Continue\r\n\r\n/, "");
      const status = answer.match(/^HTTP\/1.1 (\d+) /);
      if (status && answer.includes("\r\n\r\n")) {
        resolve(Number(status[1]));
        socket.destroy();
      }
    });
    socket.write(`${head.join("\r\n")}\r\n\r\n`);
    if (way === "chunked") {
      for (let at = 0; at < length; at += 50_000) {
        const piece = body.subarray(at, at + 50_000);
        socket.write(`${piece.length.toString(16)}\r\n`);
        socket.write(piece);
        socket.write("\r\n");
      }
      socket.write("0\r\n\r\n");
    } else if (way === "half-sent") {
      // A proxy that waits for the whole body gives no answer: the client goes.
      socket.write(body.subarray(0, length / 2), () => setTimeout(() => { resolve(0); socket.destroy(); }, 200));
    } else {
      socket.write(body);
    }
  });
  return within(outcome, `an answer to ${line}, ${length}, ${way}`);
}

/** Whom new sessions come to. */
async function reached(url) {
  const { status, text } = await request(`${url}${POLLING}`);
  assert.equal(status, 200, text);
  return JSON.parse(text.slice(1)).sid.slice(0, 4);
}

for (const behind of ["nodes", "balancers"]) {
  test(`fetch gets the answer to an unread body from ${behind}`, async () => {
    for (const { url } of upstreams[behind]) {
      for (const length of SIZES) {
        const answers = await Promise.all(Array.from({ length: 4 }, () => request(`${url}${POLLING}&sid=junk`, { method: "POST", body: "x".repeat(length) })));
        assert.deepEqual(new Set(answers.map(({ text }) => text)), new Set(['{"code":1,"message":"Session ID unknown"}']));
      }
    }
  });

  for (const [name, start] of Object.entries(PROXIES)) {
    describe(`${name}, before ${behind}`, () => {
      let proxy;
      before(async () => {
        proxy = await start(await freePort(), upstreams[behind]);
      });

      test("refused bodies mark no node as failed", async () => {
        const [tag] = upstreams.tags;
        for (const length of SIZES) {
          for (const way of WAYS) {
            const { text } = await request(`${proxy.url}${POLLING}`);
            const session = `${POLLING}&sid=${JSON.parse(text.slice(1)).sid}`;
            for (const [line, ...statuses] of [
              [`POST ${POLLING}&sid=${tag}0000000000000000 HTTP/1.1`, 400],
              [`POST ${POLLING}&sid=junk HTTP/1.1`, 400],
              [`POST ${POLLING} HTTP/1.1`, 400],
              ["POST /socket.io/?EIO=4&transport=pigeon HTTP/1.1", 400],
              ["POST /socket.io/?EIO=3&transport=polling HTTP/1.1", 400],
              [`POST ${POLLING}&sid=a&sid=b HTTP/1.1`, 400],
              [`PUT ${session} HTTP/1.1`, 400],
              [`POST ${POLLING}&sid=junk HTTP/1.1\r\nContent-Type: application/octet-stream`, 400],
              ["POST /nothing HTTP/1.1", 404],
              [`POST ${POLLING}&user=%7F"<> HTTP/1.1`, 400],
              // As many as HAProxy takes, and more than a node does.
              [`POST ${POLLING} HTTP/1.1${Array.from({ length: 97 }, (_, n) => `\r\nX-${n}: 1`).join("")}`, 400, 431],
              // Without sticky sessions, another node gets the request.
              ...(length > 1_000_000 ? [[`POST ${session} HTTP/1.1`, 400, 413]] : []),
            ]) {
              // The proxy or a balancer may refuse the body as too long.
              const right = [...statuses, ...(length > 1_000_000 ? [413] : []), ...(way === "half-sent" ? [0] : [])];
              const status = await post(proxy.port, line, length, way);
              assert.ok(right.includes(status), `${line.slice(0, 90)}, ${length}, ${way}: ${status}`);
            }
          }
        }
        assert.ok(upstreams.tags.includes(await reached(proxy.url)));
        if (name.endsWith("guide")) return;
        const seen = new Set();
        await until(async () => {
          seen.add(await reached(proxy.url));
          return upstreams.tags.every((tag) => seen.has(tag));
        }, "new sessions come to both nodes");
      });

      if (name.endsWith("guide")) {
        for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
          test(`a client is served by ${transports.join(" and ")}`, async (t) => {
            const socket = await connect(t, proxy, "/", { transports, protocols: ["chat.v1", "chat.v2"] });
            if (transports.length === 2) await until(() => socket.io.engine.transport.name === "websocket", "the upgrade");
            const heard = once(socket, "said");
            await ask(socket, "join", "room", "me");
            socket.emit("say", "room", "hello");
            assert.equal((await heard)[0].text, "hello");
          });
        }
      }
    });
  }
}
