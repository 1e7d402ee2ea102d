/** A sender over a connected socket: connects when needed, comes back with backoff, notices a peer that has gone. */

import type { Socket } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import { SenderError, messageOf } from "../core/errors.js";
import { waitFor } from "../core/wait.js";
import { atLeast, Backoff, closedError, Patience, positive } from "./options.js";
import type { Sender } from "./sender.js";

const FIRST_PAUSE = 100;
const MOST_PAUSE = 5000; // ms between two attempts to connect, growing from the first to the most
const CLOSE_WAIT = 200; // ms that `close` gives what the kernel has not taken yet

/**
 * Keeps one connection. A frame is tried again, on a new one, until `timeout` seconds are over. Each try sends the whole frame: a peer
 * never sees the rest of a frame on a connection that did not begin it. A frame that was delivered just before its connection broke can
 * arrive twice; its events' `seq` tells. The socket never keeps the process alive.
 */
export abstract class ConnectionSender implements Sender {
  readonly max_frame: number;
  protected readonly timeout: number; // ms
  private readonly patience = new Patience();
  private readonly backoff = new Backoff(FIRST_PAUSE, MOST_PAUSE);
  private socket: Socket | null = null;
  private connected = false;
  private notBefore = 0;
  private lastError: unknown = null;

  constructor(timeout: number, maxFrame: number) {
    positive("timeout", timeout, "seconds");
    atLeast("max_frame", maxFrame, 64, "bytes");
    this.timeout = timeout * 1000;
    this.max_frame = maxFrame;
  }

  /** Makes a socket that begins to connect. */
  protected abstract dial(attempt: number): Socket;
  /** The event that says that it is connected. */
  protected abstract readonly ready: "connect" | "secureConnect";
  /** The peer in an error message. */
  protected abstract peer(): string;
  /** How many alternatives an attempt goes through. */
  protected get alternatives(): number {
    return 1;
  }

  async send(frame: Uint8Array): Promise<void> {
    if (this.patience.closed) throw closedError(this.peer());
    const end = this.patience.until(this.timeout);
    let cause: unknown = this.notBefore > performance.now() ? this.lastError : null;
    for (;;) {
      const pause = this.notBefore - performance.now();
      if (pause > 0 && (performance.now() + pause >= this.patience.until(end - performance.now()) || !(await this.patience.sleep(pause)))) {
        // Hurried: one last try, for a peer that is there again.
        if (this.patience.closed || performance.now() >= this.patience.until(end - performance.now())) throw this.lost(cause);
      }
      try {
        const socket = await this.connection(end);
        await this.write(socket, frame, end);
        this.backoff.reset();
        this.notBefore = 0;
        return;
      } catch (error) {
        this.release();
        // That the time ran out in a later attempt says less than what the peer said in an earlier one.
        if (!(error instanceof TimedOut) || cause === null) cause = error;
        this.lastError = cause;
        this.notBefore = performance.now() + this.backoff.pause();
        if (this.patience.closed || performance.now() >= this.patience.until(end - performance.now())) throw this.lost(cause);
      }
    }
  }

  private async connection(end: number): Promise<Socket> {
    if (this.socket !== null && this.connected && this.socket.writable) return this.socket;
    this.release();
    let failure: unknown = null;
    for (let attempt = 0; attempt < this.alternatives; attempt += 1) {
      try {
        return await this.connect(attempt, end);
      } catch (error) {
        failure = error;
        this.release();
        if (this.patience.closed) break;
      }
    }
    throw failure;
  }

  private async connect(attempt: number, end: number): Promise<Socket> {
    const socket = this.dial(attempt);
    this.socket = socket;
    socket.unref();
    socket.resume(); // what a peer says is thrown away
    const forget = (): void => {
      if (this.socket === socket) this.release();
    };
    // A peer that closes is noticed here: without it, one frame more would be sent into the void.
    socket.on("error", forget).on("end", forget).on("close", forget);
    await this.until(socket, end, (resolve) => socket.once(this.ready, () => resolve()));
    socket.setKeepAlive(true);
    this.connected = true;
    return socket;
  }

  private async write(socket: Socket, frame: Uint8Array, end: number): Promise<void> {
    await this.until(socket, end, (resolve, reject) => socket.write(frame, (error) => (error ? reject(error) : resolve())));
  }

  /** What `begin` promises, unless the socket fails or the time is over. */
  private async until(socket: Socket, end: number, begin: (resolve: () => void, reject: (error: unknown) => void) => void): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new TimedOut("no answer")), waitFor(end - performance.now()));
      timer.unref();
      const failed = (error?: unknown): void => reject(error instanceof Error ? error : new Error("the peer closed the connection"));
      const settle = (): void => {
        clearTimeout(timer);
        socket.off("error", failed).off("close", failed);
      };
      socket.once("error", failed).once("close", failed);
      begin(
        () => {
          settle();
          resolve();
        },
        (error) => {
          settle();
          reject(error as Error);
        },
      );
    });
  }

  /** At the end of the process: what the kernel takes at once, on a connection that is there. */
  sendNow(frame: Uint8Array): boolean {
    const { socket } = this;
    if (socket === null || !this.connected || !socket.writable || socket.writableLength > 0) return false;
    socket.write(frame);
    return socket.writableLength === 0;
  }

  private lost(error: unknown): SenderError {
    const code = String((error as NodeJS.ErrnoException | null)?.code ?? "");
    let reason = "unreachable";
    if (code === "ECONNREFUSED" || code === "ENOENT") reason = "refused";
    else if (code === "ENOTFOUND" || code === "EAI_AGAIN") reason = "unresolved";
    else if (error === null || error instanceof TimedOut || code === "ETIMEDOUT") reason = "timeout";
    else if (/^(ERR_(SSL|TLS)|CERT_|UNABLE_TO|SELF_SIGNED|DEPTH_ZERO|EPROTO)/.test(code)) reason = "tls";
    return new SenderError(`${this.peer()}: ${error === null ? "no answer" : messageOf(error)}`, reason, { cause: error });
  }

  deadline(seconds: number): void {
    this.patience.deadline(seconds);
  }

  async close(): Promise<void> {
    if (this.patience.closed) return;
    this.patience.close();
    const { socket } = this;
    if (socket === null) return;
    if (!this.connected) {
      this.release();
      return;
    }
    this.socket = null;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => socket.destroy(), CLOSE_WAIT);
      socket.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      socket.ref();
      socket.end();
      if (socket.destroyed) resolve();
    });
  }

  private release(): void {
    const { socket } = this;
    this.socket = null;
    this.connected = false;
    if (socket === null) return;
    socket.on("error", () => {}); // one that comes late has nobody to be told to
    socket.destroy();
  }
}

class TimedOut extends Error {}
