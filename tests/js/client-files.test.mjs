// The files of the official client, as `sociable-node --serve-client` serves them: what the JavaScript server answers, byte by byte.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import http from "node:http";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { connect, freshNode, within } from "./lib.mjs";

const FILES = fileURLToPath(new URL("node_modules/socket.io-client/dist", import.meta.url));
const NAMES = readdirSync(FILES);
const { version } = createRequire(import.meta.url)("socket.io-client/package.json");
const DECODE = { br: brotliDecompressSync, gzip: gunzipSync, deflate: inflateSync };

/** A request whose body stays as it came. `fetch` would undo the coding. */
function ask(node, target, { method = "GET", headers = {} } = {}) {
  const answer = new Promise((resolve, reject) => {
    const request = http.request(node.url + target, { method, headers, agent: false }, (res) => {
      const chunks = [];
      res.on("data", (chunk) => chunks.push(chunk));
      res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) }));
    });
    request.once("error", reject).end();
  });
  return within(answer, `the answer to ${method} ${target}`);
}

const withClient = (t, ...flags) => freshNode(t, "--serve-client", FILES, ...flags);

describe("the files of the client", () => {
  test("are all served with types, plain and compressed", async (t) => {
    const node = await withClient(t);
    assert.equal(NAMES.length, 8, "the package has the files that are known");
    for (const name of NAMES) {
      const file = readFileSync(`${FILES}/${name}`);
      const kind = name.endsWith(".map") ? "application/json" : "application/javascript";
      for (const coding of [undefined, ...Object.keys(DECODE)]) {
        const { status, headers, body } = await ask(node, `/socket.io/${name}`, { headers: coding ? { "accept-encoding": coding } : {} });
        assert.equal(status, 200, name);
        assert.equal(headers["content-type"], `${kind}; charset=utf-8`);
        assert.equal(headers.etag, `"${version}"`);
        assert.equal(headers["cache-control"], "public, max-age=0");
        assert.equal(headers["content-encoding"], coding);
        assert.equal(headers.vary, "Accept-Encoding");
        assert.equal(Number(headers["content-length"]), body.length);
        assert.ok((coding ? DECODE[coding](body) : body).equals(file), `${name} by ${coding}`);
        assert.ok(!coding || body.length < file.length / 2, `${coding} makes ${name} smaller`);
      }
    }
  });

  test("are not sent again to a client that has them", async (t) => {
    const node = await withClient(t);
    for (const tag of [`"${version}"`, `W/"${version}"`, `"1.0.0", "${version}"`]) {
      const { status, body } = await ask(node, "/socket.io/socket.io.js", { headers: { "if-none-match": tag } });
      assert.deepEqual([status, body.length], [304, 0], tag);
    }
    const { status } = await ask(node, "/socket.io/socket.io.js", { headers: { "if-none-match": '"1.0.0"' } });
    assert.equal(status, 200);
  });

  test("are found with a query, by HEAD, and under another path", async (t) => {
    const node = await withClient(t, "--path", "/live");
    const { status, headers, body } = await ask(node, "/live/socket.io.min.js?buster=1", { method: "HEAD" });
    assert.equal(status, 200);
    assert.equal(Number(headers["content-length"]), readFileSync(`${FILES}/socket.io.min.js`).length);
    assert.equal(body.length, 0);
    assert.equal((await ask(node, "/socket.io/socket.io.min.js")).status, 404);
  });

  test("leave other paths to the engine", async (t) => {
    const node = await withClient(t);
    for (const [target, method] of [["socket.io.esm.js", "GET"], ["x/socket.io.js", "GET"], ["socket.io.js", "POST"]]) {
      const { status, body } = await ask(node, `/socket.io/${target}`, { method });
      assert.equal(status, 400, target);
      assert.deepEqual(JSON.parse(body), { code: 0, message: "Transport unknown" });
    }
    await connect(t, node, "/", { transports: ["polling", "websocket"] });
  });

  test("may be loaded by pages of allowed origins", async (t) => {
    const node = await withClient(t, "--cors-origin", "https://good.example");
    const { headers } = await ask(node, "/socket.io/socket.io.js", { headers: { origin: "https://good.example" } });
    assert.equal(headers["access-control-allow-origin"], "https://good.example");
  });

  test("are served only when enabled", async (t) => {
    const node = await freshNode(t);
    assert.equal((await ask(node, "/socket.io/socket.io.js")).status, 400);
  });
});
