// Our parsers against the JavaScript ones. Thousands of generated packets, valid and malformed, must decode
// and encode alike. A row of `intended` has the reason of each intended difference.
//
// `PARSE` is the path of the built example of that name. `SEED` repeats a run (each failure prints it).
// `COUNT` sets the number of packets of each kind.
import test from "node:test";
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { spawnSync } from "node:child_process";
import * as json from "socket.io-parser";
import * as msgpack from "socket.io-msgpack-parser";
import { jsonPacket, msgpackPacket, Random, spoilJson, spoilMsgpack } from "./packets.mjs";
import { intended, Unreadable } from "./intended.mjs";

const SEED = Number(process.env.SEED ?? 1);
const COUNT = Number(process.env.COUNT ?? 4000);
/** The number of differences that are printed in full. */
const TOLD = 10;

const parsers = { json, msgpack };
const EVENT = 2;
const ACK = 3;

// ---------------------------------------------------------------- what each parser says

/** The JavaScript parser's result for messages: a packet with its encoding, an error, or a wait for more. */
function theirs(parser, messages, options) {
  const decoder = new parsers[parser].Decoder(options);
  let packet;
  decoder.on("decoded", (decoded) => (packet = decoded));
  try {
    for (const message of messages) {
      packet = undefined;
      decoder.add(message);
    }
  } catch (error) {
    return { error: error.message };
  }
  if (!packet) return { waits: true };
  const { type, nsp, id } = packet;
  const data = plain(packet.data);
  const simple = isDeepStrictEqual(data, packet.data);
  // Other keys of MessagePack are dropped. The order of keys is ours.
  const parts = { type, ...(data !== undefined && { data: packet.data }), nsp, ...(id !== undefined && { id }) };
  return { packet: { type, nsp, id, data }, encoded: new parsers[parser].Encoder().encode(parts), simple };
}

/** Our parser's results for many cases. */
function ours(cases) {
  const lines = cases.map(({ parser, messages }) => {
    const [text, attachments] = typeof messages[0] === "string" ? [messages[0], messages.slice(1)] : [undefined, messages];
    return JSON.stringify({ parser, text, attachments: attachments.map((bytes) => bytes.toString("base64")) }) + "\n";
  });
  const { status, stdout, stderr, error } = spawnSync(process.env.PARSE, { input: lines.join(""), maxBuffer: 2 ** 30, encoding: "utf8" });
  assert.equal(status, 0, error?.message ?? stderr);
  const answers = stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(answers.length, cases.length);
  for (const { packet, encoded } of answers) {
    if (!packet) continue;
    packet.data = packet.data === null ? undefined : told(packet.data);
    encoded.forEach((message, index) => (encoded[index] = told(message)));
  }
  return answers;
}

/** A value from the output of `parse`. */
function told(value) {
  if (Array.isArray(value)) return value.map(told);
  if (value === null || typeof value !== "object") return value;
  if ("binary" in value) return Buffer.from(value.binary, "base64");
  if ("unreadable" in value) return new Unreadable(value.unreadable);
  return Object.fromEntries(value.object.map(([key, value]) => [key, told(value)]));
}

/** A value as JSON with binary has it: what MessagePack has beyond that becomes what our parser documents. */
function plain(value) {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (Buffer.isBuffer(value)) return value;
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (Array.isArray(value)) return Array.from(value, (element) => plain(element) ?? null);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [key, plain(value) ?? null]));
}

// ---------------------------------------------------------------- comparison

/** In what two packets differ: a word, or nothing. Ids are text in ours, and only there where they mean something. */
function packetsDiffer(a, b) {
  if (a.type !== b.type) return "type";
  if (a.nsp !== b.nsp) return "namespace";
  if ((a.type === EVENT || a.type === ACK) && a.id !== (b.id == null ? undefined : Number(b.id))) return "id";
  if (!isDeepStrictEqual(a.data, b.data)) return "data";
}

