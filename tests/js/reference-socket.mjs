// Cases of the differential test at the level of Socket.IO: packets, namespaces, the room of the own id, recovery.
import { session } from "./talk.mjs";
import { frame, text } from "./wire.mjs";

/** Opens a WebSocket in a namespace. `answers` are the frames up to the answer to CONNECT. */
async function joined(talk, namespace = "/custom", auth = "") {
  const client = await session(talk);
  client.wire.send(text(`40${namespace},${auth}`));
  client.answers = [];
  do client.answers.push(await client.wire.frame());
  while (!/^(text 4[04]|close|end)/.test(client.answers.at(-1)));
  const answer = /\{.*\}/.exec(client.answers.at(-1));
  return { ...client, ...(answer && JSON.parse(answer[0])), namespace };
}

/** Sends packets of a namespace, then an echo, and records the frames up to its answer, or to the end. */
async function says(talk, client, ...frames) {
  const { wire, namespace } = client;
  wire.send(...frames.map((packet) => (typeof packet === "string" ? text(packet) : packet)), text(`42${namespace},99["echo","last"]`));
  talk.tell((await wire.framesUntil(`text 43${namespace},99["last"]`)).join(" | "));
}

const packets = (name, ...frames) => ({
  name,
  run: async (talk) => {
    const client = await joined(talk);
    await says(talk, client, ...frames);
  },
});

/** Packets of a client that has joined `/custom`. */
const after = [
  ["event with an acknowledgement", '42/custom,1["echo",1,"a",{"b":[null]}]'],
  ["event without an acknowledgement", '42/custom,["echo","x"]'],
  ["event of no handler", '42/custom,["nobody"]'],
  ["event of no handler that asks for an acknowledgement", '42/custom,5["nobody"]'],
  ["half a surrogate pair", '42/custom,1["echo","\\ud83e","\\udd80x",{"\\ud800":1}]'],
  ["binary event", '451-/custom,1["echo",{"_placeholder":true,"num":0}]', frame(2, "\x01\x02")],
  ["attachment out of range", '451-/custom,["echo",{"_placeholder":true,"num":1}]', frame(2, "\x01")],
  ["text instead of an attachment", '451-/custom,["echo",{"_placeholder":true,"num":0}]', '42/custom,["echo"]'],
  ["binary that nobody awaits", frame(2, "\x01")],
  ["eleven attachments", '4511-/custom,["echo"]'],
  ["attachments without a number", '45-/custom,["echo"]'],
  ["no attachments in a binary event", '450-/custom,["echo"]'],
  ["unknown type", "47"],
  ["letter as a type", "4a"],
  ["reserved event", '42/custom,["disconnect"]'],
  ["reserved event newListener", '42/custom,["newListener"]'],
  ["event named error", '42/custom,["error","x"]'],
  ["event without a name", "42/custom,[]"],
  ["event named null", "42/custom,[null]"],
  ["object as an event", "42/custom,{}"],
  ["broken JSON", '42/custom,["echo"'],
  ["unexpected acknowledgement", '43/custom,7["x"]'],
  ["acknowledgement without an id", '43/custom,["x"]'],
  ["event of a namespace that was not joined", '42["echo"]'],
  ["connect error of a client", '44/custom,{"message":"x"}'],
  ["second connect", "40/custom,"],
  ["disconnect with a payload", '41/custom,"x"'],
].map(([name, ...frames]) => packets(name, ...frames));

const escapes = [
  {
    ...packets("escaped characters", '42/custom,1["echo","\\ud83e\\udd80"]'),
    why: "arguments that are passed on keep their escapes",
    ours: ['text 42/custom,["auth",{}] | text 43/custom,1["\\ud83e\\udd80"] | text 43/custom,99["last"]'],
  },
];

