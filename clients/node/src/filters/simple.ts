/** Filters by severity and by type. */

import type { Event } from "../core/event.js";
import type { Filter, FilterObject } from "./filter.js";

/** Drops what is less urgent, before an event is built. */
export class SeverityMax implements FilterObject {
  readonly severity_max: number;
  readonly by_severity_only = true;

  constructor(severity: number) {
    if (!(severity >= 0 && severity <= 7)) throw new Error(`severity = ${severity}: a severity is 0 (emergency) to 7 (debug)`);
    this.severity_max = severity;
  }

  filter(event: Event): Event | null {
    return event.severity <= this.severity_max ? event : null;
  }
}

function named(types: string[]): ReadonlySet<string> {
  if (types.length === 0) throw new Error("types = []: wants at least one type of event");
  return new Set(types);
}

/** Keeps events of some types only. */
export function typeAllow(types: string[]): Filter {
  const known = named(types);
  return { filter: (event) => (known.has(event.type) ? event : null) };
}

/** Drops events of some types. */
export function typeDeny(types: string[]): Filter {
  const known = named(types);
  return { filter: (event) => (known.has(event.type) ? null : event) };
}

/** Drops what is less urgent than its type may be; types that are not named pass. */
export function typeSeverityMax(types: Record<string, number>): Filter {
  const limits = new Map(Object.entries(types));
  if (limits.size === 0) throw new Error("types = {}: wants at least one type and its largest severity, such as { request = 4 }");
  for (const [name, severity] of limits) {
    if (!(severity >= 0 && severity <= 7)) throw new Error(`types.${name} = ${severity}: a severity is 0 (emergency) to 7 (debug)`);
  }
  return { filter: (event) => (event.severity <= (limits.get(event.type) ?? 7) ? event : null) };
}
