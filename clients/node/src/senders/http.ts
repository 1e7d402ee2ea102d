/** HTTP: a frame is the body of a POST. */

import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent, request } from "node:http";
import { Agent as SecureAgent, request as secureRequest } from "node:https";
import { isIPv6 } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { repr } from "../config/convert.js";
import { SenderError, messageOf } from "../core/errors.js";
import { waitFor } from "../core/wait.js";
import type { Encoder } from "../encoders/encoder.js";
import { atLeast, Backoff, closedError, hostList, oneOf, Patience, portNumber, positive } from "./options.js";
import type { Sender } from "./sender.js";
import type { TlsFiles } from "./tcp.js";
import { tlsContext } from "./tcp.js";

const FIRST_PAUSE = 250;
const MOST_PAUSE = 10_000; // ms
const SMALL = 256; // bytes below which compressing a body makes it no smaller
const ANSWER_BYTES = 65_536;
const RETRIED = new Set([408, 425, 429]); // and 5xx: the same request may succeed later

export interface HttpOptions extends TlsFiles {
  host?: string | string[];
  port?: number;
  path?: string;
  token?: string;
  compression?: string;
  timeout?: number;
  give_up?: number;
  content_type?: string;
  max_frame?: number;
}

type Compress = (body: Uint8Array) => Promise<Uint8Array>;

/**
 * Posts each frame, and again, with growing pauses, while the server is away, busy (429) or failing (5xx). A request whose answer was lost
 * is repeated and may have been taken twice; its events' `seq` tells. Connections never keep the process alive.
 */
export class HttpSender implements Sender {
  readonly max_frame: number;
  readonly url: string;
  private readonly options: Record<string, unknown>;
  private readonly headers: Record<string, string>;
  private readonly contentType: string | undefined;
  private encoded: string | undefined; // media type that the encoder says
  private readonly compress: Compress | null;
  private readonly encoding: string;
  private readonly timeout: number;
  private readonly giveUp: number;
  private readonly patience = new Patience();
  private readonly backoff = new Backoff(FIRST_PAUSE, MOST_PAUSE);
  private readonly agent: Agent;
  private notBefore = 0;
  private lastError = new SenderError("no answer", "timeout");
  private current: ClientRequest | null = null;

