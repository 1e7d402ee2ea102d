/** Names to components: factories that were registered, metlog's own and other people's alike, and their options. */

import { ConfigError, messageOf, Problems } from "../core/errors.js";
import type { Option } from "./convert.js";
import { convert, isTable, repr, number, shown } from "./convert.js";
import { suggest } from "./suggest.js";

export type ComponentKind = "sender" | "encoder" | "filter" | "plugin";

/** Called with the options of a configuration; gives the sender, encoder, filter or method. */
export type Factory = (options: Record<string, unknown>) => unknown;

interface Registered {
  factory: Factory;
  /** Undefined: the options go to the factory as they are, which checks them itself. */
  options: Record<string, Option> | undefined;
}

const registered: Record<ComponentKind, Map<string, Registered>> = {
  sender: new Map(),
  encoder: new Map(),
  filter: new Map(),
  plugin: new Map(),
};

const METHODS: Record<ComponentKind, readonly string[]> = {
  sender: ["send"],
  encoder: ["encode", "frame", "decode"],
  filter: ["filter"],
  plugin: [],
};

/**
 * Makes a component known by a name, as metlog's own are: `configure` then finds it in a URL (`mine://host:1?option=2`), in a table
 * (`{ name: "mine", option: 2 }`) or by its bare name. `options` says which options there are and what they are, so that they are
 * checked and converted; without it the factory gets them as they stand. Throws MetlogError where the name is no name.
 */
export function register(kind: ComponentKind, name: string, factory: Factory, options?: Record<string, Option>): void {
  const known = Object.hasOwn(registered, kind) ? registered[kind] : undefined;
  if (known === undefined) throw new ConfigError(`kind = ${repr(kind)}: wants one of ${Object.keys(registered).join(", ")}`);
  if (!/^[a-z][a-z0-9_.+-]*$/.test(name)) {
    throw new ConfigError(`name = ${repr(name)}: wants a name of small letters, digits, _ and -, such as 'mine'`);
  }
  if (typeof factory !== "function") throw new ConfigError(`factory = ${repr(factory)}: wants a function that gets the options`);
  known.set(name, { factory, options });
}

/** The names of a kind, in order. */
export function names(kind: ComponentKind): string[] {
  return [...registered[kind].keys()].sort();
}

/** A component whose options were checked; `build` makes it. */
export class Component {
  private made: unknown;

  constructor(
    readonly kind: ComponentKind,
    readonly name: string,
    readonly where: string,
    private readonly factory: Factory,
    private readonly options: Record<string, unknown>,
    private readonly known: ReadonlySet<string>,
  ) {}

  /** Calls the factory, once; throws ConfigError that names the key at fault. */
  prepare(): unknown {
    if (this.made === undefined) {
      this.located(() => {
        this.made = this.factory(this.options);
      });
      if (this.made === undefined || this.made === null) {
        throw new ConfigError(`${this.where} = ${repr(this.name)}: its factory gave nothing`);
      }
      const missing = METHODS[this.kind].filter((method) => typeof (this.made as Record<string, unknown>)[method] !== "function");
      if (missing.length > 0 && !(this.kind === "filter" && typeof this.made === "function")) {
        throw new ConfigError(`${this.where} = ${repr(this.name)}: what its factory gave is no ${this.kind}: it has no ${missing.join(", ")}`);
      }
    }
    return this.made;
  }

  /** Calls the component's own `open()`, where it has one. */
  open(): void {
    const made = this.prepare() as { open?: () => void };
    this.located(() => made.open?.());
  }

  /** Closes what was prepared and is not wanted. */
  discard(): void {
    const made = this.made as { close?: () => unknown } | undefined;
    this.made = undefined;
    if (this.kind !== "sender" || typeof made?.close !== "function") return;
    try {
      const closing = made.close() as Promise<unknown> | undefined;
      if (typeof closing?.then === "function") closing.then(undefined, () => {});
    } catch {
      // somebody is being told a fault already, and nothing was sent
    }
  }

  /** Faults under this component's key; those that name one of its options become `sender.port = 0: …`. */
  private located(body: () => void): void {
    try {
      body();
    } catch (error) {
      const lines = error instanceof ConfigError ? error.problems : [messageOf(error)];
      throw new ConfigError(
        lines.map((line) => {
          if (line.startsWith(`${this.where}.`)) return line;
          const found = /^([A-Za-z_]\w*)(?:\[\d+\])*(?:\.[\w.[\]]+)?(?: = |: )/.exec(line);
          return `${this.where}${found !== null && this.known.has(found[1] as string) ? "." : ": "}${line}`;
        }),
      );
    }
  }
}

