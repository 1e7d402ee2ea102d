/** Senders for tests and benchmarks: one keeps its frames, one throws them away. */

import type { Event } from "../core/event.js";
import { decode } from "../encoders/frames.js";
import { atLeast, closedError } from "./options.js";
import type { Sender } from "./sender.js";

/** Keeps the last `limit` frames in `frames`; what comes after `close` is refused. */
export class MemorySender implements Sender {
  readonly nonblocking = true;
  readonly max_frame: number;
  frames: Uint8Array[] = [];
  closed = false;
  private readonly limit: number;

  constructor({ max_frame = 8192, limit = 100_000 }: { max_frame?: number; limit?: number } = {}) {
    atLeast("max_frame", max_frame, 64, "bytes");
    atLeast("limit", limit, 1, "frames");
    this.max_frame = max_frame;
    this.limit = limit;
  }

  /** The events of all frames that are kept; throws DecodeError when one is neither JSON nor MessagePack. */
  get events(): Event[] {
    return this.frames.flatMap((frame) => decode(frame));
  }

  send(frame: Uint8Array): void {
    if (this.closed) throw closedError("memory");
    this.frames.push(frame);
    if (this.frames.length > this.limit) this.frames.shift();
  }

  close(): void {
    this.closed = true;
  }

  /** Forgets the frames. */
  clear(): void {
    this.frames = [];
  }
}

/** Takes every frame and keeps none. */
export class NullSender implements Sender {
  readonly nonblocking = true;
  readonly max_frame: number;
  private closed = false;

  constructor({ max_frame = 8192 }: { max_frame?: number } = {}) {
    atLeast("max_frame", max_frame, 64, "bytes");
    this.max_frame = max_frame;
  }

  send(_frame: Uint8Array): void {
    if (this.closed) throw closedError("null");
  }

  close(): void {
    this.closed = true;
  }
}
