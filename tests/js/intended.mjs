// The intended differences of our parsers from the JavaScript ones. No well-behaved client sends any of this.
//
// A row has a name, the reason (`why`), examples that must still differ, and `applies`. This function gets
// the messages with both parsers' results, and returns true for its own difference.
import { isUtf8 } from "node:buffer";
import { isDeepStrictEqual } from "node:util";
import { RESERVED } from "./packets.mjs";

/** A placeholder for an argument that our parser could not read. It equals nothing else. */
export class Unreadable {
  constructor(why) {
    this.why = why;
  }
}

const refused = (us, error) => us.error === error;
const accepted = ({ them, us }) => them.packet && us.packet;
const contains = (value, wanted) =>
  wanted(value) || (typeof value === "object" && value !== null && !Buffer.isBuffer(value) && Object.values(value).some((inner) => contains(inner, wanted)));
const unreadable = (us, why) => us.packet && contains(us.packet.data, (value) => value instanceof Unreadable && why.test(value.why));
/** Infinity is null in JSON. */
const finite = (number) => (Number.isFinite(number) ? number : null);
const isNumber = (value) => typeof value === "number" || value === null;
const isName = (name) => typeof name === "number" || (typeof name === "string" && !RESERVED.includes(name));
/** The same value with keys spelled alike that are no text in MessagePack. */
const respelled = (value) => {
  if (Array.isArray(value)) return value.map(respelled);
  if (typeof value !== "object" || value === null || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, value]) => [respelledKey(key), respelled(value)]));
};
const respelledKey = (key) => {
  const number = Number(key.replace(/inf$/, "Infinity"));
  if (key !== "" && !Number.isNaN(number)) return String(number);
  if (key === "undefined" || key === "Invalid Date") return "null";
  // JavaScript spells dates without milliseconds.
  return /GMT|Z$/.test(key) && !Number.isNaN(Date.parse(key)) ? String(Math.floor(Date.parse(key) / 1000)) : key;
};
/** Whether a message has such bytes, given in Latin-1. */
const has = ([bytes], pattern) => pattern.test(bytes.toString("latin1"));
const placeholder = '{"_placeholder":true,"num":0}';
const nested = (levels) => "[".repeat(levels) + "]".repeat(levels);

const greatId = (it) => accepted(it) && it.them.packet.id >= 2 ** 64 && it.us.packet.id === String(2n ** 64n - 1n);

