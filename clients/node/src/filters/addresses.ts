/** IP addresses, cut to the network they are in. */

import { isIPv4, isIPv6 } from "node:net";

/** The networks of one address or of several with commas (`X-Forwarded-For`); null for what is no address. */
export function cutIp(text: string): string | null {
  const networks = text.split(",").map((part) => network(part.trim()));
  return networks.includes(null) ? null : networks.join(", ");
}

function network(given: string): string | null {
  let text = given;
  if (text.startsWith("[")) text = text.slice(1).split("]")[0] as string; // [2001:db8::1]:443
  else if (text.split(":").length === 2) text = text.split(":")[0] as string; // 192.0.2.1:443
  text = text.split("%")[0] as string;
  if (isIPv4(text)) return `${text.split(".").slice(0, 3).join(".")}.0`;
  const groups = groupsOf(text);
  if (groups === null) return null;
  const [first, second, third] = groups as [number, number, number];
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high, low] = groups.slice(6) as [number, number];
    return `${high >> 8}.${high & 0xff}.${low >> 8}.0`;
  }
  // 6to4 holds a whole IPv4 address in its first 48 bits (RFC 3056)
  const kept = first === 0x2002 ? [first, second, third & 0xff00] : [first, second, third];
  return compressed([...kept, 0, 0, 0, 0, 0]);
}

/** The eight groups of an IPv6 address in any of its forms; null for what is none. */
export function groupsOf(text: string): number[] | null {
  if (!isIPv6(text) || text.includes("%")) return null;
  let words = text;
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
    words = `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  }
  const [before, after] = words.split("::") as [string, string | undefined];
  const left = before ? before.split(":").map((group) => parseInt(group, 16)) : [];
  if (after === undefined) return left;
  const right = after ? after.split(":").map((group) => parseInt(group, 16)) : [];
  return [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
}

/** RFC 5952: the longest run of two or more zero groups, the first of them, as `::`. */
function compressed(groups: number[]): string {
  let best = -1;
  let longest = 1;
  for (let from = 0; from < 8; from += 1) {
    let length = 0;
    while (from + length < 8 && groups[from + length] === 0) length += 1;
    if (length > longest) [best, longest] = [from, length];
  }
  const text = (part: number[]): string => part.map((group) => group.toString(16)).join(":");
  return best < 0 ? text(groups) : `${text(groups.slice(0, best))}::${text(groups.slice(best + longest))}`;
}
