/** What an encoder is. */

import type { Event } from "../core/event.js";

/**
 * Turns events into bytes, and several of those into one frame. Registered with `metlog.register("encoder", "name", factory)`;
 * the factory is called with the options and gives such an object.
 */
export interface Encoder {
  /** Media type of a frame, for senders that name it (HTTP). */
  content_type: string;
  /** One event as bytes. What it throws is counted, never seen by the application. */
  encode(event: Event): Uint8Array;
  /** Several encoded events as one frame: what one datagram, message or request body holds. */
  frame(encoded: Uint8Array[]): Uint8Array;
  /** The events of a frame; throws DecodeError that says what is wrong with it. */
  decode(frame: Uint8Array): Event[];
  /** Bytes that `frame` adds on top of what a frame of its content would have. */
  overhead?: number;
  /** Events whose values had to be changed to be sayable. */
  repaired?: number;
}
