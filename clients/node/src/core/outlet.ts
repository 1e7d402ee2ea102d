/** Between the buffer and a sender: called at once where it never waits, or one frame at a time behind a queue bounded in bytes. */

import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { Sender } from "../senders/sender.js";
import type { Counts } from "./counts.js";
import { SenderError } from "./errors.js";
import { isThenable } from "./timer.js";
import { waitFor } from "./wait.js";

interface Item {
  frame: Uint8Array;
  count: number;
}

const CLOSE_GRACE = 50; // ms that a sender's close() gets when the deadline has come already

export class Outlet {
  /** Events of the application, frames and bytes that were handed to the transport. */
  sent = 0;
  frames = 0;
  bytes = 0;
  /** False when the last frame is known to be lost: a report of what was dropped would be lost as well. */
  reaches = true;
  /** Called after a frame was sent. */
  onSent: () => void = () => {};
  private queue: Item[] = [];
  private head = 0; // of the queue: those before it are taken
  private queued = 0; // bytes
  private inHand: Item | null = null;
  private taken = 0; // frames, ever
  private settled = 0;
  private waiters: { target: number; resolve: () => void }[] = [];
  private stopped = false;
  private exiting = false;
  private readonly direct: boolean;

  constructor(
    readonly sender: Sender,
    private readonly counts: Counts,
    private readonly maxBytes: number,
  ) {
    this.direct = sender.nonblocking === true;
  }

  /** Takes a frame that holds `count` events of the application; never waits, never throws. */
  send(frame: Uint8Array, count: number): void {
    if (this.stopped) {
      this.counts.dropped("closed", count);
      return;
    }
    this.taken += 1;
    if (this.exiting) {
      this.sendNow({ frame, count });
    } else if (this.direct) {
      this.attempt({ frame, count });
    } else if (this.inHand === null) {
      this.begin({ frame, count });
    } else {
      this.enqueue({ frame, count });
    }
  }

  /** The oldest frames make room; one that is larger than the whole queue is queued where nothing else is, and dropped itself otherwise. */
  private enqueue(item: Item): void {
    if (item.frame.length > this.maxBytes && this.head < this.queue.length) {
      this.settled += 1;
      this.counts.dropped("queue_full", item.count);
      return;
    }
    let lost = 0;
    while (this.queued + item.frame.length > this.maxBytes && this.head < this.queue.length) {
      const oldest = this.shift();
      lost += oldest.count;
      this.settled += 1;
    }
    if (lost > 0) this.counts.dropped("queue_full", lost);
    this.queue.push(item);
    this.queued += item.frame.length;
    if (lost > 0) this.wake();
  }

  private shift(): Item {
    const item = this.queue[this.head] as Item;
    (this.queue as (Item | undefined)[])[this.head] = undefined;
    this.head += 1;
    this.queued -= item.frame.length;
    if (this.head > 1024 && this.head * 2 > this.queue.length) {
      this.queue = this.queue.slice(this.head);
      this.head = 0;
    }
    return item;
  }

  private begin(item: Item): void {
    this.inHand = item;
    this.attempt(item);
  }

  /** Calls the sender; what it says is counted once, whatever it does. */
  private attempt(item: Item): void {
    let called = false;
    const done = (error?: unknown): void => {
      if (called) return;
      called = true;
      this.settle(item, error);
    };
    const { sender } = this;
    try {
      if (sender.sendCallback !== undefined) {
        sender.sendCallback(item.frame, done);
        return;
      }
      const result = sender.send(item.frame) as Promise<void> | undefined;
      if (typeof result?.then === "function") result.then(() => done(), (error: unknown) => done(error ?? new SenderError("rejected")));
      else done();
    } catch (error) {
      done(error ?? new SenderError("it threw nothing"));
    }
  }

