/** TCP, with or without TLS, and Unix sockets: frames one after another in one stream. */

import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { connect, isIP } from "node:net";
import type { SecureContext } from "node:tls";
import { connect as connectTls, createSecureContext } from "node:tls";
import { repr } from "../config/convert.js";
import { messageOf } from "../core/errors.js";
import { ConnectionSender } from "./connection.js";
import { hostList, oneOf, portNumber } from "./options.js";

export interface TlsFiles {
  ca_file?: string;
  cert_file?: string;
  key_file?: string;
}

export interface TcpOptions extends TlsFiles {
  host?: string | string[];
  port?: number;
  timeout?: number;
  tls?: boolean;
  server_name?: string;
  max_frame?: number;
}

/** Sends frames as they are: JSON frames end in a line feed, MessagePack delimits itself. */
export class TcpSender extends ConnectionSender {
  readonly hosts: string[];
  readonly port: number;
  protected readonly ready: "connect" | "secureConnect";
  private readonly secure: SecureContext | null;
  private readonly serverName: string | undefined;

  constructor({ host = "127.0.0.1", port = 5565, timeout = 10, tls = false, server_name, max_frame = 65536, ...files }: TcpOptions = {}) {
    super(timeout, max_frame);
    this.hosts = hostList(host);
    portNumber(port);
    this.port = port;
    this.serverName = server_name;
    this.ready = tls ? "secureConnect" : "connect";
    if (!tls) {
      for (const [name, value] of Object.entries({ ...files, server_name })) {
        if (value !== undefined) throw new Error(`${name} = ${repr(value)}: means nothing without TLS; set tls = true`);
      }
    }
    this.secure = tls ? tlsContext(files) : null;
  }

  protected override get alternatives(): number {
    return this.hosts.length;
  }

  protected dial(attempt: number): Socket {
    const host = this.hosts[attempt] as string;
    const where = { host: host.toLowerCase() === "localhost" ? "127.0.0.1" : host, port: this.port, noDelay: true, autoSelectFamily: true };
    if (this.secure === null) return connect(where);
    const name = this.serverName ?? host;
    const servername = isIP(name) === 0 ? { servername: name } : {};
    return connectTls({ ...where, ...servername, secureContext: this.secure, minVersion: "TLSv1.2", rejectUnauthorized: true });
  }

  protected peer(): string {
    return `${this.hosts.join(", ")} port ${this.port}`;
  }
}

const LONGEST_PATH = 107; // bytes: `sun_path` of Linux, less its closing NUL

/** Frames one after another over a Unix socket. Node.js has no Unix datagram sockets: `kind` is `stream`. */
export class UnixSender extends ConnectionSender {
  readonly path: string;
  protected readonly ready = "connect";

  constructor({ path = "", kind = "stream", timeout = 5, max_frame = 65536 }: UnixOptions = {}) {
    super(timeout, max_frame);
    oneOf("kind", kind, ["dgram", "stream"]);
    if (kind === "dgram") throw new Error("kind = 'dgram': Node.js has no Unix datagram sockets; set kind = 'stream', and let the listener take a stream");
    if (path.replace(/^@/, "") === "") throw new Error(`path = ${repr(path)}: wants the path of a socket, or @name`);
    if (Buffer.byteLength(path) > LONGEST_PATH) {
      throw new Error(`path = ${repr(path)}: a socket's path has at most ${LONGEST_PATH} bytes; use a shorter one`);
    }
    this.path = path;
  }

  protected dial(): Socket {
    return connect({ path: this.path.startsWith("@") ? `\0${this.path.slice(1)}` : this.path });
  }

  protected peer(): string {
    return this.path;
  }
}

export interface UnixOptions {
  path?: string;
  kind?: string;
  timeout?: number;
  max_frame?: number;
}

/** A client's context; throws an Error that names the option whose file cannot be used. */
export function tlsContext({ ca_file, cert_file, key_file }: TlsFiles): SecureContext {
  const read = (name: string, path: string): Buffer => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw new Error(`${name} = ${repr(path)}: ${messageOf(error)}; wants a PEM file`);
    }
  };
  if (key_file !== undefined && cert_file === undefined) {
    throw new Error(`key_file = ${repr(key_file)}: needs cert_file, the certificate that belongs to the key`);
  }
  const ca = ca_file === undefined ? {} : { ca: read("ca_file", ca_file) };
  const cert = cert_file === undefined ? {} : { cert: read("cert_file", cert_file), key: read("key_file", key_file ?? cert_file) };
  try {
    return createSecureContext({ ...ca, ...cert });
  } catch (error) {
    throw new Error(`ca_file = ${repr(ca_file)}, cert_file = ${repr(cert_file)}: ${messageOf(error)}; want PEM files of certificates and a key`);
  }
}
