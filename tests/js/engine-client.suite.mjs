// Runs the tests of `engine.io-client`, which are part of the Socket.IO repository, against `node/examples/engine_suite.rs`.
//
//     SOCKETIO_REPO=<clone of socketio/socket.io> ENGINE_SUITE=<binary> node engine-client.suite.mjs
//
// The client is the published one of the same version. Only its tests come from the clone, except those for
// browsers.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { SOCKETIO_REPO: repository, ENGINE_SUITE: binary } = process.env;
if (!repository || !binary) throw new Error("SOCKETIO_REPO and ENGINE_SUITE must be set");

/** Where the package is in the repository. */
const PACKAGE = "packages/engine.io-client";
/** The packages of its tests beside the client. */
const TOOLS = ["mocha@^10", "expect.js@^0.3.1", "@sinonjs/fake-timers@^11.2.2"];

const git = (...args) => execFileSync("git", ["-C", repository, ...args], { maxBuffer: 1 << 28 });
const npm = (cwd, ...args) => execFileSync("npm", [...args, "--no-audit", "--no-fund", "--loglevel=error"], { cwd, stdio: ["ignore", "ignore", "inherit"] });

/** Puts the client and its tests into a folder: that of the package. */
function unpack(folder) {
  const { version } = JSON.parse(git("show", `HEAD:${PACKAGE}/package.json`));
  npm(folder, "pack", `engine.io-client@${version}`);
  execFileSync("tar", ["-xzf", `engine.io-client-${version}.tgz`], { cwd: folder });
  const cwd = join(folder, "package");
  execFileSync("tar", ["-x", "-C", cwd, "--strip-components=2"], { input: git("archive", "HEAD", `${PACKAGE}/test`) });
  npm(cwd, "install", "--no-save", "--ignore-scripts", ...TOOLS);
  return cwd;
}

/** Has the tests use another port than 3000, which may be somebody's. */
function usePort(cwd, port) {
  for (const name of readdirSync(join(cwd, "test"), { recursive: true }).filter((name) => name.endsWith(".js"))) {
    const file = join(cwd, "test", name);
    const text = readFileSync(file, "utf8");
    const changed = text.replaceAll("localhost:3000", `localhost:${port}`).replaceAll("port: 3000", `port: ${port}`);
    if (changed !== text) writeFileSync(file, changed);
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().once("error", reject);
    probe.listen(0, "localhost", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Starts the server and waits until it listens. */
async function serve(port) {
  const server = spawn(binary, ["--port", String(port)], { stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => server.kill("SIGKILL"));
  await new Promise((resolve, reject) => {
    server.stdout.on("data", (chunk) => String(chunk).includes("listening on") && resolve());
    server.on("exit", (code) => reject(new Error(`the server ended: ${code}`)));
    server.on("error", reject);
  });
}

/** Runs mocha and gives its report. */
function mocha(cwd) {
  const report = join(cwd, "report.json");
  const args = ["node_modules/mocha/bin/mocha.js", "--exit", "--reporter", "json", "--reporter-option", `output=${report}`, "test/index.js"];
  return new Promise((resolve, reject) => {
    const run = spawn(process.execPath, args, { cwd, stdio: ["ignore", "ignore", "inherit"], timeout: 240_000 });
    run.on("error", reject);
    run.on("exit", () => resolve(JSON.parse(readFileSync(report, "utf8"))));
  });
}

const folder = mkdtempSync(join(tmpdir(), "engine-client-"));
try {
  const cwd = unpack(folder);
  const port = await freePort();
  usePort(cwd, port);
  await serve(port);
  const { stats, failures } = await mocha(cwd);
  for (const { fullTitle, err } of failures) console.log(`  FAILED ${fullTitle}\n    ${err.message}`);
  console.log(`engine.io-client ${stats.passes}/${stats.tests - stats.pending}`);
  process.exitCode = failures.length ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
