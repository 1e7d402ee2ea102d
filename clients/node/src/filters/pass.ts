/** One pass of `redact` over the fields of an event: every path asked, every text masked, whatever refers to what. */

import { isTable } from "../config/convert.js";
import type { Fields } from "../core/event.js";
import { put } from "../core/event.js";
import { render } from "../core/tracebacks.js";
import { MAX_DEPTH, MAX_ITEMS, sayable, stringify } from "../core/values.js";
import { cutIp } from "./addresses.js";
import type { Redact } from "./redact.js";

export const DROP = 1;
export const KEEP = 2;
export const PSEUDONYMIZE = 4;
export const CUT = 8;

/** Bounded in depth and in the number of values. */
export class Pass {
  readonly notes: string[] = [];
  private left = MAX_ITEMS;
  private readonly above = new Set<unknown>();

  constructor(private readonly redact: Redact) {}

  /** What is left of a table; `path`: null at the top; `kept`: all in it that is not dropped. */
  mapping(value: object, path: string | null, kept: boolean): Fields {
    const { redact } = this;
    const made: Fields = {};
    const again = new Map<string, number>();
    for (const [name, item] of pairs(value)) {
      const key = typeof name === "string" ? name : nameOf(name);
      const here = path === null ? key : `${path}.${key}`;
      const code = redact.code(here);
      if (code & DROP || item === undefined) continue;
      const keep = kept || (code & KEEP) !== 0;
      if (!keep && (isLeaf(item) || code !== 0)) continue;
      if (this.left <= 0) {
        this.full(here);
        break;
      }
      this.left -= 1;
      const said = code > KEEP ? this.changed(item, here, code) : this.value(item, here, keep);
      if (code <= KEEP && !keep && !filled(said)) continue;
      let shown = key;
      if (redact.masksText) {
        shown = redact.name(key);
        if (Object.hasOwn(made, shown)) shown = beside(shown, made, again);
      }
      put(made, shown, said);
    }
    return made;
  }

  /** What is left of a list. */
  private items(value: Iterable<unknown>, path: string, kept: boolean): unknown[] {
    const { redact } = this;
    const made: unknown[] = [];
    let index = -1;
    for (const item of value) {
      index += 1;
      const here = `${path}.${index}`;
      const code = redact.code(here);
      const keep = kept || (code & KEEP) !== 0;
      if (code & DROP || (!keep && (isLeaf(item) || code !== 0))) continue;
      if (this.left <= 0) {
        this.full(here);
        break;
      }
      this.left -= 1;
      const said = code > KEEP ? this.changed(item, here, code) : this.value(item, here, keep);
      if (keep || filled(said)) made.push(said);
    }
    return made;
  }

  /** The value, or each item of a list, as a pseudonym or a network. */
  changed(value: unknown, path: string, code: number): unknown {
    const change = (text: string): string | null => (code & PSEUDONYMIZE ? this.redact.pseudonym(text) : cutIp(text));
    if (typeof value === "string") return change(value);
    if ((value === null || value === undefined) && code & PSEUDONYMIZE) return null;
    if (Array.isArray(value) || value instanceof Set) {
      return [...(value as Iterable<unknown>)].slice(0, Math.max(0, this.left)).map((item) => change(said(item, path)));
    }
    return change(said(value, path));
  }

  /** What is left of a value that no path names. */
  value(value: unknown, path: string, kept: boolean): unknown {
    const { redact } = this;
    switch (typeof value) {
      case "string":
        return redact.masksText ? redact.text(value) : value;
      case "boolean":
        return value;
      case "number":
      case "bigint":
        return redact.masksText ? redact.number(value) : value; // a card number may well be a number
      case "object":
        if (value === null) return null;
        break;
      case "undefined":
        return null;
      default:
    }
    if (Array.isArray(value) || value instanceof Set || value instanceof Map || isTable(value)) {
      return this.inside(value as object, path, kept);
    }
    if (value instanceof Uint8Array) {
      if (!redact.masksText) return value; // base64 would hide a secret from the masks
      const letters = Buffer.from(value).toString();
      const hidden = redact.text(letters);
      return hidden === letters ? value : hidden;
    }
    if (value instanceof Error) {
      const trace = render(value);
      return redact.masksText ? redact.text(trace) : trace;
    }
    const { value: plain, notes } = sayable(value, path);
    this.notes.push(...notes);
    return this.value(plain, path, kept);
  }

  private inside(value: object, path: string, kept: boolean): unknown {
    if (this.above.has(value)) {
      this.notes.push(`${path.slice(0, 200)}: refers to what it is part of`);
      return "<circular>";
    }
    if (this.above.size >= MAX_DEPTH) {
      this.notes.push(`${path.slice(0, 200)}: nested deeper than ${MAX_DEPTH} levels`);
      return "<too deep>";
    }
    this.above.add(value);
    try {
      const list = Array.isArray(value) || value instanceof Set;
      return list ? this.items(value as Iterable<unknown>, path, kept) : this.mapping(value, path, kept);
    } finally {
      this.above.delete(value);
    }
  }

  private full(path: string): void {
    if (this.left === 0) this.notes.push(`${path.slice(0, 200)}: cut: more than ${MAX_ITEMS} values in the event`);
    this.left = -1;
  }
}

function pairs(value: object): Iterable<[unknown, unknown]> {
  if (value instanceof Map) return [...(value as Map<unknown, unknown>)];
  return Object.keys(value).map((key) => {
    try {
      return [key, (value as Fields)[key]];
    } catch {
      return [key, "<unreadable>"]; // its getter throws
    }
  });
}

function isLeaf(value: unknown): boolean {
  return value === null || typeof value !== "object" || value instanceof Uint8Array;
}

function filled(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}

/** Another name beside one that is taken: two names may become one when they are masked. */
function beside(name: string, taken: Fields, again: Map<string, number>): string {
  for (;;) {
    const count = (again.get(name) ?? 1) + 1;
    again.set(name, count);
    const free = `${name} (${count})`;
    if (!Object.hasOwn(taken, free)) return free;
  }
}

function nameOf(key: unknown): string {
  const { value } = sayable(new Map([[key, null]]), "");
  return isTable(value) ? (Object.keys(value)[0] ?? "") : String(value);
}

/** A value as text: the same for the same value, and for a number and its digits. */
function said(value: unknown, path: string): string {
  if (typeof value === "string") return value;
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  const { value: plain } = sayable(value, path);
  return typeof plain === "string" ? plain : stringify(ordered(plain));
}

/** With the keys of every table in the order of their code points. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (!isTable(value)) return value;
  const made: Fields = {};
  for (const key of Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))) put(made, key, ordered(value[key]));
  return made;
}
