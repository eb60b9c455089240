// Cases of the differential test at the level of Engine.IO: every request that has an answer of its own.
import { POLLING, WEBSOCKET, refused, sends, session, upgrade } from "./talk.mjs";
import { frame, requestBytes, text } from "./wire.mjs";

/** Sends a POST, and records the answer and how the session ended. */
const posts = (body, headers) => async (talk) => {
  const session = await talk.polling();
  await talk.ask("POST", session.query, headers, body);
  await talk.ended(session);
  await talk.ask("GET", session.query);
};

/** Gets a long poll response. */
const coded = (coding) => async (talk) => {
  const session = await talk.polling();
  await talk.wire().ask("POST", talk.target(session.query), {}, `4${"x".repeat(5000)}`).response();
  const { headers } = await talk.wire().ask("GET", talk.target(session.query), { "Accept-Encoding": coding }).response();
  talk.tell(`coded by ${headers["content-encoding"]}`);
};

/** Begins a POST of three bytes, of which the last is still to come. */
async function beginPost(talk, session) {
  const post = talk.wire().send(requestBytes("POST", talk.target(session.query), { "Content-Length": "3" }), "4x");
  // The server has it when it has answered a later request of the same process.
  await talk.wire().ask("GET", talk.target("transport=no")).response();
  return post;
}

/** Begins a poll of a session that has nothing to send. */
async function beginPoll(talk, session) {
  const poll = talk.wire().ask("GET", talk.target(session.query));
  await talk.alive(session);
  return poll;
}

/** Sends a POST while a poll waits, and records both answers and how the session ended. */
const postsWhilePolling = (body, headers) => async (talk) => {
  const session = await talk.polling();
  const poll = await beginPoll(talk, session);
  await talk.ask("POST", session.query, headers, body);
  await talk.answer(poll);
  await talk.ended(session);
  await talk.ask("GET", session.query);
};

const UNKNOWN = '400 [access-control-allow-origin: *; content-type: application/json] {"code":1,"message":"Session ID unknown"}';

const asked = (method, query, headers, body) => (talk) => talk.ask(method, query, headers, body);

