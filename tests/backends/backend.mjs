// A backend in Node.js, without packages: webhooks by `node:http`, the API by `fetch`.
import { createHmac, timingSafeEqual } from "node:crypto";
import http from "node:http";

const { PORT, API, API_KEY, WEBHOOK_SECRET } = process.env;
const key = Buffer.from(WEBHOOK_SECRET.replace("whsec_", ""), "base64");

/** Returns whether a holder of the secret signed the request in the last five minutes. */
function isSigned(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures = "" } = headers;
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300)) return false;
  const expected = Buffer.from(`v1,${createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64")}`);
  const isRight = (given) => given.length === expected.length && timingSafeEqual(given, expected);
  return signatures.split(" ").some((signature) => isRight(Buffer.from(signature)));
}

/** Calls an operation of the API. A body makes it a POST. */
async function call(operation, body, headers = {}) {
  const answer = await fetch(`${API}/${operation}`, {
    method: body ? "POST" : "GET",
    headers: { Authorization: `Bearer ${API_KEY}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${operation}: ${answer.status} ${await answer.text()}`);
  return await answer.json();
}

function connect({ auth }) {
  if (!auth?.name) return { allow: false, error: { message: "send a name", data: { backend: "node" } } };
  return { allow: true, data: { name: auth.name }, join: ["everyone"] };
}

async function say({ namespace, socket, args: [text], data: { name } }, id) {
  await call("join", { namespace, rooms: [socket], join: ["talkers"] });
  const { sockets } = await call(`count?${new URLSearchParams({ namespace, room: "talkers" })}`);
  await call("emit", { namespace, rooms: ["everyone"], event: "said", args: ["node", name, text] }, { "Idempotency-Key": id });
  return { ack: [sockets] };
}

const server = http.createServer(async (request, response) => {
  const body = Buffer.concat(await request.toArray());
  const { "webhook-id": id, "ce-type": type } = request.headers;
  try {
    if (!isSigned(request.headers, body)) return response.writeHead(401).end();
    const message = JSON.parse(body);
    const answer = type === "io.sociable.connect" ? connect(message) : await say(message, id);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
  } catch (error) {
    console.error(error);
    response.writeHead(500).end();
  }
});
server.listen(PORT, "127.0.0.1");
