/** UDP datagrams: one frame a datagram, never a wait. */

import type { Socket } from "node:dgram";
import { createSocket } from "node:dgram";
import { lookup } from "node:dns";
import { clearTimeout, setTimeout } from "node:timers";
import { SenderError, messageOf } from "../core/errors.js";
import { waitFor } from "../core/wait.js";
import type { Address } from "./options.js";
import { atLeast, closedError, hostList, numeric, portNumber, positive } from "./options.js";
import type { Sender } from "./sender.js";

const LOOPBACK_FRAME = 8192;
/** An Ethernet packet of 1,500 bytes less the headers of IPv4 or IPv6 and UDP, and 20 bytes to spare for a tunnel. */
const REMOTE_FRAME = 1432;
const MAX_EVENT = 65507;
const HELD_BYTES = 256 * 1024; // what is kept while a name has not been resolved yet
const KERNEL_BYTES = 8 << 20; // what may wait in the process while the kernel's buffer is full
const FIRST_RETRY = 500; // ms to the second lookup when the first found nothing
const KICK_PAUSE = 5000; // ms between two lookups asked for by errors
const LAST_WAIT = 1; // seconds that `close` gives the first lookup while frames wait for it

type Done = (error?: unknown) => void;

export interface UdpOptions {
  host?: string | string[];
  port?: number;
  max_frame?: number;
  send_buffer?: number;
  resolve_interval?: number;
}

/**
 * Sends each frame as one datagram through a connected socket. Several hosts, and the several addresses of a name, are alternatives:
 * frames go to one of them until it fails, then to the next. A name is looked up in the background; what is sent before
 * the first answer is kept, up to 256 KiB.
 */
export class UdpSender implements Sender {
  readonly nonblocking = true;
  readonly max_event = MAX_EVENT;
  readonly max_frame: number;
  readonly hosts: string[];
  readonly port: number;
  private refused = 0;
  private lost = 0;
  private readonly sendBuffer: number | undefined;
  private readonly interval: number;
  private readonly names: boolean;
  private addresses: Address[];
  private current = 0;
  private socket: Socket | null = null;
  private held: { frame: Uint8Array; done: Done }[] = [];
  private heldBytes = 0;
  private closed = false;
  private lastWait = LAST_WAIT;
  private timer: NodeJS.Timeout | null = null;
  private asked = -Infinity;
  private pause = FIRST_RETRY;
  private lookupError = "";
  private answered: (() => void)[] = [];

  constructor({ host = "127.0.0.1", port = 5565, max_frame, send_buffer, resolve_interval = 60 }: UdpOptions = {}) {
    this.hosts = hostList(host);
    this.port = port;
    portNumber(port);
    positive("resolve_interval", resolve_interval, "seconds");
    if (send_buffer !== undefined) positive("send_buffer", send_buffer, "bytes");
    if (max_frame !== undefined) {
      atLeast("max_frame", max_frame, 64, "bytes");
      if (max_frame > MAX_EVENT) throw new Error(`max_frame = ${max_frame}: a datagram carries at most ${MAX_EVENT} bytes`);
    }
    const literals = this.hosts.map(numeric);
    this.addresses = literals.flatMap((found) => found ?? []);
    this.names = literals.includes(null);
    const local = !this.names && this.addresses.every(({ address }) => /^(127\.|::1$|::ffff:127\.)/.test(address));
    this.max_frame = max_frame ?? (local ? LOOPBACK_FRAME : REMOTE_FRAME);
    this.sendBuffer = send_buffer;
    this.interval = resolve_interval * 1000;
  }

  /** Starts to look names up: what is sent at once then waits the shorter. */
  open(): void {
    if (this.names) this.resolve();
  }

  sendCallback(frame: Uint8Array, done: Done): void {
    if (this.closed) throw closedError("udp");
    if (this.addresses.length === 0) this.hold(frame, done);
    else this.transmit(frame, done, this.addresses.length);
  }

  async send(frame: Uint8Array): Promise<void> {
    await new Promise<void>((resolve, reject) => this.sendCallback(frame, (error) => (error ? reject(error as Error) : resolve())));
  }

  private hold(frame: Uint8Array, done: Done): void {
    if (this.heldBytes + frame.length > HELD_BYTES) {
      const said = this.lookupError ? ` (${this.lookupError})` : "";
      throw new SenderError(`${this.hosts.join(", ")} not resolved yet${said}`, "unresolved");
    }
    this.held.push({ frame, done });
    this.heldBytes += frame.length;
    if (this.asked === -Infinity) this.resolve();
  }

  private transmit(frame: Uint8Array, done: Done, tries: number): void {
    let socket: Socket;
    try {
      socket = this.socket ?? this.connect();
      if (socket.getSendQueueSize() > KERNEL_BYTES) throw new SenderError("the socket's send buffer is full", "full");
    } catch (error) {
      done(error instanceof SenderError ? error : this.lostBy(error));
      return;
    }
    socket.send(frame, (error) => {
      if (error === null) done();
      else this.recover(frame, done, tries, error);
    });
  }

