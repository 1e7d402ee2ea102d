/** From events to frames: coalescing and flushing. */

import { clearTimeout, setTimeout } from "node:timers";
import { types } from "node:util";
import type { Encoder } from "../encoders/encoder.js";
import type { Counts } from "./counts.js";
import type { Event } from "./event.js";
import type { Outlet } from "./outlet.js";
import { isThenable } from "./timer.js";
import { truncated } from "./truncate.js";

const LINE_FEED = 0x0a;
const DEFAULT_INTERVAL = 100; // ms between two reports of drops, where there is no flush interval

/** What an encoder gave, checked: throws TypeError unless it is bytes, and not none. */
export function someBytes(given: unknown, method: string): Uint8Array {
  if (types.isUint8Array(given) && given.length > 0) return given;
  const got = types.isUint8Array(given) ? "no bytes at all" : isThenable(given) ? "a promise" : given === null ? "null" : typeof given;
  throw new TypeError(`the encoder's ${method} gave ${got}; it gives a Uint8Array`);
}

/**
 * Holds events until they fill a frame or `flush_interval` seconds have gone by. JSON is gathered as text, which V8 joins
 * without copying, and becomes bytes once a frame; every other encoder's events are gathered as bytes.
 */
export class FrameBuffer {
  private text = "";
  private size = 0; // characters of text, or bytes of parts
  private count = 0;
  private parts: Uint8Array[] = [];
  private readonly straight: boolean;
  private readonly maxFrame: number;
  private readonly maxEvent: number;
  private readonly interval: number;
  private timer: NodeJS.Timeout | null = null;
  private waiting = false; // the timer runs
  private nextReport = 0;

  constructor(
    private readonly encoder: Encoder,
    readonly outlet: Outlet,
    private readonly counts: Counts,
    private readonly report: () => Event,
    options: { maxFrame: number; maxEvent: number | undefined; flushInterval: number },
  ) {
    this.maxEvent = options.maxEvent ?? Infinity;
    this.maxFrame = Math.min(options.maxFrame, this.maxEvent) - (encoder.overhead ?? 0);
    this.straight = options.flushInterval === 0;
    this.interval = options.flushInterval * 1000 || DEFAULT_INTERVAL;
    outlet.onSent = () => this.tellDrops();
  }

  /** Events that are pending. */
  get pending(): number {
    return this.count;
  }

  /** Adds the line of an event, its line feed included. */
  addLine(line: string): void {
    const { length } = line;
    if (this.size + length > this.maxFrame && this.count > 0) this.ship();
    this.text += line;
    this.size += length;
    this.count += 1;
    if (this.straight) this.ship();
    else if (!this.waiting) this.wait();
  }

  /** Adds an encoded event. */
  addPart(part: Uint8Array): void {
    const length = part.length + 1; // with what a frame puts between two events
    if (this.size + length > this.maxFrame && this.count > 0) this.ship();
    this.parts.push(part);
    this.size += length;
    this.count += 1;
    if (this.straight) this.ship();
    else if (!this.waiting) this.wait();
  }

  private wait(): void {
    this.waiting = true;
    if (this.timer === null) {
      this.timer = setTimeout(() => {
        this.waiting = false;
        if (this.count > 0) this.ship();
      }, this.interval);
      this.timer.unref(); // never keeps the process alive: its end sends the rest
    } else {
      this.timer.refresh();
    }
  }

  /** Sends what was gathered; never throws. */
  ship(): void {
    for (const { frame, count } of this.take()) this.outlet.send(frame, count);
  }

  /** The frames of what was gathered, which is then no longer here. */
  take(): { frame: Uint8Array; count: number }[] {
    const { text, parts, count } = this;
    if (count === 0) return [];
    this.text = "";
    this.parts = [];
    this.size = 0;
    this.count = 0;
    try {
      if (parts.length === 0) {
        const frame = Buffer.from(text);
        if (frame.length <= this.maxFrame) return [{ frame, count }];
        return this.split(frame, count);
      }
      return this.fit(someBytes(this.encoder.frame(parts), "frame"), count);
    } catch (error) {
      this.counts.failed(error, count, "frame_error"); // an encoder may throw anything
      return [];
    }
  }

  /** Text beyond ASCII has more bytes than characters: lines that did not fit after all, in as many frames as it takes. */
  private split(frame: Buffer, count: number): { frame: Uint8Array; count: number }[] {
    if (count === 1) return this.fit(frame, 1);
    const made: { frame: Uint8Array; count: number }[] = [];
    let from = 0;
    let lines = 0;
    let last = 0;
    for (let end = frame.indexOf(LINE_FEED); end >= 0; end = frame.indexOf(LINE_FEED, end + 1)) {
      if (end + 1 - from > this.maxFrame && lines > 0) {
        made.push({ frame: frame.subarray(from, last), count: lines });
        from = last;
        lines = 0;
      }
      if (end + 1 - from > this.maxFrame) {
        made.push(...this.fit(frame.subarray(from, end + 1), 1));
        from = end + 1;
      } else {
        lines += 1;
      }
      last = end + 1;
    }
    if (lines > 0) made.push({ frame: frame.subarray(from, last), count: lines });
    return made;
  }

  private fit(frame: Uint8Array, count: number): { frame: Uint8Array; count: number }[] {
    if (frame.length <= this.maxEvent) return [{ frame, count }];
    let cut: Uint8Array | null = null;
    try {
      cut = truncated(frame, this.encoder, this.maxEvent);
    } catch (error) {
      this.counts.error("frame_error", error); // an encoder that cannot read what it wrote
    }
    if (cut !== null) return [{ frame: cut, count }];
    this.counts.dropped("too_large", count);
    return [];
  }

  /** Behind a frame that was sent, the report of what was dropped; at most one an interval, since it may be dropped as well. */
  private tellDrops(): void {
    if (!this.counts.untold) return;
    const now = performance.now();
    if (now < this.nextReport) return;
    this.nextReport = now + this.interval;
    this.sendOwn(this.report());
  }

  /** Sends an event of metlog's own, as a frame of its own; a transport too small for it goes without. */
  sendOwn(event: Event): void {
    const frame = this.own(event);
    if (frame !== null) this.outlet.send(frame, 0);
  }

  /** The frame of an event of metlog's own. */
  own(event: Event): Uint8Array | null {
    try {
      const frame = someBytes(this.encoder.frame([someBytes(this.encoder.encode(event), "encode")]), "frame");
      return frame.length <= this.maxEvent ? frame : null;
    } catch (error) {
      this.counts.error("encode_error", error);
      return null;
    }
  }

  /** Sends everything accepted before this call; false when the deadline (ms of `performance.now`) came first. */
  async flush(deadline: number): Promise<boolean> {
    this.ship();
    return this.outlet.flush(deadline);
  }

  /** No timer from now on. */
  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.waiting = true;
  }
}