const handshakes = [
  { name: "handshake by polling", run: asked("GET", POLLING) },
  { name: "handshake by WebSocket", run: async (talk) => talk.frame(await upgrade(talk, WEBSOCKET)) },
  { name: "handshake with further parameters and a longer path", run: asked("GET", `${POLLING}&t=abc&b64=1&x=%20`) },
  ...["", "transport=", "transport=none", "transport=webtransport", "transport=constructor", "transport=__proto__", "transport=Polling"].flatMap((transport) => [
    { name: `handshake by ${transport || "no transport"}`, run: asked("GET", `EIO=4&${transport}`) },
    { name: `WebSocket by ${transport || "no transport"}`, run: refused(`EIO=4&${transport}`) },
  ]),
  ...["nobody", "aaaaaaaaaaaaaaaaaaaa", "__proto__", "%00"].flatMap((sid) => [
    ...["GET", "POST", "PUT"].map((method) => ({ name: `${method} of the unknown session ${sid}`, run: asked(method, `${POLLING}&sid=${sid}`, {}, "4x") })),
    { name: `WebSocket of the unknown session ${sid}`, run: refused(`${WEBSOCKET}&sid=${sid}`) },
  ]),
  ...["POST", "PUT", "PATCH", "DELETE", "HEAD"].map((method) => ({ name: `handshake by ${method}`, run: asked(method, POLLING, {}, method === "HEAD" ? undefined : "") })),
  { name: "preflight request", run: asked("OPTIONS", POLLING, { Origin: "http://a.test", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-a" }) },
  { name: "handshake of another origin", run: asked("GET", POLLING, { Origin: "http://a.test" }) },
  { name: "refusal of another origin", run: asked("GET", "transport=no", { Origin: "http://a.test" }) },
  { name: "WebSocket of another origin", run: async (talk) => void (await upgrade(talk, WEBSOCKET, { Origin: "http://a.test" })) },
  { name: "handshake by WebSocket without an upgrade", run: asked("GET", WEBSOCKET) },
  ...["deny=", "deny=not+you"].flatMap((deny) => [
    { name: `handshake refused by allowRequest: ${deny}`, run: asked("GET", `${POLLING}&${deny}`) },
    { name: `WebSocket refused by allowRequest: ${deny}`, run: refused(`${WEBSOCKET}&${deny}`) },
  ]),
  { name: "handshake refused by middleware", run: asked("GET", `${POLLING}&fail=1`) },
  { name: "WebSocket refused by middleware", run: refused(`${WEBSOCKET}&fail=1`) },
  ...["", "EIO=3", "EIO=5", "EIO=04", "EIO=abc"].map((revision) => ({ name: `handshake by another revision: ${revision}`, run: asked("GET", `${revision}&transport=polling`) })),
  {
    name: "WebSocket by another revision", run: refused("EIO=3&transport=websocket"),
    why: "the refusal comes before the 101, which the JavaScript server sends first",
    ours: ["400 [connection: close; content-type: text/html] Unsupported protocol version", "then 0 bytes"],
  },
  {
    name: "WebSocket by transport=polling",
    run: async (talk) => talk.frame(await upgrade(talk, POLLING)),
    why: "it is refused; the JavaScript server opens it, and closes it at once",
    ours: ["400 [access-control-allow-origin: *; content-type: text/html] Bad request", "end"],
  },
  { name: "request for another path", run: (talk) => talk.answer(talk.wire().ask("GET", `/engine.io?${POLLING}`), /^$/) },
  { name: "longer path", run: (talk) => talk.answer(talk.wire().ask("GET", `/engine.io/more/of/it?${POLLING}`)) },
];

const websocketHeaders = [
  ...["Upgrade, close", "close, Upgrade", "keep-alive, Upgrade", "upgrade", "UPGRADE", "Upgrade,close"].map((connection) => ({
    name: `WebSocket with Connection: ${connection}`,
    run: async (talk) => {
      const wire = await upgrade(talk, WEBSOCKET, { Connection: connection });
      await talk.frame(wire);
      wire.send(text("4x"));
      await talk.frame(wire);
    },
  })),
  {
    name: "upgrade of a session with Connection: Upgrade, close",
    run: async (talk) => {
      const session = await talk.polling();
      const wire = await upgrade(talk, session.upgrade, { Connection: "Upgrade, close" });
      wire.send(text("2probe"));
      await talk.frame(wire);
      wire.send(text("5"), text("4x"));
      await talk.frame(wire);
    },
  },
  ...["12", "7", undefined].map((version) => ({ name: `WebSocket of version ${version}`, run: refused(WEBSOCKET, { "Sec-WebSocket-Version": version }) })),
  ...["short", undefined, "dGhlIHNhbXBsZSBub25jZQ"].map((key) => ({ name: `WebSocket with the key ${key}`, run: refused(WEBSOCKET, { "Sec-WebSocket-Key": key }) })),
  ...["chat", "a, b"].map((protocols) => ({
    name: `WebSocket with protocols ${protocols}`, run: async (talk) => void (await upgrade(talk, WEBSOCKET, { "Sec-WebSocket-Protocol": protocols })),
  })),
  ...["a,a", "a b", ","].map((protocols) => ({ name: `WebSocket with protocols ${protocols}`, run: refused(WEBSOCKET, { "Sec-WebSocket-Protocol": protocols }) })),
  { name: "WebSocket of version 8", run: async (talk) => void (await upgrade(talk, WEBSOCKET, { "Sec-WebSocket-Version": "8" })) },
];

const polling = [
  {
    name: "messages by polling",
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask("POST", session.query, { "Content-Type": "text/plain;charset=UTF-8" }, "4one\x1e4zwei ü\x1ebAQID");
      await talk.ask("GET", session.query);
      await talk.ask("GET", `${session.query}&t=1`.replace("EIO=4", "EIO=3"));
      await talk.alive(session);
    },
  },
  {
    name: "answers to old browsers",
    run: async (talk) => {
      const session = await talk.polling();
      for (const agent of ["Mozilla/5.0 (compatible;MSIE 10.0)", "Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0)", "Trident", "MSIE"]) {
        await talk.ask("POST", session.query, { "User-Agent": agent }, "4x");
        await talk.ask("GET", session.query, { "User-Agent": agent });
      }
    },
  },
  ...["gzip", "deflate", "gzip, deflate", "br", "identity", "gzip;q=0"].map((coding) => ({
    name: `long poll response for Accept-Encoding: ${coding}`, run: coded(coding),
  })),
  {
    name: "long poll response for a client that likes deflate better", run: coded("deflate;q=0.9, gzip;q=0.8"),
    why: "gzip comes first where a client takes both", ours: ["coded by gzip"],
  },
  {
    name: "long poll response for Accept-Encoding: *", run: coded("*"),
    why: "a client that names no coding gets the response as it is", ours: ["coded by undefined"],
  },
  {
    name: "two polls at once",
    run: async (talk) => {
      const session = await talk.polling();
      const first = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      await talk.ask("GET", session.query);
      await talk.answer(first);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
  {
    name: "two polls at once, of which the first is answered with a message",
    run: async (talk) => {
      const session = await talk.polling();
      const first = await beginPoll(talk, session);
      await talk.ask("POST", session.query, {}, "4x");
      await talk.answer(first);
      const second = await beginPoll(talk, session);
      await talk.ask("GET", session.query);
      await talk.answer(second);
      await talk.ended(session);
      await talk.ask("POST", session.query, {}, "4x");
    },
  },
  {
    name: "three polls at once",
    run: async (talk) => {
      const session = await talk.polling();
      const first = await beginPoll(talk, session);
      await talk.ask("GET", session.query);
      await talk.ask("GET", session.query);
      await talk.answer(first);
      await talk.ended(session);
    },
  },
  ...[["4x", {}], ["", {}], ["4x", { "Content-Type": "application/octet-stream" }]].map(([body, headers]) => ({
    name: `two posts at once, the second ${JSON.stringify(body)} ${Object.values(headers)}`,
    run: async (talk) => {
      const session = await talk.polling();
      await beginPost(talk, session);
      await talk.ask("POST", session.query, headers, body);
      await talk.ask("GET", session.query);
      await talk.ask("POST", session.query, {}, "4x");
      await talk.ended(session);
    },
  })),
  {
    name: "two posts at once, neither with its whole body",
    run: async (talk) => {
      const session = await talk.polling();
      await beginPost(talk, session);
      await talk.answer(await beginPost(talk, session));
      await talk.ask("GET", session.query);
      await talk.ended(session);
    },
  },
  {
    name: "two posts at once while a poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = await beginPoll(talk, session);
      await beginPost(talk, session);
      await talk.ask("POST", session.query, {}, "4x");
      await talk.answer(poll);
      await talk.ask("GET", session.query);
      await talk.ended(session);
    },
  },
  ...[
    ["another post", (talk, session) => talk.ask("POST", session.query, {}, "4x")],
    ["the abort of a poll", (talk, session, poll) => poll.close()],
    ["another poll", (talk, session) => talk.wire().ask("GET", talk.target(session.query)).response()],
  ].map(([end, run]) => ({
    name: `post that is completed after ${end} has ended the session`,
    run: async (talk) => {
      const session = await talk.polling();
      const poll = await beginPoll(talk, session);
      const post = await beginPost(talk, session);
      await run(talk, session, poll);
      await talk.ended(session);
      post.send("y");
      await talk.answer(post);
    },
    why: "the client learns why its packets were not read; the JavaScript server cuts the connection",
    ours: ["the session lives", ...(end === "another post" ? ["400 [access-control-allow-origin: *] "] : []), "ended by transport error", UNKNOWN],
  })),
  {
    name: "aborted poll",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      poll.close();
      await talk.ended(session);
    },
  },
  {
    name: "aborted post",
    run: async (talk) => {
      const session = await talk.polling();
      const post = talk.wire().send(requestBytes("POST", talk.target(session.query), { "Content-Length": "3" }), "4x");
      await talk.wire().ask("GET", talk.target("transport=no")).response();
      post.close();
      await talk.ended(session);
    },
  },
  { name: "post of raw bytes", run: posts("4x", { "Content-Type": "application/octet-stream" }) },
  ...["", "x", "9", "abc", "\x1e", "4ok\x1ex", "4a\x1e\x1e4b"].map((body) => ({ name: `post of ${JSON.stringify(body)}`, run: posts(body) })),
  ...["x", "", "2", "4x\x1ex", "4x\x1e2", "4x\x1e1", "1\x1e4x"].map((body) => ({
    name: `post of ${JSON.stringify(body)} while a poll waits`, run: postsWhilePolling(body),
  })),
  { name: "post of raw bytes while a poll waits", run: postsWhilePolling("4x", { "Content-Type": "application/octet-stream" }) },
  {
    name: "aborted post while a poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = await beginPoll(talk, session);
      (await beginPost(talk, session)).close();
      await talk.answer(poll);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
  { name: "post of a ping", run: posts("2") },
  { name: "post of a message and a ping", run: posts("4x\x1e2") },
  {
    name: "post of a close packet",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      await talk.ask("POST", session.query, {}, "1");
      await talk.answer(poll);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
  ...["0", "3", "5", "6", "0\x1e5\x1e6\x1e3"].map((body) => ({
    name: `post of the packets ${JSON.stringify(body)}`,
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask("POST", session.query, {}, body);
      await talk.alive(session);
    },
  })),
  ...["PUT", "PATCH", "DELETE"].map((method) => ({
    name: `${method} of a session`,
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask(method, session.query, {}, "4x");
      await talk.alive(session);
    },
    why: "the refusal has a reason, and does not look like a fault of the server",
    ours: ['400 [access-control-allow-origin: *; content-type: application/json] {"code":2,"message":"Bad handshake method"}', "the session lives"],
  })),
  ...["sid", "EIO", "transport"].map((name) => ({
    name: `${name} twice in a query`,
    run: async (talk) => {
      const session = await talk.polling();
      const again = { sid: `sid=${session.sid}`, EIO: "EIO=4", transport: "transport=polling" }[name];
      await talk.ask("POST", `${session.query}&${again}`, {}, "4x");
    },
    why: "a balancer could take another one than the node",
    ours: ['400 [access-control-allow-origin: *; content-type: application/json] {"code":3,"message":"Bad request"}'],
  })),
  {
    name: "script polling",
    run: async (talk) => {
      const { body } = await talk.wire().ask("GET", talk.target(`${POLLING}&j=7`)).response();
      talk.tell(body.toString().replace(/[\w-]{20}/, "<sid>"));
      const sid = /sid\\":\\"([\w-]+)/.exec(body.toString())[1];
      const query = `${POLLING}&j=7&sid=${sid}`;
      await talk.ask("POST", query, { "Content-Type": "application/x-www-form-urlencoded" }, `d=${encodeURIComponent('4a\\nb"\u2028')}`);
      await talk.ask("GET", query);
      await talk.ask("POST", query, { "Content-Type": "application/x-www-form-urlencoded" }, "e=4x");
      await talk.alive({ query: `${POLLING}&sid=${sid}` });
    },
  },
];

/** Bodies that are too long or too late. The limits are 1,000 bytes and 500 ms. */
const bodies = [
  ...[999, 1000].map((length) => ({
    name: `post of ${length} bytes`,
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask("POST", session.query, {}, `4${"x".repeat(length - 1)}`);
      await talk.alive(session);
    },
  })),
  { name: "post that is too long", run: posts(`4${"x".repeat(1000)}`) },
  {
    name: "post that is too long while a poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      await talk.ask("POST", session.query, {}, `4${"x".repeat(1000)}`);
      await talk.answer(poll);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
  {
    name: "post without a length that is too long",
    run: async (talk) => {
      const session = await talk.polling();
      const post = talk.wire().send(requestBytes("POST", talk.target(session.query), { "Transfer-Encoding": "chunked" }), `3e9\r\n4${"x".repeat(1000)}\r\n`);
      await talk.answer(post);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
  ...[["of known length", { "Content-Length": "9" }, "4x"], ["of known length that never begins", { "Content-Length": "9" }, ""], ["without a length", { "Transfer-Encoding": "chunked" }, "2\r\n4x\r\n"]].map(
    ([what, framing, begin]) => ({
      name: `post ${what} that is too late`,
      run: async (talk) => {
        const session = await talk.polling();
        await talk.answer(talk.wire().send(requestBytes("POST", talk.target(session.query), framing), begin));
        await talk.ended(session);
        await talk.ask("GET", session.query);
      },
    }),
  ),
  {
    name: "post that is too late while a poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      await talk.answer(talk.wire().send(requestBytes("POST", talk.target(session.query), { "Content-Length": "9" }), "4x"));
      await talk.answer(poll);
      await talk.ended(session);
    },
  },
  { name: "frame of the longest length", run: sends(text(`4${"x".repeat(999)}`)) },
  { name: "frame that is too long", run: sends(text(`4${"x".repeat(1000)}`)) },
  { name: "fragments that are too long together", run: sends(frame(1, `4${"x".repeat(600)}`, { fin: false }), frame(0, "x".repeat(600))) },
];

/** Clients that send no pong. The ping comes after 100 ms, its end 200 ms later. */
const silent = [
  {
    name: "no pong, while no poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ended(session);
      await talk.ask("GET", session.query);
      await talk.ask("POST", session.query, {}, "3");
    },
  },
  {
    name: "no pong, while a poll waits",
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask("GET", session.query);
      await talk.ask("GET", session.query);
      await talk.ended(session);
      await talk.ask("GET", session.query);
    },
  },
];

const third = [
  { name: "handshake of revision 3", run: asked("GET", "EIO=3&transport=polling") },
  { name: "handshake without a revision", run: asked("GET", "transport=polling") },
  { name: "handshake of revision 3 in base64", run: asked("GET", "EIO=3&transport=polling&b64=1") },
  {
    name: "messages of revision 3 by polling",
    run: async (talk) => {
      const session = await talk.polling(3);
      await talk.ask("POST", session.query, {}, "4:4one6:4zwei\u00fc");
      await talk.ask("GET", session.query);
      await talk.ask("POST", session.query, {}, "6:b4AQID");
      await talk.ask("GET", session.query);
      await talk.ask("GET", session.query.replace("EIO=3", "EIO=4"));
      await talk.alive(session).catch(() => talk.tell("no answer"));
    },
  },
  {
    name: "ping of revision 3 by polling",
    run: async (talk) => {
      const session = await talk.polling(3);
      await talk.ask("POST", session.query, {}, "6:2probe");
      await talk.ask("GET", session.query);
    },
  },
  {
    name: "messages of revision 3 by WebSocket",
    run: async (talk) => {
      const { wire } = await session(talk, "EIO=3&transport=websocket");
      wire.send(text("2"));
      await talk.frame(wire);
      wire.send(text("4x"), frame(2, "\x04\x01\x02"), text("b4AQID"));
      for (let n = 0; n < 3; n++) await talk.frame(wire);
    },
  },
];

export const cases = [
  { group: "polling", flags: [], cases: polling },
  { group: "handshake", flags: ["--cookie", "io"], cases: [...handshakes, ...websocketHeaders] },
  { group: "bodies", flags: ["--max-payload", "1000", "--http-request-body-timeout", "500"], cases: bodies },
  { group: "heartbeat", flags: ["--ping-interval", "100", "--ping-timeout", "200"], cases: silent },
  { group: "revision 3", flags: ["--eio3"], cases: third },
];
