/** Values from files, URLs and the environment as what an option wants; and values as errors may show them. */

/** `size` is bytes, also as "64KB" (powers of 1,024); `duration` is seconds, also as "250ms" or "5m". */
export type Kind = "text" | "integer" | "number" | "boolean" | "list" | "table" | "size" | "duration";

/** One option of a component. A text becomes what is asked for: a number, a truth value, the parts of a list. */
export interface Option {
  kind: Kind | readonly Kind[] | "any";
  required?: boolean;
  /** What each item of a list, or each value of a table, is. */
  each?: Kind;
}

const SECRET = /(?:^|_|\.|\])(?:keys?|secret|token|password|passwd|pwd|credentials?)$/i;
/** Values in a URL. Any of them may be a secret: of a misspelt option nobody knows. */
const IN_URL = /([?&](?:[^=&]*=)?)[^=&][^&]*/g;
const FRAGMENT = /(?<=:)([^#]*#).+/gs;
const USER = /\/\/(?!\/).+@/gs;
const LONGEST = 200;
const TRUE = new Set(["true", "yes", "on", "1"]);
const FALSE = new Set(["false", "no", "off", "0"]);
const WORDS: Record<Kind, string> = {
  text: "a text",
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
  list: "a list",
  table: "a table",
  size: 'bytes, as 67108864 or "64MB"',
  duration: 'seconds, as 60 or "60s", "5m", "7d"',
};
const SIZE = /^(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?$/i;
const DURATION = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/;
const SECONDS_OF: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };

/** What the value is; of a list or a table, where one is wanted, what in it is wrong. */
function gotOf(value: unknown, kinds: readonly Kind[], each: Kind | undefined): string {
  const wrong = (item: unknown): boolean => {
    try {
      convert(item, { kind: each as Kind });
      return false;
    } catch {
      return true;
    }
  };
  if (each !== undefined && kinds.includes("list") && Array.isArray(value)) {
    const index = value.findIndex(wrong);
    if (index >= 0) return `one with ${wordOf(value[index])} in it`;
  }
  if (each !== undefined && kinds.includes("table") && isTable(value)) {
    const found = Object.entries(value).find(([, item]) => wrong(item));
    if (found !== undefined) return `one with ${wordOf(found[1])} under ${repr(found[0])}`;
  }
  return wordOf(value);
}

/** The value as the option says it; throws Error that tells what would be right. */
export function convert(value: unknown, option: Option): unknown {
  if (option.kind === "any") return value;
  const kinds: readonly Kind[] = typeof option.kind === "string" ? [option.kind as Kind] : (option.kind as readonly Kind[]);
  for (const kind of kinds) {
    const made = as(value, kind, option.each);
    if (made !== undefined) return made;
  }
  // A text is a text, and something else only where no text is asked for.
  if (typeof value === "string" && !kinds.includes("text")) {
    for (const kind of kinds) {
      const made = ofText(value, kind, option.each);
      if (made !== undefined) return made;
    }
  }
  if (typeof value === "string" && kinds.includes("list") && value.includes("\n")) return ofText(value, "list", option.each);
  const measured = kinds.includes("size") || kinds.includes("duration");
  const got = typeof value === "string" || measured ? "" : `, not ${gotOf(value, kinds, option.each)}`;
  const wanted = kinds.map((kind) => {
    if (kind === "list" && option.each) return `a list, each ${WORDS[option.each]}`;
    return kind === "table" && option.each ? `a table, each value ${WORDS[option.each]}` : WORDS[kind];
  });
  throw new Error(`wants ${wanted.join(" or ")}${got}`);
}

function as(value: unknown, kind: Kind, each: Kind | undefined): unknown {
  switch (kind) {
    case "text":
      return typeof value === "string" ? value : undefined;
    case "integer":
    case "size":
      return Number.isInteger(value) ? value : undefined;
    case "number":
    case "duration":
      return typeof value === "number" ? value : undefined;
    case "boolean":
      return typeof value === "boolean" ? value : undefined;
    case "list":
      return Array.isArray(value) && value.every((item) => each === undefined || fits(item, each)) ? value : undefined;
    case "table": {
      if (!isTable(value)) return undefined;
      if (each === undefined) return value;
      const entries = Object.entries(value).map(([key, item]) => [key, fits(item, each) ? item : ofText(item, each, undefined)]);
      return entries.every(([, item]) => item !== undefined) ? Object.fromEntries(entries) : undefined;
    }
  }
}

function fits(value: unknown, kind: Kind): boolean {
  return as(value, kind, undefined) !== undefined;
}

function ofText(value: unknown, kind: Kind, each: Kind | undefined): unknown {
  if (typeof value !== "string") return undefined;
  const text = value.trim();
  switch (kind) {
    case "integer":
      return /^[+-]?\d+$/.test(text) ? Number(text) : undefined;
    case "size": {
      const found = SIZE.exec(text);
      return found === null ? undefined : Math.trunc(Number(found[1]) * 1024 ** " kmgt".indexOf((found[2] || " ").toLowerCase()));
    }
    case "duration": {
      const found = DURATION.exec(text);
      return found === null ? undefined : Number(found[1]) * (SECONDS_OF[found[2] ?? "s"] as number);
    }
    case "number":
      return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
    case "boolean":
      return TRUE.has(text.toLowerCase()) ? true : FALSE.has(text.toLowerCase()) ? false : undefined;
    case "list": {
      const parts = value
        .split(value.includes("\n") ? "\n" : ",")
        .map((part) => part.trim())
        .filter(Boolean);
      return each === undefined || each === "text" ? parts : undefined;
    }
    default:
      return undefined;
  }
}

function wordOf(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  for (const kind of ["text", "integer", "number", "boolean", "list", "table"] as const) if (fits(value, kind)) return WORDS[kind];
  return typeof value;
}

/** An object that stands for a table: no array, no class of the application's. */
export function isTable(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as unknown;
  return prototype === Object.prototype || prototype === null;
}

/** The value of an unknown option as an error may show it: a text may be a secret, whose option is misspelt. */
export function number(key: string, value: unknown): string {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? ` = ${shown(key, value)}` : "";
}

/** A value as an error may show it: what has the name of a secret is hidden, what is long is cut. */
export function shown(key: string, value: unknown): string {
  const text = repr(hidden(key, value, 0));
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST - 20)}… (${text.length} characters)`;
}

function hidden(key: string, value: unknown, depth: number): unknown {
  if (depth > 20) return "…";
  if (isTable(value)) return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, hidden(name, item, depth + 1)]));
  if (SECRET.test(key) && !(typeof value === "string" && value.startsWith("${"))) return "***";
  if (Array.isArray(value)) return value.map((item) => hidden("", item, depth + 1));
  return typeof value === "string" ? value.replace(IN_URL, "$1***").replace(USER, "//***@").replace(FRAGMENT, "$1***") : value;
}

/** A value as messages show it: text in single quotes, lists and tables in brackets. */
export function repr(value: unknown): string {
  if (typeof value === "string") {
    const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
    const inner = JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"');
    return quote + (quote === "'" ? inner.replaceAll("'", "\\'") : inner) + quote;
  }
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  if (isTable(value)) {
    return `{${Object.entries(value)
      .map(([key, item]) => `${repr(key)}: ${repr(item)}`)
      .join(", ")}}`;
  }
  if (typeof value === "function") return `<function ${value.name}>`;
  try {
    return typeof value === "object" && value !== null ? `<${value.constructor?.name ?? "object"}>` : String(value);
  } catch {
    return "<object>";
  }
}
