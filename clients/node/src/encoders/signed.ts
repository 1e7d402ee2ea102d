/** Frames with a signature: HMAC-SHA256 over what another encoder made. */

import { createHmac, timingSafeEqual } from "node:crypto";
import { ConfigError, DecodeError } from "../core/errors.js";
import type { Event } from "../core/event.js";
import type { Encoder } from "./encoder.js";

/** Bytes that a key has at least; RFC 2104 advises 32, the length of the digest. */
const MIN_KEY = 16;
const ALGORITHM = "hmac-sha256";
const KEY_ID = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_HEADER = 512;

/** Signs the frames of another encoder, and refuses those that do not verify; the format is that of Python's `SignedEncoder`. */
export class SignedEncoder implements Encoder {
  readonly content_type = "application/x-metlog-signed";
  readonly overhead: number;
  private readonly secrets: Map<string, Buffer>;

  constructor(
    private readonly inner: Encoder,
    key: string,
    private readonly keyId = "default",
    keys: Record<string, string> = {},
  ) {
    const secrets = new Map([...Object.entries(keys), [keyId, key] as const]);
    const problems: string[] = [];
    for (const [name, secret] of secrets) {
      if (!KEY_ID.test(name)) problems.push(`key_id = '${name}': up to 64 letters, digits, dots, dashes and underscores`);
      const size = Buffer.byteLength(secret);
      if (size < MIN_KEY) {
        problems.push(
          `key '${name}': a secret of ${size} bytes is too short; use at least ${MIN_KEY}, such as the output of: openssl rand -hex 32`,
        );
      }
    }
    if (problems.length > 0) throw new ConfigError(problems);
    this.secrets = new Map([...secrets].map(([name, secret]) => [name, Buffer.from(secret)]));
    this.overhead = this.header(Buffer.alloc(0)).length + 8;
  }

  get repaired(): number {
    return this.inner.repaired ?? 0;
  }

  encode(event: Event): Uint8Array {
    return this.inner.encode(event);
  }

  private header(inner: Uint8Array): Buffer {
    const mac = createHmac("sha256", this.secrets.get(this.keyId) as Buffer)
      .update(inner)
      .digest("hex");
    return Buffer.from(`${JSON.stringify({ "metlog.signed": ALGORITHM, key: this.keyId, bytes: inner.length, mac })}\n`);
  }

  frame(encoded: Uint8Array[]): Uint8Array {
    const inner = this.inner.frame(encoded);
    return Buffer.concat([this.header(inner), inner]);
  }

  decode(frame: Uint8Array): Event[] {
    return this.inner.decode(this.verified(frame));
  }

  /** What was signed, without the line that signs it; throws DecodeError with the reason. */
  private verified(frame: Uint8Array): Uint8Array {
    const end = frame.subarray(0, MAX_HEADER).indexOf(0x0a);
    const header = end < 0 ? null : headerOf(Buffer.from(frame.subarray(0, end)).toString());
    if (header === null) throw new DecodeError("the frame is not signed; only signed ones are taken here");
    if (header.algorithm !== ALGORITHM) {
      throw new DecodeError(`signed with '${header.algorithm.slice(0, 40)}'; only ${ALGORITHM} is known`);
    }
    const secret = this.secrets.get(header.key);
    if (secret === undefined) {
      throw new DecodeError(`signed with the key '${header.key.slice(0, 64)}', which is not among the accepted ones`);
    }
    const rest = frame.subarray(end + 1);
    if (header.bytes !== rest.length) {
      throw new DecodeError(`the signature covers ${header.bytes} bytes, the frame has ${rest.length} after it`);
    }
    const mac = Buffer.from(createHmac("sha256", secret).update(rest).digest("hex"));
    const given = Buffer.from(header.mac);
    if (mac.length !== given.length || !timingSafeEqual(mac, given)) {
      throw new DecodeError(`the signature with the key '${header.key}' is wrong: changed on the way, or another secret`);
    }
    return rest;
  }
}

function headerOf(line: string): { algorithm: string; key: string; bytes: number; mac: string } | null {
  try {
    const found = JSON.parse(line) as Record<string, unknown>;
    const { "metlog.signed": algorithm, key, bytes, mac } = found;
    const right = typeof algorithm === "string" && typeof key === "string" && Number.isInteger(bytes) && typeof mac === "string";
    return right && Object.keys(found).length === 4 ? { algorithm, key, bytes: bytes as number, mac } : null;
  } catch {
    return null;
  }
}
