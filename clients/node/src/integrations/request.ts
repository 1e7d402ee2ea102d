/** The event and the metrics of one request, the same for Express, Fastify and Koa, and the same as the Python middleware's. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { repr } from "../config/convert.js";
import { getClient, MetlogClient } from "../core/client.js";
import { ConfigError } from "../core/errors.js";
import type { Fields } from "../core/event.js";
import { put } from "../core/event.js";
import { increment, timing } from "../core/statsd.js";
import { typeName } from "../core/tracebacks.js";
import { safePath } from "./safe-path.js";

/** Status of a request whose client went away before the response began; nginx's number for it. */
const CLOSED_BY_CLIENT = 499;
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"]);
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?$/;
const PRINTABLE = /^(?:[^\p{C}\p{Z}]| )+$/u;
const MAX_ID = 128;
const MAX_VALUE = 1024;
const MAX_QUERY = 8192;

export interface MiddlewareOptions {
  /** A client, the name of one (`metlog.getClient`), or nothing for the default one; it may be configured later. */
  client?: MetlogClient | string;
  /** Paths of which nothing is logged; `*` at the end stands for anything. */
  exclude?: readonly string[];
  /** Share of the requests that is logged, above 0 and up to 1. Those that failed always are. */
  sample?: number;
  /** Names of request headers to log, as `header.NAME`. */
  headers?: readonly string[];
  /** Names of query parameters to log, as `query.NAME`. */
  query?: readonly string[];
  /** Gets the request (Koa: the context) and gives a route template; without it the framework's, else a safe path. */
  route?: (request: unknown) => string | null | undefined;
  /** Name of the header that holds the request's id; "" for none. */
  request_id?: string;
  /** Whether to send the metrics `request.METHOD.STATUS` (counter) and `request.METHOD` (timer). */
  statsd?: boolean;
}

/** Logs requests: one event of type `request`, and to statsd one counter and one timer. Throws ConfigError for options that cannot be used. */
export class Recorder {
  readonly client: MetlogClient;
  readonly route: MiddlewareOptions["route"];
  private readonly exact: ReadonlySet<string>;
  private readonly prefixes: readonly string[];
  private readonly sample: number;
  private readonly headers: ReadonlySet<string>;
  private readonly query: ReadonlySet<string>;
  private readonly requestId: string;
  private readonly statsd: boolean;

  constructor(options: MiddlewareOptions = {}) {
    const { client, exclude = ["/healthz", "/metrics", "/favicon.ico"], sample = 1, headers = [], query = [], route } = options;
    if (!(sample > 0 && sample <= 1)) throw new ConfigError(`sample = ${repr(sample)}: wants a share above 0, up to 1`);
    for (const [name, value] of Object.entries({ exclude, headers, query })) {
      if (typeof value === "string") throw new ConfigError(`${name} = ${repr(value)}: wants a list; write [${repr(value)}]`);
    }
    if (route !== undefined && typeof route !== "function") throw new ConfigError(`route = ${repr(route)}: wants a function that gets the request`);
    if (client !== undefined && typeof client !== "string" && !(client instanceof MetlogClient)) {
      throw new ConfigError(`client = ${repr(client)}: wants a MetlogClient, the name of one, or nothing for the default`);
    }
    this.client = client instanceof MetlogClient ? client : getClient(client ?? "");
    this.route = route;
    this.exact = new Set(exclude.filter((path) => !path.endsWith("*")));
    this.prefixes = exclude.filter((path) => path.endsWith("*")).map((path) => path.slice(0, -1));
    this.sample = sample;
    this.headers = new Set(headers.map((name) => name.toLowerCase()));
    this.query = new Set(query);
    this.requestId = (options.request_id ?? "x-request-id").toLowerCase();
    this.statsd = options.statsd ?? true;
  }

  /** Begins to watch a request; null for a path that is left out. */
  watch(request: IncomingMessage, response: ServerResponse, url = request.url ?? "/"): Exchange | null {
    const path = url.split("?", 1)[0] as string;
    if (this.exact.has(path) || this.prefixes.some((prefix) => path.startsWith(prefix))) return null;
    return new Exchange(this, request, response, path, url.slice(path.length + 1));
  }

