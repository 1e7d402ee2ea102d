/** Frames to events: what both wire formats share on the reading side. The formats are described in docs/wire.md. */

import { DecodeError } from "../core/errors.js";
import type { Event, Fields } from "../core/event.js";
import { makeEvent, rfc3339 } from "../core/event.js";
import { plain, sanitize } from "../core/values.js";
import { JsonError, parseJson } from "./json-parse.js";
import { MsgpackError, readMsgpack, Timestamp, WholeFloat, withNumbers } from "./msgpack-read.js";

const SIGNATURE = Buffer.from('{"metlog.signed":');
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const MAX_SEQ = 2n ** 63n - 1n;
const FIRST = Date.UTC(1970, 0, 1) - 62135596800000;
const LAST = 253402300799999;

/** Whether the first byte is that of a MessagePack map or array; anything else is taken for JSON lines. */
export function isMsgpack(frame: Uint8Array): boolean {
  const first = frame[0];
  return first !== undefined && ((first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf));
}

/** A frame without byte order mark and without the line that the encoder `signed` puts before it, unchecked. */
export function unsigned(frame: Uint8Array): Uint8Array {
  let rest = frame;
  if (rest[0] === 0xef && rest[1] === 0xbb && rest[2] === 0xbf) rest = rest.subarray(3);
  if (SIGNATURE.equals(rest.subarray(0, SIGNATURE.length))) {
    const end = rest.indexOf(0x0a);
    rest = rest.subarray(end < 0 ? rest.length : end + 1);
  }
  return rest;
}

/** Every event of a frame of either format, told by its first byte; throws DecodeError. */
export function decode(frame: Uint8Array): Event[] {
  const rest = unsigned(frame);
  return isMsgpack(rest) ? decodeMsgpack(rest) : decodeJson(rest);
}

/** Every event of a JSON frame; throws DecodeError that names the first line at fault and the reason. */
export function decodeJson(frame: Uint8Array): Event[] {
  const rest = unsigned(frame);
  const events: Event[] = [];
  let number = 0;
  for (let at = 0; at <= rest.length; ) {
    const end = rest.indexOf(0x0a, at);
    const line = rest.subarray(at, end < 0 ? rest.length : end);
    at = end < 0 ? rest.length + 1 : end + 1;
    number += 1;
    const reason = (words: string): DecodeError => new DecodeError(`line ${number}: ${words}`);
    let text: string;
    try {
      text = strict.decode(line).replace(/^[ \t\r]+|[ \t\r]+$/g, "");
    } catch {
      throw reason("not UTF-8");
    }
    if (text === "") continue;
    if (!text.startsWith("{")) throw reason(`starts with '${text[0]}'; neither a JSON object nor MessagePack`);
    try {
      events.push(eventOf(parseJson(text)));
    } catch (error) {
      if (error instanceof JsonError || error instanceof DecodeError) throw reason(error.message);
      throw error;
    }
  }
  return events;
}

/** Every event of a MessagePack frame; throws DecodeError that names the first event at fault and the reason. */
export function decodeMsgpack(frame: Uint8Array): Event[] {
  const rest = unsigned(frame);
  if (!isMsgpack(rest)) {
    const start = rest.length > 0 ? `0x${(rest[0] as number).toString(16).padStart(2, "0")}` : "nothing";
    throw new DecodeError(`a MessagePack frame starts with a map or an array, not with ${start}`);
  }
  let value: unknown;
  try {
    value = readMsgpack(rest);
  } catch (error) {
    if (error instanceof MsgpackError) throw new DecodeError(error.message);
    throw error;
  }
  if (!Array.isArray(value)) return [tidy(eventOf(value))];
  return value.map((item, index) => {
    try {
      return tidy(eventOf(item));
    } catch (error) {
      if (error instanceof DecodeError) throw new DecodeError(`event ${index + 1}: ${error.message}`);
      throw error;
    }
  });
}

/** An event of another program's MessagePack, with its fields as JSON would have said them. */
function tidy(event: Event): Event {
  return plain(event.fields) ? event : sanitize(event).event;
}

