/** The end of the process, and workers that are frozen or ended early. */

import { setImmediate } from "node:timers";
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
const ENDS = Symbol.for("metlog.ends");

/** Notes a pipeline, to be closed at the end of the process. */
export function admit(item: Closable): void {
  live.add(item);
  if (watching) return;
  watching = true;
  const { before, exit } = ends();
  before.add(atTheEnd);
  exit.add(() => {
    for (const item of live) item.closeNow();
    live.clear();
  });
}

interface Ends {
  before: Set<() => void>;
  exit: Set<() => void>;
}

/** What is called at the end of the process, by two listeners for all copies of this module: a test framework loads it again and again. */
function ends(): Ends {
  const holder = process as { [ENDS]?: Ends };
  let found = holder[ENDS];
  if (found === undefined) {
    const made: Ends = { before: new Set(), exit: new Set() };
    found = made;
    Object.defineProperty(process, ENDS, { value: made });
    // before those of the application, which may log in theirs
    process.prependListener("beforeExit", () => made.before.forEach((call) => call()));
    process.on("exit", () => made.exit.forEach((call) => call()));
  }
  return found;
}

let flushedAt = -1;
let late = false; // the last flush used its time up

function logged(): number {
  let sum = 0;
  for (const item of live) sum += item.last;
  return sum;
}

/**
 * Nothing is left to do in this process. What is pending is sent, which keeps the loop alive: another listener may begin something that
 * logs. When nothing was logged until the next time, the streams are closed. What other listeners log while they are called does
 * not count: they are called again each time, and would keep the process from its end.
 */
function atTheEnd(): void {
  if (live.size === 0) return;
  const idle = logged() === flushedAt;
  setImmediate(() => {
    flushedAt = logged();
    const items = [...live];
    const seconds = idle && late ? 0 : Math.max(0, ...items.map((item) => item.exitTimeout));
    const deadline = performance.now() + seconds * 1000;
    if (idle) {
      for (const item of items) live.delete(item);
      void Promise.all(items.map((item) => item.close(deadline)));
    } else {
      void Promise.all(items.map((item) => item.flush(deadline))).then((all) => {
        late = all.includes(false);
      });
    }
  });
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

const OURS = Symbol.for("metlog.flushOnSignal"); // of every copy of this module

/** Whether the application listens for the signal itself. */
function hasListener(signal: NodeJS.Signals): boolean {
  return process.listeners(signal).some((listener) => !(OURS in listener));
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
    const asked = hasListener(signal); // now: a listener for once is gone when it has been called
    void flushAll(timeout).then(() => {
      flushing = false;
      if (asked || hasListener(signal)) return; // the application's own listener decides what happens
      process.off(signal, handler);
      process.kill(process.pid, signal);
    });
  };
  Object.defineProperty(handler, OURS, { value: true });
  try {
    process.prependListener(signal, handler);
  } catch (error) {
    throw new MetlogError(`flushOnSignal('${signal}'): this signal cannot be handled; use SIGTERM, SIGINT or SIGHUP`, { cause: error });
  }
  return () => void process.off(signal, handler);
}
