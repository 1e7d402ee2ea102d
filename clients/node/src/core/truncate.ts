/** Events that are larger than the transport can carry: cut to fit, and marked, never silently lost. */

import type { Encoder } from "../encoders/encoder.js";
import type { Event, Fields } from "./event.js";
import { put, replace } from "./event.js";

/** Field that a cut event has, with the value true. */
const FIELD = "truncated";
/** What stands at the end of a payload that was cut. */
const MARK = "… [truncated]";
const NAME = 256; // characters that are left of type and logger, when even these are too long

/** The frame of one event, with as much of it as fits into `room` bytes; null when not even its envelope does. */
export function truncated(frame: Uint8Array, encoder: Encoder, room: number): Uint8Array | null {
  let event = encoder.decode(frame)[0] as Event;
  const make = (payload: string, fields: Fields): Uint8Array => encoder.frame([encoder.encode(replace(event, { payload, fields }))]);
  const whole = event;
  const fields: Fields = { ...event.fields, [FIELD]: true };
  const sizes = new Map<string, number>();
  for (const name of Object.keys(fields)) {
    const alone: Fields = {};
    put(alone, name, fields[name]);
    sizes.set(name, encoder.encode(replace(event, { payload: "", fields: alone })).length);
  }
  let least = event.payload ? MARK : "";
  let cut = make(least, fields);
  while (cut.length > room) {
    const names = Object.keys(fields).filter((name) => name !== FIELD);
    if (names.length > 0) {
      delete fields[names.reduce((a, b) => ((sizes.get(b) as number) > (sizes.get(a) as number) ? b : a))];
    } else if (event.tokens.length > 0 || event.type.length > NAME || event.logger.length > NAME) {
      event = replace(event, { type: event.type.slice(0, NAME), tokens: [], logger: event.logger.slice(0, NAME) });
    } else if (least) {
      least = "";
    } else {
      return null;
    }
    cut = make(least, fields);
  }
  const all = make(whole.payload, fields);
  if (all.length <= room) return all;
  const characters = Array.from(whole.payload.slice(0, room)); // by code point: half a surrogate pair is no text
  let best = cut;
  for (let low = 0, high = characters.length; low <= high; ) {
    const length = (low + high) >> 1;
    const made = make(characters.slice(0, length).join("") + MARK, fields);
    if (made.length <= room) {
      best = made;
      low = length + 1;
    } else {
      high = length - 1;
    }
  }
  return best;
}
