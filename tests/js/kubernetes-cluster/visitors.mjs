// Idle clients beside the crowd, in a process of their own. Nobody counts what they hear.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { within } from "../lib.mjs";

/** Brings so many. On a busy machine a connection may fail: then all are brought anew. */
export async function visitors(url, count) {
  for (let left = 3; ; left--) {
    try {
      return await bring(url, count);
    } catch (error) {
      if (left === 0) throw error;
    }
  }
}

async function bring(url, count) {
  const child = fork(fileURLToPath(new URL("../crowd.mjs", import.meta.url)), [String(count), url]);
  process.on("exit", () => child.kill("SIGKILL"));
  const leave = () => child.kill("SIGKILL");
  const arrived = Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => { throw new Error(`the visitors' process ended with ${code}`); }),
  ]);
  await within(arrived, `${count} visitors are there`, 60_000).catch((error) => { leave(); throw error; });
  return { leave };
}