const json = [
  {
    what: "nothing or white space in the place of the type",
    why: "Number('') is 0, which makes a CONNECT of it; only a digit is a type",
    examples: [[""], [" "], ["\u3000/chat,"], ["\ufeff{}"]],
    applies: ({ messages: [text], us }) => /^(\s|$)/u.test(text) && refused(us, "unknown packet type NaN"),
  },
  {
    what: "a number of attachments that is not written in digits alone",
    why: "Number() reads signs, exponents and other bases",
    examples: [['5 1-["x"]'], ['5+1-["x"]'], ['51e0-["x"]'], ['50x1-["x"]'], ['51.0-["x"]'], ["61e5-[]"]],
    applies: ({ messages: [text], us }) => /^[56](?=[^-]*[^0-9-])/u.test(text) && refused(us, "Illegal attachments"),
  },
  {
    what: "white space inside an id",
    why: "it makes NaN an id, which no acknowledgement can name",
    examples: [['21 2["x"]'], ["3\u30001 1[]"]],
    applies: ({ messages: [text], us }) => /^.(\d+-)?(\/[^,]*,)?[\d\s]*\d\s+\d/u.test(text) && refused(us, "invalid payload"),
  },
  {
    what: "an id beyond 64 bits",
    why: "it becomes the greatest that there is, in the place of a power of ten",
    examples: [['228446744073709551616["x"]'], ['39999999999999999999999["x"]']],
    applies: greatId,
  },
  {
    what: "an id where none belongs",
    why: "a CONNECT, DISCONNECT or CONNECT_ERROR is never acknowledged, so the id is dropped",
    examples: [["07"], ["1/chat,7"], ['47"no"']],
    applies: (it) => accepted(it) && ![2, 3].includes(it.them.packet.type) && it.them.packet.id !== undefined && it.difference === "bytes",
  },
  {
    what: "an event or acknowledgement without a payload",
    why: "the JavaScript server lets it pass without data; here it is an event without a name, or has no arguments, and is written so",
    examples: [["2"], ["2/chat,7"], ["3"], ["61-", Buffer.from("a")]],
    applies: (it) => accepted(it) && [2, 3].includes(it.them.packet.type) && it.them.packet.data === undefined,
  },
  {
    what: "a number as the name of an event",
    why: "names are text here: as the number was spelled",
    examples: [['2[1,"x"]'], ["2[-1.5e3]"], ["2[1e400]"]],
    applies: (it) => accepted(it) && it.them.packet.type === 2 && isNumber(it.them.packet.data?.[0]) && finite(Number(it.us.packet.data[0])) === it.them.packet.data[0],
  },
  {
    what: "half a surrogate pair",
    why: "it has no UTF-8: it becomes U+FFFD where it is read, and is passed on as it is",
    examples: [['2["x","\\ud83e"]'], ['2["\\udd80"]'], ['2["x",{"\\ud83e":1}]']],
    applies: (it) => accepted(it) && contains([it.them.packet.data], (value) => /\\ud[89a-f]/.test(JSON.stringify(value))),
  },
  {
    what: "a number beyond those of JavaScript",
    why: "it becomes Infinity there, and null when it is written; here no type can be decoded from it",
    examples: [['2["x",1e400]'], ['3[[{"a":-1e999}]]']],
    applies: ({ us }) => unreadable(us, /number out of range/),
  },
  {
    what: "more than 127 levels in an argument",
    why: "the packet is taken, but no type is decoded from it: that would need as much stack",
    examples: [[`2["x",${nested(128)}]`]],
    applies: ({ us }) => unreadable(us, /recursion limit exceeded/),
  },
  {
    what: "more than 1,000 levels in a packet",
    why: "memory and stack of those who read it are bounded",
    examples: [[`2["x",${nested(1001)}]`], [`0${'{"a":'.repeat(1001)}1${"}".repeat(1001)}`]],
    applies: ({ us }) => refused(us, "payload nested more than 1000 levels"),
  },
  {
    what: "more placeholders than a packet may have attachments",
    why: "each may become a copy of its attachment: a client could have one of a megabyte copied a thousand times",
    examples: [[`51-["x",${Array(11).fill(placeholder)}]`, Buffer.from("a")]],
    applies: ({ messages: [text], us }) => refused(us, "too many attachments") && text.split(/_placeholder|\\u/).length > 11,
  },
  {
    what: "a placeholder that names a fraction of an attachment",
    why: "the JavaScript parser puts undefined in its place",
    examples: [['51-["x",{"_placeholder":true,"num":0.5}]', Buffer.from("a")]],
    applies: ({ messages: [text], them, us }) => !them.error && refused(us, "illegal attachments") && /[.eE]/.test(text),
  },
  {
    what: "a placeholder that names no attachment, before the attachments are there",
    why: "it is refused with the text; the JavaScript parser waits for the attachments, and refuses it then",
    examples: [['51-["x",{"_placeholder":true,"num":1}]']],
    applies: ({ them, us }) => (them.waits || /when reconstructing/.test(them.error)) && refused(us, "illegal attachments"),
  },
];

/** A packet whose parts are given in MessagePack, in Latin-1. */
const packed = (type, data, more = "", nsp = "\xa1/") => {
  const pairs = 2 + (data !== undefined) + (more !== "");
  return [Buffer.from(`${String.fromCharCode(0x80 | pairs)}\xa4type${type}\xa3nsp${nsp}${data === undefined ? "" : `\xa4data${data}`}${more}`, "latin1")];
};

