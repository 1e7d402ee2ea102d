/** What `configure` builds: filters, encoder and buffer in a row, and the way through them. */

import { randomBytes } from "node:crypto";
import { clearInterval, setInterval } from "node:timers";
import { debuglog } from "node:util";
import { repr } from "../config/convert.js";
import type { Encoder } from "../encoders/encoder.js";
import { JsonEncoder, LineWriter } from "../encoders/json.js";
import type { Filter, FilterObject } from "../filters/filter.js";
import { adopted } from "../filters/filter.js";
import type { Sender } from "../senders/sender.js";
import { FrameBuffer, someBytes } from "./buffer.js";
import type { OnDrop, Stats } from "./counts.js";
import { addStats, Counts, noStats } from "./counts.js";
import type { Event, Fields } from "./event.js";
import { END_TYPE, ENV_VERSION, now, replace, REPORT_TYPE, severityFrom } from "./event.js";
import { Outlet } from "./outlet.js";

const debug = debuglog("metlog");
const TICK = 100; // ms: how often filters are told the time

export interface PipelineOptions {
  logger: string;
  hostname: string;
  filters: Filter[];
  encoder: Encoder;
  sender: Sender;
  fields: Fields;
  max_frame?: number;
  flush_interval?: number;
  max_bytes?: number;
  exit_timeout: number;
  on_drop?: OnDrop;
}

/** True while a filter or an encoder runs: what they log must not run them again. */
let inside = false;

/** One way out: filters, then a `seq`, then the encoder, then the buffer of one sender. */
export class Pipeline {
  readonly logger: string;
  readonly hostname: string;
  readonly fields: Fields;
  readonly hasFields: boolean;
  readonly exitTimeout: number;
  readonly encoder: Encoder | null;
  readonly sender: Sender | null;
  readonly filters: readonly Filter[];
  readonly counts: Counts;
  readonly buffer: FrameBuffer;
  readonly stream = randomBytes(8).toString("hex");
  /** Lines straight from a call's arguments; null where filters or another encoder must see an Event. */
  readonly writer: LineWriter | null;
  severityMax: number;
  closed = false;
  /** The `seq` of the last event. */
  seq = 0;
  filtered = 0;
  protected own = 0; // events of metlog's own, which the counts leave out
  private readonly asked: FilterObject[];
  private readonly ticking: NodeJS.Timeout | null = null;
  private readonly lines: boolean;

  constructor(options: PipelineOptions) {
    this.logger = options.logger;
    this.hostname = options.hostname;
    this.fields = options.fields;
    this.hasFields = Object.keys(options.fields).length > 0;
    this.exitTimeout = options.exit_timeout;
    this.encoder = options.encoder;
    this.sender = options.sender;
    this.filters = options.filters;
    this.counts = new Counts(options.on_drop);
    this.severityMax = Math.min(7, ...options.filters.map((filter) => filter.severity_max ?? 7));
    this.asked = options.filters.filter((filter) => filter.by_severity_only !== true).map(asObject);
    this.asked.forEach((filter, place) => {
      if ("emit" in filter) filter.emit = (event) => this.emit(this.asked.slice(place + 1), event);
    });
    options.sender.encodedBy?.(options.encoder);
    const outlet = new Outlet(options.sender, this.counts, options.max_bytes ?? 8 << 20);
    this.buffer = new FrameBuffer(options.encoder, outlet, this.counts, () => this.report(), {
      maxFrame: options.max_frame ?? options.sender.max_frame,
      maxEvent: options.sender.max_event,
      flushInterval: options.flush_interval ?? 0.1,
    });
    this.lines = options.encoder.constructor === JsonEncoder;
    this.writer = this.lines && this.asked.length === 0 && this.fast() ? new LineWriter(this.event("", [], 6, "", {})) : null;
    if (this.asked.some((filter) => filter.tick !== undefined)) {
      this.ticking = setInterval(() => this.tick(), TICK);
      this.ticking.unref();
    }
  }

  /** Whether events may go to the buffer without an Event being built. */
  protected fast(): boolean {
    return true;
  }

  // ---- the way of an event

  event(type: string, tokens: readonly string[], severity: number, payload: string, fields: Fields, weight = 1, logger = this.logger): Event {
    return {
      timestamp: now(), type, tokens, logger, severity, payload, fields, weight, env_version: ENV_VERSION, pid: process.pid,
      hostname: this.hostname, stream: this.stream, seq: 0,
    };
  }

