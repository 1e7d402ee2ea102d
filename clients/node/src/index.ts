/** metlog: structured events and metrics from Node.js services to storage that answers SQL. */

import "./config/builtin.js";
import type { Factory, ComponentKind } from "./config/registry.js";
import type { LogOptions, MetlogOptions } from "./core/client.js";
import { getClient, MetlogClient } from "./core/client.js";
import type { Stats } from "./core/counts.js";
import type { Fields } from "./core/event.js";

export { names, register } from "./config/registry.js";
export { getClient, MetlogClient } from "./core/client.js";
export { context, ContextScope } from "./core/context.js";
export { ConfigError, DecodeError, MetlogError, SenderError } from "./core/errors.js";
export { makeEvent, replace, Severity } from "./core/event.js";
export { flushOnSignal, job } from "./core/lifecycle.js";
export { Timer } from "./core/timer.js";
export { exceptionFields } from "./core/tracebacks.js";
export { sanitize } from "./core/values.js";
export { JsonEncoder } from "./encoders/json.js";
export { MsgpackEncoder } from "./encoders/msgpack.js";
export { SignedEncoder } from "./encoders/signed.js";
export { decode } from "./encoders/frames.js";
export { MemorySender } from "./senders/memory.js";
export type { ComponentKind, Encoder, Event, Factory, Fields, Filter, FilterObject, LogOptions, MetlogOptions, Option, Sender, Stats };
import type { Option } from "./config/convert.js";
import type { Event } from "./core/event.js";
import type { Encoder } from "./encoders/encoder.js";
import type { Filter, FilterObject } from "./filters/filter.js";
import type { Sender } from "./senders/sender.js";

/** The version of this package. */
export const version = "0.1.0";

const client = getClient();

/** Checks the settings as a whole and opens what they name; see `MetlogClient.configure`. Throws ConfigError with every fault. */
export const configure = (settings?: unknown, more?: Record<string, unknown>): MetlogClient => client.configure(settings, more);
/** Logs an event. The first token is its type; `fields` is anything else that JSON can say. */
export const log = (tokens: string | readonly string[], msg?: string, options?: LogOptions): void => client.log(tokens, msg, options);
/** Logs an event under an explicit type. */
export const metlog = (type: string, options?: MetlogOptions): void => client.metlog(type, options);
/** Severity 7; see `MetlogClient.debug`. */
export const debug = (msg: unknown, ...args: unknown[]): void => client.debug(msg, ...args);
/** Severity 6. */
export const info = (msg: unknown, ...args: unknown[]): void => client.info(msg, ...args);
/** Severity 4. */
export const warn = (msg: unknown, ...args: unknown[]): void => client.warn(msg, ...args);
/** Severity 4. */
export const warning = (msg: unknown, ...args: unknown[]): void => client.warning(msg, ...args);
/** Severity 3. */
export const error = (msg: unknown, ...args: unknown[]): void => client.error(msg, ...args);
/** Severity 3, with an error: its type, message and traceback as fields. */
export const exception = (msg: unknown, error?: unknown, ...args: unknown[]): void => client.exception(msg, error, ...args);
/** Severity 2. */
export const critical = (msg: unknown, ...args: unknown[]): void => client.critical(msg, ...args);
/** Logs an event of type `counter`. */
export const incr = (name: string, count?: number, rate?: number): void => client.incr(name, count, rate);
/** Logs an event of type `timer`: something took `ms` milliseconds. */
export const timerSend = (name: string, ms: number, rate?: number): void => client.timerSend(name, ms, rate);
/** A timer that runs until `stop()` or the end of a `using` block; or of a function, or of a promise. */
export const timer: MetlogClient["timer"] = client.timer.bind(client) as never;
/** A client that adds these fields to every event. */
export const bind = (fields: Fields): MetlogClient => client.bind(fields);
/** Puts a function on the client under its own name. */
export const addMethod = (...args: Parameters<MetlogClient["addMethod"]>): void => client.addMethod(...args);
/** Sends everything logged so far; waits at most `timeout` seconds (60 unless given). False: it was too short. */
export const flush = (timeout?: number): Promise<boolean> => client.flush(timeout);
/** Sends the rest and the end of the stream within `timeout` seconds (`exit_timeout` unless given). */
export const close = (timeout?: number): Promise<void> => client.close(timeout);
/** What became of the events since `configure`. */
export const stats = (): Stats => client.stats();
