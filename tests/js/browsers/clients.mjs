// A page with official clients in a browser. The page has another origin than the server.
import { after, before } from "node:test";
import { readFileSync } from "node:fs";
import http from "node:http";
import { fileURLToPath } from "node:url";
import { connect, done, ownNamespace, until } from "../lib.mjs";

export const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };
/** The transport that a client ends up with. */
export const endsAs = (name) => (name.startsWith("polling") ? "polling" : "websocket");

const FILES = {
  "/": ["text/html", new URL("client.html", import.meta.url)],
  "/socket.io.min.js": ["text/javascript", new URL("../node_modules/socket.io-client/dist/socket.io.min.js", import.meta.url)],
};
const pages = http.createServer((request, response) => {
  const [type, file] = FILES[request.url] ?? [];
  response.writeHead(file ? 200 : 404, { "content-type": type ?? "text/plain" });
  response.end(file && readFileSync(fileURLToPath(file)));
});
before(() => new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve)));
after(() => pages.close());

/** A page with a client for each of these, and a witness beside the browser. */
export async function start({ t, openTab }, server, { url = server.url, options = Object.entries(TRANSPORTS).map(([name, transports]) => [name, { transports }]) } = {}) {
  const nsp = ownNamespace();
  const witness = await connect(t, server, nsp);
  const tab = await openTab(`http://127.0.0.1:${pages.address().port}/`);
  await tab.run((url, options) => options.forEach(([name, options]) => begin(name, url, options)), url + nsp, options);
  const names = options.map(([name]) => name);
  const tell = (name) => tab.run((name) => tell(name), name);
  for (const name of names) {
    await until(async () => {
      const { connected, transport } = await tell(name);
      return connected && transport === endsAs(name);
    }, `${name}: connected over ${endsAs(name)}`);
  }
  const ids = Object.fromEntries(await Promise.all(names.map(async (name) => [name, (await tell(name)).id])));
  const emit = (event, ...args) => done(witness, { do: "emit", event, args });
  const reasonOf = async (id) => (await done(witness, { do: "log" })).disconnects.find((end) => end.id === id)?.reason;
  return { tab, witness, names, ids, tell, emit, reasonOf };
}
