// permessage-deflate of the `ws` package: bytes and time of the messages of `protocol/examples/deflate.rs`, and the memory of a connection of
// any server.
//
//   node bench/deflate.mjs                               # bytes and time by the zlib of Node.js, with the settings of ws
//   node bench/deflate.mjs memory PID URL idle deflate   # memory of connections of a fresh server that echoes, such as `acceptance --engine`;
//                                                        # `busy` after a message each, `plain` without compression
//   node bench/deflate.mjs server PORT [alone]           # a server of ws that echoes, with takeover or without
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import zlib from "node:zlib";

const { WebSocket, WebSocketServer } = createRequire(new URL("../tests/js/package.json", import.meta.url))("ws");
const [ROUNDS, MESSAGES, CONNECTIONS] = [7, 200, 500];

function json(size, seed) {
  let [text, n] = ["[", seed];
  while (text.length < size - 1) {
    n = (Math.imul(n, 1_664_525) + 1_013_904_223) >>> 0;
    text += `{"id":${n >>> 12},"user":"user-${n >>> 28}","room":"red","x":${(n >>> 8) % 1000},"y":${(n >>> 16) % 1000},"typing":false},`;
  }
  return text.slice(0, size - 1) + "]";
}

/** A promise for the output of a stream of zlib up to a flush, as `ws` takes it. */
function flushed(deflate, message) {
  return new Promise((resolve) => {
    let length = 0;
    const count = (chunk) => (length += chunk.length);
    deflate.on("data", count);
    deflate.write(message);
    deflate.flush(zlib.constants.Z_SYNC_FLUSH, () => {
      deflate.off("data", count);
      resolve(length - 4);
    });
  });
}

async function table() {
  console.log("| JSON | window | level | alone: bytes | µs | in context: bytes | µs |\n|---|---|---|---|---|---|---|");
  for (const size of [200, 1_000, 16_000]) {
    for (const [windowBits, level] of [[15, 6], [15, 1], [12, 6], [9, 6]]) {
      const messages = Array.from({ length: MESSAGES }, (_, seed) => json(size, seed));
      const cells = [];
      for (const alone of [true, false]) {
        let [best, bytes] = [Infinity, 0];
        for (let round = 0; round < ROUNDS; round++) {
          const deflate = zlib.createDeflateRaw({ windowBits, level });
          bytes = 0;
          const begun = process.cpuUsage();
          for (const message of messages) {
            bytes += await flushed(deflate, message) + (size > 125 ? 4 : 2);
            if (alone) deflate.reset();
          }
          const { user, system } = process.cpuUsage(begun);
          best = Math.min(best, user + system);
          deflate.close();
        }
        cells.push(Math.round(bytes / MESSAGES), (best / MESSAGES).toFixed(1));
      }
      console.log(`| ${size} B | ${windowBits} | ${level} | ${cells.join(" | ")} |`);
    }
  }
}

const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) * 1024;
const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The growth of a fresh server, which keeps freed memory. `kind` is `idle` or `busy`: after a message of 16 KB in each direction. */
async function memory(pid, url, kind, offers) {
  const perMessageDeflate = offers === "deflate" ? { threshold: 0 } : false;
  const text = `4${json(16_000, 1)}`;
  const open = async () => {
    const socket = new WebSocket(url, { perMessageDeflate });
    const answered = new Promise((resolve) => socket.on("message", (data) => data.length > 1_000 && resolve()));
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    if (kind === "busy") {
      socket.send(text);
      await answered;
    }
    return socket;
  };
  // Warm up, so that pools and code are there.
  const first = await open();
  const before = resident(pid);
  const sockets = [];
  for (let n = 0; n < CONNECTIONS; n++) sockets.push(await open());
  await rest(1_000);
  console.log(`${kind}, extension "${first.extensions}": ${Math.round((resident(pid) - before) / CONNECTIONS)} bytes a connection`);
  [first, ...sockets].forEach((socket) => socket.terminate());
}

function serve(port, alone) {
  const contexts = { serverNoContextTakeover: alone, clientNoContextTakeover: alone };
  const server = new WebSocketServer({ host: "127.0.0.1", port, perMessageDeflate: { threshold: 1024, ...contexts } });
  server.on("connection", (socket) => socket.on("message", (data, isBinary) => socket.send(isBinary ? data : data.toString())));
  server.on("listening", () => console.log(process.pid));
}

const [mode, ...args] = process.argv.slice(2);
if (mode === "memory") await memory(...args);
else if (mode === "server") serve(Number(args[0]), args[1] === "alone");
else await table();