const msgpack = [
  {
    what: "text that is not UTF-8",
    why: "notepack.io puts U+FFFD for what is wrong, so that the text is another than was sent",
    examples: [packed("\x02", "\x92\xa1x\xa1\xff"), packed("\x01", undefined, "", "\xa2/\xff")],
    applies: ({ messages: [bytes], us }) => refused(us, "malformed MessagePack") && !isUtf8(bytes),
  },
  {
    what: "an event without a name, or with one that is no text or number, or reserved",
    why: "the parser for JSON refuses these, the one for MessagePack does not look",
    examples: [packed("\x02", "\x90"), packed("\x02", "\x91\xc0"), packed("\x02", "\x91\x90"), packed("\x02", "\x91\xaadisconnect")],
    applies: ({ them, us }) => them.packet?.type === 2 && refused(us, "invalid payload") && !isName(them.packet.data[0]),
  },
  {
    what: "an extension in the place of the arguments or the name",
    why: "notepack.io makes an array or a date of it; here only an array is one, and only text and numbers are names",
    examples: [packed("\x03", "\xd5\x05ab"), packed("\x02", `\x91\xd7${"\0".repeat(9)}`)],
    applies: ({ messages, them, us }) => them.packet && refused(us, "invalid payload") && has(messages, /\xa4data[\x90-\x9f]?[\xc7\xc8\xd4-\xd8]/s),
  },
  {
    what: "a part of the packet under a key that is no text",
    why: "JavaScript makes text of any key, so that an array of one text names a part, too",
    examples: [[Buffer.from("\x82\x91\xa4type\x01\xa3nsp\xa1/", "latin1")], [Buffer.from("\x82\xa4type\x01\xc4\x03nsp\xa1/", "latin1")]],
    applies: ({ messages, them }) => them.packet && has(messages, /(\x91|\xc4.)(\xa4type|\xa4data|\xa3nsp|\xa2id|type|data|nsp|id)/s),
  },
  {
    what: "a number as the name of an event",
    why: "names are text here",
    examples: [packed("\x02", "\x92\x01\xa1x"), packed("\x02", "\x91\xca\x3f\xc0\x00\x00"), packed("\x02", "\x91\xff")],
    applies: (it) => accepted(it) && it.them.packet.type === 2 && Number(it.us.packet.data[0]) === it.them.packet.data[0],
  },
  {
    what: "NaN or an infinity as the name of an event",
    why: "names are text here, also where no number is",
    examples: [packed("\x02", "\x91\xca\x7f\xc0\x00\x00"), packed("\x02", "\x91\xca\xff\x80\x00\x00")],
    applies: (it) => accepted(it) && it.them.packet.type === 2 && /^(NaN|-?inf)$/.test(it.us.packet.data[0]),
  },
  {
    what: "an id below zero",
    why: "no client counts so; the JavaScript parser takes any whole number",
    examples: [packed("\x02", "\x91\xa1x", "\xa2id\xff")],
    applies: ({ them, us }) => them.packet?.id < 0 && refused(us, "invalid packet id"),
  },
  {
    what: "an id beyond 64 bits",
    why: "it becomes the greatest that there is",
    examples: [packed("\x02", "\x91\xa1x", "\xa2id\xca\x7f\x00\x00\x00")],
    applies: greatId,
  },
  {
    what: "a namespace without a name",
    why: "it is the main one, and is written so",
    examples: [packed("\x00", undefined, "", "\xa0")],
    applies: (it) => accepted(it) && it.them.packet.nsp === "" && /bytes/.test(it.difference),
  },
  {
    what: "an id where none belongs",
    why: "a CONNECT, DISCONNECT or CONNECT_ERROR is never acknowledged, so the id is dropped",
    examples: [packed("\x00", undefined, "\xa2id\x07")],
    applies: (it) => accepted(it) && ![2, 3].includes(it.them.packet.type) && it.them.packet.id !== undefined && it.difference === "bytes",
  },
  {
    what: "a key that is an array, a map or binary",
    why: "JavaScript makes text of it, such as [object Object]; here the argument can't be read",
    examples: [packed("\x02", "\x92\xa1x\x81\x90\x01"), packed("\x02", "\x92\xa1x\x81\x80\x01"), packed("\x02", "\x92\xa1x\x81\xc4\x01a\x01")],
    applies: ({ us }) => unreadable(us, /expected a key/),
  },
  {
    what: "a key that is a number of many digits, a date or undefined",
    why: "here it is spelled in full, as in JSON",
    examples: [packed("\x02", "\x92\xa1x\x81\xd4\x00\x00\x01"), packed("\x02", `\x92\xa1x\x81\xd7${"\0".repeat(9)}\x01`), packed("\x02", "\x92\xa1x\x81\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x01"), packed("\x02", "\x92\xa1x\x81\xca\x7f\x00\x00\x00\x01")],
    applies: (it) => accepted(it) && isDeepStrictEqual(respelled(it.them.packet.data), respelled(it.us.packet.data)),
  },
  {
    what: "more than 127 levels in an argument",
    why: "the packet is taken, but no type is decoded from it: that would need as much stack",
    examples: [packed("\x02", `\x92\xa1x${"\x91".repeat(128)}\xc0`)],
    applies: ({ us }) => unreadable(us, /depth limit exceeded/),
  },
  {
    what: "more than 1,000 levels in a packet",
    why: "memory and stack of those who read it are bounded",
    examples: [packed("\x02", `\x92\xa1x${"\x91".repeat(1000)}\xc0`)],
    applies: ({ us }) => refused(us, "payload nested more than 1000 levels"),
  },
];

export const intended = { json, msgpack };
