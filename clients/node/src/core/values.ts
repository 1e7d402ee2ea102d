/** Values that JSON cannot say, made sayable: what becomes of each is the table in docs/node.md, that of Python's values. */

import type { Event, Fields } from "./event.js";
import { now, put, rfc3339 } from "./event.js";
import { Extension } from "../encoders/msgpack-read.js";
import { render, typeName } from "./tracebacks.js";

/** Field that lists what was done to a repaired event: `"path: what was done"`, as a list of texts. */
export const MARK = "metlog.repaired";
/** Levels of nesting that a repaired event keeps, once it has more than `DEEPEST`. */
export const MAX_DEPTH = 64;
/** Values, over all levels, that a repaired event keeps. */
export const MAX_ITEMS = 10_000;
/** Characters that a text in a repaired event keeps. */
export const MAX_TEXT = 1_000_000;
/** Levels that every reader reads: a listener takes 100, those of the envelope included. */
export const DEEPEST = 90;
const MAX_REPR = 1_000;
const MAX_NOTES = 20;
const MAX_PATH = 200;
const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 64n - 1n;
/** From here on a number is written with an exponent: as digits it would be an integer beyond what others can read exactly. */
export const LARGE = 2 ** 53;
export const SMALL = 1e-5;

const surrogates = /[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g;

/** Text with lone surrogates as `\ud800` escapes, which UTF-8 can say. */
export function escapeSurrogates(text: string): string {
  return text.replace(surrogates, (found) => (found.length === 2 ? found : `\\u${found.charCodeAt(0).toString(16)}`));
}

/** Whether `JSON.stringify` writes the number as Python does: finite, and neither very large nor very small. */
export function plainNumber(value: number): boolean {
  return value < LARGE && value > -LARGE && (value >= SMALL || value <= -SMALL || value === 0);
}

/**
 * Whether a value is of JSON's own types all the way down, so that `JSON.stringify` says all of it. A key whose value is undefined is
 * left out, as JavaScript does. Lone surrogates are not looked for: they show in the text that `JSON.stringify` makes.
 */
export function plain(value: unknown, depth = 0): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return true;
    case "number":
      return plainNumber(value);
    case "object":
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (depth >= DEEPEST) return false;
  if (Array.isArray(value)) {
    if ((value as unknown as { toJSON?: unknown }).toJSON !== undefined) return false;
    for (const item of value) if (!plain(item, depth + 1)) return false;
    return true;
  }
  const prototype = Object.getPrototypeOf(value) as unknown;
  if (prototype !== Object.prototype && prototype !== null) return false;
  if ((value as Fields).toJSON !== undefined) return false;
  for (const key of Object.keys(value)) if (!plain((value as Fields)[key], depth + 1)) return false;
  return true;
}

/**
 * A copy that every encoder can write, and what was done to it. The notes are in the copy too, under the field `metlog.repaired`.
 * Never throws, whatever the event holds; the event and the values in it are left as they are.
 */
export function sanitize(event: Event): { event: Event; notes: string[] } {
  let walk = new Walk(DEEPEST, Infinity, Infinity);
  let said = attempt(walk, event);
  if (said === null || walk.notes.length > 0) {
    // What has to be repaired is kept within limits; what is only of another type (a Date, a Map) is written whole.
    const deep = said === null;
    walk = new Walk(deep ? MAX_DEPTH : DEEPEST, MAX_ITEMS, MAX_TEXT);
    said = attempt(walk, event);
    if (said === null) {
      walk = new Walk(MAX_DEPTH, MAX_ITEMS, MAX_TEXT);
      said = walk.event(event);
    }
  }
  if (walk.notes.length > 0) {
    const kept = walk.notes.slice(0, MAX_NOTES);
    if (walk.notes.length > MAX_NOTES) kept.push(`and ${walk.notes.length - MAX_NOTES} more`);
    said.fields[MARK] = kept;
  }
  return { event: said, notes: walk.notes };
}

function attempt(walk: Walk, event: Event): Event | null {
  walk.strict = walk.depth > MAX_DEPTH;
  try {
    return walk.event(event);
  } catch (error) {
    if (error instanceof TooDeep || error instanceof RangeError) return null;
    throw error;
  }
}

