/** What an application holds: `MetlogClient`, and the default one behind `metlog.log`. */

import { isTable } from "../config/convert.js";
import type { Plan } from "../config/plan.js";
import { plan } from "../config/plan.js";
import { gather } from "../config/settings.js";
import { flatJson, quote } from "../encoders/json.js";
import type { Filter } from "../filters/filter.js";
import { contextFields } from "./context.js";
import type { Stats } from "./counts.js";
import { MetlogError } from "./errors.js";
import type { Fields } from "./event.js";
import { now } from "./event.js";
import { format } from "./format.js";
import type { Method } from "./home.js";
import { Home } from "./home.js";
import { admit, live } from "./lifecycle.js";
import { readable } from "./values.js";
import { Fan, Pipeline, Unconfigured } from "./pipeline.js";
import { makeStatsd } from "./statsd.js";
import { isThenable, timed, Timer } from "./timer.js";
import { isError } from "./tracebacks.js";

const CLOSED = "metlog is closed: events are counted and left out (told once)";

export interface LogOptions {
  /** 0 (emergency) to 7 (debug), RFC 5424; 6 unless given. */
  severity?: number;
  /** Anything else that JSON can say. */
  fields?: Fields;
}

export interface MetlogOptions extends LogOptions {
  logger?: string;
  payload?: string;
  tokens?: readonly string[];
  /** How many events this one stands for. */
  weight?: number;
}

/**
 * Logs events. A call never throws into the application and never waits for the network.
 *
 * Made by `metlog.getClient(name)`, `MetlogClient.fromConfig(settings)` or `bind()`.
 */
export class MetlogClient {
  private readonly home: Home;
  private readonly bound: Fields;
  private readonly hasBound: boolean;

  /** Both arguments are for `bind`. */
  constructor(home: object = new Home(), bound: Fields = {}) {
    this.home = home as Home;
    this.bound = bound;
    this.hasBound = Object.keys(bound).length > 0;
    Object.setPrototypeOf(this, this.home.face(new.target.prototype));
  }

  // ---- the calls that log

  /** Logs an event. The first token is its type; `fields` is anything else that JSON can say. */
  log(tokens: string | readonly string[], msg = "", options?: LogOptions): void {
    // The hot path, whole. An event without anything odd becomes a line of the frame at once; all others (filters that look at
    // it, values that JSON cannot say, another encoder) go through `put`.
    const { pipeline } = this.home;
    try {
      let severity = options?.severity ?? 6;
      if (!(severity <= pipeline.severityMax && severity >= 0 && Number.isInteger(severity))) {
        severity = pipeline.refuse(severity);
        if (severity < 0) return;
      }
      const { writer } = pipeline;
      const context = contextFields();
      const given = options?.fields;
      const plainly = context === undefined && !pipeline.hasFields && !this.hasBound;
      if (writer !== null && typeof msg === "string") {
        const start = writer.start(tokens);
        const own = plainly ? given : this.merged(pipeline.fields, context, given);
        const said = own === undefined || own === null ? "{}" : flatJson(own);
        if (start !== null && said !== null) {
          const payload = quote(msg);
          // A lone surrogate shows as an escape, which the careful way makes readable.
          if (!said.includes("\\ud") && !payload.includes("\\ud")) {
            const seq = ((pipeline as Pipeline).seq += 1);
            (pipeline as Pipeline).buffer.addLine(
              `{"timestamp":"${now()}",${start}${severity},"payload":${payload},"fields":${said}${writer.tail}${seq}}\n`,
            );
            return;
          }
        }
      }
      this.careful(tokens, msg, severity, this.merged(pipeline.fields, context, given));
    } catch (error) {
      this.again(pipeline, error, tokens, msg, options); // whatever it is, it is never the application's business
    }
  }

  /** A call with something in it that throws when it is read: once more, carefully. */
  private again(pipeline: Pipeline | Unconfigured, first: unknown, tokens: unknown, msg: unknown, options: LogOptions | undefined): void {
    try {
      const severity = pipeline.refuse(options?.severity ?? 6);
      if (severity < 0) return;
      const given: unknown = options?.fields;
      const own = typeof given === "object" && given !== null ? readable(given) : undefined;
      this.careful(tokens, msg, severity, { ...pipeline.fields, ...contextFields(), ...this.bound, ...own });
    } catch {
      pipeline.failed(first, 0, "call_error");
    }
  }

  /** The fields of an event: what is nearer to the call goes before what is further away. */
  private merged(base: Fields, context: Fields | undefined, given: unknown): Fields {
    // Fields of another kind than asked for are kept as one field.
    const own = given === undefined || given === null ? undefined : isTable(given) ? given : asFields(given);
    return { ...base, ...context, ...this.bound, ...own };
  }

  private careful(tokens: unknown, msg: unknown, severity: number, fields: Fields, weight?: number, logger?: string): void {
    const proper = properTokens(tokens);
    this.home.pipeline.put(proper[0] as string, proper, severity, typeof msg === "string" ? msg : asPayload(msg), fields, weight, logger);
  }

