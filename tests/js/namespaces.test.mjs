// The namespaces of `sociable-node`: those of its settings, and its demonstration.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { ask, client, connect, freshNode, once, request, settingsFile } from "./lib.mjs";

/** A node with the settings of this text. */
const nodeOf = (t, text) => freshNode(t, "--config", settingsFile(t, text));

/** The message of the refusal that a client gets. */
async function refusal(t, node, nsp) {
  const socket = client(t, node, nsp);
  socket.connect();
  const [error] = await once(socket, "connect_error");
  return error.message;
}

describe("the demonstration", () => {
  test("is in the main namespace by default", async (t) => {
    const node = await freshNode(t);
    const page = await request(node.url + "/");
    assert.equal(page.status, 200);
    assert.match(page.text, /name="socket-namespace" content="\/"/);
    await connect(t, node, "/");
    assert.equal(await refusal(t, node, "/chat"), "Invalid namespace");
  });

  test("moves to another namespace with its page", async (t) => {
    const node = await freshNode(t, "--demo", "/demo");
    assert.match((await request(node.url + "/")).text, /name="socket-namespace" content="\/demo"/);
    const socket = await connect(t, node, "/demo");
    const figures = once(socket, "figures");
    assert.deepEqual(await ask(socket, "join", "kitchen", "Ann"), { room: "kitchen", members: 1 });
    assert.equal((await figures)[0].connections, 1);
    assert.equal(await refusal(t, node, "/"), "Invalid namespace");
  });

  test("is switched off with its page", async (t) => {
    const node = await nodeOf(t, 'demo = "off"\n');
    for (const path of ["/", "/style.css", "/client.js", "/chat.js"]) assert.equal((await request(node.url + path)).status, 404, path);
    for (const path of ["/healthz", "/readyz"]) assert.equal((await request(node.url + path)).status, 200, path);
    assert.equal(await refusal(t, node, "/"), "Invalid namespace");
  });
});

describe("the namespaces of the settings", () => {
  test("exist by name and by pattern, and no others do", async (t) => {
    const node = await nodeOf(t, '[namespaces."/chat"]\n[namespaces."/org-*"]\n[namespaces."/org-7"]\n');
    for (const nsp of ["/", "/chat", "/org-1", "/org-7", "/org-a/b"]) await connect(t, node, nsp);
    for (const nsp of ["/chats", "/org", "/x/org-1"]) assert.equal(await refusal(t, node, nsp), "Invalid namespace", nsp);
  });

  test("may have the main namespace when the demonstration is elsewhere", async (t) => {
    const node = await nodeOf(t, 'demo = "off"\n[namespaces."/"]\n');
    const socket = await connect(t, node, "/");
    assert.equal(socket.connected, true);
  });

  test("are checked without a start", (t) => {
    const check = (text) => {
      const { status, stderr } = spawnSync(process.env.NODE_BIN, ["--check", "--config", settingsFile(t, text)], { encoding: "utf8" });
      return { status, stderr };
    };
    assert.deepEqual(check('[namespaces."/chat"]\n'), { status: 0, stderr: "" });
    for (const [text, fault] of [
      ['[namespaces."/"]', "line 1, column 13: `/` is the namespace of the demonstration too: remove the table, or set `demo`"],
      ['demo = "/a"\n\n[namespaces."/a"]', "line 3, column 13: `/a` is the namespace of the demonstration too"],
      ["[namespaces.chat]", "line 1, column 13: the namespace does not begin with `/`: use a name such as `/chat`"],
      ['[namespaces."/a,b"]', "line 1, column 13: the namespace has `,`, which no client can send: remove it"],
      ['[namespaces."/a"]\nconect = "http://b"', "line 2, column 1: `namespaces.\"/a\"`: `conect` is no setting"],
      ['[namespaces."/a".jwt]\nclaims = ["sub"]', "line 1, column 18: tokens have no keys: set `keys`, `jwks` or `secret-file`"],
      ['[namespaces."/a".jwt]\nkeys = "/nowhere/k.pem"', "cannot read the keys of tokens: /nowhere/k.pem: No such file"],
      ['[namespaces."/a".jwt]\nkeys = "/k"\nalgorithms = ["none"]', "line 3, column 15: `namespaces.\"/a\".jwt.algorithms`: expected"],
      ['[namespaces."/a".jwt]\nissuer = 1', "line 2, column 10: `namespaces.\"/a\".jwt.issuer`: expected a text or a list of texts"],
      ['[namespace."/a"]', "line 1, column 2: `namespace` is no setting"],
      ['demo = "chat"', "the namespace does not begin with `/`"],
      ['demo = "/*"', "the namespace has `*`: use one name"],
    ]) {
      const { status, stderr } = check(text);
      assert.notEqual(status, 0, text);
      assert.ok(stderr.includes(fault), `${text}: ${stderr}`);
    }
  });
});
