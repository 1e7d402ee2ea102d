/** MessagePack: one event is a map, several are an array of maps. The time is extension type -1. */

import type { Event, Fields } from "../core/event.js";
import { sanitize } from "../core/values.js";
import type { Encoder } from "./encoder.js";
import { decodeMsgpack } from "./frames.js";

/** MessagePack as its specification has it, with what JSON can say inside `fields`, and no more. */
export class MsgpackEncoder implements Encoder {
  readonly content_type = "application/msgpack";
  repaired = 0;
  private readonly writer = new Writer();

  encode(event: Event): Uint8Array {
    const { event: said, notes } = sanitize(event);
    if (notes.length > 0) this.repaired += 1;
    const writer = this.writer;
    writer.begin();
    writer.mapHead(said.weight === 1 ? 12 : 13);
    writer.text("timestamp");
    writer.timestamp(said.timestamp);
    for (const key of ["type", "tokens", "logger", "severity", "payload", "fields"] as const) writer.pair(key, said[key]);
    if (said.weight !== 1) {
      writer.text("weight");
      writer.float(said.weight);
    }
    for (const key of ["env_version", "pid", "hostname", "stream", "seq"] as const) writer.pair(key, said[key]);
    return writer.end();
  }

  frame(encoded: Uint8Array[]): Uint8Array {
    if (encoded.length === 1) return encoded[0] as Uint8Array;
    return Buffer.concat([arrayHead(encoded.length), ...encoded]);
  }

  decode(frame: Uint8Array): Event[] {
    return decodeMsgpack(frame);
  }
}

function arrayHead(count: number): Buffer {
  if (count < 16) return Buffer.of(0x90 | count);
  const head = Buffer.alloc(count < 65_536 ? 3 : 5);
  head[0] = count < 65_536 ? 0xdc : 0xdd;
  if (count < 65_536) head.writeUInt16BE(count, 1);
  else head.writeUInt32BE(count, 1);
  return head;
}

/** Writes values that a walk made sayable into one growing buffer. */
class Writer {
  private buffer = Buffer.allocUnsafe(4096);
  private at = 0;

  begin(): void {
    this.at = 0;
  }

  end(): Uint8Array {
    const made = Buffer.from(this.buffer.subarray(0, this.at));
    if (this.buffer.length > 1 << 20) this.buffer = Buffer.allocUnsafe(4096);
    return made;
  }

  pair(key: string, value: unknown): void {
    this.text(key);
    this.value(value);
  }

  private room(bytes: number): number {
    const from = this.at;
    if (from + bytes > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, from + bytes));
      this.buffer.copy(larger, 0, 0, from);
      this.buffer = larger;
    }
    this.at += bytes;
    return from;
  }

  /** A head of one byte and a size of 1, 2 or 4 bytes; `heads` has one for each width, 0 where there is none. */
  private head(size: number, heads: [number, number, number]): void {
    if (size < 0x100 && heads[0]) {
      const at = this.room(2);
      this.buffer[at] = heads[0];
      this.buffer[at + 1] = size;
    } else if (size < 0x10000) {
      const at = this.room(3);
      this.buffer[at] = heads[1];
      this.buffer.writeUInt16BE(size, at + 1);
    } else {
      const at = this.room(5);
      this.buffer[at] = heads[2];
      this.buffer.writeUInt32BE(size, at + 1);
    }
  }

  private byte(value: number): void {
    const at = this.room(1); // before `this.buffer` is read: it may be another one afterwards
    this.buffer[at] = value;
  }

  text(value: string): void {
    const size = Buffer.byteLength(value);
    if (size < 32) this.byte(0xa0 | size);
    else this.head(size, [0xd9, 0xda, 0xdb]);
    const at = this.room(size);
    this.buffer.write(value, at, size, "utf8");
  }

  float(value: number): void {
    const at = this.room(9);
    this.buffer[at] = 0xcb;
    this.buffer.writeDoubleBE(value, at + 1);
  }

  mapHead(count: number): void {
    if (count < 16) this.byte(0x80 | count);
    else this.head(count, [0, 0xde, 0xdf]);
  }

  timestamp(text: string): void {
    const found = /^(.*?)(?:\.(\d+))?Z$/.exec(text) as RegExpExecArray;
    const seconds = BigInt(Date.parse(`${found[1]}Z`) / 1000);
    const nanoseconds = Number((found[2] ?? "").padEnd(9, "0"));
    if (seconds >= 0n && seconds < 1n << 34n) {
      if (nanoseconds === 0 && seconds < 1n << 32n) {
        const at = this.room(6);
        this.buffer.set([0xd6, 0xff], at);
        this.buffer.writeUInt32BE(Number(seconds), at + 2);
        return;
      }
      const at = this.room(10);
      this.buffer.set([0xd7, 0xff], at);
      this.buffer.writeBigUInt64BE((BigInt(nanoseconds) << 34n) | seconds, at + 2);
      return;
    }
    const at = this.room(15);
    this.buffer.set([0xc7, 12, 0xff], at);
    this.buffer.writeUInt32BE(nanoseconds, at + 3);
    this.buffer.writeBigInt64BE(seconds, at + 7);
  }

  private integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) this.byte(value);
      else if (value < 0x100000000) this.head(value, [0xcc, 0xcd, 0xce]);
      else this.wide(BigInt(value));
    } else if (value >= -32) {
      this.byte(value & 0xff);
    } else if (value >= -0x80) {
      const at = this.room(2);
      this.buffer[at] = 0xd0;
      this.buffer.writeInt8(value, at + 1);
    } else if (value >= -0x8000) {
      const at = this.room(3);
      this.buffer[at] = 0xd1;
      this.buffer.writeInt16BE(value, at + 1);
    } else if (value >= -0x80000000) {
      const at = this.room(5);
      this.buffer[at] = 0xd2;
      this.buffer.writeInt32BE(value, at + 1);
    } else {
      this.wide(BigInt(value));
    }
  }

  private wide(value: bigint): void {
    const at = this.room(9);
    this.buffer[at] = value >= 0n ? 0xcf : 0xd3;
    if (value >= 0n) this.buffer.writeBigUInt64BE(value, at + 1);
    else this.buffer.writeBigInt64BE(value, at + 1);
  }

  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        this.text(value);
        return;
      case "boolean":
        this.byte(value ? 0xc3 : 0xc2);
        return;
      case "number":
        if (Number.isSafeInteger(value)) this.integer(value);
        else this.float(value);
        return;
      case "bigint":
        if (Number.isSafeInteger(Number(value))) this.integer(Number(value));
        else this.wide(value);
        return;
      default:
    }
    if (value === null || value === undefined) {
      this.byte(0xc0);
    } else if (Array.isArray(value)) {
      if (value.length < 16) this.byte(0x90 | value.length);
      else this.head(value.length, [0, 0xdc, 0xdd]);
      for (const item of value) this.value(item);
    } else {
      const keys = Object.keys(value);
      this.mapHead(keys.length);
      for (const key of keys) this.pair(key, (value as Fields)[key]);
    }
  }
}
