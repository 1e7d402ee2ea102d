/** Limits how many events of a type go out, and tells how many did not. */

import type { Event } from "../core/event.js";
import { makeEvent } from "../core/event.js";
import type { FilterObject } from "./filter.js";

const OTHERS = "(others)";

interface Bucket {
  tokens: number;
  at: number;
  count: number;
  weight: number;
  since: number;
}

export interface RateLimitOptions {
  rate: number;
  burst?: number;
  window?: number;
  types?: string[];
  max_types?: number;
}

/** A token bucket a type. At the end of a window, and at close, one event of type `suppressed` says what was dropped. */
export class RateLimit implements FilterObject {
  emit: ((event: Event) => void) | undefined = undefined;
  private readonly rate: number;
  private readonly burst: number;
  private readonly window: number;
  private readonly types: ReadonlySet<string> | null;
  private readonly maxTypes: number;
  private readonly buckets = new Map<string, Bucket>();

  constructor({ rate, burst, window = 10, types, max_types = 1000 }: RateLimitOptions) {
    if (!(rate > 0)) throw new Error(`rate = ${rate}: wants more than 0 events a second`);
    if (burst !== undefined && !(burst >= 1)) throw new Error(`burst = ${burst}: wants 1 or more events`);
    if (!(window > 0)) throw new Error(`window = ${window}: wants more than 0 seconds`);
    if (!(max_types >= 1)) throw new Error(`max_types = ${max_types}: wants 1 or more types`);
    this.rate = rate;
    this.burst = burst ?? Math.max(1, rate);
    this.window = window;
    this.types = types === undefined || types.length === 0 ? null : new Set(types);
    this.maxTypes = max_types;
  }

  filter(event: Event): Event | null {
    if (this.types !== null && !this.types.has(event.type)) return event;
    const now = performance.now() / 1000;
    let bucket = this.buckets.get(event.type);
    if (bucket === undefined) {
      const name = this.buckets.size >= this.maxTypes ? OTHERS : event.type;
      bucket = this.buckets.get(name) ?? { tokens: this.burst, at: now, count: 0, weight: 0, since: now };
      this.buckets.set(name, bucket);
    }
    bucket.tokens = Math.min(this.burst, bucket.tokens + (now - bucket.at) * this.rate);
    bucket.at = now;
    if (bucket.tokens >= 1) {
      bucket.tokens -= 1;
      return event;
    }
    if (bucket.count === 0) bucket.since = now;
    bucket.count += 1;
    bucket.weight += event.weight;
    return null;
  }

  tick(now: number): void {
    this.tell(now, this.window);
  }

  close(): void {
    this.tell(performance.now() / 1000, 0);
  }

  private tell(now: number, age: number): void {
    for (const [name, bucket] of this.buckets) {
      if (bucket.count === 0 || now - bucket.since < age) continue;
      const { count, weight, since } = bucket;
      bucket.count = 0;
      bucket.weight = 0;
      const fields = { type: name, count, weight, seconds: Math.round((now - since) * 1000) / 1000 };
      this.emit?.(makeEvent({ type: "suppressed", tokens: ["suppressed", name], payload: String(count), fields }));
    }
  }
}