  /** Builds an event, and asks the filters. */
  put(type: string, tokens: readonly string[], severity: number, payload: string, fields: Fields, weight?: number, logger?: string): void {
    this.offer(this.event(type, tokens, severity, payload, fields, weight, logger));
  }

  /** Asks the filters, and accepts what they keep. */
  offer(event: Event): void {
    if (event.severity > this.severityMax) {
      this.filtered += 1;
      return;
    }
    const kept = this.asked.length > 0 ? this.filter(event, this.asked) : event;
    if (kept !== null) this.accept(kept);
  }

  /** Takes a copy of an event that another pipeline built (`tee`). */
  offerCopy(event: Event): void {
    this.offer(replace(event, { stream: this.stream }));
  }

  /** Gives the event its `seq`, encodes it at once, and leaves it to the buffer. */
  accept(event: Event): void {
    if (inside) {
      this.recursion("an encoder logs an event itself");
      return;
    }
    if (Object.isFrozen(event)) event = { ...event }; // by a filter
    event.seq = this.seq += 1;
    inside = true;
    let line = "";
    let part: Uint8Array | null = null;
    try {
      if (this.lines) line = `${(this.encoder as JsonEncoder).text(event)}\n`;
      else part = someBytes((this.encoder as Encoder).encode(event), "encode");
    } catch (error) {
      this.counts.failed(error, 1, "encode_error"); // an encoder may throw anything
      return;
    } finally {
      inside = false;
    }
    if (part === null) this.buffer.addLine(line);
    else this.buffer.addPart(part);
  }

  private recursion(what: string): void {
    this.counts.tell("recursion", `${what}: that event is left out`);
    this.filtered += 1;
  }

  private filter(event: Event, filters: readonly FilterObject[], added = false): Event | null {
    if (inside && !added) {
      this.recursion("a filter logs an event itself");
      return null;
    }
    const before = inside;
    inside = true;
    try {
      let current = event;
      for (const filter of filters) {
        const kept = filter.filter(current);
        if (kept === null || kept === undefined) {
          this.filtered += 1;
          return null;
        }
        if (kept !== current) current = adopted(kept, event);
      }
      return current;
    } catch (error) {
      this.filtered += 1; // what it guards must not leave
      this.counts.error("filter_error", error);
      return null;
    } finally {
      inside = before;
    }
  }

  /** The severity that is meant; -1 (and one more filtered) when it is above `severity_max`, or this is closed. */
  refuse(severity: unknown): number {
    let level = severityFrom(severity);
    if (Number.isNaN(level)) {
      this.counts.tell("no severity", `severity = ${repr(severity)}: wants 0 (emergency) to 7 (debug), or a name such as error; taken as 6`);
      level = 6;
    } else if (level < 0 || level > 7) {
      this.counts.tell("severity", `severity = ${level}: a severity is 0 (emergency) to 7 (debug); taken as the nearest`);
      level = Math.min(Math.max(level, 0), 7);
    }
    if (level <= this.severityMax && !this.closed) return level;
    this.filtered += 1;
    return -1;
  }

  /** Something went wrong in a call that logs. */
  failed(error: unknown, count: number, reason: string): void {
    this.counts.failed(error, count, reason);
  }

  private tick(): void {
    const at = performance.now() / 1000;
    for (const filter of this.asked) {
      try {
        filter.tick?.(at);
      } catch (error) {
        this.counts.error("filter_error", error);
      }
    }
  }

  /** An event that a filter adds: it gets what the client gives every event, and passes the filters behind that one. */
  private emit(behind: readonly FilterObject[], event: Event): void {
    const { hostname, stream } = this;
    const given = replace(event, { logger: event.logger || this.logger, pid: process.pid, hostname, stream });
    const kept = behind.length > 0 ? this.filter(given, behind, true) : given;
    if (kept === null) return;
    const before = inside;
    inside = false;
    try {
      this.accept(kept);
    } finally {
      inside = before;
    }
  }

  /** An event of metlog's own; it has a `seq`, and the counts leave it out. */
  private made(type: string, fields: Fields): Event {
    const event = this.event(type, [type], 6, "", fields);
    this.own += 1;
    event.seq = this.seq += 1;
    return event;
  }

  private report(): Event {
    this.counts.untold = false;
    return this.made(REPORT_TYPE, { dropped: this.counts.reasons() });
  }

