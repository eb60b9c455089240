// The liveness of a node whose worker is blocked.
import { test } from "node:test";
import { freePort, freshNode, request, until } from "./lib.mjs";
import { holdWorker } from "./threads.mjs";

/** Whether a port answers in a second. */
const answers = (port) => fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(1000) }).then((answer) => answer.ok, () => false);

test("liveness fails while a worker is blocked", { skip: process.platform !== "linux" && "needs ptrace" }, async (t) => {
  const admin = await freePort();
  const node = await freshNode(t, "--workers", "1", "--max-block", "1", "--admin-addr", `127.0.0.1:${admin}`);
  const liveness = async () => (await request(`http://127.0.0.1:${admin}/healthz`)).status;
  await until(async () => await liveness() === 200, "the node lives");
  const release = await holdWorker(node.child.pid, async () => await answers(node.port) || !await answers(admin));
  await until(async () => await liveness() === 503, "liveness fails");
  await release();
  await until(async () => await liveness() === 200, "the node lives again");
});
