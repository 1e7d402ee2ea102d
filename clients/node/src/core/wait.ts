/** Waiting: what a timer of the platform can do. */

/** Milliseconds that a timer takes; for more it would run at once. Some 24 days. */
const MOST = 2 ** 31 - 1;

/** A time to wait, for `setTimeout`: at least none, at most what a timer takes. */
export function waitFor(ms: number): number {
  return Math.min(MOST, Math.max(0, ms));
}