  /** Logs an event under an explicit type. */
  metlog(type: string, options: MetlogOptions = {}): void {
    const { pipeline } = this.home;
    try {
      const { logger, payload = "", tokens, weight, fields } = options;
      const severity = pipeline.refuse(options.severity ?? 6);
      if (severity < 0) return;
      const proper = tokens === undefined ? [String(type)] : properTokens(tokens);
      const text = typeof payload === "string" ? payload : asPayload(payload);
      pipeline.put(String(type), proper, severity, text, this.merged(pipeline.fields, contextFields(), fields), weight, logger);
    } catch (error) {
      pipeline.failed(error, 0, "call_error");
    }
  }

  private oldstyle(severity: number, msg: unknown, args: unknown[]): void {
    const { pipeline } = this.home;
    try {
      if (severity > pipeline.severityMax) {
        pipeline.refuse(severity);
        return;
      }
      const { text, fields } = format(msg, args);
      this.log("oldstyle", text, { severity, fields });
    } catch (error) {
      pipeline.failed(error, 0, "call_error");
    }
  }

  /**
   * Severity 7. Placeholders as `util.format` has them; an Error among the arguments gives its type, message and traceback as
   * fields, a table its keys as fields.
   */
  debug(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(7, msg, args);
  }

  /** Severity 6; see `debug`. */
  info(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(6, msg, args);
  }

  /** Severity 4; see `debug`. */
  warn(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(4, msg, args);
  }

  /** Severity 4; see `debug`. */
  warning(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(4, msg, args);
  }

  /** Severity 3; see `debug`. */
  error(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(3, msg, args);
  }

  /** Severity 3, with an error: its type, message and traceback as fields, causes and AggregateErrors whole. */
  exception(msg: unknown, error?: unknown, ...args: unknown[]): void {
    this.oldstyle(3, msg, error === undefined ? args : [...args, isError(error) ? error : { exc_info: error }]);
  }

  /** Severity 2; see `debug`. */
  critical(msg: unknown, ...args: unknown[]): void {
    this.oldstyle(2, msg, args);
  }

  // ---- counters and timers

  /** Logs an event of type `counter`; below rate 1 some are left out, and `weight` makes up for it. */
  incr(name: string, count = 1, rate = 1): void {
    this.sampled("counter", name, count, { name, count }, rate);
  }

  /** Logs an event of type `timer`: something took `ms` milliseconds; `rate` as for `incr`. */
  timerSend(name: string, ms: number, rate = 1): void {
    if (this.home.disabledTimers.size > 0 && this.timerDisabled(name)) return;
    this.sampled("timer", name, ms, { name, ms }, rate);
  }

  private sampled(kind: string, name: string, value: unknown, fields: Fields, rate: number): void {
    try {
      const payload = typeof value === "number" ? String(value) : asPayload(value);
      if (!(rate < 1)) this.log([kind, name], payload, { fields });
      else if (Math.random() < rate) this.metlog(kind, { payload, fields, tokens: [kind, name], weight: 1 / rate });
    } catch (error) {
      this.home.pipeline.failed(error, 0, "call_error");
    }
  }

  /**
   * A timer that runs until `stop()`, or the end of a `using` block. With a function: times the call, and a promise that it gives
   * until that settles; gives what the function gives. With a promise: times it. Of another thenable, as a query is one that runs when
   * it is awaited, `then` is called once, and the promise of what it gives comes back.
   */
  timer(name: string, options?: { rate?: number }): Timer;
  timer<T extends Promise<unknown>>(name: string, work: (() => T) | T, options?: { rate?: number }): T;
  timer<T>(name: string, work: (() => PromiseLike<T>) | PromiseLike<T>, options?: { rate?: number }): Promise<T>;
  timer<T>(name: string, work: () => T, options?: { rate?: number }): T;
  timer(name: string, work?: unknown, options?: { rate?: number }): unknown {
    const isWork = typeof work === "function" || isThenable(work);
    const { rate = 1 } = (isWork ? options : (work as { rate?: number } | undefined)) ?? {};
    const timer = new Timer(this, name, rate);
    return isWork ? timed(timer, work) : timer;
  }

  /** Whether the configuration turns this timer off (`disabled_timers`). */
  timerDisabled(name: string): boolean {
    const { disabledTimers } = this.home;
    return disabledTimers.has(name) || disabledTimers.has("*");
  }

  // ---- beside it

  /** A client that adds these fields to every event. It follows a later `configure`. */
  bind(fields: Fields): MetlogClient {
    return new MetlogClient(this.home, { ...this.bound, ...fields });
  }

