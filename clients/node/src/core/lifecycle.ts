/** The end of the process, and workers that are frozen or ended early. */

import { MetlogError } from "./errors.js";

/** What has something to send before a process ends. */
export interface Closable {
  readonly exitTimeout: number;
  /** Rises with each event. */
  readonly last: number;
  flush(deadline: number): Promise<boolean>;
  close(deadline: number): Promise<void>;
  closeNow(): void;
}

/** Every pipeline that is open. */
export const live = new Set<Closable>();
let watching = false;

/** Notes a pipeline, to be closed at the end of the process. */
export function admit(item: Closable): void {
  live.add(item);
  if (watching) return;
  watching = true;
  process.on("beforeExit", atTheEnd);
  process.on("exit", () => {
    for (const item of live) item.closeNow();
    live.clear();
  });
}

let flushedAt = -1;

/**
 * Nothing is left to do in this process. First what is pending is sent, which keeps the loop alive: another listener may log meanwhile.
 * When nothing new has come by the next time, the streams are closed.
 */
function atTheEnd(): void {
  if (live.size === 0) return;
  let sum = 0;
  let longest = 0;
  for (const item of live) {
    sum += item.last;
    longest = Math.max(longest, item.exitTimeout);
  }
  const again = sum !== flushedAt;
  flushedAt = sum;
  const deadline = performance.now() + longest * 1000;
  const items = [...live];
  if (again) {
    void Promise.all(items.map((item) => item.flush(deadline))).then(() => setImmediate(() => {}));
    return;
  }
  for (const item of items) live.delete(item);
  void Promise.all(items.map((item) => item.close(deadline)));
}

/** Flushes everything that is open within `timeout` seconds, all together; whether all of it was sent. */
export async function flushAll(timeout: number): Promise<boolean> {
  const deadline = performance.now() + timeout * 1000;
  const all = await Promise.all([...live].map((item) => item.flush(deadline)));
  return all.every(Boolean);
}

/**
 * Everything that is logged inside `body` is sent before the promise settles, for at most `timeout` seconds: for workers that end or
 * freeze before a timer's turn comes. Gives what `body` gives; an error goes on unchanged.
 */
export async function job<T>(body: () => T | Promise<T>, options: { timeout?: number } = {}): Promise<T> {
  try {
    return await body();
  } finally {
    await flushAll(options.timeout ?? 1);
  }
}

/**
 * Flushes when a signal comes, for `timeout` seconds at most, then lets it do what it did before. Without a listener of the application,
 * Node.js ends the process on SIGTERM at once, and no event of the process tells. Gives a function that takes the listener away.
 */
export function flushOnSignal(signal: NodeJS.Signals = "SIGTERM", timeout = 2): () => void {
  let flushing = false;
  const handler = (): void => {
    if (flushing) return;
    flushing = true;
    void flushAll(timeout).then(() => {
      flushing = false;
      if (process.listenerCount(signal) > 1) return; // the application's own listener decides what happens
      process.off(signal, handler);
      process.kill(process.pid, signal);
    });
  };
  try {
    process.on(signal, handler);
  } catch (error) {
    throw new MetlogError(`flushOnSignal('${signal}'): this signal cannot be handled; use SIGTERM, SIGINT or SIGHUP`, { cause: error });
  }
  return () => void process.off(signal, handler);
}
