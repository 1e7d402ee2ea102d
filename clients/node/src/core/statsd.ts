/** `client.statsd`: a statsd client of the application's choice, or one that does nothing. */

import { createRequire } from "node:module";
import { isTable, repr } from "../config/convert.js";
import { ConfigError, messageOf } from "./errors.js";

type Call = (...args: unknown[]) => unknown;
export type StatsdClient = Record<string, Call>;

const METHODS = [
  "increment", "incr", "decrement", "decr", "counter", "gauge", "gaugeDelta", "timing", "set", "unique", "histogram", "distribution",
  "event", "check", "raw", "flush",
];

/** Every method that the usual clients have, and nothing done. */
export class DisabledStatsd {
  readonly disabled = true;
  [method: string]: unknown;

  constructor() {
    for (const method of METHODS) this[method] = () => {};
    // These wrap a function, which is called all the same; `close` tells that it is done.
    for (const method of ["timer", "asyncTimer", "asyncDistTimer"]) this[method] = (work: unknown) => work;
    this.childClient = () => this;
    this.close = (done?: unknown) => {
      if (typeof done === "function") (done as Call)();
    };
  }
}

/**
 * The client that the setting `statsd` asks for: false (none), a client's own object, the name of a package (`"hot-shots"`), or a table
 * with that name and the options of its constructor; true is `hot-shots` with its defaults. Packages are loaded by name, from
 * the application. Throws ConfigError.
 */
export function makeStatsd(setting: unknown): unknown {
  if (setting === false || setting === undefined || setting === null) return new DisabledStatsd();
  if (typeof setting === "object" && !isTable(setting)) return usable(setting);
  if (isTable(setting) && typeof (setting.increment ?? setting.incr ?? setting.counter) === "function") return setting;
  const { name = "hot-shots", ...options } = isTable(setting) ? setting : { name: setting === true ? "hot-shots" : setting };
  if (typeof name !== "string" || !/^(@[a-z0-9][\w.-]*\/)?[a-z0-9][\w.-]*$/i.test(name)) {
    throw new ConfigError(`statsd = ${repr(name)}: wants false, a statsd client, the name of a package such as 'hot-shots', or a table with it`);
  }
  const loaded = load(name, "statsd");
  const exported = loaded as { StatsD?: unknown; default?: unknown };
  const constructor = [loaded, exported.StatsD, exported.default].find((item) => typeof item === "function");
  if (constructor === undefined) throw new ConfigError(`statsd = ${repr(name)}: this package exports no client; make one, and give it as statsd`);
  try {
    return usable(new (constructor as new (options: unknown) => object)(options));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`statsd = ${repr(name)}: ${messageOf(error)}`);
  }
}

function usable(client: object): object {
  const { increment, incr, counter, timing } = client as Record<string, unknown>;
  if (typeof (increment ?? incr ?? counter) !== "function" || typeof timing !== "function") {
    throw new ConfigError("statsd: this object is no statsd client: it needs increment (or incr, counter) and timing");
  }
  return client;
}

/** A package of the application's, by name; throws ConfigError that says how to install it. */
export function load(name: string, where: string): unknown {
  const places = [`${process.cwd()}/package.json`, __filename];
  let failure: unknown;
  for (const place of places) {
    try {
      return createRequire(place)(name);
    } catch (error) {
      failure = error;
      const code = (error as { code?: string }).code;
      if (code !== "MODULE_NOT_FOUND" || !messageOf(error).includes(`'${name}'`)) break;
    }
  }
  throw new ConfigError(`${where} = ${repr(name)}: the package cannot be loaded: ${messageOf(failure).split("\n")[0]}; npm install ${name}`);
}

/** Counts one with whatever client there is. */
export function increment(client: unknown, name: string, rate = 1): void {
  const found = client as StatsdClient & { disabled?: boolean };
  if (found.disabled === true) return;
  const call = found.increment ?? found.incr ?? found.counter;
  if (found.increment !== undefined || rate === 1) call?.call(found, name, 1, rate);
  else if (Math.random() < rate) call?.call(found, name, 1);
}

/** Sends a time in milliseconds with whatever client there is. */
export function timing(client: unknown, name: string, ms: number, rate = 1): void {
  const found = client as StatsdClient & { disabled?: boolean };
  if (found.disabled !== true) found.timing?.call(found, name, ms, rate);
}
