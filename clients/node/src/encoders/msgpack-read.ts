/** A MessagePack reader for what comes from outside: https://github.com/msgpack/msgpack/blob/master/spec.md */

import { put, rfc3339 } from "../core/event.js";

const MAX_LEVELS = 1000;
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What is wrong with bytes that are not MessagePack. */
export class MsgpackError extends Error {}

/** Extension type -1. */
export class Timestamp {
  constructor(
    readonly seconds: number,
    readonly nanoseconds: number,
  ) {}

  /** RFC 3339, where it stands for the value of a field. */
  toJSON(): string {
    const whole = rfc3339(this.seconds * 1000);
    const micros = Math.floor(this.nanoseconds / 1000);
    return micros === 0 ? whole : `${whole.slice(0, -1)}.${String(micros).padStart(6, "0")}Z`;
  }
}

/** A float whose value is a whole number: where an integer is asked for, it is none. */
export class WholeFloat {
  constructor(readonly value: number) {}
}

/** The value with its whole floats as numbers, which is what JavaScript has. */
export function withNumbers(value: unknown): unknown {
  if (value instanceof WholeFloat) return value.value;
  if (Array.isArray(value)) return value.map(withNumbers);
  if (value instanceof Map) return new Map([...value].map(([key, item]) => [withNumbers(key), withNumbers(item)]));
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
  const made: Record<string, unknown> = {};
  for (const key of Object.keys(value)) put(made, key, withNumbers((value as Record<string, unknown>)[key]));
  return made;
}

/** Any other extension type. */
export class Extension {
  constructor(
    readonly code: number,
    readonly data: Uint8Array,
  ) {}
}

/** Reads one value; throws MsgpackError. Maps with keys that are not all text become a `Map`; exact integers, as BigInt where needed. */
export function readMsgpack(data: Uint8Array): unknown {
  const reader = new Reader(data);
  const value = reader.value(0);
  if (!reader.done) throw new MsgpackError("MessagePack data is malformed: trailing characters");
  return value;
}

class Reader {
  private at = 0;
  private readonly view: DataView;

  constructor(private readonly data: Uint8Array) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get done(): boolean {
    return this.at === this.data.length;
  }

  private take(count: number): number {
    const from = this.at;
    if (from + count > this.data.length) throw new MsgpackError("Input data was truncated");
    this.at += count;
    return from;
  }

  value(depth: number): unknown {
    const head = this.data[this.take(1)] as number;
    if (head <= 0x7f) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head <= 0x8f) return this.map(head & 0x0f, depth);
    if (head <= 0x9f) return this.array(head & 0x0f, depth);
    if (head <= 0xbf) return this.text(head & 0x1f);
    switch (head) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.bytes(this.size(head - 0xc4));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.extension(this.size(head - 0xc7));
      case 0xca:
        return float(this.view.getFloat32(this.take(4)));
      case 0xcb:
        return float(this.view.getFloat64(this.take(8)));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.size(head - 0xcc);
      case 0xcf:
        return exact(this.view.getBigUint64(this.take(8)));
      case 0xd0:
        return this.view.getInt8(this.take(1));
      case 0xd1:
        return this.view.getInt16(this.take(2));
      case 0xd2:
        return this.view.getInt32(this.take(4));
      case 0xd3:
        return exact(this.view.getBigInt64(this.take(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.extension(1 << (head - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.size(head - 0xd9));
      case 0xdc:
      case 0xdd:
        return this.array(this.size(head - 0xdc + 1), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.size(head - 0xde + 1), depth);
      default:
        throw new MsgpackError(`MessagePack data is malformed: invalid opcode 0x${head.toString(16)}`);
    }
  }

  /** An unsigned integer of 1, 2 or 4 bytes. */
  private size(width: number): number {
    if (width === 0) return this.view.getUint8(this.take(1));
    return width === 1 ? this.view.getUint16(this.take(2)) : this.view.getUint32(this.take(4));
  }

  private bytes(length: number): Uint8Array {
    const from = this.take(length);
    return Uint8Array.prototype.slice.call(this.data, from, from + length);
  }

  private text(length: number): string {
    const from = this.take(length);
    try {
      return strict.decode(this.data.subarray(from, from + length));
    } catch {
      throw new MsgpackError("not UTF-8");
    }
  }

  private extension(length: number): Timestamp | Extension {
    const code = this.view.getInt8(this.take(1));
    const data = this.bytes(length);
    if (code !== -1) return new Extension(code, data);
    const view = new DataView(data.buffer, data.byteOffset, length);
    if (length === 4) return new Timestamp(view.getUint32(0), 0);
    if (length === 8) {
      const both = view.getBigUint64(0);
      return new Timestamp(Number(both & 0x3ffffffffn), Number(both >> 34n));
    }
    if (length === 12) return new Timestamp(Number(view.getBigInt64(4)), view.getUint32(0));
    return new Timestamp(NaN, 0); // refused where it stands for a time
  }

  private array(count: number, depth: number): unknown[] {
    if (depth >= MAX_LEVELS) throw new MsgpackError("nested too deeply");
    if (count > this.data.length - this.at) throw new MsgpackError("Input data was truncated");
    const made: unknown[] = [];
    for (let index = 0; index < count; index += 1) made.push(this.value(depth + 1));
    return made;
  }

  private map(count: number, depth: number): unknown {
    if (depth >= MAX_LEVELS) throw new MsgpackError("nested too deeply");
    if (2 * count > this.data.length - this.at) throw new MsgpackError("Input data was truncated");
    const pairs: [unknown, unknown][] = [];
    for (let index = 0; index < count; index += 1) {
      const key = this.value(depth + 1);
      pairs.push([key, this.value(depth + 1)]);
    }
    if (pairs.some(([key]) => typeof key !== "string")) return new Map(pairs);
    const made: Record<string, unknown> = {};
    for (const [key, value] of pairs) put(made, key as string, value);
    return made;
  }
}

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function float(value: number): number | WholeFloat {
  return Number.isInteger(value) ? new WholeFloat(value) : value;
}
