// Threads of a process that are held, as a debugger holds them, while the others run on.
import { spawn } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { within } from "./lib.mjs";

/** Holds a thread until the input ends. */
const HOLD = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])
for request in (0x4206, 0x4207):  # PTRACE_SEIZE, PTRACE_INTERRUPT
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, 0x40000000)  # __WALL
print("held", flush=True)
sys.stdin.read()
`;

/** Holds a thread. Returns the way back. */
async function hold(thread) {
  const holder = spawn("python3", ["-c", HOLD, thread], { stdio: ["pipe", "pipe", "inherit"] });
  process.on("exit", () => holder.kill("SIGKILL"));
  await within(new Promise((resolve) => createInterface(holder.stdout).once("line", resolve)), `thread ${thread} is held`);
  const ended = new Promise((resolve) => holder.once("exit", resolve));
  return () => { holder.stdin.end(); return ended; };
}

/**
 * Holds the worker of a node that has one, as a deadlock would. Other threads have the same name: the worker is that without which `serves` is
 * false. Returns the way back.
 */
export async function holdWorker(pid, serves) {
  const threads = readdirSync(`/proc/${pid}/task`).filter((thread) => /^actix-rt/.test(readFileSync(`/proc/${pid}/task/${thread}/comm`, "utf8")));
  for (const thread of threads) {
    const release = await hold(thread);
    if (!await serves()) return release;
    await release();
  }
  throw new Error(`none of these threads of ${pid} is a worker: ${threads}`);
}
