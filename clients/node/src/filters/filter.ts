/** What a filter is. */

import type { Event } from "../core/event.js";
import { makeEvent } from "../core/event.js";
import { isThenable } from "../core/timer.js";

interface FilterExtras {
  /** Every event of a greater severity number would be dropped anyway, so that the client need not build it. */
  severity_max?: number;
  /** Beside `severity_max`: no other event is dropped and none is changed, so that it need not be asked. */
  by_severity_only?: boolean;
  /** Set by the pipeline where the filter has this key: adds an event, which passes the filters behind this one. */
  emit?: ((event: Event) => void) | undefined;
  /** Called every so often with the time (monotonic seconds). */
  tick?(now: number): void;
  /** Called when the client closes, before the last flush. */
  close?(): void;
}

/** An object with a method `filter`, and optional extras. */
export interface FilterObject extends FilterExtras {
  filter(event: Event): Event | null | undefined;
}

/**
 * Keeps, changes or drops an event: a function `(event) => event or null`, or an object with such a method `filter`. Registered with
 * `metlog.register("filter", "name", factory)`. It runs in the call that logs, before `seq` is given and before anything is encoded. It
 * must not change the event in place: use `metlog.replace`. What it throws drops the event.
 */
export type Filter = FilterObject | (((event: Event) => Event | null | undefined) & FilterExtras);

/** What a filter gave in the place of an event: one that it made anew, not by `replace`, gets its place in the stream. Throws TypeError for anything else. */
export function adopted(kept: unknown, event: Event): Event {
  if (isThenable(kept)) kept.then(undefined, () => {}); // it is told as what it is
  if (typeof kept !== "object" || typeof (kept as Event).type !== "string") {
    const got = isThenable(kept) ? "a promise, as an async function does" : typeof kept === "object" ? "an object without a type" : typeof kept;
    throw new TypeError(`a filter gave ${got}; it gives the event, another event, or null to drop it`);
  }
  const made = kept as Event;
  if (made.stream) return made;
  const { stream, pid, hostname } = event;
  return { ...makeEvent(made), logger: made.logger || event.logger, stream, pid, hostname };
}
