/** Privacy: drops, keeps, pseudonymises, shortens and masks before anything is encoded. */

import { createHmac } from "node:crypto";
import { isTable, repr } from "../config/convert.js";
import { ConfigError, messageOf } from "../core/errors.js";
import type { Event, Fields } from "../core/event.js";
import { put, replace } from "../core/event.js";
import { MARK } from "../core/values.js";
import type { FilterObject } from "./filter.js";
import type { Mask } from "./masks.js";
import { MASKS, ofPattern } from "./masks.js";
import { CUT, DROP, KEEP, Pass, PSEUDONYMIZE } from "./pass.js";
import { Paths } from "./paths.js";

const MIN_KEY = 16; // characters that the key of pseudonyms has at least
const MOST_KNOWN = 4096;
const LONGEST_KNOWN = 100;
const CARD = MASKS.get("credit_card");

export interface RedactOptions {
  drop?: string[];
  keep?: string[];
  pseudonymize?: string[];
  key?: string;
  cut_ip?: string[];
  mask?: string[];
  mask_with?: string;
}

/**
 * Removes what must not leave the process, from fields and payload, nested values and names included. The options, the paths and
 * the pseudonyms are those of the Python client. Objects are looked at as the encoders would write them; the caller's own are never changed.
 */
export class Redact implements FilterObject {
  readonly masksText: boolean;
  private readonly dropped: Paths;
  private readonly keep: Paths | null;
  private readonly pseudonymized: Paths;
  private readonly cut: Paths;
  private readonly masks: Mask[];
  private readonly maskWith: string;
  private readonly key: string;
  private readonly byName: boolean;
  private readonly codes = new Map<string, number>();
  private readonly hidden = new Map<string, string>();

  constructor({ drop, keep, pseudonymize, key, cut_ip, mask, mask_with = "***" }: RedactOptions) {
    const wrong: string[] = [];
    this.dropped = new Paths("drop", drop, wrong);
    this.keep = keep === undefined ? null : new Paths("keep", keep, wrong);
    this.pseudonymized = new Paths("pseudonymize", pseudonymize, wrong);
    this.cut = new Paths("cut_ip", cut_ip, wrong);
    this.masks = (mask ?? []).flatMap((pattern) => maskOf(pattern, wrong) ?? []);
    this.maskWith = mask_with;
    const some = (list: string[] | undefined): boolean => list !== undefined && list.length > 0;
    if (some(pseudonymize) && (key === undefined || Array.from(key).length < MIN_KEY)) {
      wrong.push(`key: pseudonymize needs a secret of at least ${MIN_KEY} characters; take it from the environment: key = '\${METLOG_PSEUDONYM_KEY}' in a file, os.environ['METLOG_PSEUDONYM_KEY'] in Python`);
    }
    if (key !== undefined && !some(pseudonymize)) {
      wrong.push("key: means nothing without pseudonymize; name the paths there, or leave it out");
    }
    if (!some(drop) && keep === undefined && !some(pseudonymize) && !some(cut_ip) && !some(mask)) {
      wrong.push("redact does nothing; give drop, keep, pseudonymize, cut_ip or mask");
    }
    if (wrong.length > 0) throw new ConfigError(wrong);
    this.key = key ?? "";
    this.masksText = this.masks.length > 0;
    this.byName = !this.masksText && [this.dropped, this.keep, this.pseudonymized, this.cut].every((paths) => paths === null || paths.names !== null);
  }

  filter(event: Event): Event {
    const { fields } = event;
    if (this.byName && isTable(fields)) return replace(event, { fields: this.named(fields) });
    const walk = new Pass(this);
    const given: unknown = fields;
    const table = given instanceof Map || (typeof given === "object" && given !== null && !Array.isArray(given)) ? given : { fields: given };
    const made = walk.mapping(table, null, this.keep === null);
    if (walk.notes.length > 0) {
      const before = made[MARK];
      const notes = walk.notes.map((note) => this.text(`fields.${note}`));
      made[MARK] = Array.isArray(before) ? [...(before as unknown[]), ...notes] : notes;
    }
    if (!this.masksText) return replace(event, { fields: made });
    return replace(event, {
      payload: this.payload(String(event.payload), event.type, made),
      fields: made,
      type: this.name(String(event.type)),
      tokens: event.tokens.map((token) => this.name(String(token))),
      logger: this.name(String(event.logger)),
    });
  }