  /** Decides what a failed send means; sends the frame again where that can help. */
  private recover(frame: Uint8Array, done: Done, tries: number, error: NodeJS.ErrnoException): void {
    const { code } = error;
    if (this.closed) {
      done(closedError("udp"));
      return;
    }
    if (code === "EAGAIN" || code === "ENOBUFS") {
      done(new SenderError("the socket's send buffer is full", "full"));
      return;
    }
    if (code === "EMSGSIZE") {
      done(new SenderError(`${frame.length} bytes do not fit a datagram`, "too_large"));
      return;
    }
    // Linux reports the refusal of the last datagram on the next one and drops that: this one was not sent.
    if (code === "ECONNREFUSED") this.refused += 1;
    this.askAgain();
    if (tries <= 0) {
      done(this.lostBy(error));
      return;
    }
    if (code !== "ECONNREFUSED" || this.addresses.length > 1) this.move();
    this.transmit(frame, done, tries - 1);
  }

  private lostBy(error: unknown): SenderError {
    const reason = (error as NodeJS.ErrnoException).code === "ECONNREFUSED" ? "refused" : "unreachable";
    return new SenderError(`${this.hosts.join(", ")} port ${this.port}: ${messageOf(error)}`, reason, { cause: error });
  }

  private move(): void {
    this.current += 1;
    this.drop();
  }

  private drop(): void {
    const { socket } = this;
    this.socket = null;
    if (socket === null) return;
    try {
      socket.close();
    } catch {
      // closed already
    }
  }

  /** A socket that is connected when this returns: the address is known, and so nothing has to be waited for. */
  private connect(): Socket {
    const { family, address } = this.addresses[this.current % this.addresses.length] as Address;
    const socket = createSocket({
      type: family === 6 ? "udp6" : "udp4",
      lookup: ((host: string, _family: unknown, callback: (error: null, address: string, family: number) => void) =>
        callback(null, host, family)) as never,
    });
    // What a send says is told to its callback. Here arrives that a datagram was refused after it had left.
    socket.on("error", () => {
      this.refused += 1;
      this.askAgain();
      if (this.addresses.length > 1 && this.socket === socket) this.move();
    });
    try {
      socket.connect(this.port, address);
      socket.unref();
      if (this.sendBuffer !== undefined) socket.setSendBufferSize(this.sendBuffer);
    } catch (error) {
      socket.close();
      throw error;
    }
    this.socket = socket;
    return socket;
  }

  // ---- names

  private resolve(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.asked = performance.now();
    const found: Address[][] = this.hosts.map((host) => numeric(host) ?? []);
    let open = 0;
    this.hosts.forEach((host, index) => {
      if (numeric(host) !== null) return;
      open += 1;
      lookup(host, { all: true }, (error, answers) => {
        open -= 1;
        if (error !== null) this.lookupError = error.message;
        else found[index] = answers.map(({ address, family }) => ({ address, family: family as 4 | 6 }));
        if (open === 0) this.resolved(found.flat());
      });
    });
  }

  private resolved(addresses: Address[]): void {
    if (this.closed) return;
    if (addresses.length > 0 && JSON.stringify(addresses) !== JSON.stringify(this.addresses)) {
      this.addresses = addresses;
      this.current = 0;
      this.drop();
    }
    this.pause = addresses.length > 0 ? this.interval : Math.min(this.pause * 2, this.interval);
    this.timer = setTimeout(() => this.resolve(), waitFor(this.pause));
    this.timer.unref();
    if (this.addresses.length > 0) this.release();
    for (const tell of this.answered.splice(0)) tell();
  }

  private release(): void {
    const { held } = this;
    this.held = [];
    this.heldBytes = 0;
    for (const { frame, done } of held) this.transmit(frame, done, this.addresses.length);
  }

  private askAgain(): void {
    if (this.names && performance.now() - this.asked > KICK_PAUSE) this.resolve();
  }

  // ---- the end

  deadline(seconds: number): void {
    this.lastWait = Math.min(this.lastWait, Math.max(0, seconds));
  }

  /** Frames that wait for the first lookup get a second, and are then lost. */
  async flush(): Promise<void> {
    if (this.held.length === 0 || this.closed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, this.lastWait * 1000);
      this.answered.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    for (const { done } of this.held.splice(0)) {
      this.lost += 1;
      done(new SenderError(`${this.hosts.join(", ")} was not resolved in time`, "unresolved"));
    }
    this.drop();
  }

  /** `refused`: datagrams refused after they left; `waiting`: frames that wait for a lookup; `lost`: in vain. */
  stats(): Record<string, number> {
    return { refused: this.refused, waiting: this.held.length, lost: this.lost };
  }
}