  stats(): Stats {
    const { outlet } = this.buffer;
    const accepted = this.seq - this.own;
    return {
      accepted,
      filtered: this.filtered,
      sent: outlet.sent,
      buffered: accepted - outlet.sent - this.counts.lost,
      dropped: this.counts.reasons(),
      frames: outlet.frames,
      bytes: outlet.bytes,
      errors: this.counts.errors,
      repaired: this.encoder?.repaired ?? 0,
    };
  }

  /** The last `seq` that was given, over all branches: whether something was logged meanwhile. */
  get last(): number {
    return this.seq;
  }

  // ---- flush and close

  async flush(deadline: number): Promise<boolean> {
    return this.buffer.flush(deadline);
  }

  private end(): Event | null {
    return this.seq === 0 ? null : this.made(END_TYPE, { last_seq: this.seq, dropped: this.counts.reasons() });
  }

  private endFilters(): void {
    if (this.ticking !== null) clearInterval(this.ticking);
    for (const filter of this.asked) {
      try {
        filter.close?.();
      } catch (error) {
        this.counts.error("filter_error", error);
      }
    }
    this.closed = true;
    this.severityMax = -1;
  }

  /** Sends the rest and the end of the stream, and closes the sender, until the deadline (ms of `performance.now`). */
  async close(deadline: number): Promise<void> {
    if (this.closed) return;
    this.endFilters();
    this.buffer.stop();
    this.buffer.ship();
    const end = this.end();
    if (end !== null) this.buffer.sendOwn(end);
    await this.buffer.outlet.close(deadline);
  }

  /** As `close`, in one go: the process ends when this returns. */
  closeNow(): void {
    if (this.closed) return;
    this.endFilters();
    this.buffer.stop();
    const frames = this.buffer.take();
    const end = this.end();
    const last = end === null ? null : this.buffer.own(end);
    this.buffer.outlet.closeNow(last === null ? frames : [...frames, { frame: last, count: 0 }]);
  }
}

function asObject(filter: Filter): FilterObject {
  return typeof filter === "function" ? { filter } : filter;
}

/** Several ways out for one event (`tee`): each branch has filters, a stream, an encoder and a buffer of its own. */
export class Fan extends Pipeline {
  readonly branches: readonly Pipeline[];

  constructor(options: PipelineOptions, branches: Pipeline[]) {
    super(options);
    this.branches = branches;
  }

  protected override fast(): boolean {
    return false;
  }

  override accept(event: Event): void {
    for (const branch of this.branches) branch.offerCopy(event);
  }

  override get last(): number {
    return this.branches.reduce((sum, branch) => sum + branch.seq, 0);
  }

  /** The sum over the branches; `accepted` counts an event once a branch that took it. */
  override stats(): Stats {
    const total = noStats();
    total.filtered = this.filtered;
    total.errors = this.counts.errors;
    for (const branch of this.branches) addStats(total, branch.stats());
    return total;
  }

  override async flush(deadline: number): Promise<boolean> {
    const all = await Promise.all(this.branches.map((branch) => branch.flush(deadline)));
    return all.every(Boolean);
  }

  override async close(deadline: number): Promise<void> {
    await super.close(deadline);
    await Promise.all(this.branches.map((branch) => branch.close(deadline)));
  }

  override closeNow(): void {
    super.closeNow();
    for (const branch of this.branches) branch.closeNow();
  }
}

/** Before `configure`, and after `close`: every call is refused at once, and counted. */
export class Unconfigured {
  readonly severityMax = -1;
  readonly writer = null;
  readonly fields: Fields = {};
  readonly hasFields = false;
  readonly closed = true;
  readonly sender = null;
  readonly encoder = null;
  readonly filters: readonly Filter[] = [];
  readonly exitTimeout = 0;
  private told = false;
  private calls = 0;

  /** `final`: the counts of the pipeline that was closed, which stay readable. */
  constructor(
    private readonly message: string,
    private readonly final: (() => Stats) | null = null,
  ) {}

  refuse(_severity: unknown): number {
    this.calls += 1;
    if (!this.told) {
      this.told = true;
      debug("%s", this.message);
    }
    return -1;
  }

  put(): void {
    this.refuse(0);
  }

  failed(): void {
    this.calls += 1;
  }

  stats(): Stats {
    if (this.final !== null) return this.final();
    return { ...noStats(), filtered: this.calls };
  }

  async flush(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  closeNow(): void {}
}
