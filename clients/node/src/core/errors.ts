/** What metlog throws: at configuration and at decoding, never from a call that logs. */

/** Base of everything that metlog throws on purpose. */
export class MetlogError extends Error {
  override name = "MetlogError";
}

/** Settings that cannot be used. `problems` has one line for each fault: key, value, remedy. */
export class ConfigError extends MetlogError {
  override name = "ConfigError";
  readonly problems: string[];

  constructor(problems: string | string[]) {
    const lines = typeof problems === "string" ? [problems] : [...problems];
    super(lines.join("\n"));
    this.problems = lines;
  }
}

/** A frame that is not what its encoder writes. */
export class DecodeError extends MetlogError {
  override name = "DecodeError";
}

/** A sender's own word for "this frame is lost"; the reason is counted under `reason`. */
export class SenderError extends MetlogError {
  override name = "SenderError";
  readonly reason: string;

  constructor(message: string, reason = "send_error", options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

/** Gathers every fault of a configuration, so that all are told at once. */
export class Problems {
  readonly lines: string[] = [];

  add(line: string): void {
    this.lines.push(line);
  }

  /** Runs `body`; an Error that it throws is noted under the key `where`, and undefined is the result. */
  catch<T>(where: string, body: () => T): T | undefined {
    try {
      return body();
    } catch (error) {
      if (error instanceof ConfigError) this.lines.push(...error.problems);
      else this.lines.push(`${where}: ${messageOf(error)}`);
      return undefined;
    }
  }

  /** Throws ConfigError when anything was noted. */
  check(): void {
    if (this.lines.length > 0) throw new ConfigError(this.lines);
  }
}

/** The message of anything that was thrown; never throws itself. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return "<its text cannot be had>";
  }
}

/** The class name of anything that was thrown; never throws itself. */
export function kindOf(error: unknown): string {
  try {
    if (error instanceof Error) return String(error.name || error.constructor?.name || "Error");
    return error === null ? "null" : typeof error;
  } catch {
    return "Error";
  }
}
