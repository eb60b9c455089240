// Every public name of the JavaScript server has a row in the guide for its users.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";

const guide = readFileSync(new URL("../../docs/guide/from-javascript.md", import.meta.url), "utf8");
const ofServer = createRequire(import.meta.url).resolve("socket.io");
const beside = (name) => dirname(createRequire(ofServer).resolve(name));
const folders = { server: dirname(ofServer), engine: beside("engine.io"), adapter: beside("socket.io-adapter") };

/** The public members that a declaration file gives a class or an interface. */
function members(path, kind, name) {
  const lines = readFileSync(path, "utf8").split("\n");
  const start = lines.findIndex((line) => new RegExp(`^(?:export )?(?:default |declare |abstract )*${kind} ${name}\\b`).test(line));
  assert.notEqual(start, -1, `${path} declares ${name}`);
  const found = new Set();
  let comment = "";
  for (const line of lines.slice(start + 1)) {
    if (line === "}") break;
    const member = /^ {4}(?!private |protected |constructor\b)(?:(?:readonly|static|abstract|get|set) )*([a-z]\w*)[?!]?[:(<]/.exec(line);
    if (/^ {4}(\/\*\*| \*)/.test(line)) {
      comment = line.includes("/**") ? line : comment + line;
    } else {
      if (member && !/@private|@protected/.test(comment)) found.add(member[1]);
      comment = "";
    }
  }
  return [...found].sort();
}

/** The names in the first column of the table below a heading. */
function rows(heading) {
  const section = guide.split(`\n### ${heading}\n`)[1]?.split(/\n##/)[0];
  assert.ok(section, `the guide has a table "${heading}"`);
  const cells = section.split("\n").filter((line) => line.startsWith("|")).map((line) => line.split(" | ")[0]);
  return new Set(cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1])));
}

for (const [heading, ...sources] of [
  ["Server", ["server", "index.d.ts", "class", "Server"]],
  ["Namespace", ["server", "namespace.d.ts", "class", "Namespace"], ["server", "parent-namespace.d.ts", "class", "ParentNamespace"]],
  ["Socket", ["server", "socket.d.ts", "class", "Socket"]],
  ["Operator", ["server", "broadcast-operator.d.ts", "class", "BroadcastOperator"]],
  ["RemoteSocket", ["server", "broadcast-operator.d.ts", "class", "RemoteSocket"]],
  ["Handshake", ["server", "socket-types.d.ts", "interface", "Handshake"]],
  ["Engine", ["engine", "server.d.ts", "class", "BaseServer"], ["engine", "server.d.ts", "class", "Server"]],
  ["Connection", ["engine", "socket.d.ts", "class", "Socket"]],
  ["Adapter", ["adapter", "in-memory-adapter.d.ts", "class", "Adapter"]],
  [
    "Options",
    ["engine", "server.d.ts", "interface", "ServerOptions"],
    ["engine", "server.d.ts", "interface", "AttachOptions"],
    ["server", "index.d.ts", "interface", "ServerOptions"],
  ],
]) {
  test(`table of ${heading} has every public name`, () => {
    const [listed, names] = [rows(heading), sources.flatMap(([part, file, ...what]) => members(join(folders[part], file), ...what))];
    assert.ok(names.length > 3, `found ${names}`);
    assert.deepEqual(names.filter((name) => !listed.has(name)), []);
  });
}