/** In what the parsers differ on a case: a word, or nothing. */
function differ({ parser, messages }, them, us) {
  if (!them.packet || !us.packet) {
    if (!isDeepStrictEqual(Object.keys(them), Object.keys(us))) return "verdict";
    // The errors of the MessagePack parser are those of reading beyond a buffer.
    return parser === "json" && them.error !== us.error ? "error" : undefined;
  }
  const difference = packetsDiffer(them.packet, us.packet);
  if (difference) return difference;

  // A packet that the JavaScript parser could have written must return byte by byte. In others our parser
  // keeps the arguments' numbers, escapes, white space, order of keys, and attachments. Theirs writes them
  // again, and both must mean the same.
  if (them.simple && isDeepStrictEqual(them.encoded.map(Buffer.from), messages.map((message) => Buffer.from(message)))) {
    if (!isDeepStrictEqual(us.encoded, messages)) return "bytes";
  } else {
    const again = theirs(parser, us.encoded, { maxAttachments: Infinity });
    if (!again.packet) return "meaning of the bytes";
    const changed = packetsDiffer(them.packet, again.packet);
    if (changed) return `${changed} of the bytes`;
  }
}

/** Holds cases against both parsers. Gives those that differ without a row that knows of it. */
function compare(cases, rows) {
  const answers = ours(cases);
  const surprises = [];
  const tally = { packets: 0, refused: 0, waiting: 0, intended: 0 };
  cases.forEach((it, index) => {
    const [us, them] = [answers[index], theirs(it.parser, it.messages)];
    tally[us.packet ? "packets" : us.error ? "refused" : "waiting"]++;
    const difference = differ(it, them, us);
    if (!difference) return;
    const row = rows.find((row) => row.applies({ difference, messages: it.messages, them, us }));
    if (row) tally.intended++;
    else surprises.push({ difference, messages: it.messages, them, us });
  });
  return { surprises, tally };
}

function report(surprises) {
  const told = surprises.slice(0, TOLD).map((surprise) => JSON.stringify(surprise)).join("\n");
  return `${surprises.length} surprises with SEED=${SEED}, of which\n${told}`;
}

const generators = { json: [jsonPacket, spoilJson], msgpack: [msgpackPacket, spoilMsgpack] };

for (const [parser, [packet, spoil]] of Object.entries(generators)) {
  const encode = (packet) => new parsers[parser].Encoder().encode(packet);
  const generate = (random, make) => Array.from({ length: COUNT }, () => ({ parser, messages: make(random) }));

  test(`${parser}: valid packets decode and encode alike`, (t) => {
    const cases = generate(new Random(SEED), (random) => encode(packet(random)));
    const { surprises, tally } = compare(cases, []);
    t.diagnostic(JSON.stringify(tally));
    assert.equal(surprises.length, 0, report(surprises));
    assert.equal(tally.packets, COUNT, "all of them are packets");
  });

  test(`${parser}: malformed packets decode alike or not at all`, (t) => {
    const cases = generate(new Random(SEED + 1), (random) => spoil(random, encode(packet(random))));
    const { surprises, tally } = compare(cases, intended[parser]);
    t.diagnostic(JSON.stringify(tally));
    assert.equal(surprises.length, 0, report(surprises));
    assert.ok(tally.packets > 0 && tally.refused > 0, "some are still packets, some are not");
  });

  for (const row of intended[parser]) {
    test(`${parser}: differs on purpose: ${row.what}`, () => {
      for (const messages of row.examples) {
        const it = { parser, messages };
        const [[us], them] = [ours([it]), theirs(parser, messages)];
        const difference = differ(it, them, us);
        assert.ok(difference, `no longer differs: ${JSON.stringify(messages)}`);
        assert.ok(row.applies({ difference, messages, them, us }), report([{ difference, messages, them, us }]));
      }
    });
  }
}
