/** The record that travels: `Event`, and the severities of RFC 5424. */

/** Version of the envelope that this release writes. */
export const ENV_VERSION = "1";
/** Type of the event that closes a stream: `fields` has `last_seq` and `dropped` (counts by reason). */
export const END_TYPE = "metlog.end";
/** Type of the event that follows a drop: `fields` has `dropped` (counts by reason since the stream began). */
export const REPORT_TYPE = "metlog.report";

/** Severities of RFC 5424, section 6.2.1; smaller is more urgent. */
export const Severity = Object.freeze({
  EMERGENCY: 0,
  ALERT: 1,
  CRITICAL: 2,
  ERROR: 3,
  WARNING: 4,
  NOTICE: 5,
  INFORMATIONAL: 6,
  DEBUG: 7,
});

export type Fields = Record<string, unknown>;

/**
 * One structured event, with the names of the wire. Filters get it and return it, a changed copy (`replace`) or null.
 */
export interface Event {
  /** RFC 3339 in UTC with `Z`, and microseconds where they are not zero. */
  timestamp: string;
  /** What kind of event; for `log(tokens, …)` the first token. */
  type: string;
  tokens: readonly string[];
  logger: string;
  /** 0 (emergency) to 7 (debug). */
  severity: number;
  payload: string;
  /** Anything else that JSON can say. */
  fields: Fields;
  /** How many events this one stands for: 1 / rate when sampled. */
  weight: number;
  env_version: string;
  pid: number | bigint;
  hostname: string;
  /** Random id of the sending client. */
  stream: string;
  /** Rises by one an event within a stream, from 1; 0: not counted. */
  seq: number | bigint;
}

/** An event with every key; what is left out has its default. */
export function makeEvent(part: Partial<Event> & { type: string }): Event {
  return {
    timestamp: part.timestamp ?? now(),
    type: part.type,
    tokens: part.tokens ?? [],
    logger: part.logger ?? "",
    severity: part.severity ?? 6,
    payload: part.payload ?? "",
    fields: part.fields ?? {},
    weight: part.weight ?? 1,
    env_version: part.env_version ?? ENV_VERSION,
    pid: part.pid ?? 0,
    hostname: part.hostname ?? "",
    stream: part.stream ?? "",
    seq: part.seq ?? 0,
  };
}

/** A copy of the event with some keys changed: what a filter returns instead of changing the event in place. */
export function replace(event: Event, changes: Partial<Event>): Event {
  return { ...event, ...changes };
}

const SEVERITIES: Readonly<Record<string, number>> = {
  __proto__: null as never, emergency: 0, emerg: 0, panic: 0, alert: 1, critical: 2, crit: 2, fatal: 2, error: 3, err: 3, warning: 4,
  warn: 4, notice: 5, informational: 6, info: 6, debug: 7, trace: 7,
};

/** The number that is meant by a number, its digits, or the name of a severity; it may be out of range, and is NaN for what is neither. */
export function severityFrom(value: unknown): number {
  try {
    if (typeof value !== "string") return Math.trunc(Number(value));
    const name = value.trim().toLowerCase();
    return SEVERITIES[name] ?? (name === "" ? NaN : Math.trunc(Number(name)));
  } catch {
    return NaN; // a symbol, or an object that is no number
  }
}

let cachedMs = -1;
let cachedText = "";

/** The time now, as the wire has it. JavaScript's clock gives milliseconds; the text is made once for each of them. */
export function now(): string {
  const ms = Date.now();
  if (ms !== cachedMs) {
    cachedMs = ms;
    cachedText = rfc3339(ms);
  }
  return cachedText;
}

/** Milliseconds since 1970 as RFC 3339 in UTC; a fraction of six digits, or none where it is zero. */
export function rfc3339(ms: number): string {
  const text = new Date(ms).toISOString(); // throws RangeError for an invalid time
  return ms % 1000 === 0 ? `${text.slice(0, -5)}Z` : `${text.slice(0, -1)}000Z`;
}

/** Sets a key as an own property, also `__proto__`, which an assignment would take for the prototype. */
export function put(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
}
