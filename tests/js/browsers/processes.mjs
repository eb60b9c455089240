// The processes of a browser, which are stopped to freeze its pages.
import { readFileSync, readdirSync } from "node:fs";

/** The processes below this one, with their command lines. */
export function descendants(pid) {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      // The name of the program, in brackets, may hold anything.
      const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      return [{ pid: Number(name), parent, command: readFileSync(`/proc/${name}/cmdline`, "utf8").replaceAll("\0", " ") }];
    } catch {
      return []; // ended meanwhile
    }
  });
  const below = (pid) => all.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...below(child.pid)]);
  return below(pid);
}

/** Stops these processes, and returns their ids. */
export function stop(processes) {
  if (!processes.length) throw new Error("no process runs the page");
  for (const { pid } of processes) process.kill(pid, "SIGSTOP");
  return processes.map(({ pid }) => pid);
}

export function resume(pids) {
  for (const pid of pids) process.kill(pid, "SIGCONT");
}

/** Ends these processes, except those that have ended meanwhile. */
export function end(processes) {
  for (const { pid } of processes) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  }
}
