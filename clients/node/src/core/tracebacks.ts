/** Errors as text: causes and AggregateErrors whole, no other properties, within a size limit. */

/** Characters that a rendered error may have; what is over is cut from the middle. */
export const MAX_TRACEBACK = 32_768;
const MAX_DEPTH = 100;
const MAX_MEMBERS = 1_000;

/**
 * The stack as V8 prints it, with every cause and every member of an AggregateError.
 *
 * Other properties of an error, which hold requests, headers and tokens, are never shown. Never throws: an error whose own text
 * cannot be had is named by its type.
 */
export function render(error: unknown, limit = MAX_TRACEBACK): string {
  const lines: string[] = [];
  try {
    append(error, "", lines, new Set(), 0);
  } catch {
    lines.push(`${typeName(error)}: <its stack cannot be rendered>`);
  }
  return shorten(lines.join("\n"), limit);
}

function append(error: unknown, indent: string, lines: string[], above: Set<unknown>, depth: number): void {
  if (above.has(error)) {
    lines.push(`${indent}<circular: ${typeName(error)}>`);
    return;
  }
  if (depth >= MAX_DEPTH) {
    lines.push(`${indent}<too deep>`);
    return;
  }
  for (const line of ownText(error).split("\n")) lines.push(indent + line);
  if (!isError(error)) return;
  above.add(error);
  const members = read(error, "errors");
  if (Array.isArray(members)) {
    members.slice(0, MAX_MEMBERS).forEach((member, index) => {
      lines.push(`${indent}  [${index}]:`);
      append(member, `${indent}    `, lines, above, depth + 1);
    });
    if (members.length > MAX_MEMBERS) lines.push(`${indent}  and ${members.length - MAX_MEMBERS} more`);
  }
  const cause = read(error, "cause");
  if (cause !== undefined) {
    lines.push(`${indent}Caused by:`);
    append(cause, indent, lines, above, depth + 1);
  }
  above.delete(error);
}

function ownText(error: unknown): string {
  if (!isError(error)) {
    try {
      return String(error);
    } catch {
      return `<${typeName(error)}>`;
    }
  }
  const stack = read(error, "stack");
  const head = `${typeName(error)}: ${message(error)}`;
  if (typeof stack !== "string" || stack === "") return head;
  // V8 writes the stack when the error is made: a message or name that was changed afterwards is put before it.
  return stack.includes(message(error)) ? stack : `${head}\n${stack}`;
}

function read(error: Error, key: string): unknown {
  try {
    return (error as unknown as Record<string, unknown>)[key];
  } catch {
    return undefined;
  }
}

function message(error: Error): string {
  try {
    return String(error.message);
  } catch (failure) {
    return `<its text cannot be had: ${typeName(failure)}>`;
  }
}

/** Whether it is an Error; never throws, as `instanceof` does on a proxy that will not be asked. */
export function isError(value: unknown): value is Error {
  try {
    return value instanceof Error;
  } catch {
    return false;
  }
}

/** The name of a value's class; never throws. */
export function typeName(value: unknown): string {
  try {
    if (value === null) return "null";
    if (value instanceof Error && typeof value.name === "string" && value.name) {
      const own = value.constructor?.name;
      return value.name === "Error" && own ? own : value.name;
    }
    if (typeof value === "object") return value.constructor?.name || "Object";
    return typeof value;
  } catch {
    return "object";
  }
}

/** Text of at most about `limit` characters: a quarter from the start, the rest from the end. */
export function shorten(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const head = Math.floor(limit / 4);
  const tail = limit - head;
  return `${text.slice(0, head)}\n… ${text.length - limit} characters left out …\n${text.slice(text.length - tail)}`;
}

/** The fields of an event that carries an error: `exception_type`, `exception_message`, `traceback`. */
export function exceptionFields(error: unknown, limit = MAX_TRACEBACK): Record<string, string> {
  if (!isError(error)) {
    return error === undefined || error === null
      ? {}
      : { exception_type: typeName(error), exception_message: shorten(ownText(error), limit), traceback: render(error, limit) };
  }
  return {
    exception_type: typeName(error),
    exception_message: shorten(message(error), limit),
    traceback: render(error, limit),
  };
}
