// A backend of webhooks on this machine, and nodes that send to it.
import http from "node:http";
import { freePort, freshNode, request, settingsFile } from "./lib.mjs";

export const UNAVAILABLE = { error: { message: "backend unavailable", data: { code: "E_BACKEND" } } };

/** A backend on this machine. `answer` gets each webhook, and returns what the backend answers. Its `seen` has them all. */
export async function backend(t, answer = () => undefined, port = 0) {
  const seen = [];
  const server = http.createServer((req, res) => {
    const chunks = [];
    req.on("data", (chunk) => chunks.push(chunk));
    req.on("end", async () => {
      const body = Buffer.concat(chunks).toString();
      const hook = { kind: req.headers["ce-type"]?.replace("io.sociable.", ""), headers: req.headers, ...JSON.parse(body) };
      seen.push(hook);
      const told = await answer(hook, res, req);
      if (res.headersSent || res.destroyed || told === null) return;
      res.writeHead(told === undefined ? 204 : 200, { "content-type": "application/json" });
      res.end(told === undefined ? undefined : JSON.stringify(told));
    });
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  t.after(stop);
  return { seen, stop, port: server.address().port, url: `http://127.0.0.1:${server.address().port}/hooks` };
}

/** Reads values of an administration: the sum of the samples of a metric that have these labels. */
const metricOf = (admin) => async (name, ...labels) => {
  const { text } = await request(`http://127.0.0.1:${admin}/metrics`);
  const lines = text.split("\n").filter((line) => line.startsWith(`${name}{`) && labels.every((label) => line.includes(label)));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").pop()), 0);
};

/** A node with these settings. `metric` reads a value of its administration. */
export async function nodeWith(t, settings, start = freshNode) {
  const admin = await freePort();
  const flags = ["--config", settingsFile(t, settings), "--admin-addr", `127.0.0.1:${admin}`, "--shutdown-timeout", "5"];
  return Object.assign(await start(t, ...flags), { metric: metricOf(admin) });
}
