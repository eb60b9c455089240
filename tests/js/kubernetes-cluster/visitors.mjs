// Idle clients beside the crowd, in a process of their own. Nobody counts what they hear.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { within } from "../lib.mjs";

export async function visitors(url, count) {
  const child = fork(fileURLToPath(new URL("../crowd.mjs", import.meta.url)), [String(count), url]);
  process.on("exit", () => child.kill("SIGKILL"));
  const leave = () => child.kill("SIGKILL");
  const arrived = Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => { throw new Error(`the visitors' process ended with ${code}`); }),
  ]);
  await within(arrived, `${count} visitors are there`, 240_000).catch((error) => { leave(); throw error; });
  return { leave };
}
