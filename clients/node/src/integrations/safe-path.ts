/** Paths fit for counting and for keeping: what names a person or a thing becomes a placeholder. */

const MAX_PATH = 200; // characters of a path that is shown
const MAX_READ = 1024; // characters that are looked at
const MAX_SEGMENTS = 8;
const MAX_SEGMENT = 40;
const UUID = /^\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?$/;
const NUMBER = /^[+-]?[0-9][0-9.,:_+-]*$/;
const HEX = /^(?=.*[0-9])(?:0x)?[0-9a-fA-F]{8,}$/;
const PRINTABLE = /^(?:[^\p{C}\p{Z}]| )*$/u;
const known = new Map<string, string>();

/**
 * The path with numbers, UUIDs, hexadecimal ids, mail addresses and tokens as `{id}`, `{uuid}`, `{hex}`, …; at most 200 characters and
 * 8 segments. A name in a path (`/users/alice`) cannot be told from a word: a framework's route template, or the option `route`, knows better.
 */
export function safePath(path: string): string {
  const read = path.slice(0, MAX_READ);
  let text = known.get(read);
  if (text === undefined) {
    const segments = read.split("/");
    const shown = segments.slice(0, MAX_SEGMENTS + 1).map(placeholder);
    if (segments.length > MAX_SEGMENTS + 1) shown.push("…");
    text = shown.join("/");
    if (text.length > MAX_PATH) text = `${text.slice(0, MAX_PATH - 1)}…`;
    if (known.size >= 1024) known.clear();
    known.set(read, text);
  }
  return text;
}

function placeholder(segment: string): string {
  if (segment === "" || (segment.length <= 3 && !/^\p{Nd}+$/u.test(segment))) return segment;
  if (segment.includes("@") || segment.includes("%40")) return "{email}";
  if (UUID.test(segment)) return "{uuid}";
  if (NUMBER.test(segment)) return "{id}";
  if (HEX.test(segment)) return "{hex}";
  const digits = segment.match(/\p{Nd}/gu)?.length ?? 0;
  if (digits >= 4) return "{id}"; // order-20381, user12345.json
  if (segment.length > MAX_SEGMENT || (digits > 0 && segment.length >= 16) || !PRINTABLE.test(segment)) return "{token}";
  return segment;
}
