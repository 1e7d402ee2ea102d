/** What the built-in senders share: checks of their options. */

import { isIP, isIPv4 } from "node:net";
import { clearTimeout, setTimeout } from "node:timers";
import { repr } from "../config/convert.js";
import { SenderError } from "../core/errors.js";
import { waitFor } from "../core/wait.js";

export function closedError(name: string): SenderError {
  return new SenderError(`the ${name} sender is closed`, "closed");
}

/** Throws unless the value is above zero. */
export function positive(name: string, value: number, unit: string): void {
  if (!(value > 0 && value < Infinity)) throw new Error(`${name} = ${value}: wants a number of ${unit} above 0`);
}

/** Throws when the value is below `least`. */
export function atLeast(name: string, value: number, least: number, unit: string): void {
  if (!(value >= least && value < Infinity)) throw new Error(`${name} = ${value}: wants a number of ${unit}, ${least} or more`);
}

/** Throws unless the value is one of those known. */
export function oneOf(name: string, value: string, known: readonly string[]): void {
  if (!known.includes(value)) throw new Error(`${name} = ${repr(value)}: wants one of ${known.join(", ")}`);
}

/** Throws unless the value is a port that one can send to. */
export function portNumber(value: number): void {
  if (!(value >= 1 && value <= 65535)) throw new Error(`port = ${value}: wants a port from 1 to 65535`);
}

/** One host, several, or several in one text with commas; brackets of IPv6 go. */
export function hostList(host: string | string[]): string[] {
  const hosts = (typeof host === "string" ? host.split(",") : host).map((each) => each.trim().replace(/^\[|\]$/g, ""));
  if (hosts.length === 0 || hosts.includes("")) throw new Error(`host = ${repr(host)}: wants a host name or IP address, or a list of them`);
  return hosts;
}

export interface Address {
  family: 4 | 6;
  address: string;
}

/** The addresses of a literal IP or of `localhost` (RFC 6761), without asking anybody; null for any other name. */
export function numeric(host: string): Address[] | null {
  if (host.toLowerCase() === "localhost") {
    return [
      { family: 4, address: "127.0.0.1" },
      { family: 6, address: "::1" },
    ];
  }
  return isIP(host) === 0 ? null : [{ family: isIPv4(host) ? 4 : 6, address: host }];
}

/** Growing pauses with jitter, so that many clients do not come back to a restarted peer all at once. */
export class Backoff {
  private next: number;

  /** Both in milliseconds. */
  constructor(
    private readonly first: number,
    private readonly most: number,
  ) {
    this.next = first;
  }

  reset(): void {
    this.next = this.first;
  }

  /** The next pause in milliseconds: between half of it and all of it, doubled each time up to the most. */
  pause(): number {
    const pause = this.next;
    this.next = Math.min(pause * 2, this.most);
    return pause * (0.5 + Math.random() / 2);
  }
}

/** All waiting of a sender: it ends at `close`, and within what `deadline` leaves. Its timers never keep the process alive. */
export class Patience {
  closed = false;
  private end = Infinity;
  private readonly sleeping = new Set<() => void>();

  close(): void {
    this.closed = true;
    for (const wake of this.sleeping) wake();
  }

  /** From now on all sleeps together end within so many seconds. */
  deadline(seconds: number): void {
    this.end = Math.min(this.end, performance.now() + seconds * 1000);
    // A sleep under way that would last longer ends now: what it waited for is tried once more.
    for (const wake of this.sleeping) wake();
  }

  /** The moment (ms of `performance.now`) so many milliseconds from now, or the deadline when that is earlier. */
  until(ms: number): number {
    return Math.min(performance.now() + ms, this.end);
  }

  /** Sleeps; false when nothing more is worth waiting for. */
  async sleep(ms: number): Promise<boolean> {
    if (this.closed || performance.now() >= this.end) return false;
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.sleeping.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, waitFor(ms));
      timer.unref();
      this.sleeping.add(wake);
    });
    return !this.closed && performance.now() < this.end;
  }
}
