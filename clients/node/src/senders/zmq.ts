/** ZeroMQ: PUSH to one of several listeners, or PUB to all who subscribe. Needs the package `zeromq`, version 6. */

import { repr } from "../config/convert.js";
import { ConfigError, messageOf, SenderError } from "../core/errors.js";
import { load } from "../core/statsd.js";
import { atLeast, closedError, oneOf } from "./options.js";
import type { Sender } from "./sender.js";

const ENDPOINT = /^((tcp|ws|wss):\/\/[^\s/]+:(\d{1,5}|\*)(\/\S*)?|(ipc|inproc|pgm|epgm|udp|vmci|tipc):\/\/\S+)$/;
const KEY = /^[0-9A-Za-z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/;

interface ZmqSocket {
  send(message: Uint8Array): Promise<void>;
  connect(endpoint: string): void;
  bind(endpoint: string): Promise<void>;
  close(): void;
  linger: number;
}

interface Zmq {
  Push: new (options: object) => ZmqSocket;
  Publisher: new (options: object) => ZmqSocket;
  curveKeyPair(): { publicKey: string; secretKey: string };
}

export interface ZmqOptions {
  endpoint?: string;
  pattern?: string;
  bind?: boolean;
  hwm?: number;
  linger?: number;
  server_key?: string;
  public_key?: string;
  secret_key?: string;
  max_frame?: number;
}

/** Sends each frame as one message; ZeroMQ connects, and connects again, in a thread of its own. */
export class ZmqSender implements Sender {
  readonly max_frame: number;
  readonly endpoint: string;
  private readonly zmq: Zmq;
  private readonly linger: number; // ms
  private readonly bind: boolean;
  private readonly pattern: string;
  private readonly options: Record<string, unknown>;
  private socket: ZmqSocket | null = null;
  private binding: Promise<void> | null = null;
  private closed = false;
  private left = Infinity; // ms

  constructor(given: ZmqOptions = {}) {
    const { endpoint = "tcp://127.0.0.1:5566", pattern = "push", bind = false, hwm = 1000, linger = 1, max_frame = 65536 } = given;
    const { server_key, public_key, secret_key } = given;
    oneOf("pattern", pattern, ["push", "pub"]);
    atLeast("hwm", hwm, 1, "messages");
    atLeast("linger", linger, 0, "seconds");
    atLeast("max_frame", max_frame, 64, "bytes");
    if (!ENDPOINT.test(endpoint)) throw new Error(`endpoint = ${repr(endpoint)}: wants an endpoint such as tcp://127.0.0.1:5566 or ipc:///run/app`);
    checkKeys(bind, server_key, public_key, secret_key);
    this.zmq = load("zeromq", "sender") as Zmq;
    this.max_frame = max_frame;
    this.endpoint = endpoint;
    this.bind = bind;
    this.pattern = pattern;
    this.linger = linger * 1000;
    this.options = { sendHighWaterMark: hwm, linger: this.linger, ipv6: true };
    if (pattern === "pub") this.options.noDrop = true; // at the high-water mark it waits; its default is to drop in silence
    if (server_key !== undefined) {
      const own = public_key !== undefined && secret_key !== undefined ? { publicKey: public_key, secretKey: secret_key } : this.zmq.curveKeyPair();
      Object.assign(this.options, { curveServerKey: server_key, curvePublicKey: own.publicKey, curveSecretKey: own.secretKey });
    } else if (secret_key !== undefined) {
      Object.assign(this.options, { curveServer: true, curveSecretKey: secret_key });
    }
  }

  /** Binds or connects now and not at the first frame: neither waits, and peers need a moment to find each other. */
  open(): void {
    const made = new (this.pattern === "push" ? this.zmq.Push : this.zmq.Publisher)(this.options);
    this.socket = made;
    try {
      if (!this.bind) made.connect(this.endpoint);
      else this.binding = made.bind(this.endpoint);
    } catch (error) {
      this.socket = null;
      made.close();
      throw new ConfigError(`endpoint = ${repr(this.endpoint)}: ${messageOf(error)}; another process may have it, or this machine lacks it`);
    }
    this.binding?.then(undefined, () => {}); // `send` tells it
  }

  async send(frame: Uint8Array): Promise<void> {
    if (this.closed || this.socket === null) throw closedError("zmq");
    try {
      await this.binding;
      await this.socket.send(frame);
    } catch (error) {
      throw this.closed ? closedError("zmq") : new SenderError(`${this.endpoint}: ${messageOf(error)}`, "unreachable", { cause: error });
    }
  }

  deadline(seconds: number): void {
    this.left = Math.max(0, seconds * 1000);
  }

  /** Closes the socket; ZeroMQ's own thread goes on for at most `linger` seconds with what is not out yet. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    const { socket } = this;
    this.socket = null;
    if (socket === null) return;
    socket.linger = Math.min(this.linger, this.left);
    socket.close();
  }
}

function checkKeys(bind: boolean, serverKey?: string, publicKey?: string, secretKey?: string): void {
  for (const [name, key] of Object.entries({ server_key: serverKey, public_key: publicKey, secret_key: secretKey })) {
    // the value stays out of the message: a secret
    if (key !== undefined && !KEY.test(key)) throw new Error(`${name}: wants a CURVE key, 40 characters in Z85, as curveKeyPair() gives them`);
  }
  if ((publicKey === undefined) !== (secretKey === undefined) && !(bind && secretKey !== undefined)) {
    throw new Error("public_key, secret_key: one is of no use without the other; give both");
  }
  if (bind && serverKey !== undefined) throw new Error("server_key: with bind = true we are the server; give secret_key");
  if (!bind && secretKey !== undefined && serverKey === undefined) {
    throw new Error("server_key: needed too, the listener's public key, or nothing is encrypted");
  }
}
