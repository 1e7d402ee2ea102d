/** BLAKE2b (RFC 7693) with a digest of 8 bytes, which OpenSSL, and so node:crypto, does not offer: its length is part of the hash. */

const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n, 0x510e527fade682d1n, 0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
] as const;
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8", "905724afe1bc683d",
  "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a", "6fe9b308c2d714a5", "a2847615fb9e3cd0",
] as const;
const MASK = (1n << 64n) - 1n;
const SIZE = 8n;

/** The first number of the digest, from 0 up to 1: `int.from_bytes(blake2b(data, digest_size=8).digest()) / 2**64`. */
export function blake2bShare(data: Uint8Array): number {
  const digest = blake2b64(data);
  return Number(new DataView(digest.buffer).getBigUint64(0)) / 2 ** 64;
}

/** The digest of 8 bytes. */
export function blake2b64(data: Uint8Array): Uint8Array {
  const h = IV.map((word, index) => (index === 0 ? word ^ 0x01010000n ^ SIZE : word)) as bigint[];
  const blocks = Math.max(1, Math.ceil(data.length / 128));
  const padded = new Uint8Array(blocks * 128);
  padded.set(data);
  const view = new DataView(padded.buffer);
  for (let block = 0; block < blocks; block += 1) {
    const m = Array.from({ length: 16 }, (_, index) => view.getBigUint64(block * 128 + index * 8, true));
    const last = block === blocks - 1;
    compress(h, m, BigInt(last ? data.length : (block + 1) * 128), last);
  }
  const digest = new Uint8Array(8);
  new DataView(digest.buffer).setBigUint64(0, h[0] as bigint, true);
  return digest;
}

function compress(h: bigint[], m: bigint[], count: bigint, last: boolean): void {
  const v = [...h, ...IV] as bigint[];
  v[12] = (v[12] as bigint) ^ count;
  if (last) v[14] = (v[14] as bigint) ^ MASK;
  const mix = (a: number, b: number, c: number, d: number, x: bigint, y: bigint): void => {
    v[a] = ((v[a] as bigint) + (v[b] as bigint) + x) & MASK;
    v[d] = rotate((v[d] as bigint) ^ (v[a] as bigint), 32n);
    v[c] = ((v[c] as bigint) + (v[d] as bigint)) & MASK;
    v[b] = rotate((v[b] as bigint) ^ (v[c] as bigint), 24n);
    v[a] = ((v[a] as bigint) + (v[b] as bigint) + y) & MASK;
    v[d] = rotate((v[d] as bigint) ^ (v[a] as bigint), 16n);
    v[c] = ((v[c] as bigint) + (v[d] as bigint)) & MASK;
    v[b] = rotate((v[b] as bigint) ^ (v[c] as bigint), 63n);
  };
  for (let round = 0; round < 12; round += 1) {
    const s = Array.from(SIGMA[round % 10] as string, (digit) => m[parseInt(digit, 16)] as bigint);
    const at = (index: number): bigint => s[index] as bigint;
    mix(0, 4, 8, 12, at(0), at(1));
    mix(1, 5, 9, 13, at(2), at(3));
    mix(2, 6, 10, 14, at(4), at(5));
    mix(3, 7, 11, 15, at(6), at(7));
    mix(0, 5, 10, 15, at(8), at(9));
    mix(1, 6, 11, 12, at(10), at(11));
    mix(2, 7, 8, 13, at(12), at(13));
    mix(3, 4, 9, 14, at(14), at(15));
  }
  for (let index = 0; index < 8; index += 1) h[index] = (h[index] as bigint) ^ (v[index] as bigint) ^ (v[index + 8] as bigint);
}

function rotate(value: bigint, by: bigint): bigint {
  return ((value >> by) | (value << (64n - by))) & MASK;
}
