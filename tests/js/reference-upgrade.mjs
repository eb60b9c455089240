// Cases of the differential test on WebSockets: the upgrade, and packets and frames of Engine.IO.
import { opened, sends, session, upgrade } from "./talk.mjs";
import { frame, text } from "./wire.mjs";

const CLOSE = frame(8);

/** An upgrade in steps: each sends a frame, or awaits one, or does something else with the session. */
const upgrades = [
  ["upgrade after a probe", text("2probe"), true, text("5"), text("4x"), true],
  ["upgrade without a probe", text("5"), text("4x"), true],
  ["upgrade with data and without a probe", text("5probe"), text("4x"), true],
  ["upgrade after two probes", text("2probe"), true, text("2probe"), true, text("5"), text("4x"), true],
  ["message before the upgrade", text("4x"), true],
  ["message after the probe", text("2probe"), true, text("4x"), true],
  ["other probe", text("2"), true],
  ["other ping", text("2other"), true],
  ["pong before the upgrade", text("3probe"), true],
  ["close packet before the upgrade", text("1"), true],
  ["noop before the upgrade", text("6"), true],
  ["binary before the upgrade", frame(2, "5"), true],
  ["undecodable packet before the upgrade", text("x"), true],
  ["close frame before the upgrade", CLOSE, true],
  ["ping frame before the upgrade", frame(9, "hi"), true, text("5"), text("4x"), true],
].map(([name, ...steps]) => ({
  name,
  run: async (talk) => {
    const session = await talk.polling();
    const wire = await upgrade(talk, session.upgrade);
    for (const step of steps) {
      if (step !== true) wire.send(step);
      else if ((await talk.frame(wire)).startsWith("close")) break;
    }
    // On polling, or not any more.
    await talk.ask("POST", session.query, {}, "3");
  },
}));

const moreUpgrades = [
  {
    name: "waiting poll at an upgrade without a probe",
    run: async (talk) => {
      const session = await talk.polling();
      const poll = talk.wire().ask("GET", talk.target(session.query));
      await talk.alive(session);
      const wire = await opened(talk, session.upgrade);
      wire.send(text("5"));
      await talk.answer(poll);
      wire.send(text("4x"));
      await talk.frame(wire);
      await talk.ask("GET", session.query);
    },
  },
  {
    name: "waiting poll at a probe and at the upgrade",
    run: async (talk) => {
      const session = await talk.polling();
      const [first, second] = [talk.wire(), talk.wire()];
      first.ask("GET", talk.target(session.query));
      await talk.alive(session);
      const wire = await opened(talk, session.upgrade);
      wire.send(text("2probe"));
      await talk.frame(wire);
      await talk.answer(first);
      await talk.ask("POST", session.query, {}, "4by polling");
      await talk.answer(second.ask("GET", talk.target(session.query)));
      wire.send(text("5"), text("4by websocket"));
      await talk.frame(wire);
      await talk.ask("GET", session.query);
      await talk.ask("POST", session.query, {}, "4x");
    },
  },
  {
    name: "messages that wait at the upgrade",
    run: async (talk) => {
      const session = await talk.polling();
      await talk.ask("POST", session.query, {}, "4one\x1ebAQID");
      const wire = await opened(talk, session.upgrade);
      wire.send(text("5"));
      await talk.frame(wire);
      await talk.frame(wire);
    },
  },
  {
    name: "second WebSocket during an upgrade",
    run: async (talk) => {
      const session = await talk.polling();
      await opened(talk, session.upgrade);
      const second = await upgrade(talk, session.upgrade);
      talk.tell((await second.framesUntil("close")).join(", "));
      await talk.alive(session);
    },
  },
  {
    name: "second WebSocket after an upgrade",
    run: async (talk) => {
      const session = await talk.polling();
      const first = await opened(talk, session.upgrade);
      first.send(text("5"), text("4x"));
      await talk.frame(first);
      const second = await upgrade(talk, session.upgrade);
      talk.tell((await second.framesUntil("close")).join(", "));
      first.send(text("4y"));
      await talk.frame(first);
    },
  },
  {
    name: "WebSocket for a session that began on one",
    run: async (talk) => {
      const first = await session(talk);
      const second = await upgrade(talk, first.upgrade);
      second.send(text("2probe"));
      await talk.frame(second);
      first.wire.send(text("4x"));
      await talk.frame(first.wire);
    },
    why: "the session stays where it is",
    ours: ["101 [access-control-allow-origin: *; sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=; upgrade: websocket] ", "close", "text 4x"],
  },
  {
    name: "poll of a session on a WebSocket",
    run: async (talk) => {
      const { wire, query } = await session(talk);
      await talk.ask("GET", query);
      await talk.ask("POST", query, {}, "4x");
      wire.send(text("4x"));
      await talk.frame(wire);
    },
  },
];

const packets = [
  { name: "messages", run: sends(text("4one"), text("4"), frame(2, "\x01\x02"), text("bAQID")) },
  { name: "other packets on a WebSocket", run: sends(text("0"), text("3"), text("5"), text("6")) },
  {
    name: "close packet on a WebSocket", run: sends(text("1")),
    why: "the protocol says that it closes the session; the JavaScript server waits for a missed pong", ours: ["close"],
  },
  { name: "ping on a WebSocket", run: sends(text("2")) },
  { name: "empty frame", run: sends(text("")) },
  { name: "unknown packet", run: sends(text("9")) },
  { name: "ping and pong frames", run: sends(frame(9, "hi"), frame(10, "ho"), frame(9)) },
  { name: "message in fragments", run: sends(frame(1, "4fi", { fin: false }), frame(0, "rs", { fin: false }), frame(9, "between"), frame(0, "t")) },
  ...["4x", "2", ""].map((packet) => ({
    name: `reason of the end after ${JSON.stringify(packet)} and a lost connection`,
    run: async (talk) => {
      const { wire, sid } = await session(talk);
      wire.send(text(packet));
      await talk.frame(wire);
      wire.close();
      await talk.ended({ sid });
    },
  })),
];

const late = [
  {
    name: "upgrade that takes too long",
    run: async (talk) => {
      const session = await talk.polling();
      const wire = await opened(talk, session.upgrade);
      wire.send(text("2probe"));
      talk.tell((await wire.framesUntil("close")).join(", "));
      await talk.alive(session);
    },
  },
];

export const cases = [
  { group: "websocket", flags: [], cases: [...upgrades, ...moreUpgrades, ...packets] },
  { group: "late upgrade", flags: ["--upgrade-timeout", "200"], cases: late },
];