/** Finds the factory and converts the options; opens nothing. A component's own object, or a filter's function, is taken as it is. */
export function check(kind: ComponentKind, spec: unknown, where: string): Component {
  if (isComponent(kind, spec)) return new Component(kind, spec.constructor?.name ?? kind, where, () => spec, {}, new Set());
  const [name, options] = parseSpec(spec, where);
  const found = registered[kind].get(name);
  if (found === undefined) throw new ConfigError(`${where} = ${repr(name)}: no such ${kind}; ${suggest(name, names(kind))}`);
  if (found.options === undefined) return new Component(kind, name, where, found.factory, options, new Set(Object.keys(options)));
  const known = found.options;
  const problems = new Problems();
  const converted: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options)) {
    const option = Object.hasOwn(known, key) ? known[key] : undefined;
    if (option === undefined) {
      problems.add(`${where}.${key}${number(key, value)}: ${kind} ${repr(name)} has no such option; ${suggest(key, Object.keys(known))}`);
      continue;
    }
    if (value === undefined) continue;
    try {
      converted[key] = convert(value, option);
    } catch (error) {
      problems.add(`${where}.${key} = ${shown(key, value)}: ${messageOf(error)}`);
    }
  }
  for (const [key, option] of Object.entries(known)) {
    if (option.required === true && options[key] === undefined) {
      const table = `{ name: ${repr(name)}, ${key}: … }`;
      problems.add(`${where}.${key}: ${kind} ${repr(name)} needs this option; write ${where.split(".").at(-1)} = ${table}`);
    }
  }
  problems.check();
  return new Component(kind, name, where, found.factory, converted, new Set(Object.keys(known)));
}

function isComponent(kind: ComponentKind, spec: unknown): spec is object {
  if (typeof spec === "function") return kind === "filter" || kind === "plugin";
  const methods = METHODS[kind];
  if (typeof spec !== "object" || spec === null || methods.length === 0) return false;
  return methods.every((method) => typeof (spec as Record<string, unknown>)[method] === "function");
}

/** Checks a list of specs, each fault under its own index. */
export function components(kind: ComponentKind, specs: unknown, where: string, problems: Problems): Component[] {
  if (specs === undefined || specs === null) return [];
  if (!Array.isArray(specs)) {
    problems.add(`${where} = ${shown(where, specs)}: wants a list of ${kind}s, each a name, a URL or a table`);
    return [];
  }
  const found: Component[] = [];
  specs.forEach((spec, index) => {
    const made = problems.catch(`${where}[${index}]`, () => check(kind, spec, `${where}[${index}]`));
    if (made !== undefined) found.push(made);
  });
  return found;
}

/** Name and options of a table `{ name: … }`, a bare name or a URL; a table's name may be a URL, and adds to it. */
export function parseSpec(spec: unknown, where: string): [string, Record<string, unknown>] {
  if (typeof spec === "string") {
    const found = /^([A-Za-z][A-Za-z0-9_.+-]*):(.*)$/s.exec(spec);
    if (found !== null) return [(found[1] as string).toLowerCase(), urlOptions(spec, found[2] as string, where)];
    if (!/^[\p{L}\p{N}_.-]+$/u.test(spec)) {
      throw new ConfigError(`${where} = ${shown(where, spec)}: neither a name nor a URL such as udp://127.0.0.1:5565`);
    }
    return [spec, {}];
  }
  if (isTable(spec)) {
    const { name, ...options } = spec;
    if (typeof name !== "string" || name === "") {
      throw new ConfigError(`${where}.name = ${repr(name)}: a component's table needs its name, such as name = 'udp'`);
    }
    if (!name.includes(":")) return [name, options];
    const [inner, more] = parseSpec(name, where);
    return [inner, { ...more, ...options }];
  }
  throw new ConfigError(`${where} = ${shown(where, spec)}: wants a name, a URL or a table with \`name\`, not ${typeof spec}`);
}

const NO_PORT = "its port is no number from 0 to 65535";

function urlOptions(url: string, rest: string, where: string): Record<string, unknown> {
  const parts = /^(?:\/\/([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(rest) as RegExpExecArray;
  const [, authority, path, query, fragment] = parts;
  const options: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  if (authority?.includes("@")) {
    throw new ConfigError(`${where}: a URL must not hold a user name or password; use the options of the component`);
  }
  if (fragment) {
    throw new ConfigError(`${where} = ${shown(where, url)}: a URL here has no fragment (#…); write %23 for a # in a value`);
  }
  if ((query ?? "").split("&").some((part) => part !== "" && !part.includes("="))) {
    throw new ConfigError(`${where} = ${shown(where, url)}: an option in a URL is NAME=VALUE; write %26 for a & in a value`);
  }
  if (authority) {
    const found = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(authority);
    const port = found?.[2];
    if (found === null || (port !== undefined && !/^\d*$/.test(port))) {
      throw new ConfigError(`${where} = ${shown(where, url)}: ${found === null ? "its host is none" : NO_PORT}`);
    }
    if (port !== undefined && Number(port) > 65535) throw new ConfigError(`${where} = ${shown(where, url)}: ${NO_PORT}`);
    const host = (found[1] as string).replace(/^\[|\]$/g, "").toLowerCase();
    if (host) options.host = host;
    if (port) options.port = Number(port);
  }
  if (path) options.path = unquote(path);
  for (const pair of (query ?? "").split("&")) {
    if (pair === "") continue;
    const at = pair.indexOf("=");
    const key = unquote(pair.slice(0, at).replaceAll("+", " "));
    const value = unquote(pair.slice(at + 1).replaceAll("+", " "));
    const known = options[key];
    if (known === undefined) options[key] = value;
    else options[key] = Array.isArray(known) ? [...(known as unknown[]), value] : [known, value];
  }
  return { ...options };
}

function unquote(text: string): string {
  return text.replace(/(?:%[0-9a-fA-F]{2})+/g, (found) => Buffer.from(found.replaceAll("%", ""), "hex").toString());
}
