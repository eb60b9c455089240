// Tokens that Node's own cryptography signs, from a server of keys, on `sociable-node`.
import { describe, test } from "node:test";
import assert from "node:assert/strict";
import crypto from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { certificates } from "./certificates.mjs";
import { scratch } from "./cluster.mjs";
import { client, connect, freePort, freshNode, once, request, settingsFile, until } from "./lib.mjs";

const CURVES = { ES256: "P-256", ES384: "P-384" };

/** A key pair for an algorithm. */
function keyPair(alg) {
  if (alg === "EdDSA") return crypto.generateKeyPairSync("ed25519");
  return CURVES[alg] ? crypto.generateKeyPairSync("ec", { namedCurve: CURVES[alg] }) : crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
}

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token. */
function sign(alg, key, claims, kid) {
  const signed = `${encoded({ alg, typ: "JWT", kid })}.${encoded(claims)}`;
  const hash = `sha${alg.slice(2)}`;
  const options = { key, dsaEncoding: "ieee-p1363", ...(alg.startsWith("PS") && { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }) };
  const signature = alg.startsWith("HS")
    ? crypto.createHmac(hash, key).update(signed).digest()
    : crypto.sign(alg === "EdDSA" ? null : hash, Buffer.from(signed), options);
  return `${signed}.${signature.toString("base64url")}`;
}

const claims = (changes) => ({ sub: "ann", exp: Math.floor(Date.now() / 1000) + 600, ...changes });

/** A server of keys, whose set can change; over TLS with a certificate. */
async function keyServer(t, tls) {
  const answer = (_, response) => response.setHeader("content-type", "application/json").end(JSON.stringify({ keys: server.keys }));
  const server = tls ? https.createServer(tls, answer) : http.createServer(answer);
  server.keys = [];
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  server.url = `${tls ? "https://localhost" : "http://127.0.0.1"}:${server.address().port}/jwks.json`;
  server.publish = (kid, { publicKey }) => server.keys.push({ ...publicKey.export({ format: "jwk" }), kid, use: "sig" });
  return server;
}

/** Connects with a token; `null`, or the error. */
async function refusal(t, node, nsp, token) {
  const socket = client(t, node, nsp, { auth: token === undefined ? {} : { token } });
  const outcome = Promise.race([once(socket, "connect").then(() => null), once(socket, "connect_error").then(([error]) => error)]);
  socket.connect();
  const error = await outcome;
  socket.disconnect();
  return error;
}

const denied = (reason) => ({ message: "not authorized", data: { code: "E_TOKEN", reason } });
const plain = (error) => error && { message: error.message, data: error.data };

test("tokens of every kind of key are accepted from a URL of keys", async (t) => {
  const keys = await keyServer(t);
  const pairs = Object.fromEntries(["RS256", "ES256", "ES384", "EdDSA"].map((alg) => [alg, keyPair(alg)]));
  for (const [kid, pair] of Object.entries(pairs)) keys.publish(kid, pair);
  const node = await freshNode(t, "--config", settingsFile(t, `[namespaces."/chat".jwt]\njwks = "${keys.url}"\nunknown-key-ms = 1\n`));
  for (const [alg, kid] of [["RS256", "RS256"], ["RS512", "RS256"], ["PS384", "RS256"], ["ES256", "ES256"], ["ES384", "ES384"], ["EdDSA", "EdDSA"]]) {
    assert.equal(await refusal(t, node, "/chat", sign(alg, pairs[kid].privateKey, claims(), kid)), null, alg);
  }
  const hmac = sign("HS256", pairs.RS256.publicKey.export({ type: "spki", format: "pem" }), claims(), "RS256");
  assert.deepEqual(plain(await refusal(t, node, "/chat", hmac)), denied("algorithm"));

  // A rotation: the new key is found at its first token.
  const next = keyPair("ES256");
  keys.keys.splice(0);
  keys.publish("next", next);
  assert.equal(await refusal(t, node, "/chat", sign("ES256", next.privateKey, claims(), "next")), null);
  assert.deepEqual(plain(await refusal(t, node, "/chat", sign("ES256", pairs.ES256.privateKey, claims(), "ES256"))), denied("unknown_key"));
});

test("keys over TLS need a root that the system knows", async (t) => {
  const { ca, key, certificate } = certificates("localhost", scratch("jwks").folder);
  const keys = await keyServer(t, { key: readFileSync(key), cert: readFileSync(certificate) });
  const pair = keyPair("ES256");
  keys.publish("one", pair);
  const settings = settingsFile(t, `[namespaces."/chat".jwt]\njwks = "${keys.url}"\nunknown-key-ms = 1\n`);
  const token = sign("ES256", pair.privateKey, claims(), "one");
  const strange = await freshNode(t, "--config", settings);
  assert.equal((await refusal(t, strange, "/chat", token))?.data.code, "E_TOKEN");
  process.env.SSL_CERT_FILE = ca;
  t.after(() => delete process.env.SSL_CERT_FILE);
  const node = await freshNode(t, "--config", settings);
  await until(async () => (await refusal(t, node, "/chat", token)) === null, "the keys are read");
});

