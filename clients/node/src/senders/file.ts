/** A file that frames are appended to, rotated by size or from outside. */

import { constants, closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, lstatSync, openSync, readSync, renameSync, statSync, writeSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { convert, repr } from "../config/convert.js";
import { messageOf, SenderError } from "../core/errors.js";
import { atLeast, closedError, positive } from "./options.js";
import type { Sender } from "./sender.js";

const FULL: Record<string, string> = { ENOSPC: "no space left", EDQUOT: "over the quota", EFBIG: "over the size limit" };
const OPEN = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);

export interface FileOptions {
  path?: string;
  max_bytes?: number;
  keep?: number;
  fsync?: string | number;
  mode?: string | number;
  max_frame?: number;
}

/**
 * Appends each frame to a file in one write, within the call. Several processes may share the file, unless `max_bytes` rotates it: Node.js has
 * no file locks, so only one process may do that. A symbolic link is not followed. Rotation from outside (without `copytruncate`) is noticed at
 * the next frame. A frame that does not fit the disk is taken back whole.
 */
export class FileSender implements Sender {
  readonly path: string;
  readonly max_frame: number;
  private readonly maxBytes: number;
  private readonly keep: number;
  private readonly fsync: number | null; // ms
  private readonly mode: number;
  private fd: number | null = null;
  private identity = "";
  private unsynced = false;
  private synced = performance.now();
  private fresh = false;
  private closed = false;

  constructor({ path = "", max_bytes = 0, keep = 5, fsync = "never", mode = "0640", max_frame = 65536 }: FileOptions) {
    if (path === "") throw new Error(`path = '': wants the path of a file`);
    this.path = resolve(path); // a later chdir must not move it
    const folder = dirname(this.path);
    if (!existsSync(folder)) throw new Error(`path = ${repr(path)}: there is no folder ${repr(folder)}; create it first`);
    if (existsSync(this.path) && statSync(this.path).isDirectory()) throw new Error(`path = ${repr(path)}: this is a folder; wants the path of a file`);
    atLeast("max_bytes", max_bytes, 0, "bytes");
    atLeast("keep", keep, 1, "files");
    atLeast("max_frame", max_frame, 64, "bytes");
    this.maxBytes = max_bytes;
    this.keep = keep;
    this.max_frame = max_frame;
    this.fsync = milliseconds(fsync);
    this.mode = permissions(mode);
  }

  send(frame: Uint8Array): void {
    if (this.closed) throw closedError("file");
    try {
      this.append(this.current(frame.length), frame);
    } catch (error) {
      if (error instanceof SenderError) throw error;
      const code = String((error as NodeJS.ErrnoException).code);
      if (code in FULL) throw new SenderError(`${this.path}: ${FULL[code]}`, "full");
      this.release(); // whatever is wrong with it, the next frame starts from the path
      const hint = code === "ELOOP" ? "; a symbolic link is not followed" : "";
      throw new SenderError(`${this.path}: ${messageOf(error)}${hint}`, "unreachable");
    }
    this.unsynced = true;
    if (this.fsync !== null && performance.now() - this.synced >= this.fsync) this.sync();
  }

  sendNow(frame: Uint8Array): boolean {
    this.send(frame);
    return true;
  }

  /** The file that `path` names now, with room for `size` bytes. */
  private current(size: number): number {
    if (this.fd !== null && !this.isCurrent()) this.leave(); // rotated or removed by somebody else
    let fd = this.fd ?? this.openFile();
    if (this.maxBytes > 0) {
      const held = fstatSync(fd).size;
      if (held > 0 && held + size > this.maxBytes) {
        this.rotate();
        this.leave();
        fd = this.openFile();
      }
    }
    return fd;
  }

  private append(fd: number, frame: Uint8Array): void {
    const status = fstatSync(fd);
    let rest = frame;
    if (this.fresh && status.isFile()) {
      this.fresh = false;
      const last = Buffer.alloc(1);
      // a crash left half a line: it must not take our first one with it
      if (status.size > 0 && frame[0] === 0x7b && readSync(fd, last, 0, 1, status.size - 1) === 1 && last[0] !== 0x0a) {
        rest = Buffer.concat([Buffer.from("\n"), frame]);
      }
    }
    let written = 0;
    try {
      while (written < rest.length) written += writeSync(fd, rest, written);
    } catch (error) {
      if (written > 0 && status.isFile()) ftruncateSync(fd, status.size);
      throw error;
    }
  }

  private openFile(): number {
    const fd = openSync(this.path, OPEN, this.mode);
    const status = fstatSync(fd);
    if (!status.isFile() && !status.isCharacterDevice()) {
      closeSync(fd);
      throw new SenderError(`${this.path} is neither a file nor a character device`, "unreachable");
    }
    this.fd = fd;
    this.identity = `${status.dev}:${status.ino}`;
    this.fresh = true;
    return fd;
  }

  private isCurrent(): boolean {
    try {
      const status = lstatSync(this.path);
      return `${status.dev}:${status.ino}` === this.identity;
    } catch {
      return false;
    }
  }

  private rotate(): void {
    for (let number = this.keep - 1; number > 0; number -= 1) {
      if (existsSync(`${this.path}.${number}`)) renameSync(`${this.path}.${number}`, `${this.path}.${number + 1}`);
    }
    renameSync(this.path, `${this.path}.1`);
  }

  private sync(): void {
    if (this.fd === null || !this.unsynced) return;
    try {
      fsyncSync(this.fd);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EINVAL" || code === "EROFS") {
        this.unsynced = false; // a device: there is nothing to bring to a disk
        return;
      }
      this.release();
      throw new SenderError(`${this.path}: fsync: ${messageOf(error)}`, "fsync");
    }
    this.unsynced = false;
    this.synced = performance.now();
  }

  flush(): void {
    if (this.fsync !== null && !this.closed) this.sync();
  }

  /** Lets go of a file that is complete. */
  private leave(): void {
    try {
      if (this.fsync !== null) this.sync();
    } finally {
      this.release();
    }
  }

  private release(): void {
    const { fd } = this;
    this.fd = null;
    this.unsynced = false;
    if (fd !== null) closeSync(fd);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.leave();
  }
}

/** Of a number, or of "250ms" or "5m"; NaN for another text. */
function secondsOf(text: string): number {
  try {
    return Number.isNaN(Number(text)) ? (convert(text, { kind: "duration" }) as number) : Number(text);
  } catch {
    return NaN;
  }
}

function milliseconds(fsync: string | number): number | null {
  if (fsync === "never") return null;
  if (fsync === "always") return 0;
  const seconds = typeof fsync === "string" && fsync.trim() !== "" ? secondsOf(fsync) : fsync;
  if (typeof seconds !== "number" || Number.isNaN(seconds)) throw new Error(`fsync = ${repr(fsync)}: wants never, always or a number of seconds`);
  positive("fsync", seconds, "seconds");
  return seconds * 1000;
}

function permissions(mode: string | number): number {
  if (typeof mode === "string") {
    if (!/^(0o?)?[0-7]{3}$/.test(mode)) throw new Error(`mode = ${repr(mode)}: wants octal digits such as 0640`);
    return parseInt(mode.replace("o", ""), 8);
  }
  if (!(mode >= 0 && mode <= 0o777)) throw new Error(`mode = ${mode}: wants permissions from 0 to 0o777, such as 0o640`);
  return mode;
}