/** A decoded object as an event; throws DecodeError with the path of the key at fault. */
export function eventOf(value: unknown): Event {
  if (value instanceof Map) throw new DecodeError("an event's keys are text: a key is none");
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Timestamp) {
    throw new DecodeError(`Expected \`object\`, got \`${kind(value)}\``);
  }
  const given = value as Fields;
  if (!Object.hasOwn(given, "type")) throw new DecodeError("an event needs a `type`");
  const event = makeEvent({ type: text(given, "type") as string });
  for (const key of ["logger", "payload", "env_version", "hostname", "stream"] as const) {
    if (Object.hasOwn(given, key)) event[key] = text(given, key);
  }
  if (Object.hasOwn(given, "timestamp")) event.timestamp = time(given.timestamp);
  if (Object.hasOwn(given, "tokens")) event.tokens = tokens(given.tokens);
  if (Object.hasOwn(given, "severity")) event.severity = Number(integer(given, "severity", 7n));
  if (Object.hasOwn(given, "pid")) event.pid = integer(given, "pid", MAX_SEQ);
  if (Object.hasOwn(given, "seq")) event.seq = integer(given, "seq", MAX_SEQ);
  if (Object.hasOwn(given, "weight")) {
    const weight = typeof given.weight === "bigint" ? Number(given.weight) : withNumbers(given.weight);
    if (typeof weight !== "number" || !(weight > 0) || weight === Infinity) throw wrong("weight", "a number above 0", given.weight);
    event.weight = weight;
  }
  if (Object.hasOwn(given, "fields")) {
    const fields = given.fields;
    if (typeof fields !== "object" || fields === null || Array.isArray(fields) || fields instanceof Map || fields instanceof Timestamp) {
      throw wrong("fields", "object", fields);
    }
    event.fields = withNumbers(fields) as Fields;
  }
  return event;
}

function wrong(key: string, wanted: string, value: unknown): DecodeError {
  return new DecodeError(`Expected \`${wanted}\`, got \`${kind(value)}\` - at \`$.${key}\``);
}

function kind(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof WholeFloat) return "float";
  switch (typeof value) {
    case "string":
      return "str";
    case "bigint":
      return "int";
    case "number":
      return Number.isInteger(value) ? "int" : "float";
    case "boolean":
      return "bool";
    default:
      return "object";
  }
}

function text(given: Fields, key: string): string {
  const value = given[key];
  if (typeof value !== "string") throw wrong(key, "str", value);
  return value;
}

function tokens(value: unknown): string[] {
  if (!Array.isArray(value)) throw wrong("tokens", "array", value);
  value.forEach((token, index) => {
    if (typeof token !== "string") throw wrong(`tokens[${index}]`, "str", token);
  });
  return value as string[];
}

function integer(given: Fields, key: string, most: bigint): number | bigint {
  const value = given[key];
  if (typeof value !== "bigint" && !(typeof value === "number" && Number.isInteger(value))) throw wrong(key, "int", value);
  if (value < 0 || BigInt(value) > most) throw new DecodeError(`Expected \`int\` from 0 to ${most} - at \`$.${key}\``);
  return value;
}

const RFC3339 = /^(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):?(\d\d))$/;

function time(value: unknown): string {
  const bad = new DecodeError("Invalid RFC3339 encoded datetime - at `$.timestamp`");
  if (value instanceof Timestamp) {
    const ms = value.seconds * 1000;
    if (!(ms >= FIRST && ms <= LAST && value.nanoseconds < 1_000_000_000)) throw bad;
    return withMicros(ms, Math.floor(value.nanoseconds / 1000));
  }
  const found = typeof value === "string" ? RFC3339.exec(value) : null;
  if (found === null) throw bad;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map(Number) as [number, number, number, number, number, number];
  if (hour > 23 || minute > 59 || second > 59) throw bad;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (year === 0 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) throw bad;
  const hours = Number(found[9] ?? 0);
  const minutes = Number(found[10] ?? 0);
  if (hours > 23 || minutes > 59) throw bad;
  const offset = (found[8] === "-" ? -1 : 1) * (hours * 60 + minutes);
  const ms = date.getTime() + ((hour * 60 + minute - offset) * 60 + second) * 1000;
  if (ms < FIRST) return "0001-01-01T00:00:00Z"; // what UTC cannot say becomes the nearest
  if (ms > LAST) return "9999-12-31T23:59:59.999999Z";
  // Digits beyond the microsecond are rounded, as Python's reader does.
  return withMicros(ms, Math.round(Number(`0.${found[7] ?? "0"}`) * 1_000_000));
}

function withMicros(ms: number, micros: number): string {
  const whole = rfc3339(ms + (micros >= 1_000_000 ? 1000 : 0));
  const rest = micros % 1_000_000;
  return rest === 0 ? whole : `${whole.slice(0, -1)}.${String(rest).padStart(6, "0")}Z`;
}
