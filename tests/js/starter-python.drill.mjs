// `examples/starter-python` as its docker-compose.yml starts it, with a node that is killed. `cargo xtask
// compose-test` runs this: it starts the containers, and passes the command as COMPOSE and the port as CHAT_PORT.
import { after } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { testChat } from "./starter-chat.mjs";

/** Machines that do this may be slow and busy. */
const PATIENCE = 120_000;

const run = async (command, ...args) => (await promisify(execFile)(command, args)).stdout;
const [program, ...first] = (process.env.COMPOSE ?? "docker-compose").split(" ");

/** The tag of the node in a container. The network of the cluster has no way in but from this machine. */
async function tagOf(container) {
  const address = (await run("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)).trim();
  return (await (await fetch(`http://${address}:3000/healthz`)).json()).tag;
}

async function killNode(socket) {
  const containers = (await run(program, ...first, "ps", "-q", "node")).split("\n").filter(Boolean);
  assert.equal(containers.length, 2, "there are two nodes");
  const { id } = socket.io.engine;
  const tags = await Promise.all(containers.map(tagOf));
  const at = tags.findIndex((tag) => id.startsWith(tag));
  assert.ok(at >= 0, `no node has the session ${id}`);
  await run("docker", "kill", "--signal=KILL", containers[at]);
  return id;
}

const { clients } = testChat(() => `http://127.0.0.1:${process.env.CHAT_PORT ?? "8000"}`, killNode, PATIENCE);

after(() => Object.values(clients).forEach((socket) => socket.disconnect()));
