/**
 * Ready-made patterns of what identifies people: each finds all of a kind in a text and puts something else in its place.
 * Every search takes time in proportion to the text, whatever the text is: it may come from outside.
 */

import { groupsOf } from "./addresses.js";

/** (text, what to put in place) -> text */
export type Mask = (text: string, mask: string) => string;

const W = "\\p{L}\\p{N}_"; // letters of any script, as Python's \w

// ---- e-mail addresses: RFC 5321's, with letters of any script, also as they stand in a URL (`ann%40example.org`)

const LOCAL = `${W}.!#$&'*+^\`\\{\\|\\}~\\-`;
const DOMAIN = `(?:[${W}\\-]+(?:\\.[${W}\\-]+)+|\\[[0-9A-Fa-f:.]{2,45}\\])`;
const EMAIL = new RegExp(`(?:(?<![${LOCAL}%])[${LOCAL}%]+|"[^"\\n]{1,64}")@${DOMAIN}|(?<![${LOCAL}])[${LOCAL}]+%40${DOMAIN}`, "gu");

function email(text: string, mask: string): string {
  return text.includes("@") || text.includes("%40") ? text.replace(EMAIL, () => mask) : text;
}

// ---- IPv4: four numbers up to 255, leading zeros as well; five or more (a version, an object identifier) are none

const IPV4 = /(?<!\p{Nd})(?<!\p{Nd}\.)\p{Nd}{1,3}(?:\.\p{Nd}{1,3}){3}(?!\p{Nd})(?!\.\p{Nd})/gu;

function ipv4(text: string, mask: string): string {
  if (text.split(".", 4).length < 4) return text;
  return text.replace(IPV4, (found) => (found.split(".").every((part) => decimal(part) <= 255) ? mask : found));
}

// ---- IPv6: every form of RFC 4291, section 2.2, with a zone; in brackets, before a port or a colon, after a word

const GROUP = `[0-9A-Fa-f]{1,4}(?![${W}])`;
const TAIL = "\\p{Nd}{1,3}(?:\\.\\p{Nd}{1,3}){3}(?!\\p{Nd})";
const IPV6 = new RegExp(
  `(?<![${W}])(?:(?:${GROUP}(?::${GROUP}){0,6})?::(?:(?:${GROUP}:){0,5}${TAIL}|${GROUP}(?::${GROUP}){0,6})?` +
    `|(?<whole>(?:${GROUP}:){6}${TAIL}|${GROUP}(?::${GROUP}){7}(?!:${GROUP}:)))(?:%(?:25)?[${W}][${W}.\\-]{0,20})?`,
  "gu",
);
const GROUP_BEFORE = new RegExp(`(?<![${W}])[0-9A-Fa-f]{1,4}:$`, "u");

function ipv6(text: string, mask: string): string {
  // Without :: it has seven colons, or six before an IPv4 address.
  if (!text.includes("::") && text.split(":", 7).length < 7) return text;
  return text.replace(IPV6, (found: string, whole: string | undefined, offset: number) => {
    // Groups of two digits without end are a fingerprint; eight of them in its middle or at its end are no address.
    if (whole !== undefined && GROUP_BEFORE.test(text.slice(Math.max(0, offset - 6), offset))) return found;
    const address = found.split("%")[0] as string;
    return address !== "::" && groupsOf(address) !== null ? mask : found; // alone it is punctuation
  });
}

// ---- payment cards: 13 to 19 digits whose check digit is right, in groups or not

const DIGITS = /(?<!\p{Nd})\p{Nd}+(?:[ .\u00a0\u202f-]{1,2}\p{Nd}+)*/gu;
const FEWEST = 13;
const MOST = 19;
const ENOUGH = /(?<!\p{Nd})\p{Nd}(?:[ .\u00a0\u202f-]{0,2}\p{Nd}){12}/u;

function creditCard(text: string, mask: string): string {
  if (text.length < FEWEST || !ENOUGH.test(text)) return text;
  return text.replace(DIGITS, (run) => {
    let made = "";
    let last = 0;
    for (const [start, end] of cardsIn(run)) {
      made += run.slice(last, start) + mask;
      last = end;
    }
    return made + run.slice(last);
  });
}

/** Where cards lie in digits with separators. One begins and ends with a group: `2026-05-01 4111111111111111`. */
function* cardsIn(run: string): Iterable<[number, number]> {
  const groups = [...run.matchAll(/\p{Nd}+/gu)].map((found) => ({ start: found.index, text: Array.from(found[0]), end: found.index + found[0].length }));
  const digits = groups.flatMap((group) => group.text.map(digit));
  if (digits.length < FEWEST) return;
  const right = luhn(digits);
  let first = 0;
  let position = 0;
  while (first < groups.length) {
    let card = -1;
    let after = 0;
    let end = position;
    for (let last = first; last < groups.length; last += 1) {
      end += (groups[last] as { text: string[] }).text.length;
      if (end - position > MOST) break;
      if (end - position >= FEWEST && right(position, end)) [card, after] = [last, end]; // the longest wins
    }
    if (card < 0) {
      position += (groups[first] as { text: string[] }).text.length;
      first += 1;
    } else {
      yield [(groups[first] as { start: number }).start, (groups[card] as { end: number }).end];
      first = card + 1;
      position = after;
    }
  }
}

/** The check digits (ISO/IEC 7812-1, annex B) of all parts of a row of digits, each without going through it again. */
function luhn(digits: number[]): (start: number, end: number) => boolean {
  const sums: [number[], number[]] = [[0], [0]]; // with the digits at even places doubled, and with those at odd ones
  digits.forEach((value, place) => {
    const twice = value > 4 ? value * 2 - 9 : value * 2;
    for (const parity of [0, 1] as const) sums[parity].push((sums[parity].at(-1) as number) + (place % 2 === parity ? twice : value));
  });
  return (start, end) => {
    const row = sums[(end % 2) as 0 | 1];
    return ((row[end] as number) - (row[start] as number)) % 10 === 0;
  };
}

/** The value of a decimal digit of any script: they come in runs of ten. */
function digit(char: string): number {
  const code = char.codePointAt(0) as number;
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  let first = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first -= 1;
  return (code - first) % 10;
}

function decimal(text: string): number {
  return Array.from(text).reduce((sum, char) => sum * 10 + digit(char), 0);
}

/** The ready-made ones by name. */
export const MASKS: ReadonlyMap<string, Mask> = new Map([
  ["email", email],
  ["ipv4", ipv4],
  ["ipv6", ipv6],
  ["credit_card", creditCard],
]);

/** A mask of a user's own expression. */
export function ofPattern(pattern: RegExp): Mask {
  return (text, mask) => text.replace(pattern, () => mask);
}