  /**
   * Checks the settings as a whole, opens what they name, and swaps it in without losing an event.
   *
   * `settings` is an object, a URL, a component's name, or the path of a JSON file; without arguments the environment (METLOG_CONFIG,
   * METLOG_SENDER, …). Throws ConfigError, with every fault, and then changes nothing.
   */
  configure(settings?: unknown, more?: Record<string, unknown>): this {
    this.install(plan(gather(settings, more)));
    return this;
  }

  private install(made: Plan): void {
    const { home } = this;
    const methods = made.plugins.map((component) => [component.name, component.prepare() as Method] as const);
    let statsd: unknown;
    try {
      statsd = makeStatsd(made.statsd);
    } catch (error) {
      made.discard();
      throw error;
    }
    const pipeline = made.pipeline();
    for (const [name, method] of methods) home.put(name, method);
    home.disabledTimers = made.disabledTimers;
    home.statsd = statsd;
    admit(pipeline);
    this.swap(pipeline);
  }

  private swap(pipeline: Pipeline | Unconfigured): Promise<void> {
    const { home } = this;
    const old = home.pipeline;
    home.pipeline = pipeline;
    if (!(old instanceof Pipeline)) return Promise.resolve();
    const deadline = performance.now() + old.exitTimeout * 1000;
    const closing = old.close(deadline).finally(() => {
      live.delete(old);
      home.closing.delete(closing);
    });
    home.closing.add(closing);
    return closing;
  }

  /** A client of its own from what `configure` takes; the default client is not touched. */
  static fromConfig(settings?: unknown, more?: Record<string, unknown>): MetlogClient {
    return new MetlogClient().configure(settings, more);
  }

  /** Puts a function on the client under its own name; `this` is the client in it. Throws MetlogError where the name is in use. */
  addMethod(method: Method, override = false): void {
    const { name } = method;
    if (!/^[A-Za-z_$][\w$]*$/.test(name) || name === "__proto__" || name === "constructor") {
      throw new MetlogError(`addMethod: '${name}' is no name that can be called; give the function one`);
    }
    if (!override && name in this) {
      throw new MetlogError(`addMethod: the client has a method '${name}' already; addMethod(method, true) replaces it`);
    }
    this.home.put(name, method);
  }

  /** Whether events go anywhere: configured, and not closed. */
  get isActive(): boolean {
    return !this.home.pipeline.closed;
  }

  /** The sender that was built; null before `configure`. */
  get sender(): unknown {
    return this.home.pipeline.sender;
  }

  /** The encoder that was built; null before `configure`. */
  get encoder(): unknown {
    return this.home.pipeline.encoder;
  }

  /** The filters that were built, in order. */
  get filters(): readonly Filter[] {
    return this.home.pipeline.filters;
  }

  /** The branches of a `tee`, each with its own sender, encoder, filters and `stats()`; else empty. */
  get branches(): readonly Pipeline[] {
    return this.home.pipeline instanceof Fan ? this.home.pipeline.branches : [];
  }

  /** The statsd client of the configuration, or one with the same methods that does nothing (`statsd` false). */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  get statsd(): any {
    return (this.home.statsd ??= makeStatsd(false));
  }

  /** What became of the events since `configure`. */
  stats(): Stats {
    return this.home.pipeline.stats();
  }

  /** Something of metlog's own threw (a middleware, a bridge): counted, never the application's problem. */
  failed(error: unknown): void {
    this.home.pipeline.failed(error, 0, "call_error");
  }

  /** Sends everything logged so far; waits at most `timeout` seconds. False: it was too short. */
  async flush(timeout = 60): Promise<boolean> {
    return this.home.pipeline.flush(performance.now() + timeout * 1000);
  }

  /** Sends the rest and the end of the stream within `timeout` seconds (`exit_timeout` unless given), and closes the sender. */
  async close(timeout?: number): Promise<void> {
    const { home } = this;
    const old = home.pipeline;
    if (old instanceof Pipeline) {
      home.pipeline = new Unconfigured(CLOSED, () => old.stats());
      await old.close(performance.now() + (timeout ?? old.exitTimeout) * 1000);
      live.delete(old);
    }
    await Promise.all(home.closing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function asFields(given: unknown): Fields {
  return typeof given === "object" && given !== null && !Array.isArray(given) ? readable(given) : { fields: given };
}

function properTokens(tokens: unknown): string[] {
  if (typeof tokens === "string") return [tokens];
  const iterable = typeof (tokens as Iterable<unknown> | null)?.[Symbol.iterator] === "function";
  const proper = iterable ? Array.from(tokens as Iterable<unknown>, String) : [String(tokens)];
  return proper.length > 0 ? proper : ["event"];
}

/** A payload that is no text. */
function asPayload(value: unknown): string {
  return value === undefined || value === null ? "" : format("%s", [value]).text;
}

const named = new Map<string, MetlogClient>();

/** The client of that name, made at the first call; without a name the default one. Each is configured by itself. */
export function getClient(name = ""): MetlogClient {
  let client = named.get(name);
  if (client === undefined) {
    client = new MetlogClient();
    named.set(name, client);
  }
  return client;
}
