/** Settings checked as a whole: a plan out, pipelines from that. Everything is checked before anything is opened, and every fault told at once. */

import { hostname } from "node:os";
import type { OnDrop } from "../core/counts.js";
import { ConfigError, messageOf, Problems } from "../core/errors.js";
import type { Fields } from "../core/event.js";
import { Fan, Pipeline } from "../core/pipeline.js";
import type { Encoder } from "../encoders/encoder.js";
import type { Filter } from "../filters/filter.js";
import type { Sender } from "../senders/sender.js";
import { convert, number, repr, shown } from "./convert.js";
import type { Component } from "./registry.js";
import { check, components } from "./registry.js";
import { asList, KEYS } from "./settings.js";
import { suggest } from "./suggest.js";

export const DEFAULT_SENDER = "udp://127.0.0.1:5565";

const BUFFER: Record<string, ["size" | "duration", number, number, string]> = {
  max_frame: ["size", 64, 1 << 26, "bytes"],
  flush_interval: ["duration", 0, 3600, "seconds"],
  max_bytes: ["size", 1024, 2 ** 34, "bytes"],
};

/** A sender that is several: each branch is a plan of its own (`tee`). */
export interface Branching {
  branches: Plan[];
}

/** Settings that were checked, with their components prepared. `pipeline()` opens what they name. */
export class Plan {
  logger = "";
  hostname = "";
  fields: Fields = {};
  buffer: Record<string, number> = {};
  disabledTimers: ReadonlySet<string> = new Set();
  exitTimeout = 2;
  onDrop: OnDrop | undefined;
  statsd: unknown = false;
  sender!: Component;
  encoder!: Component;
  filters: Component[] = [];
  plugins: Component[] = [];

  prepare(problems: Problems): void {
    for (const item of [this.encoder, ...this.filters, ...this.plugins, this.sender]) {
      if (item !== undefined) problems.catch(item.where, () => item.prepare());
    }
  }

  /** Closes what was prepared: this plan is not carried out. */
  discard(): void {
    this.sender?.discard();
  }

  open(): void {
    this.sender.open();
  }

  /** Opens and puts together what was planned; throws ConfigError, and then leaves nothing open. */
  pipeline(): Pipeline {
    try {
      this.open();
    } catch (error) {
      this.discard();
      throw error;
    }
    return this.assemble();
  }

  private assemble(): Pipeline {
    const sender = this.sender.prepare() as Sender & Partial<Branching>;
    const options = {
      logger: this.logger,
      hostname: this.hostname || hostname(),
      filters: this.filters.map((filter) => filter.prepare() as Filter),
      encoder: this.encoder.prepare() as Encoder,
      sender,
      fields: this.fields,
      exit_timeout: this.exitTimeout,
      ...(this.onDrop === undefined ? {} : { on_drop: this.onDrop }),
      ...this.buffer,
    };
    if (sender.branches === undefined) return new Pipeline(options);
    const branches = sender.branches.map((branch) => {
      Object.assign(branch, { logger: this.logger, hostname: this.hostname, exitTimeout: this.exitTimeout, onDrop: this.onDrop });
      return branch.assemble();
    });
    return new Fan(options, branches);
  }
}

/** Checks settings as a whole; opens nothing. Throws ConfigError with all faults. `where` is the key they stand under, for errors. */
export function plan(settings: Record<string, unknown>, where = ""): Plan {
  const problems = new Problems();
  const prefix = where ? `${where}.` : "";
  const values: Record<string, unknown> = {};
  for (const [key, raw] of Object.entries(settings)) {
    const option = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (option === undefined) {
      problems.add(`${prefix}${key}${number(key, raw)}: no such setting; ${suggest(key, Object.keys(KEYS))}`);
      continue;
    }
    const listed = typeof raw === "string" && ["filters", "plugins", "disabled_timers"].includes(key);
    try {
      values[key] = raw === undefined ? undefined : convert(listed ? asList(raw as string) : raw, option);
    } catch (error) {
      problems.add(`${prefix}${key} = ${shown(key, raw)}: ${messageOf(error)}`);
    }
  }
  const made = new Plan();
  made.logger = (values.logger as string | undefined) ?? "";
  made.hostname = (values.hostname as string | undefined) ?? "";
  made.fields = { ...(values.fields as Fields | undefined) };
  made.disabledTimers = new Set((values.disabled_timers as string[] | undefined) ?? []);
  const sender = problems.catch(`${prefix}sender`, () => check("sender", values.sender ?? DEFAULT_SENDER, `${prefix}sender`));
  const encoder = problems.catch(`${prefix}encoder`, () => check("encoder", values.encoder ?? "json", `${prefix}encoder`));
  if (sender !== undefined) made.sender = sender;
  if (encoder !== undefined) made.encoder = encoder;
  made.filters = components("filter", values.filters, `${prefix}filters`, problems);
  made.plugins = components("plugin", values.plugins, `${prefix}plugins`, problems);
  made.buffer = buffer((values.buffer as Record<string, unknown> | undefined) ?? {}, `${prefix}buffer`, problems);
  made.exitTimeout = (values.exit_timeout as number | undefined) ?? 2;
  if (!(made.exitTimeout >= 0 && made.exitTimeout <= 3600)) {
    problems.add(`${prefix}exit_timeout = ${made.exitTimeout}: wants 0 to 3600 seconds`);
  }
  if (values.on_drop !== undefined && typeof values.on_drop !== "function") {
    problems.add(`${prefix}on_drop = ${repr(values.on_drop)}: wants a function (reason, count); set it in code`);
  }
  made.onDrop = values.on_drop as OnDrop | undefined;
  made.statsd = values.statsd ?? false;
  made.prepare(problems);
  checkFrame(made, prefix, problems);
  if (problems.lines.length > 0) made.discard();
  problems.check();
  return made;
}

/** A frame must not be larger than the transport can carry: what is cut to fit is one event, not a frame of many. */
function checkFrame(made: Plan, prefix: string, problems: Problems): void {
  const wanted = made.buffer.max_frame;
  if (wanted === undefined || made.sender === undefined || problems.lines.length > 0) return;
  const limit = (made.sender.prepare() as Sender).max_event;
  if (limit !== undefined && wanted > limit) {
    problems.add(
      `${prefix}buffer.max_frame = ${wanted}: the sender ${repr(made.sender.name)} carries at most ${limit} bytes; ` +
        "leave it out, and frames have the size that suits the transport",
    );
  }
}

function buffer(settings: Record<string, unknown>, where: string, problems: Problems): Record<string, number> {
  const made: Record<string, number> = {};
  for (const [key, value] of Object.entries(settings)) {
    const known = Object.hasOwn(BUFFER, key) ? BUFFER[key] : undefined;
    if (known === undefined) {
      problems.add(`${where}.${key}${number(key, value)}: no such setting; ${suggest(key, Object.keys(BUFFER))}`);
      continue;
    }
    if (value === undefined) continue;
    const [kind, low, high, unit] = known;
    try {
      const number = convert(value, { kind }) as number;
      if (number >= low && number <= high) made[key] = number;
      else problems.add(`${where}.${key} = ${repr(value)}: wants ${low} to ${high} ${unit}`);
    } catch (error) {
      problems.add(`${where}.${key} = ${repr(value)}: ${messageOf(error)}`);
    }
  }
  return made;
}

export { ConfigError };