class TooDeep extends Error {}

/** One value as the encoders would say it, and the notes. Never throws. */
export function sayable(value: unknown, path: string): { value: unknown; notes: string[] } {
  const walk = new Walk(MAX_DEPTH, MAX_ITEMS, MAX_TEXT);
  return { value: walk.value(value, path, 0), notes: walk.notes };
}

/** One pass. Code of the application (getters, `toJSON`, iterators, proxies) runs inside a try. */
class Walk {
  readonly notes: string[] = [];
  strict = false;
  private readonly above = new Set<unknown>();

  constructor(
    readonly depth: number,
    private room: number,
    private readonly longest: number,
  ) {}

  note(path: string, what: string): void {
    this.notes.push(`${path.slice(0, MAX_PATH)}: ${what}`);
  }

  event(event: Event): Event {
    const said = this.value(event.fields ?? {}, "fields", 0);
    const fields: Fields = typeof said === "object" && said !== null && !Array.isArray(said) ? (said as Fields) : { fields: said };
    const tokens: readonly unknown[] = Array.isArray(event.tokens) ? event.tokens : [event.tokens];
    return {
      timestamp: this.timestamp(event.timestamp),
      type: this.envelopeText(event.type, "type"),
      tokens: tokens.map((token, index) => this.envelopeText(token, `tokens.${index}`)),
      logger: this.envelopeText(event.logger, "logger"),
      severity: this.envelopeInt(event.severity, "severity", 6, 7) as number,
      payload: this.envelopeText(event.payload, "payload"),
      fields,
      weight: this.weight(event.weight),
      env_version: this.envelopeText(event.env_version, "env_version"),
      pid: this.envelopeInt(event.pid, "pid", 0),
      hostname: this.envelopeText(event.hostname, "hostname"),
      stream: this.envelopeText(event.stream, "stream"),
      seq: this.envelopeInt(event.seq, "seq", 0),
    };
  }

  value(value: unknown, path: string, depth: number): unknown {
    switch (typeof value) {
      case "string":
        return this.text(value, path);
      case "boolean":
        return value;
      case "number":
        return this.number(value, path);
      case "bigint":
        return this.integer(value, path);
      case "undefined":
        return null;
      case "object":
        if (value === null) return null;
        break;
      default:
        return value === UNREADABLE ? this.unreadable(path) : this.described(value, path);
    }
    try {
      return this.object(value as object, path, depth);
    } catch (error) {
      if (error instanceof TooDeep) throw error;
      if (this.strict && error instanceof RangeError) throw error; // the call stack is at its end
      const name = typeName(value);
      this.note(path, `${name} cannot be read (${typeName(error)})`);
      return `<${name}>`;
    }
  }

  text(value: string, path: string): string {
    let text = value;
    if (text.length > this.longest) {
      this.note(path, `cut after ${this.longest} of ${text.length} characters`);
      text = text.slice(0, this.longest);
    }
    if (text.isWellFormed()) return text;
    this.note(path, "lone surrogates became \\ud… escapes");
    return escapeSurrogates(text);
  }

  number(value: number, path: string): number | null {
    if (Number.isFinite(value)) return value;
    this.note(path, `${Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf"} became null`);
    return null;
  }

  integer(value: bigint, path: string): bigint | string {
    if (value >= INT_MIN && value <= INT_MAX) return value;
    this.note(path, "integer beyond 64 bits became text");
    return this.text(value.toString(), path);
  }