  private settle(item: Item, error: unknown): void {
    if (item.count < 0) return; // given up and counted
    this.settled += 1;
    if (error === undefined || error === null) {
      this.reaches = true;
      this.sent += item.count;
      this.frames += 1;
      this.bytes += item.frame.length;
    } else {
      this.reaches = false;
      this.counts.failed(error, item.count);
    }
    if (this.inHand === item) {
      this.inHand = null;
      if (this.head < this.queue.length && !this.stopped) {
        // not here: a sender that settles at once would nest the calls as deep as the queue is long
        const next = this.shift();
        this.inHand = next;
        const go = (): void => {
          if (next.count >= 0 && this.inHand === next) this.attempt(next);
        };
        // After a failure the event loop has its turn: a drop hook that logs would otherwise keep it from ever getting one.
        if (this.reaches) queueMicrotask(go);
        else setImmediate(go);
      }
    }
    if (this.waiters.length > 0) this.wake();
    if (this.reaches) this.onSent();
  }

  private wake(): void {
    this.waiters = this.waiters.filter(({ target, resolve }) => {
      if (this.settled < target) return true;
      resolve();
      return false;
    });
  }

  /** Resolves once all that was taken before is out, or lost, and the sender was flushed; false when the deadline came first. */
  async flush(deadline: number): Promise<boolean> {
    const target = this.taken;
    const waited = this.settled >= target ? true : await within(new Promise<void>((resolve) => this.waiters.push({ target, resolve })), deadline);
    if (!waited) return false;
    try {
      const flushed: unknown = this.sender.flush?.();
      return isThenable(flushed) ? await within(flushed, deadline) : true;
    } catch (error) {
      this.counts.failed(error, 0);
      return true;
    }
  }

  /** Sends until the deadline (ms of `performance.now`), then closes the sender; the rest is dropped as `exit`. */
  async close(deadline: number): Promise<void> {
    try {
      this.sender.deadline?.(Math.max(0, deadline - performance.now()) / 1000);
    } catch {
      // advice only: the sender is closed when the time has come
    }
    await this.flush(deadline);
    this.stopped = true;
    let closing: unknown;
    try {
      closing = this.sender.close?.();
    } catch (error) {
      this.counts.failed(error, 0);
    }
    if (isThenable(closing)) {
      await within(
        closing.then(undefined, (error: unknown) => this.counts.failed(error, 0)),
        Math.max(deadline, performance.now() + CLOSE_GRACE),
      );
    }
    this.giveUp();
  }

  /** The process ends in this very call: what the sender can hand over at once is sent, the rest is dropped as `exit`. */
  closeNow(frames: Item[]): void {
    this.exiting = true;
    const held = this.inHand;
    while (this.head < this.queue.length) this.sendNow(this.shift());
    for (const { frame, count } of frames) {
      this.taken += 1;
      this.sendNow({ frame, count });
    }
    this.stopped = true;
    if (held !== null && held.count >= 0) this.giveUp();
    try {
      const closing: unknown = this.sender.close?.();
      if (isThenable(closing)) closing.then(undefined, () => {});
    } catch (error) {
      this.counts.failed(error, 0);
    }
  }

  private sendNow(item: Item): void {
    try {
      if (this.direct) {
        this.attempt(item);
      } else if (this.sender.sendNow?.(item.frame) === true) {
        this.settle(item, undefined);
      } else {
        this.settled += 1;
        this.counts.dropped("exit", item.count);
      }
    } catch (error) {
      this.settle(item, error);
    }
  }

  private giveUp(): void {
    let left = 0;
    if (this.inHand !== null) {
      left += this.inHand.count;
      this.inHand.count = -1;
      this.inHand = null;
      this.settled += 1;
    }
    while (this.head < this.queue.length) {
      left += this.shift().count;
      this.settled += 1;
    }
    this.counts.dropped("exit", left);
    this.wake();
  }
}

/** Whether the promise settled before the deadline (ms of `performance.now`). Keeps the process alive meanwhile. */
export async function within(promise: PromiseLike<unknown>, deadline: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), waitFor(deadline - performance.now()));
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
