/** Paths of fields with wildcards: `password`, `*.token`, `**.secret`. */

import { repr } from "../config/convert.js";
import { messageOf } from "../core/errors.js";

const PARTS = /\*|\?|\[!?[^\]]+\]/g;
const PLAIN = /^[^*?[.]+$/;

/**
 * Some paths as one expression over names joined by dots; one that is no path is noted in `wrong`. A path means what it names and all
 * that lies below it. JavaScript has no atomic groups: `(?=(?<g>…))\k<g>` is one, so that the time grows with the length of a name and not
 * faster, however many wildcards there are.
 */
export class Paths {
  /** The paths when each is a plain name, which nothing inside another value can have; else null. */
  readonly names: ReadonlySet<string> | null;
  private readonly expression: RegExp | null;

  constructor(option: string, paths: readonly string[] | undefined, wrong: string[]) {
    const groups = { count: 0 };
    const expressions: string[] = [];
    for (const path of paths ?? []) {
      if (path.split(".").includes("")) {
        wrong.push(`${option} = ${repr(path)}: wants names joined by dots, as user.email or *.token`);
        continue;
      }
      try {
        const made = expression(path, groups);
        new RegExp(made, "u");
        expressions.push(made);
      } catch (error) {
        wrong.push(`${option} = ${repr(path)}: what stands in brackets is no set of characters: ${messageOf(error)}`);
      }
    }
    this.expression = expressions.length > 0 ? new RegExp(`^(?:${expressions.join("|")})`, "u") : null;
    this.names = (paths ?? []).every((path) => PLAIN.test(path)) ? new Set(paths ?? []) : null;
  }

  match(path: string): boolean {
    return this.expression !== null && this.expression.test(path);
  }
}

function atomic(inner: string, groups: { count: number }): string {
  groups.count += 1;
  return `(?=(?<g${groups.count}>${inner}))\\k<g${groups.count}>`;
}

function expression(path: string, groups: { count: number }): string {
  const runs: string[][] = [[]];
  for (const part of path.split(".")) {
    if (part === "**") runs.push([]);
    else (runs.at(-1) as string[]).push(segment(part, groups));
  }
  const [first, ...later] = runs.map((run) => run.join("\\.")) as [string, ...string[]];
  let made = first ? `${first}(?=\\.|$)` : "";
  for (const run of later) if (run) made += (made ? "\\." : "") + atomic(`(?:[^.]*\\.)*?${run}(?=\\.|$)`, groups);
  return `(?:${made})`;
}

/** One name: what stands between two `*` is taken where it first occurs. */
function segment(part: string, groups: { count: number }): string {
  const pieces = [""];
  let at = 0;
  const add = (text: string): void => {
    pieces[pieces.length - 1] += text;
  };
  for (const found of part.matchAll(PARTS)) {
    add(escape(part.slice(at, found.index)));
    const [sign] = found;
    if (sign === "*") pieces.push("");
    else add(sign === "?" ? "[^.]" : set(sign.slice(1, -1)));
    at = found.index + sign.length;
  }
  add(escape(part.slice(at)));
  const first = pieces[0] as string;
  if (pieces.length === 1) return first;
  const last = pieces.at(-1) as string;
  const between = pieces.slice(1, -1).filter(Boolean);
  return `${first}${between.map((piece) => atomic(`[^.]*?${piece}`, groups)).join("")}[^.]*${last}`;
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function set(inner: string): string {
  const without = inner.startsWith("!");
  const chars = (without ? inner.slice(1) : inner).replace(/[\\[^]/g, "\\$&");
  return without ? `[^.${chars}]` : `[${chars}]`;
}