  private object(value: object, path: string, depth: number): unknown {
    if (Array.isArray(value)) return this.container(value, path, depth, () => this.items(value, path, depth));
    const prototype = Object.getPrototypeOf(value) as unknown;
    if ((prototype === Object.prototype || prototype === null) && typeof (value as Fields).toJSON !== "function") {
      return this.container(value, path, depth, () => this.mapping(ownPairs(value), path, depth));
    }
    if (value instanceof Error) {
      this.note(path, `${typeName(value)} became its traceback`);
      return this.text(render(value), path);
    }
    if (value instanceof Date) return this.date(value, path);
    if (value instanceof Extension) {
      this.note(path, `MessagePack extension type ${value.code} became base64`);
      return Buffer.from(value.data).toString("base64");
    }
    if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) {
      return this.binary(value, path, depth);
    }
    if (value instanceof Map) {
      return this.container(value, path, depth, () => this.mapping(value as Map<unknown, unknown>, path, depth));
    }
    if (value instanceof Set) return this.container(value, path, depth, () => this.items(value as Set<unknown>, path, depth));
    if (value instanceof String || value instanceof Number || value instanceof Boolean || value instanceof BigInt) {
      return this.value(value.valueOf(), path, depth);
    }
    if (value instanceof URL || value instanceof URLSearchParams) return this.text(value.toString(), path);
    if (value instanceof RegExp || value instanceof Promise || value instanceof WeakMap || value instanceof WeakSet) {
      return this.described(value, path);
    }
    const json: unknown = (value as Fields).toJSON;
    if (typeof json === "function") {
      return this.container(value, path, depth, () => this.value(json.call(value, ""), path, depth + 1));
    }
    if (typeof (value as Iterable<unknown>)[Symbol.iterator] === "function") {
      return this.container(value, path, depth, () => this.items(value as Iterable<unknown>, path, depth));
    }
    return this.container(value, path, depth, () => this.mapping(ownPairs(value), path, depth));
  }

  private container(value: object, path: string, depth: number, inside: () => unknown): unknown {
    if (this.above.has(value)) {
      this.note(path, "refers to what it is part of");
      return "<circular>";
    }
    if (depth >= this.depth) {
      if (this.strict) throw new TooDeep();
      this.note(path, `nested deeper than ${MAX_DEPTH} levels`);
      return "<too deep>";
    }
    this.above.add(value);
    try {
      return inside();
    } finally {
      this.above.delete(value);
    }
  }

  private mapping(pairs: Iterable<[unknown, unknown]>, path: string, depth: number): Fields {
    const said: Fields = {};
    for (const [key, item] of pairs) {
      if (item === undefined) continue;
      if (this.room <= 0) {
        this.note(path, `cut: more than ${MAX_ITEMS} values in the event`);
        break;
      }
      this.room -= 1;
      const name = typeof key === "string" ? this.text(key, path) : this.key(key, path);
      if (Object.hasOwn(said, name)) this.note(path, "two keys became the same; the later one stays");
      const here = `${path}.${name}`.slice(0, MAX_PATH);
      put(said, name, this.value(item, here, depth + 1));
    }
    return said;
  }

  private unreadable(path: string): string {
    this.note(path, "cannot be read: it throws");
    return "<unreadable>";
  }

  private items(value: Iterable<unknown>, path: string, depth: number): unknown[] {
    const said: unknown[] = [];
    for (const item of value) {
      if (this.room <= 0) {
        this.note(path, `cut: more than ${MAX_ITEMS} values in the event`);
        break;
      }
      this.room -= 1;
      said.push(this.value(item, `${path}.${said.length}`, depth + 1));
    }
    return said;
  }

  private key(key: unknown, path: string): string {
    if (key === null || key === undefined || typeof key === "boolean") {
      this.note(path, `the key ${key === undefined ? null : String(key)} became text`);
      return key === undefined ? "null" : String(key);
    }
    if (typeof key === "number" && Number.isFinite(key)) return numberText(key);
    if (typeof key === "bigint") return key.toString();
    if (key instanceof Date || ArrayBuffer.isView(key)) return String(this.value(key, `${path} (a key)`, MAX_DEPTH - 1));
    const said = this.value(key, `${path} (a key)`, this.depth - 1);
    this.note(path, `a key of type ${typeName(key)} became text`);
    return typeof said === "string" ? said : stringify(said).slice(0, MAX_REPR);
  }

  private date(value: Date, path: string): string | null {
    const ms = value.getTime();
    if (!Number.isNaN(ms) && ms >= -62135596800000 && ms <= 253402300799999) return rfc3339(ms);
    this.note(path, Number.isNaN(ms) ? "an invalid date became null" : "a date beyond the years 1 to 9999 became its text");
    return Number.isNaN(ms) ? null : value.toISOString();
  }

  private binary(value: ArrayBufferView | ArrayBufferLike, path: string, depth: number): unknown {
    if (value instanceof Uint8Array || value instanceof Uint8ClampedArray || value instanceof DataView) {
      return this.text(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64"), path);
    }
    if (!ArrayBuffer.isView(value)) return this.text(Buffer.from(value).toString("base64"), path);
    return this.container(value, path, depth, () => this.items(value as unknown as Iterable<unknown>, path, depth));
  }

  /** A function, a symbol or an object without an obvious form. */
  private described(value: unknown, path: string): string {
    const name = typeName(value);
    this.note(path, `${name} became its text`);
    if (typeof value === "symbol") return this.text(value.toString().slice(0, MAX_REPR), path);
    if (typeof value === "function") {
      let called = "";
      try {
        called = String(value.name);
      } catch {
        // a proxy: it stays without a name
      }
      return this.text(`<function${called ? ` ${called}` : ""}>`.slice(0, MAX_REPR), path);
    }
    return value instanceof RegExp ? this.text(String(value).slice(0, MAX_REPR), path) : `<${name}>`;
  }

  private envelopeText(value: unknown, path: string): string {
    if (typeof value === "string") return this.text(value, path);
    const said = this.value(value, path, this.depth - 1);
    this.note(path, `${typeName(value)} became text`);
    return typeof said === "string" ? said : stringify(said);
  }

  private envelopeInt(value: unknown, path: string, otherwise: number, most = 2n ** 63n - 1n as bigint | number): number | bigint {
    if ((typeof value === "bigint" || Number.isInteger(value)) && (value as number) >= 0 && (value as number) <= most) {
      return value as number;
    }
    this.note(path, `not an integer from 0 to ${most}; became ${otherwise}`);
    return otherwise;
  }

  private weight(value: unknown): number {
    if (typeof value === "number" && value > 0 && value < Infinity) return value;
    this.note("weight", "not a number above 0; became 1");
    return 1;
  }

  private timestamp(value: unknown): string {
    if (typeof value === "string" && TIME.test(value)) return value;
    if ((value as unknown) instanceof Date && !Number.isNaN((value as unknown as Date).getTime())) {
      return rfc3339((value as unknown as Date).getTime());
    }
    this.note("timestamp", `${typeName(value)} is no time; became the time of encoding`);
    return now();
  }
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/;
const UNREADABLE = Symbol("unreadable");

/** A copy of a table of whatever kind, that can be read again: a getter that throws is marked, and the other keys stay. */
export function readable(value: object): Fields {
  const made: Fields = {};
  try {
    if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
    for (const [key, item] of ownPairs(value)) put(made, key, item);
  } catch {
    made.fields = UNREADABLE; // a proxy
  }
  return made;
}

/** Own enumerable properties; one whose getter throws is marked, and the others stay. */
function* ownPairs(value: object): Iterable<[string, unknown]> {
  for (const key of Object.keys(value)) {
    let item: unknown;
    try {
      item = (value as Fields)[key];
    } catch {
      item = UNREADABLE;
    }
    yield [key, item];
  }
}

/** A finite number as the other clients write it: shortest digits, an exponent without a plus from 2**53 and below 1e-5. */
export function numberText(value: number): string {
  if (plainNumber(value)) return String(value);
  const found = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(value.toExponential());
  if (found === null) return "null";
  const [, sign, first, rest, exponent] = found as unknown as [string, string, string, string | undefined, string];
  const power = Number(exponent);
  // Below 1e16 a whole number keeps its digits; its fraction tells it from an integer.
  if (power >= 0 && power < 16) return Number.isSafeInteger(value) ? String(value) : `${BigInt(value)}.0`;
  return `${sign}${first}${rest === undefined ? "" : `.${rest}`}e${power}`;
}

/** What a walk made (text, numbers, 64-bit integers, truth values, null, arrays and objects of these) as JSON. */
export function stringify(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return numberText(value);
    case "bigint":
      return value.toString();
    case "boolean":
      return value ? "true" : "false";
    default:
  }
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return `[${value.map(stringify).join(",")}]`;
  return `{${Object.keys(value)
    .map((key) => `${JSON.stringify(key)}:${stringify((value as Fields)[key])}`)
    .join(",")}}`;
}
