/** Where settings come from: an object, a URL, a JSON file, an application's own settings, the environment. */

import { readFileSync } from "node:fs";
import { ConfigError, messageOf, Problems } from "../core/errors.js";
import { put } from "../core/event.js";
import type { Option } from "./convert.js";
import { isTable, repr, shown } from "./convert.js";
import { closest } from "./suggest.js";

/** Every setting, and what its value is. */
export const KEYS: Record<string, Option> = {
  logger: { kind: "text" },
  hostname: { kind: "text" },
  sender: { kind: "any" },
  encoder: { kind: "any" },
  filters: { kind: "any" },
  buffer: { kind: "table" },
  statsd: { kind: "any" },
  plugins: { kind: "any" },
  fields: { kind: "table" },
  disabled_timers: { kind: "list", each: "text" },
  exit_timeout: { kind: "duration" },
  on_drop: { kind: "any" },
  tests: { kind: "list" },
};

const URL_LIKE = /^[A-Za-z][A-Za-z0-9_.+-]*:/;
const FILE = /\.(json|toml|ini|cfg|conf)$/i;
const OTHER_VARIABLES = new Set(["config", "data", "traceback", "test", "tests"]);

type Table = Record<string, unknown>;

/** One object of settings from whatever `configure` takes; throws ConfigError. */
export function gather(settings: unknown, more: Table | undefined): Table {
  let found: Table;
  if (settings === undefined || settings === null) {
    found = more === undefined || Object.keys(more).length === 0 ? fromEnvironment() : {};
  } else if (typeof settings === "string") {
    found = isPath(settings) ? fromFile(settings) : { sender: settings };
  } else if (isTable(settings)) {
    found = Object.keys(settings).some((key) => key.startsWith("metlog.")) ? fromPrefixed(settings) : { ...settings };
  } else {
    throw new ConfigError(`settings = ${repr(settings)}: wants an object, a URL or a path, not ${typeof settings}`);
  }
  return merged(found, more ?? {});
}

function isPath(text: string): boolean {
  return !URL_LIKE.test(text) && (FILE.test(text) || text.includes("/"));
}

/** `base` with the settings of `over`; tables are joined, but a component that is named anew begins anew. */
function merged(base: Table, over: Table): Table {
  const made: Table = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    let before = Object.hasOwn(made, key) ? made[key] : undefined;
    const component = key === "sender" || key === "encoder";
    const anew = component && isTable(value) && "name" in value;
    if (component && typeof before === "string") before = { name: before };
    put(made, key, isTable(before) && isTable(value) && !anew ? { ...before, ...value } : value);
  }
  return made;
}

/**
 * Settings out of a flat mapping: `metlog.sender = …`, `metlog.buffer.flush_interval = …`. What does not begin with the prefix is left
 * alone. Dots nest; numbers make a list: `metlog.filters.0.name = redact`.
 */
export function fromPrefixed(mapping: Table, prefix = "metlog."): Table {
  const made: Table = {};
  for (const [key, value] of Object.entries(mapping)) {
    if (!key.startsWith(prefix)) continue;
    const path = key.slice(prefix.length).split(".");
    const last = path.pop() as string;
    let table = made;
    for (const part of path) {
      const before = Object.hasOwn(table, part) ? table[part] : undefined;
      const inner: Table = isTable(before) ? before : before === undefined ? {} : { name: before };
      if (inner !== before) put(table, part, inner);
      table = inner;
    }
    const before = Object.hasOwn(table, last) ? table[last] : undefined;
    if (isTable(before) && !isTable(value)) before.name = value;
    else put(table, last, value);
  }
  const numbered = numberedTables(made) as Table;
  for (const key of ["filters", "plugins", "disabled_timers"]) {
    const value = numbered[key];
    if (typeof value === "string") numbered[key] = asList(value);
    else if (isTable(value)) numbered[key] = Object.values(value);
  }
  const { statsd } = numbered;
  if (typeof statsd === "string" && ["false", "no", "off", "0", ""].includes(statsd.toLowerCase())) numbered.statsd = false;
  if (typeof statsd === "string" && ["true", "yes", "on", "1"].includes(statsd.toLowerCase())) numbered.statsd = true;
  return numbered;
}