  constructor(given: HttpOptions, secure: boolean) {
    const { host = "127.0.0.1", port, path = "/submit/metlog", token, compression = "gzip", timeout = 10, give_up = 60 } = given;
    const { content_type, max_frame = 262_144, ca_file, cert_file, key_file } = given;
    positive("timeout", timeout, "seconds");
    positive("give_up", give_up, "seconds");
    atLeast("max_frame", max_frame, 64, "bytes");
    oneOf("compression", compression, ["gzip", "zstd", "none"]);
    if (port !== undefined) portNumber(port);
    if (!path.startsWith("/")) throw new Error(`path = ${repr(path)}: wants a path that begins with /, such as /submit/myservice`);
    if (/[^!-~]/.test(path)) throw new Error(`path = ${repr(path)}: wants printable ASCII without blanks; write others as %20`);
    // the value stays out of the message: a secret
    if (token !== undefined && !/^[ -~]*$/.test(token)) throw new Error("token: wants printable ASCII without line ends");
    const hosts = hostList(host);
    if (hosts.length > 1) throw new Error(`host = ${repr(host)}: wants one host; put a load balancer before several`);
    const name = hosts[0] as string;
    this.max_frame = max_frame;
    this.timeout = timeout * 1000;
    this.giveUp = give_up * 1000;
    this.contentType = content_type;
    this.encoding = compression;
    this.compress = compressor(compression);
    const scheme = secure ? "https" : "http";
    this.url = `${scheme}://${isIPv6(name) ? `[${name}]` : name}${port === undefined ? "" : `:${port}`}${path}`;
    this.agent = secure ? new SecureAgent({ keepAlive: true, maxSockets: 1 }) : new Agent({ keepAlive: true, maxSockets: 1 });
    const tls = secure ? { secureContext: tlsContext(pick({ ca_file, cert_file, key_file })) } : {};
    this.options = { method: "POST", host: name, port: port ?? (secure ? 443 : 80), path, agent: this.agent, secure, ...tls };
    this.headers = { "User-Agent": "metlog", ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) };
  }

  encodedBy(encoder: Encoder): void {
    this.encoded = encoder.content_type;
  }

  async send(frame: Uint8Array): Promise<void> {
    if (this.patience.closed) throw closedError("http");
    const { body, headers } = await this.body(frame);
    let end = this.patience.until(this.giveUp);
    let extended = false;
    for (;;) {
      const pause = this.notBefore - performance.now();
      if (pause > 0 && (performance.now() + pause >= this.patience.until(end - performance.now()) || !(await this.patience.sleep(pause)))) {
        throw this.lastError;
      }
      const later = await this.attempt(body, headers, this.patience.until(end - performance.now()));
      if (later === null) {
        this.backoff.reset();
        this.notBefore = 0;
        return;
      }
      this.lastError = later.error;
      let wait = this.backoff.pause();
      if (later.ms !== null) {
        wait = Math.max(wait, Math.min(later.ms, this.giveUp));
        if (!extended) {
          end = this.patience.until(end - performance.now() + wait);
          extended = true;
        }
      }
      this.notBefore = performance.now() + wait;
      if (this.patience.closed) throw later.error;
    }
  }

  private async body(frame: Uint8Array): Promise<{ body: Uint8Array; headers: Record<string, string> }> {
    const text = frame[0] === 0x7b || frame[0] === 0x5b;
    const headers: Record<string, string> = {
      ...this.headers,
      "Content-Type": this.contentType ?? this.encoded ?? (text ? "application/x-ndjson" : "application/msgpack"),
    };
    if (this.compress === null || frame.length < SMALL) return { body: frame, headers };
    headers["Content-Encoding"] = this.encoding;
    return { body: await this.compress(frame), headers };
  }

  /** One request; null on 2xx; throws SenderError: the server will not have it; else what to wait for. */
  private async attempt(body: Uint8Array, headers: Record<string, string>, end: number): Promise<{ error: SenderError; ms: number | null } | null> {
    const left = Math.max(1, Math.min(this.timeout, end - performance.now()));
    let answer: { status: number; words: string; retryAfter: string | undefined };
    try {
      answer = await this.exchange(body, headers, left);
    } catch (error) {
      return { error: error instanceof SenderError ? error : this.error(messageOf(error), reasonOf(error)), ms: null };
    }
    const { status, words } = answer;
    if (status >= 200 && status < 300) return null; // the status is the receipt, whatever became of the rest
    if (RETRIED.has(status) || status >= 500) {
      return { error: this.error(words, status === 429 || status === 503 ? "busy" : "server_error"), ms: retryAfter(answer.retryAfter) };
    }
    throw this.error(words, "rejected");
  }

  private exchange(body: Uint8Array, headers: Record<string, string>, left: number): Promise<{ status: number; words: string; retryAfter: string | undefined }> {
    const { secure, ...options } = this.options;
    return new Promise((resolve, reject) => {
      const made = (secure === true ? secureRequest : request)({ ...options, headers: { ...headers, "Content-Length": body.length } });
      this.current = made;
      let told: (() => void) | null = null; // once the status is there
      const timer = setTimeout(() => {
        if (told !== null) told();
        else reject(this.error(`no answer within ${Number((left / 1000).toPrecision(3))} s`, "timeout"));
        made.destroy();
      }, waitFor(left));
      timer.unref();
      const over = (): void => {
        clearTimeout(timer);
        if (this.current === made) this.current = null;
      };
      made.on("socket", (socket) => socket.unref());
      made.on("error", (error) => {
        over();
        reject(error);
      });
      made.on("response", (answer: IncomingMessage) => {
        let text = Buffer.alloc(0);
        told = (): void => {
          over();
          const said = text.subarray(0, 200).toString().trim();
          const retry = answer.headers["retry-after"];
          resolve({ status: answer.statusCode ?? 0, words: `${answer.statusCode} ${answer.statusMessage}: ${said}`, retryAfter: retry });
        };
        answer.on("data", (chunk: Buffer) => {
          if (text.length + chunk.length > ANSWER_BYTES) answer.destroy();
          else text = Buffer.concat([text, chunk]);
        });
        answer.on("end", told).on("error", told).on("close", told);
      });
      made.end(body);
    });
  }

  private error(words: string, reason: string): SenderError {
    return new SenderError(`${this.url}: ${words}`, reason);
  }

  deadline(seconds: number): void {
    this.patience.deadline(seconds);
  }

  close(): void {
    this.patience.close();
    this.current?.destroy(new SenderError("closed", "closed"));
    this.agent.destroy();
  }
}

function pick(files: { [name in keyof TlsFiles]: string | undefined }): TlsFiles {
  return Object.fromEntries(Object.entries(files).filter(([, value]) => value !== undefined));
}

function compressor(name: string): Compress | null {
  if (name === "none") return null;
  if (name === "gzip") {
    const gzip = promisify<zlib.InputType, zlib.ZlibOptions, Buffer>(zlib.gzip);
    return (body) => gzip(body, { level: 5 });
  }
  const { zstdCompress } = zlib as unknown as { zstdCompress?: (body: Uint8Array, done: (error: Error | null, made: Buffer) => void) => void };
  if (zstdCompress === undefined) throw new Error("compression = 'zstd': needs Node.js 22.15 or later; use gzip");
  return promisify(zstdCompress) as Compress;
}

function reasonOf(error: unknown): string {
  const code = String((error as NodeJS.ErrnoException).code ?? "");
  if (code === "ECONNREFUSED") return "refused";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "unresolved";
  if (/^(ERR_(SSL|TLS)|CERT_|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|EPROTO)/.test(code)) return "tls";
  return "unreachable";
}

/** Milliseconds to wait, from either form of the header (RFC 9110, section 10.2.3); null when it is neither. */
function retryAfter(value: string | undefined): number | null {
  if (value === undefined) return null;
  if (/^\s*[0-9]{1,9}\s*$/.test(value)) return Number(value) * 1000;
  const when = Date.parse(value);
  return Number.isNaN(when) ? null : Math.max(0, when - Date.now());
}