describe("tokens by a shared secret", () => {
  const SECRET = "a secret of this test, which is long enough";
  const TABLE = (t) => `demo = "off"
[namespaces."/chat".jwt]
secret-file = "${settingsFile(t, SECRET + "\n")}"
issuer = "login"
rooms = ["user:{sub}", "group:{groups}"]
claims = ["sub", "name"]
disconnect-when-expired = true
leeway-ms = 0
`;
  const token = (changes) => sign("HS256", SECRET, claims({ iss: "login", ...changes }));

  test("refuse clients with the reason", async (t) => {
    const node = await freshNode(t, "--config", settingsFile(t, TABLE(t)));
    assert.equal(await refusal(t, node, "/chat", token()), null);
    const soon = Math.floor(Date.now() / 1000);
    for (const [bad, reason] of [
      [undefined, "missing"],
      ["x", "malformed"],
      [token({ iss: "other" }), "issuer"],
      [token({ aud: "game" }), "audience"],
      [token({ exp: soon - 10 }), "expired"],
      [token({ nbf: soon + 1000 }), "not_yet_valid"],
      [token({ exp: undefined }), "claims"],
      [token({ groups: {} }), "rooms"],
      [sign("HS256", "another secret of this test, long enough", claims({ iss: "login" })), "signature"],
      [`${encoded({ alg: "none" })}.${encoded(claims({ iss: "login" }))}.`, "algorithm"],
    ]) {
      assert.deepEqual(plain(await refusal(t, node, "/chat", bad)), denied(reason), reason);
    }
  });

  test("disconnect a client when its token expires", async (t) => {
    const port = await freePort();
    const node = await freshNode(t, "--admin-addr", `127.0.0.1:${port}`, "--config", settingsFile(t, TABLE(t)));
    const short = await connect(t, node, "/chat", { auth: { token: token({ exp: Math.floor(Date.now() / 1000) + 3 }) } });
    const long = await connect(t, node, "/chat", { auth: { token: token() } });
    assert.equal((await once(short, "disconnect"))[0], "io server disconnect");
    assert.equal(long.connected, true);
    const { text } = await request(`http://127.0.0.1:${port}/metrics`);
    assert.match(text, /^sociable_tokens_expired_total 1$/m);
    assert.match(text, /^sociable_tokens_accepted_total 2$/m);
    assert.match(text, /^sociable_tokens_refused_total\{reason="expired"\} 0$/m);
  });

  test("come before the backend, which gets their claims", async (t) => {
    const asked = [];
    const backend = http.createServer(async (request, response) => {
      const body = [];
      for await (const part of request) body.push(part);
      asked.push(JSON.parse(Buffer.concat(body)));
      response.setHeader("content-type", "application/json").end(JSON.stringify({ allow: true, data: { ...asked.at(-1).data, seat: 7 }, emit: [{ event: "welcome" }] }));
    });
    await new Promise((resolve) => backend.listen(0, "127.0.0.1", resolve));
    t.after(() => backend.close());
    const connect = `[namespaces."/chat"]\nconnect = "http://127.0.0.1:${backend.address().port}/"\n`;
    const node = await freshNode(t, "--recovery", "60", "--config", settingsFile(t, TABLE(t) + connect));
    assert.deepEqual(plain(await refusal(t, node, "/chat", "x")), denied("malformed"));
    assert.equal(asked.length, 0, "a client without a token costs the backend nothing");

    const socket = client(t, node, "/chat", { auth: { token: token({ name: "Ann", other: 1 }) }, reconnection: true, reconnectionDelay: 10 });
    const welcome = once(socket, "welcome");
    socket.connect();
    await welcome;
    assert.deepEqual(asked.map(({ data }) => data), [{ sub: "ann", name: "Ann" }]);

    // A client that resumes shows its token again.
    const { id } = socket;
    socket.io.engine.close();
    await once(socket, "connect");
    assert.deepEqual([socket.recovered, socket.id], [true, id]);
    socket.auth = { token: token({ exp: 1000 }) };
    const refused = once(socket, "connect_error");
    socket.io.engine.close();
    assert.deepEqual(plain((await refused)[0]), denied("expired"));
  });

  test("are read again from a changed file", async (t) => {
    const file = settingsFile(t, SECRET);
    const node = await freshNode(t, "--config", settingsFile(t, `[namespaces."/*".jwt]\nsecret-file = "${file}"\nrefresh-ms = 20\n`));
    assert.equal(await refusal(t, node, "/a", sign("HS512", SECRET, claims())), null);
    writeFileSync(file, "another secret of this test, long enough");
    const fresh = sign("HS512", "another secret of this test, long enough", claims());
    await until(async () => (await refusal(t, node, "/b", fresh)) === null, "the new secret is used");
  });
});
