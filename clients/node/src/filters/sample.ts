/** Keeps a part of the events, and says how many each one stands for. */

import type { Event } from "../core/event.js";
import { replace } from "../core/event.js";
import { numberText, stringify } from "../core/values.js";
import { blake2bShare } from "./blake2b.js";
import type { FilterObject } from "./filter.js";
import { utf8 } from "./redact.js";

const MAX_WEIGHT = 1e15;

/**
 * Keeps a share of the events, by chance or consistently by a field, whose value's hash decides: all events of one user are kept or
 * none, on every machine and in every client alike. The weight of what is kept is divided by `rate`.
 */
export class Sample implements FilterObject {
  /** A number from 0 up to 1, for events that no field decides. */
  chance: () => number = Math.random;
  private readonly rate: number;
  private readonly path: string[] | null;
  private readonly types: ReadonlySet<string> | null;
  private readonly known = new Map<string, number>();

  constructor({ rate, field, types }: { rate: number; field?: string; types?: string[] }) {
    if (!(rate >= 1 / MAX_WEIGHT && rate <= 1)) throw new Error(`rate = ${rate}: wants more than 0 (at least 1e-15), up to 1`);
    this.rate = rate;
    this.path = field ? field.split(".") : null;
    this.types = types === undefined || types.length === 0 ? null : new Set(types);
  }

  filter(event: Event): Event | null {
    if (this.rate === 1 || (this.types !== null && !this.types.has(event.type))) return event;
    if (this.draw(event) >= this.rate) return null;
    return replace(event, { weight: event.weight / this.rate });
  }

  private draw(event: Event): number {
    if (this.path === null) return this.chance();
    let value: unknown = event.fields;
    for (const part of this.path) {
      value = typeof value === "object" && value !== null && Object.hasOwn(value, part) ? (value as Record<string, unknown>)[part] : undefined;
    }
    if (value === undefined || value === null) return this.chance();
    const text = said(value);
    let share = this.known.get(text);
    if (share === undefined) {
      share = blake2bShare(utf8(text));
      if (this.known.size >= 4096) this.known.clear();
      this.known.set(text, share);
    }
    return share;
  }
}

/** As Python's `str` has it, for text, numbers and truth values; other values as JSON. */
function said(value: unknown): string {
  switch (typeof value) {
    case "string":
      return value;
    case "boolean":
      return value ? "True" : "False";
    case "number": {
      if (Number.isInteger(value) && Math.abs(value) < 1e16) return String(value);
      if (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e16) return String(value);
      // Python: two digits of exponent at least, with its sign
      return numberText(value).includes("e")
        ? numberText(value).replace(/e(-?)(\d)$/, "e$10$2").replace(/e(\d)/, "e+$1")
        : value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
    }
    case "bigint":
      return value.toString();
    default:
      return stringify(value);
  }
}
