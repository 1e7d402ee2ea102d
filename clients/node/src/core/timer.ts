/** Timers: of a block (`using`), a function or a promise. */

import { types } from "node:util";

/** What a timer needs of the client. */
interface Sending {
  timerSend(name: string, ms: number, rate?: number): void;
}

/** Times from its making until `stop`, and logs an event of type `timer` with `name` and `ms`. */
export class Timer {
  /** Milliseconds, once it is stopped. */
  result: number | null = null;
  private readonly start = performance.now();

  constructor(
    private readonly client: Sending,
    private readonly name: string,
    private readonly rate: number,
  ) {}

  /** Sends the time since the timer was made; called again, does nothing. Gives the milliseconds. */
  stop(): number {
    if (this.result === null) {
      this.result = performance.now() - this.start;
      this.client.timerSend(this.name, this.result, this.rate);
    }
    return this.result;
  }

  [Symbol.dispose](): void {
    this.stop();
  }
}

/** Times a call, or a promise until it settles; gives what the call gives, and a promise's error goes on unchanged. */
export function timed(timer: Timer, work: unknown): unknown {
  if (typeof work !== "function") return whenSettled(timer, work);
  let result: unknown;
  try {
    result = work();
  } catch (error) {
    timer.stop();
    throw error;
  }
  return whenSettled(timer, result);
}

/** Whether `await` would call a method `then` of it. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}

function whenSettled(timer: Timer, result: unknown): unknown {
  if (!isThenable(result)) {
    timer.stop();
    return result;
  }
  const stop = (): void => void timer.stop();
  if (types.isPromise(result)) {
    // Beside the promise, not in its place: an error that nobody handles is the application's to be told about.
    result.then(stop, stop);
    return result;
  }
  // In its place: the query builders of databases run their query at each `then`.
  return Promise.resolve(result).finally(stop);
}
