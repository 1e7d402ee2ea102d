/** What a sender is. */

import type { Encoder } from "../encoders/encoder.js";

/**
 * Takes frames somewhere. Registered with `metlog.register("sender", "name", factory)`; the factory is called with the options and
 * gives such an object.
 *
 * `send` may return a promise and may throw or reject: it is called for one frame at a time, behind a queue bounded in bytes. What it
 * throws is counted as dropped, under the error's `reason` (see `SenderError`) or `send_error`.
 */
export interface Sender {
  /** Bytes that a frame should not exceed; an event larger than that goes alone. */
  max_frame: number;
  send(frame: Uint8Array): void | Promise<void>;
  /** Hands on what the sender itself still holds. */
  flush?(): void | Promise<void>;
  /** Releases everything; makes a `send` under way settle soon. Called once more, it does nothing. */
  close?(): void | Promise<void>;
  /** The most that the transport can carry, in bytes. A larger event has its payload cut and is marked `truncated`. */
  max_event?: number;
  /** `send` never waits: it is called at once, also while an earlier promise has not settled. */
  nonblocking?: boolean;
  /** Instead of `send`, for a sender that learns later and does without promises: `done` is called exactly once. */
  sendCallback?(frame: Uint8Array, done: (error?: unknown) => void): void;
  /** At the end of the process, when no promise can settle any more: hands the frame over at once; whether that was possible. */
  sendNow?(frame: Uint8Array): boolean;
  /** At shutdown: from then on all waiting ends within so many seconds. */
  deadline?(seconds: number): void;
  /** Which encoder makes the frames, for a sender that names their media type. */
  encodedBy?(encoder: Encoder): void;
  /** Called once, after everything in the configuration has proved right; may throw. */
  open?(): void;
  /** Counts of what the sender learnt after `send` had settled. */
  stats?(): Record<string, number>;
}
