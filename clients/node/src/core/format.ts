/** Messages with arguments: `%s`, `%d`, `%i`, `%f`, `%j`, `%o` and `%%`, as `util.format` has them; errors and tables among the rest. */

import { inspect } from "node:util";
import { isTable } from "../config/convert.js";
import { messageOf } from "./errors.js";
import type { Fields } from "./event.js";
import { put } from "./event.js";
import { exceptionFields, isError } from "./tracebacks.js";

const PLACE = /%[sdifjoO%]/g;

export interface Formatted {
  text: string;
  fields: Fields;
}

/**
 * The message with its arguments in place. Of those that no placeholder takes, an Error gives the fields `exception_type`,
 * `exception_message` and `traceback`, a table its own keys as fields (its key `fields`: those inside it, and `exc_info`: an
 * Error). Anything else does not fit: the message stays as it is, and `metlog.format_error` says so.
 */
export function format(message: unknown, args: readonly unknown[]): Formatted {
  const fields: Fields = {};
  if (isError(message)) return { text: messageOf(message), fields: { ...exceptionFields(message), ...format("", args).fields } };
  const raw = typeof message === "string" ? message : asText(message);
  if (args.length === 0) return { text: raw, fields };
  const places = (raw.match(PLACE) ?? []).filter((place) => place !== "%%").length;
  const rest = args.slice(places);
  const odd: unknown[] = [];
  for (const arg of rest) {
    if (isError(arg)) Object.assign(fields, exceptionFields(arg));
    else if (asTable(arg)) addTable(fields, arg);
    else if (arg !== undefined) odd.push(arg);
  }
  if (places === 0 && odd.length === 0) return { text: raw, fields };
  if (places > args.length || odd.length > 0) {
    const what = odd.length > 0 ? "not all arguments converted" : "not enough arguments for the message";
    fields["metlog.format_error"] = `${what}: ${asText(args.slice(0, 20))}`;
    return { text: raw, fields };
  }
  let at = 0;
  return { text: raw.replace(PLACE, (place) => (place === "%%" ? "%" : placed(place, args[at++]))), fields };
}

/** Whether it is a table; a proxy that will not be asked is none. */
function asTable(arg: unknown): arg is Fields {
  try {
    return isTable(arg);
  } catch {
    return false;
  }
}

function addTable(fields: Fields, table: Fields): void {
  for (const key of Object.keys(table)) {
    const value = table[key];
    if (key === "exc_info") Object.assign(fields, exceptionFields(value));
    else if (key !== "fields") put(fields, key, value);
  }
  if (asTable(table.fields)) for (const key of Object.keys(table.fields)) put(fields, key, table.fields[key]);
}

function placed(place: string, value: unknown): string {
  switch (place) {
    case "%d":
      return typeof value === "bigint" ? String(value) : String(typeof value === "object" ? NaN : Number(value));
    case "%i":
      return typeof value === "bigint" ? String(value) : String(parseInt(String(value), 10));
    case "%f":
      return String(parseFloat(String(value)));
    case "%s":
      return asText(value);
    default:
      return asText(value, true);
  }
}

function asText(value: unknown, quoted = false): string {
  if (typeof value === "string" && !quoted) return value;
  if (isError(value)) return `${value.name}: ${messageOf(value)}`;
  try {
    return typeof value === "object" || quoted ? inspect(value, { depth: 4, maxArrayLength: 100, breakLength: Infinity }) : String(value);
  } catch {
    return `<${typeof value}>`;
  }
}
