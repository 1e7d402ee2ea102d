/** What became of every event: the counts behind `stats()`, and what is told once a kind. */

import { kindOf, messageOf, SenderError } from "./errors.js";

export type OnDrop = (reason: string, count: number) => void;

/** Counts since `configure`. At every moment `accepted == sent + sum(dropped) + buffered`. */
export interface Stats {
  /** Events that passed the filters and were given a `seq`. */
  accepted: number;
  /** Events that a filter dropped, and calls made before `configure`. */
  filtered: number;
  /** Events handed to the transport. */
  sent: number;
  /** Events on their way: pending, in a queue, or in a frame that is being sent. */
  buffered: number;
  /** Events lost in this process, by reason. */
  dropped: Record<string, number>;
  /** Frames sent. */
  frames: number;
  /** Their bytes. */
  bytes: number;
  /** What senders, encoders and filters threw. */
  errors: number;
  /** Events with a value that had to be changed to be sayable. */
  repaired: number;
}

export function noStats(): Stats {
  return { accepted: 0, filtered: 0, sent: 0, buffered: 0, dropped: {}, frames: 0, bytes: 0, errors: 0, repaired: 0 };
}

/** Adds another's counts. */
export function addStats(total: Stats, other: Stats): void {
  for (const key of ["accepted", "filtered", "sent", "buffered", "frames", "bytes", "errors", "repaired"] as const) {
    total[key] += other[key];
  }
  for (const [reason, count] of Object.entries(other.dropped)) total.dropped[reason] = (total.dropped[reason] ?? 0) + count;
}

const MOST_TOLD = 100;

/** True while the application's drop hook runs: what it logs must not call it again. */
let hooked = false;

/** What one pipeline lost, and why. */
export class Counts {
  errors = 0;
  /** Whether something was dropped since the last report went out. */
  untold = false;
  private readonly byReason = new Map<string, number>();
  private readonly told = new Set<string>();

  constructor(private readonly onDrop: OnDrop | undefined) {}

  /** Counts by reason, as they are now. */
  reasons(): Record<string, number> {
    return Object.fromEntries(this.byReason);
  }

  /** All that was lost. */
  get lost(): number {
    let sum = 0;
    for (const count of this.byReason.values()) sum += count;
    return sum;
  }

  /** `count` accepted events are lost. */
  dropped(reason: string, count: number): void {
    if (count === 0) return;
    this.byReason.set(reason, (this.byReason.get(reason) ?? 0) + count);
    this.untold = true;
    this.tell(reason, `events are dropped: ${reason} (counted in stats(); told once)`);
    if (this.onDrop === undefined || hooked) return;
    hooked = true;
    try {
      this.onDrop(reason, count);
    } catch (error) {
      this.error("on_drop", error);
    } finally {
      hooked = false;
    }
  }

  /** Something threw, and `count` events are lost by it. */
  failed(error: unknown, count = 0, reason?: string): void {
    const kind = reason ?? reasonOf(error) ?? "send_error";
    this.error(kind, error);
    this.dropped(kind, count);
  }

  /** Something threw, and nothing is lost by it. */
  error(kind: string, error: unknown): void {
    this.errors += 1;
    this.tell(`${kind} ${kindOf(error)}`, `${kind}: ${kindOf(error)}: ${messageOf(error)}`);
  }

  /** Says something once a kind, as a warning of the process (`process.on("warning")`, standard error). */
  tell(kind: string, message: string): void {
    if (this.told.has(kind) || this.told.size > MOST_TOLD) return;
    this.told.add(kind);
    warn(message);
  }
}

/** The reason that a sender gives. Errors of others have reasons too, which are texts of any kind and number. */
function reasonOf(error: unknown): string | undefined {
  return error instanceof SenderError ? error.reason : undefined;
}

/** A warning of the process, of the type MetlogWarning; never throws. */
export function warn(message: string): void {
  try {
    process.emitWarning(message, { type: "MetlogWarning" });
  } catch {
    // a process without standard error: the counts tell it too
  }
}
