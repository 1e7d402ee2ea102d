/** winston: `winston.createLogger({ transports: [metlogTransport()] })`. */

import { Writable } from "node:stream";
import { getClient, MetlogClient } from "./core/client.js";
import type { Fields } from "./core/event.js";
import { put } from "./core/event.js";
import { exceptionFields } from "./core/tracebacks.js";

/** Levels of npm, of syslog and of the command line, which are those that winston brings. */
const LEVELS: Readonly<Record<string, number>> = {
  emerg: 0, alert: 1, crit: 2, critical: 2, fatal: 2, error: 3, warn: 4, warning: 4, notice: 5, help: 5, data: 6, info: 6, http: 6,
  prompt: 6, verbose: 7, input: 7, debug: 7, silly: 7, trace: 7,
};

export interface WinstonOptions {
  /** A client, the name of one, or nothing for the default one. */
  client?: MetlogClient | string;
  /** The least urgent level that is taken; the logger's own unless given. */
  level?: string;
}

interface Logger {
  levels: Record<string, number>;
  level: string;
}

class MetlogTransport extends Writable {
  private logger: Logger | null = null;
  private readonly client: MetlogClient;
  readonly level: string | undefined;

  constructor({ client, level }: WinstonOptions) {
    super({ objectMode: true });
    this.client = client instanceof MetlogClient ? client : getClient(client ?? "");
    this.level = level;
    this.on("pipe", (logger: unknown) => {
      this.logger = logger as Logger;
    });
  }

  /** winston asks for a method of this name, and writes to the stream. */
  log(info: Fields, next: () => void): void {
    this._write(info, "utf8", next);
  }

  override _write(info: Fields, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    try {
      if (this.wanted(String(info[Symbol.for("level") as unknown as string] ?? info.level))) this.send(info);
    } catch (error) {
      this.client.failed(error); // a record with something in it that throws when it is read
    }
    done();
  }

  private wanted(level: string): boolean {
    const levels = this.logger?.levels;
    const most = levels?.[this.level ?? this.logger?.level ?? ""];
    const own = levels?.[level];
    return most === undefined || own === undefined || own <= most;
  }

  private send(info: Fields): void {
    const level = String(info[Symbol.for("level") as unknown as string] ?? info.level);
    const fields: Fields = {};
    for (const key of Object.keys(info)) if (key !== "level" && key !== "message") put(fields, key, info[key]);
    fields.level = level;
    if (info instanceof Error) Object.assign(fields, exceptionFields(info));
    for (const key of ["error", "err"]) if (fields[key] instanceof Error) Object.assign(fields, exceptionFields(fields[key]));
    const { message } = info;
    const { label, service } = fields;
    const name = typeof label === "string" ? label : typeof service === "string" ? service : null;
    this.client.log(name === null ? "oldstyle" : ["oldstyle", name], typeof message === "string" ? message : String(message), {
      severity: LEVELS[level] ?? 6,
      fields,
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.client.flush(2).then(() => done(), done);
  }
}

/** A winston transport: each record becomes an event of type `oldstyle`, tokens (`oldstyle`, its `label` or `service`). */
export function metlogTransport(options: WinstonOptions = {}): Writable {
  return new MetlogTransport(options);
}