/** Tables whose keys are numbers are lists, at any depth. */
function numberedTables(value: unknown): unknown {
  if (!isTable(value)) return value;
  const inner: Table = {};
  for (const [key, item] of Object.entries(value)) put(inner, key, numberedTables(item));
  const keys = Object.keys(inner);
  if (keys.length === 0 || !keys.every((key) => /^\d+$/.test(key))) return inner;
  return keys.sort((a, b) => Number(a) - Number(b)).map((key) => inner[key]);
}

/** The entries of a text: a line each, or parted by commas. */
export function asList(text: string): string[] {
  // A URL's query may hold commas of its own: there a comma parts entries only with a space behind it.
  const between = text.includes("\n") ? /\n/ : text.includes("?") ? /,\s+/ : /,/;
  return text
    .split(between)
    .map((part) => part.trim())
    .filter(Boolean);
}

/** METLOG_CONFIG names a file; METLOG_SENDER, METLOG_LOGGER, METLOG_BUFFER__FLUSH_INTERVAL, … go before it. */
function fromEnvironment(): Table {
  let made: Table = {};
  const used = new Set<string>(); // variables of the file
  const path = process.env.METLOG_CONFIG;
  if (path) {
    try {
      made = fromFile(path, used);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      throw new ConfigError(error.problems.map((line) => `METLOG_CONFIG = ${repr(path)}: ${line}`));
    }
  }
  const flat: Table = {};
  const wrong: string[] = [];
  for (const [key, value] of Object.entries(process.env)) {
    if (!key.startsWith("METLOG_")) continue;
    const name = key.slice("METLOG_".length).toLowerCase().replaceAll("__", ".");
    const first = name.split(".")[0] as string;
    if (Object.hasOwn(KEYS, first) && first !== "tests" && first !== "on_drop") {
      put(flat, `metlog.${name}`, value);
      continue;
    }
    if (OTHER_VARIABLES.has(first) || OTHER_VARIABLES.has(first.split("_")[0] as string)) continue;
    const near = closest(first, Object.keys(KEYS), 0.8);
    if (near === null || used.has(key)) continue;
    const meant = `METLOG_${[near, ...name.split(".").slice(1)].join("__").toUpperCase()}`;
    wrong.push(`${key} = ${shown(key, value)}: no such setting; did you mean ${meant}?`);
  }
  if (wrong.length > 0) throw new ConfigError(wrong);
  return merged(made, fromPrefixed(flat));
}

/** A JSON file with the tables of the TOML one: `{"metlog": {…}}`, or the settings themselves. */
function fromFile(path: string, used = new Set<string>()): Table {
  if (!/\.json$/i.test(path)) {
    throw new ConfigError(`${path}: this client reads JSON; write the same tables as JSON, into a file that ends in .json`);
  }
  let text: string;
  try {
    text = readFileSync(path, "utf8").replace(/^\ufeff/, "");
  } catch (error) {
    throw new ConfigError(`${path}: cannot be read: ${messageOf(error)}`);
  }
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new ConfigError(`${path}: not JSON: ${messageOf(error)}`);
  }
  if (!isTable(found)) throw new ConfigError(`${path}: wants an object at the top, such as {"metlog": {"sender": "udp"}}`);
  const inner = Object.hasOwn(found, "metlog") ? found.metlog : undefined;
  const problems = new Problems();
  const made = expand(isTable(inner) ? inner : found, "", problems, used) as Table;
  problems.check();
  return made;
}

const VARIABLE = /\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g;

/** Puts environment variables in place of `${NAME}` and `${NAME:-default}`, at any depth, and notes their names; `$$` is a dollar sign. */
function expand(value: unknown, where: string, problems: Problems, used: Set<string>): unknown {
  if (typeof value === "string") {
    return value.replace(VARIABLE, (_, name: string | undefined, otherwise: string | undefined) => {
      if (name === undefined) return "$";
      used.add(name);
      const found = process.env[name] ?? otherwise;
      if (found === undefined) {
        problems.add(
          `${where || "settings"} = ${shown(where, value)}: the environment variable ${name} is not set; set it, or write \${${name}:-default}`,
        );
      }
      return found ?? "";
    });
  }
  if (Array.isArray(value)) return value.map((item, index) => expand(item, `${where}[${index}]`, problems, used));
  if (!isTable(value)) return value;
  const made: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) put(made, key, expand(item, where ? `${where}.${key}` : key, problems, used));
  return made;
}