/** Requests for a second namespace, whose answers may come later than that of an event. */
const connects = [
  ["namespace that nobody has", "40/nobody,"],
  ["namespace with a query", "40/custom?a=1,"],
  ["connect with an array", "40/dyn-1,[]"],
  ["connect with null", "40/dyn-1,null"],
  ["connect with text", '40/dyn-1,"x"'],
  ["connect with a number", "40/dyn-1,7"],
].map(([name, frame]) => ({
  name,
  run: async (talk) => {
    const { wire } = await session(talk);
    wire.send(text(frame));
    talk.tell((await wire.frame()).replace(/"sid":"[^"]*"/, '"sid":"…"'));
  },
}));

/** Names for the pattern /^\/dyn-\d+$/ of JavaScript. */
const names = ["/dyn-7", "/dyn-", "/dyn-x", "/dyn-7x", "/dyn-\u0663", "/dyn-\uff17", "/dyn-\u09ed", "/dyn-7\u2028", "/DYN-7"].map((name) => ({
  name: `namespace ${JSON.stringify(name)}`,
  run: async (talk) => {
    const { wire } = await session(talk);
    wire.send(text(`40${name},`));
    talk.tell((await wire.frame()).replace(/"sid":"[^"]*"/, '"sid":"…"'));
  },
}));

const rooms = [
  {
    name: "room of the own id",
    run: async (talk) => {
      const [client, other] = [await joined(talk), await joined(talk)];
      const to = (room, payload) => says(talk, other, `42/custom,["broadcast","${room}","${payload}"]`);
      await to(client.sid, "in it");
      await says(talk, client);
      await says(talk, client, `42/custom,1["leave","${client.sid}"]`);
      await to(client.sid, "left");
      await says(talk, client, '42/custom,["echo","by the socket itself"]');
      await says(talk, client, `42/custom,1["join","${client.sid}"]`);
      await to(client.sid, "back");
      await says(talk, client);
    },
  },
];

/** Returns to a session with an `auth` payload, and records what comes up to the answer to CONNECT. */
async function returns(talk, client, auth) {
  const known = { [client.pid]: "<its pid>", [client.sid]: "<its sid>" };
  const back = await joined(talk, "/custom", JSON.stringify(auth(client)));
  const own = back.answers.filter((told) => !told.includes('["auth"'));
  talk.tell(own.map((told) => told.replace(/"(sid|pid)":"([^"]*)"/g, (_, key, value) => `"${key}":"${known[value] ?? "new"}"`).replace(/,"[^"]*"\]/, ',"<offset>"]')).join(" | "));
}

/** A client that got an event with an offset, missed another, and comes back. */
const recovery = [
  ["known offset", ({ pid, offset }) => ({ pid, offset })],
  ["unknown session", ({ offset }) => ({ pid: "AAAAAAAAAAAAAAAAAAAA", offset })],
  ["session that is no text", ({ offset }) => ({ pid: 7, offset })],
  ["offset that nobody gave out", ({ pid }) => ({ pid, offset: "nobody" })],
  ["offset in another case", ({ pid, offset }) => ({ pid, offset: offset.toUpperCase() === offset ? offset.toLowerCase() : offset.toUpperCase() })],
  ["longer offset", ({ pid, offset }) => ({ pid, offset: `${offset}0` })],
  ["reversed offset", ({ pid, offset }) => ({ pid, offset: [...offset].reverse().join("") })],
  ["offset with a space", ({ pid, offset }) => ({ pid, offset: ` ${offset}` })],
  ["empty offset", ({ pid }) => ({ pid, offset: "" })],
  ["offset that is no text", ({ pid }) => ({ pid, offset: 7 })],
].map(([name, auth]) => ({
  name: `return with a ${name}`,
  run: async (talk) => {
    const client = await joined(talk);
    const other = await joined(talk);
    other.wire.send(text(`42/custom,["broadcast","${client.sid}",1]`));
    let told;
    do told = await client.wire.frame();
    while (!told.includes('["msg",'));
    const [, offset] = /,"([^"]+)"\]$/.exec(told);
    client.wire.close();
    await talk.gone(client);
    other.wire.send(text(`42/custom,["broadcast","${client.sid}",2]`), text('42/custom,99["echo","last"]'));
    await other.wire.framesUntil('text 43/custom,99["last"]');
    await returns(talk, { ...client, offset }, auth);
  },
}));

export const cases = [
  { group: "packets", flags: [], cases: [...after, ...escapes, ...connects, ...names, ...rooms] },
  { group: "recovery", flags: ["--recovery", "60000"], cases: recovery },
];