  /** Fields from the request itself: ids, and what was asked for by name. */
  fieldsOf(request: IncomingMessage, query: string): Fields {
    const fields: Fields = {};
    const trace = TRACEPARENT.exec(String(request.headers.traceparent ?? ""));
    if (trace !== null) [, fields.trace_id, fields.span_id] = trace;
    const id = this.requestId === "" ? "" : String(request.headers[this.requestId] ?? "");
    if (id.length <= MAX_ID && PRINTABLE.test(id)) fields.request_id = id;
    for (const name of this.headers) {
      const value = request.headers[name];
      if (value !== undefined) put(fields, `header.${name}`, (Array.isArray(value) ? value.join(", ") : value).slice(0, MAX_VALUE));
    }
    if (this.query.size === 0) return fields;
    const parameters = new URLSearchParams(query.slice(0, MAX_QUERY));
    for (const name of this.query) {
      const value = parameters.get(name);
      if (value !== null) put(fields, `query.${name}`, value.slice(0, MAX_VALUE));
    }
    return fields;
  }

  /** Logs one request that is over; never throws. */
  record(outcome: Outcome): void {
    const { status, ms, error, fields, route, bytes } = outcome;
    try {
      const broken = status >= 500 || error !== undefined;
      const rate = broken ? 1 : this.sample;
      if (rate < 1 && Math.random() >= rate) return;
      // whatever a client sent: it must not make names of metrics
      const method = METHODS.has(outcome.method) ? outcome.method : "OTHER";
      const own: Fields = { ...fields, method, route, status, ms: Math.round(ms * 1000) / 1000, bytes };
      if (error !== undefined) own.error = typeName(error);
      if (outcome.disconnected) own.disconnected = true;
      const words = `${method} ${route} ${status}`;
      if (rate === 1) this.client.log(["request", method], words, { severity: broken ? 3 : 6, fields: own });
      else this.client.metlog("request", { payload: words, fields: own, tokens: ["request", method], weight: 1 / rate });
      if (!this.statsd) return;
      increment(this.client.statsd, `request.${method}.${status}`, rate);
      timing(this.client.statsd, `request.${method}`, ms, rate);
    } catch (failure) {
      this.client.failed(failure); // as the calls that log
    }
  }
}

interface Outcome {
  method: string;
  route: string;
  status: number;
  ms: number;
  bytes: number;
  fields: Fields;
  error: unknown;
  disconnected: boolean;
}

type Write = (chunk?: unknown, encoding?: unknown, done?: unknown) => boolean;

/** One request, up to the last byte of its answer. */
export class Exchange {
  /** What `metlog.context` adds anywhere below. */
  readonly shared: Fields = {};
  /** What the application threw. */
  error: unknown = undefined;
  /** The framework's template, asked for at the end. */
  template: () => string | null | undefined = () => null;
  private readonly started = performance.now();
  private ended = 0;
  private bytes = 0;
  private readonly fields: Fields;

  constructor(
    private readonly recorder: Recorder,
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
    private readonly path: string,
    query: string,
  ) {
    this.fields = recorder.fieldsOf(request, query);
    this.count("write");
    this.count("end");
    response.once("finish", () => {
      this.ended = performance.now();
    });
    response.once("close", () => this.over());
  }

  /** Counts the bytes of the body; what is written stays as it is. */
  private count(name: "write" | "end"): void {
    const response = this.response as unknown as Record<string, Write>;
    const original = response[name] as Write;
    response[name] = (chunk?: unknown, encoding?: unknown, done?: unknown): boolean => {
      if (typeof chunk === "string") this.bytes += Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
      else if (chunk instanceof Uint8Array) this.bytes += chunk.byteLength;
      return original.call(this.response, chunk, encoding, done);
    };
  }

  private over(): void {
    const { response } = this;
    const gone = !response.writableFinished;
    this.recorder.record({
      method: this.request.method ?? "",
      route: this.route(),
      status: gone && !response.headersSent ? (this.error === undefined ? CLOSED_BY_CLIENT : 500) : response.statusCode,
      ms: (this.ended || performance.now()) - this.started,
      bytes: this.request.method === "HEAD" ? 0 : this.bytes,
      fields: { ...this.fields, ...this.shared },
      error: this.error,
      disconnected: gone,
    });
  }

  private route(): string {
    try {
      const found = this.template();
      if (typeof found === "string" && found !== "") return found;
    } catch (error) {
      this.recorder.client.failed(error); // code of the application, or a framework's object of another shape
    }
    return safePath(this.path);
  }
}
