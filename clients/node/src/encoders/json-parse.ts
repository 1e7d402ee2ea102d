/** A JSON reader for what comes from outside: exact integers, a limit of depth, and reasons in the words of the other clients. */

import { put } from "../core/event.js";

const OUT_OF_RANGE = "Number out of range";
const MAX_LEVELS = 1000;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const ESCAPES: Record<string, string> = { '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** What is wrong with a text that is not JSON. */
export class JsonError extends Error {}

/** Parses one JSON value; throws JsonError. Integers that a number cannot hold exactly become BigInt. Lone surrogates are refused, or kept. */
export function parseJson(text: string, surrogates: "refuse" | "keep" = "refuse"): unknown {
  const parser = new Parser(text, surrogates === "keep");
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly anyText: boolean,
  ) {}

  end(): void {
    this.space();
    if (this.at < this.text.length) {
      throw new JsonError(
        this.text[this.at] === "\0" ? this.malformed("trailing characters") : `JSON is malformed: trailing characters (byte ${this.at})`,
      );
    }
  }

  value(depth: number): unknown {
    this.space();
    const char = this.text[this.at];
    switch (char) {
      case undefined:
        throw new JsonError("Input data was truncated");
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  private malformed(what: string): string {
    return `JSON is malformed: ${what} (byte ${this.at})`;
  }

  private space(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) return;
      this.at += 1;
    }
  }

  private word<T>(word: string, value: T): T {
    const found = this.text.slice(this.at, this.at + word.length);
    if (found !== word) throw new JsonError(word.startsWith(found) ? "Input data was truncated" : this.malformed("invalid character"));
    this.at += word.length;
    return value;
  }

  private number(): number | bigint {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (found === null) throw new JsonError(this.malformed("invalid character"));
    this.at += found[0].length;
    if (/[0-9.eE+-]/.test(this.text[this.at] ?? "")) throw new JsonError(this.malformed("invalid number"));
    const value = Number(found[0]);
    if (!Number.isFinite(value)) throw new JsonError(OUT_OF_RANGE);
    if (found[1] === undefined && found[2] === undefined && !Number.isSafeInteger(value)) return BigInt(found[0]);
    return value;
  }

  private string(): string {
    this.at += 1;
    let made = "";
    let from = this.at;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (Number.isNaN(code)) throw new JsonError("Input data was truncated");
      if (code === 0x22) {
        made += this.text.slice(from, this.at);
        this.at += 1;
        if (!this.anyText && !made.isWellFormed()) throw new JsonError("a string holds a lone surrogate");
        return made;
      }
      if (code < 0x20) throw new JsonError(this.malformed("invalid character"));
      if (code === 0x5c) {
        made += this.text.slice(from, this.at) + this.escape();
        from = this.at;
      } else {
        this.at += 1;
      }
    }
  }

  private escape(): string {
    const char = this.text[this.at + 1];
    if (char === undefined) throw new JsonError("Input data was truncated");
    if (char === "u") {
      const digits = this.text.slice(this.at + 2, this.at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(digits)) throw new JsonError(this.malformed("invalid escape"));
      this.at += 6;
      return String.fromCharCode(parseInt(digits, 16));
    }
    const escaped = ESCAPES[char];
    if (escaped === undefined) throw new JsonError(this.malformed("invalid escape character in string"));
    this.at += 2;
    return escaped;
  }

  private array(depth: number): unknown[] {
    if (depth >= MAX_LEVELS) throw new JsonError("nested too deeply");
    this.at += 1;
    const made: unknown[] = [];
    this.space();
    if (this.text[this.at] === "]") {
      this.at += 1;
      return made;
    }
    for (;;) {
      made.push(this.value(depth + 1));
      if (this.next("]")) return made;
    }
  }

  private object(depth: number): Record<string, unknown> {
    if (depth >= MAX_LEVELS) throw new JsonError("nested too deeply");
    this.at += 1;
    const made: Record<string, unknown> = {};
    this.space();
    if (this.text[this.at] === "}") {
      this.at += 1;
      return made;
    }
    for (;;) {
      this.space();
      if (this.at >= this.text.length) throw new JsonError("Input data was truncated");
      if (this.text[this.at] !== '"') throw new JsonError(this.malformed("object keys must be strings"));
      const key = this.string();
      this.space();
      if (this.at >= this.text.length) throw new JsonError("Input data was truncated");
      if (this.text[this.at] !== ":") throw new JsonError(this.malformed("expected ':'"));
      this.at += 1;
      try {
        put(made, key, this.value(depth + 1));
      } catch (error) {
        // where it is, for a number of the envelope
        if (depth === 0 && error instanceof JsonError && error.message === OUT_OF_RANGE) throw new JsonError(`${OUT_OF_RANGE} - at \`$.${key}\``);
        throw error;
      }
      if (this.next("}")) return made;
    }
  }

  /** After a value: true at the closing bracket, false at a comma. */
  private next(close: string): boolean {
    this.space();
    const char = this.text[this.at];
    if (char === undefined) throw new JsonError("Input data was truncated");
    if (char !== close && char !== ",") throw new JsonError(this.malformed(`expected ',' or '${close}'`));
    this.at += 1;
    if (char === ",") {
      this.space();
      if (this.text[this.at] === close) throw new JsonError(this.malformed("trailing comma"));
    }
    return char === close;
  }
}
