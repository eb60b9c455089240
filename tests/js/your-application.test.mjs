// The first steps of docs/guide/your-application.md, as a reader types them: its files, its commands, its outputs.
import { test } from "node:test";
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { listens, scratch } from "./cluster.mjs";
import { PATIENCE, Server, freePort, until } from "./lib.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const place = scratch("your-application");
const guide = readFileSync(path.join(ROOT, "docs/guide/your-application.md"), "utf8");
const run = promisify(execFile);

/** The code blocks of the guide, each with the line before it. */
function* blocks() {
  const lines = guide.split("\n");
  for (let i = 0; i < lines.length; i++) {
    if (!lines[i].startsWith("```")) continue;
    const end = lines.indexOf("```", i + 1);
    yield { before: lines.slice(0, i).findLast((line) => line), language: lines[i].slice(3), code: lines.slice(i + 1, end).join("\n") };
    i = end;
  }
}

/** The block that a line introduces by the name of a file. */
const file = (name) => [...blocks()].find(({ before }) => before.endsWith(`\`${name}\`:`))?.code ?? assert.fail(`the guide has no ${name}`);
/** The commands of the first block that has a text. */
const commands = (text) => [...blocks()].find(({ language, code }) => language === "sh" && code.includes(text))?.code ?? assert.fail(`the guide has no ${text}`);

test("first steps of the guide work as written", async (t) => {
  const [client, api, backend] = [await freePort(), await freePort(), await freePort()];
  const local = (text) => text.replaceAll(":3000", `:${client}`).replaceAll(":3002", `:${api}`).replaceAll(":8000", `:${backend}`);
  const sh = async (script) => (await run("sh", ["-euc", script], { cwd: place.folder })).stdout;
  const start = (program, args) => {
    const child = spawn(program, args, { cwd: place.folder, stdio: ["ignore", "pipe", "inherit"] });
    place.cleanup.push(() => child.kill("SIGKILL"));
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    return () => output.split("\n").filter(Boolean);
  };

  // The secrets are made by the commands of the guide. Packages are those of the tests.
  await sh(commands("> api_key").split("\n").filter((line) => line.includes("openssl")).join("\n"));
  copyFileSync(path.join(ROOT, "examples/starter-python/chat/signature.py"), path.join(place.folder, "signature.py"));
  symlinkSync(path.join(ROOT, "tests/js/node_modules"), path.join(place.folder, "node_modules"));
  for (const name of ["settings.toml", "main.py", "client.mjs"]) writeFileSync(path.join(place.folder, name), local(file(name)));
  await sh(commands("cat > keys.toml"));

  start(process.env.PYTHON, ["-B", "-m", "uvicorn", "main:app", "--port", String(backend)]);
  await listens(backend, "the backend listens");
  process.chdir(place.folder);
  const node = await Server.start("NODE_BIN", ["--config", "settings.toml"], client);
  t.after(() => node.stop("SIGKILL"));

  const ada = start(process.execPath, ["client.mjs", "ada"]);
  await until(() => ada().length === 2, "Ada prints two lines");
  assert.deepEqual(ada().sort(), ["ada: hello", "published"]);
  const grace = start(process.execPath, ["client.mjs", "grace"]);
  await until(() => ada().includes("grace: hello") && grace().includes("grace: hello"), "a second client prints in both terminals");
  const nobody = start(process.execPath, ["client.mjs"]);
  await until(() => nobody().includes("refused: send a name"), "a client without a name is refused");

  const answers = await sh(local(commands("$api/emit")));
  assert.ok(answers.includes('"sockets":2'), answers);
  for (const client of [ada, grace]) await until(() => client().includes("the editor: good morning"), "clients hear the call of the API", PATIENCE);
});
