/** Timers: of a block (`using`), a function or a promise. */

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
export function timed<T>(timer: Timer, work: (() => T) | T): T {
  if (typeof work !== "function") return whenSettled(timer, work);
  let result: T;
  try {
    result = (work as () => T)();
  } catch (error) {
    timer.stop();
    throw error;
  }
  return whenSettled(timer, result);
}

function whenSettled<T>(timer: Timer, result: T): T {
  if (typeof (result as PromiseLike<unknown> | null | undefined)?.then !== "function") {
    timer.stop();
    return result;
  }
  const stop = (): void => void timer.stop();
  // Beside the promise, not in its place: an error that nobody handles is the application's to be told about.
  (result as unknown as PromiseLike<unknown>).then(stop, stop);
  return result;
}