  /** What masks leave of a payload; that of a measurement is its number, and stays where that does. */
  private payload(payload: string, kind: string, fields: Fields): string {
    const value = kind === "timer" ? fields["ms"] : kind === "counter" ? fields["count"] : undefined;
    if (typeof value === "number" && !Number.isInteger(value) && String(value) === payload) return payload;
    return this.text(payload);
  }

  /** Where names alone say what happens; what is inside the values need not be looked at. */
  private named(fields: Fields): Fields {
    const made: Fields = {};
    for (const name of Object.keys(fields)) {
      const code = this.code(name);
      if (code & DROP || !(this.keep === null || code & KEEP)) continue;
      put(made, name, code <= KEEP ? fields[name] : new Pass(this).changed(fields[name], name, code));
    }
    return made;
  }

  /** What is to be done with the value under a path: the sum of DROP, KEEP, PSEUDONYMIZE and CUT. */
  code(path: string): number {
    const known = this.codes.get(path);
    if (known !== undefined) return known;
    let code = this.dropped.match(path) ? DROP : 0;
    if (this.keep?.match(path)) code |= KEEP;
    if (this.pseudonymized.match(path)) code |= PSEUDONYMIZE;
    else if (this.cut.match(path)) code |= CUT;
    if (path.length <= LONGEST_KNOWN) {
      if (this.codes.size >= MOST_KNOWN) this.codes.clear(); // names made at run time
      this.codes.set(path, code);
    }
    return code;
  }

  /** The text with what the masks find hidden. */
  text(text: string): string {
    let made = text;
    for (const mask of this.masks) made = mask(made, this.maskWith);
    return made;
  }

  /** The number, or the text that masks leave of it. A card is a whole number: the digits of a fraction are none. */
  number(value: number | bigint): unknown {
    const before = String(value);
    const fraction = typeof value === "number" && !Number.isInteger(value);
    let text = before;
    for (const mask of this.masks) {
      const point = fraction && mask === CARD ? text.indexOf(".") : -1;
      text = point < 0 ? mask(text, this.maskWith) : mask(text.slice(0, point), this.maskWith) + text.slice(point);
    }
    return text === before ? value : text;
  }

  /** As `text`, for what comes again and again: names of fields, types, tokens, loggers. */
  name(text: string): string {
    let hidden = this.hidden.get(text);
    if (hidden === undefined) {
      hidden = this.text(text);
      if (text.length <= LONGEST_KNOWN) {
        if (this.hidden.size >= MOST_KNOWN) this.hidden.clear();
        this.hidden.set(text, hidden);
      }
    }
    return hidden;
  }

  /** HMAC-SHA256 (RFC 2104) under the key, in hexadecimal. */
  pseudonym(text: string): string {
    return createHmac("sha256", this.key).update(utf8(text)).digest("hex");
  }
}

/** UTF-8, with lone surrogates as Python's `surrogatepass` writes them. */
export function utf8(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text);
  const parts: Buffer[] = [];
  for (const char of text) {
    const code = char.codePointAt(0) as number;
    const lone = code >= 0xd800 && code <= 0xdfff;
    parts.push(lone ? Buffer.of(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f)) : Buffer.from(char));
  }
  return Buffer.concat(parts);
}

function maskOf(pattern: string, wrong: string[]): Mask | null {
  const known = MASKS.get(pattern);
  if (known !== undefined) return known;
  let compiled: RegExp;
  try {
    compiled = new RegExp(pattern, "gu");
  } catch (error) {
    wrong.push(`mask = ${repr(pattern)}: neither ${[...MASKS.keys()].join(", ")} nor a regular expression: ${messageOf(error)}`);
    return null;
  }
  if (new RegExp(`^(?:${pattern})$`, "u").test("")) {
    wrong.push(`mask = ${repr(pattern)}: matches the empty text, and so everything; make it match what is to be masked`);
    return null;
  }
  return ofPattern(compiled);
}
