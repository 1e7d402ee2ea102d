/** pino: `pino({ transport: { target: "metlog/pino", options: { sender: "udp://…" } } })`, or `pino(metlogStream())` in the same thread. */

import { Writable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import "./config/builtin.js";
import { getClient, MetlogClient } from "./core/client.js";
import type { Fields } from "./core/event.js";
import { put } from "./core/event.js";
import { parseJson } from "./encoders/json-parse.js";

const MAX_LINE = 1 << 24;
/** Where it is not found, every number of a line is one that `JSON.parse` keeps as it is. */
const LONG_NUMBER = /\d{16}/;

/** The severity of a pino level (10 trace … 60 fatal); levels between two named ones count as the lower. */
export function severityOf(level: number): number {
  if (level < 30) return 7;
  if (level < 40) return 6;
  if (level < 50) return 4;
  return level < 60 ? 3 : 2;
}

/** One of pino's records as an event: type `oldstyle`, tokens (`oldstyle`, name of the logger). */
export function sendRecord(client: MetlogClient, record: Fields): void {
  const { level, msg, name, err, pid: _pid, hostname: _hostname, ...rest } = record;
  const fields: Fields = {};
  for (const [key, value] of Object.entries(rest)) put(fields, key, value);
  const severity = typeof level === "number" ? level : 30;
  fields.level = severity;
  if (typeof err === "object" && err !== null) {
    const { type, message, stack, ...more } = err as Fields;
    Object.assign(fields, { exception_type: type, exception_message: message, traceback: stack });
    if (Object.keys(more).length > 0) fields.err = more;
  }
  client.log(typeof name === "string" ? ["oldstyle", name] : "oldstyle", typeof msg === "string" ? msg : "", {
    severity: severityOf(severity),
    fields,
  });
}

class RecordStream extends Writable {
  private readonly decoder = new StringDecoder();
  private rest = "";

  constructor(
    private readonly client: MetlogClient,
    private readonly owned: boolean,
  ) {
    super({ decodeStrings: false, defaultEncoding: "utf8" });
  }

  override _write(chunk: string | Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const lines = (this.rest + (typeof chunk === "string" ? chunk : this.decoder.write(chunk))).split("\n");
    this.rest = lines.pop() as string;
    if (this.rest.length > MAX_LINE) this.rest = "";
    for (const line of lines) {
      if (line === "") continue;
      let record: unknown;
      try {
        record = LONG_NUMBER.test(line) ? parseJson(line, "keep") : JSON.parse(line);
      } catch {
        record = { msg: line }; // a custom format: the line is worth having
      }
      sendRecord(this.client, typeof record === "object" && record !== null ? (record as Fields) : { msg: line });
    }
    done();
  }

  override _final(done: (error?: Error | null) => void): void {
    const ended = this.owned ? this.client.close() : this.client.flush(2);
    ended.then(() => done(), done);
  }
}

/** A stream for `pino(options, stream)`, in the same thread: records go to a client, the default one unless given. */
export function metlogStream({ client }: { client?: MetlogClient | string } = {}): Writable {
  return new RecordStream(client instanceof MetlogClient ? client : getClient(client ?? ""), false);
}

/** pino's transport: runs in its worker thread, with a client of its own, configured by `options` (what `metlog.configure` takes). */
export default function transport(options: Record<string, unknown> = {}): Writable {
  const { $context: _context, pinoWillSendConfig: _sends, ...settings } = options; // these two are pino's own
  return new RecordStream(MetlogClient.fromConfig(Object.keys(settings).length > 0 ? settings : undefined), true);
}
