// Packets made up at random, and ways to spoil them.

/** Numbers that depend on the seed alone (mulberry32). */
export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** From 0 to below 1. */
  fraction() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(n) {
    return Math.floor(this.fraction() * n);
  }

  chance(probability) {
    return this.fraction() < probability;
  }

  pick(items) {
    return items[this.below(items.length)];
  }

  list(longest, make) {
    return Array.from({ length: this.below(longest + 1) }, () => make());
  }
}

const CHARACTERS = [..."abcXYZ019 _-/,.:;[]{}\"\\'\n\t\u0001\u007fäß€\u2028\ufeff\uffff", "🦀", "\u{10ffff}"];
const NUMBERS = [0, 1, -1, 31, 32, 127, 128, -32, -33, -128, -129, 255, 256, 65535, 65536, -32769, 2 ** 32 - 1, 2 ** 32, -(2 ** 31) - 1, 2 ** 53 - 1, -(2 ** 53 - 1)];
const FLOATS = [0.1, -0.5, 1.5, 1e-7, 5e-324, 123456.789, -2.5e-10];
const KEYS = ["a", "b", "", "num", "key with space", "ключ", "10", "2", "constructor", "toString"];
/** Names that no client can give to an event. */
export const RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

const text = (random) => random.list(random.chance(0.05) ? 300 : 12, () => random.pick(CHARACTERS)).join("");
const bytes = (random) => Buffer.from(random.list(random.chance(0.05) ? 300 : 8, () => random.below(256)));

/** `budget.binary` is how many buffers there may still be. */
function value(random, depth, budget) {
  switch (random.below(depth > 0 ? 9 : 6)) {
    case 0:
      return null;
    case 1:
      return random.chance(0.5);
    case 2:
      return random.pick(NUMBERS);
    case 3:
      return random.chance(0.5) ? random.pick(FLOATS) : random.fraction() * 1000 - 500;
    case 4:
      return text(random);
    case 5:
      return budget.binary-- > 0 ? bytes(random) : random.below(1000);
    case 6:
      return random.list(4, () => value(random, depth - 1, budget));
    default:
      return object(random, depth, budget);
  }
}

const object = (random, depth, budget) => Object.fromEntries(random.list(4, () => [random.pick(KEYS), value(random, depth - 1, budget)]));

/** A packet as the encoders take them. */
function packet(random, buffers) {
  const budget = { binary: buffers };
  const values = () => random.list(4, () => value(random, random.below(6), budget));
  const type = random.pick([0, 1, 2, 2, 2, 2, 3, 3, 4]);
  const packet = { type, nsp: random.chance(0.5) ? "/" : "/" + text(random).replaceAll(",", "") };
  switch (type) {
    case 0:
      if (random.chance(0.5)) packet.data = object(random, 2, { binary: 0 });
      break;
    case 2: {
      const name = text(random);
      packet.data = [RESERVED.includes(name) ? "name" : name, ...values()];
      break;
    }
    case 3:
      packet.data = values();
      break;
    case 4:
      packet.data = random.chance(0.5) ? text(random) : object(random, 2, { binary: 0 });
  }
  if (type === 3 || (type === 2 && random.chance(0.5))) packet.id = random.pick(NUMBERS.filter((number) => number >= 0));
  // The keys have the order of the encoders.
  const { nsp, data, id } = packet;
  return { type, ...(data !== undefined && { data }), nsp, ...(id !== undefined && { id }) };
}

export const jsonPacket = (random) => packet(random, 10);
export const msgpackPacket = (random) => packet(random, 20);

/** Texts that parsers may misread. */
const PIECES = [
  ..."0123456789-/,[]{}\": \\.eE+", "\u0000", "\ufeff", "\u3000", "\u0085", "é", "🦀", "\\u0000", "\\ud83e", "\\udd80", "\\/", "null", "true", "1e5", "-0", "1.0", "1e400", "0x1",
  "18446744073709551616", "{}", "[]", '"disconnect"', '"_placeholder":true', '"num":1', '"num":0.5', '{"_placeholder":true,"num":0}', '"__proto__":1,', '["x"]',
];

/** The messages of a packet with some of them changed. */
export function spoilJson(random, [text, ...attachments]) {
  let characters = [...text];
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    // Faults in the head find more than those in a long payload.
    const at = random.below(random.chance(0.5) ? Math.min(characters.length + 1, 12) : characters.length + 1);
    const piece = random.chance(0.3) ? [] : [random.pick(PIECES)];
    characters.splice(at, random.below(3), ...piece);
  }
  if (random.chance(0.1)) characters = characters.slice(0, random.below(characters.length + 1));
  if (random.chance(0.1)) attachments.pop();
  if (random.chance(0.1)) attachments.push(bytes(random));
  return [characters.join(""), ...attachments];
}

/** Beginnings of values: of every form, and with lengths. An extension with a length of four bytes is not among them: notepack.io takes as
 * much memory as such a length promises. */
const MARKERS = [
  0x00, 0x7f, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6,
  0xd7, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
];
/** Whole values. */
const VALUES = [[0xd4, 0, 0], [0xd7, 0, 0, 0, 1, 0x90, 0, 0, 0, 0], [0xc7, 2, 0, 8, 9], [0xd5, 5, 8, 9], [0xcb, 0x40, 0, 0, 0, 0, 0, 0, 0], [0xca, 0x7f, 0xc0, 0, 0], [0xcf, 255, 255, 255, 255, 255, 255, 255, 255]];

export function spoilMsgpack(random, [message]) {
  let bytes = [...message];
  for (let changes = 1 + random.below(2); changes > 0; changes--) {
    const at = random.below(bytes.length + 1);
    const piece = random.pick([() => [], () => [random.pick(MARKERS)], () => random.pick(VALUES), () => [random.below(0x80)]])();
    // As many bytes as before leave what follows in its place.
    bytes.splice(at, random.chance(0.7) ? piece.length : random.below(3), ...piece);
  }
  if (random.chance(0.1)) bytes = bytes.slice(0, random.below(bytes.length + 1));
  return [Buffer.from(bytes.map((byte) => (byte === 0xc9 ? 0xc8 : byte)))];
}
