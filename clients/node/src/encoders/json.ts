/** Newline-delimited JSON: one event a line, so that any log shipper can read a frame. */

import type { Event } from "../core/event.js";
import { escapeSurrogates, plain, sanitize, stringify } from "../core/values.js";
import type { Encoder } from "./encoder.js";
import { decodeJson } from "./frames.js";

const ESCAPED = /[^ !#-[\]-~]/;
const LINE_FEED = Buffer.from("\n");

/** RFC 8259 JSON in UTF-8, one event a line, each line ended by a line feed. */
export class JsonEncoder implements Encoder {
  readonly content_type = "application/x-ndjson";
  repaired = 0;

  encode(event: Event): Uint8Array {
    return Buffer.from(this.text(event));
  }

  /** One event as JSON, without the line feed; never throws. */
  text(event: Event): string {
    try {
      if (plainEnvelope(event) && plain(event.fields)) {
        const line = envelope(event, JSON.stringify(event.fields));
        if (!line.includes("\\ud")) return line;
      }
    } catch {
      // a getter or a proxy: the careful way finds out what it is and says it
    }
    const { event: said, notes } = sanitize(event);
    if (notes.length > 0) this.repaired += 1;
    return envelope(said, stringify(said.fields));
  }

  frame(encoded: Uint8Array[]): Uint8Array {
    const parts: Uint8Array[] = [];
    for (const line of encoded) parts.push(line, LINE_FEED);
    return Buffer.concat(parts);
  }

  decode(frame: Uint8Array): Event[] {
    return decodeJson(frame);
  }
}

function plainEnvelope(event: Event): boolean {
  return (
    typeof event.timestamp === "string" &&
    TIME.test(event.timestamp) &&
    typeof event.type === "string" &&
    Array.isArray(event.tokens) &&
    event.tokens.every((token) => typeof token === "string") &&
    typeof event.logger === "string" &&
    Number.isInteger(event.severity) &&
    event.severity >= 0 &&
    event.severity <= 7 &&
    typeof event.payload === "string" &&
    typeof event.fields === "object" &&
    event.fields !== null &&
    !Array.isArray(event.fields) &&
    event.weight > 0 &&
    event.weight < Infinity &&
    typeof event.env_version === "string" &&
    Number.isSafeInteger(event.pid) &&
    (event.pid as number) >= 0 &&
    typeof event.hostname === "string" &&
    typeof event.stream === "string" &&
    Number.isSafeInteger(event.seq) &&
    (event.seq as number) >= 0
  );
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$/;

/** The keys in the order of docs/wire.md. */
function envelope(event: Event, fields: string): string {
  return (
    `{"timestamp":"${event.timestamp}","type":${quote(event.type)},"tokens":${JSON.stringify(event.tokens)},"logger":${quote(event.logger)},` +
    `"severity":${event.severity},"payload":${quote(event.payload)},"fields":${fields},` +
    (event.weight === 1 ? "" : `"weight":${weightText(event.weight)},`) +
    `"env_version":${quote(event.env_version)},"pid":${event.pid},"hostname":${quote(event.hostname)},` +
    `"stream":${quote(event.stream)},"seq":${event.seq}}`
  );
}

/** A weight is a float in every language: a whole one is written with its fraction. */
function weightText(weight: number): string {
  const text = stringify(weight);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

/** Text in quotes; what needs no escape, which is most, is not looked at again. */
export function quote(text: string): string {
  return ESCAPED.test(text) ? JSON.stringify(text) : `"${text}"`;
}

const TOKENS_KNOWN = 4096;

/**
 * Lines straight from the arguments of a call, for events without anything odd: no filter has to look at them, no Event is built.
 * Made anew for each stream.
 */
export class LineWriter {
  /** What comes between the fields and the count. */
  readonly tail: string;
  private readonly head: string;
  private readonly single = new Map<string, string>();
  private readonly pairs = new Map<string, Map<string, string>>();
  private known = 0;

  constructor(origin: Event) {
    const { logger, env_version, pid, hostname, stream } = origin;
    this.head = `,"logger":${safe(logger)},"severity":`;
    this.tail = `,"env_version":${safe(env_version)},"pid":${pid},"hostname":${safe(hostname)},"stream":${safe(stream)},"seq":`;
  }

  /** `"type":…,"tokens":…,"logger":…,"severity":`; null for tokens that are not text. */
  start(tokens: string | readonly string[]): string | null {
    if (typeof tokens === "string") return this.single.get(tokens) ?? this.learn(tokens, undefined);
    if (!Array.isArray(tokens)) return null;
    const [first, second] = tokens as readonly string[];
    switch (tokens.length) {
      case 1:
        return typeof first === "string" ? (this.single.get(first) ?? this.learn(first, undefined)) : null;
      case 2:
        if (typeof first !== "string" || typeof second !== "string") return null;
        return this.pairs.get(first)?.get(second) ?? this.learn(first, second);
      case 0:
        return null;
      default:
        return tokens.every((token) => typeof token === "string") ? this.make(tokens as string[]) : null;
    }
  }

  private make(tokens: readonly string[]): string {
    const proper = tokens.map((token) => (token.isWellFormed() ? token : null));
    if (proper.includes(null)) return "";
    return `"type":${quote(tokens[0] as string)},"tokens":${JSON.stringify(tokens)}${this.head}`;
  }

  private learn(first: string, second: string | undefined): string | null {
    const made = this.make(second === undefined ? [first] : [first, second]);
    if (made === "") return null;
    if (this.known >= TOKENS_KNOWN) {
      // made at run time
      this.single.clear();
      this.pairs.clear();
      this.known = 0;
    }
    this.known += 1;
    if (second === undefined) {
      this.single.set(first, made);
    } else {
      const below = this.pairs.get(first) ?? new Map<string, string>();
      this.pairs.set(first, below.set(second, made));
    }
    return made;
  }
}

/** Fields as JSON where every value is text, a usual number, true, false, null or undefined; null otherwise. */
export function flatJson(fields: Record<string, unknown>): string | null {
  const prototype = Object.getPrototypeOf(fields) as unknown;
  if (prototype !== Object.prototype && prototype !== null) return null;
  for (const key in fields) {
    const value = fields[key];
    switch (typeof value) {
      case "string":
      case "boolean":
      case "undefined":
        break;
      case "number":
        // as `plainNumber`
        if (!(value < 9007199254740992 && value > -9007199254740992 && (value >= 1e-5 || value <= -1e-5 || value === 0))) return null;
        break;
      case "object":
        if (value !== null) return null;
        break;
      default:
        return null;
    }
  }
  return JSON.stringify(fields);
}

function safe(text: string): string {
  return quote(escapeSurrogates(text));
}
