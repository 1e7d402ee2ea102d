/** What is written with `console` becomes events as well. */

import { format } from "node:util";
import { getClient, MetlogClient } from "./core/client.js";
import type { Fields } from "./core/event.js";
import { exceptionFields } from "./core/tracebacks.js";

const LEVELS = { debug: 7, log: 6, info: 6, warn: 4, error: 3, trace: 7 } as const;

export interface ConsoleOptions {
  /** A client, the name of one, or nothing for the default one. */
  client?: MetlogClient | string;
  /** Whether `console` still writes. */
  write?: boolean;
  /** The console to watch: the process's own unless given. */
  target?: Console;
}

/**
 * Sends each call of `console.debug`, `log`, `info`, `warn`, `error` and `trace` as an event of type `oldstyle`, tokens (`oldstyle`,
 * `console`). An Error among the arguments gives its type, message and stack as fields. Gives a function that puts the console back.
 */
export function watchConsole({ client, write = true, target = console }: ConsoleOptions = {}): () => void {
  const chosen = client instanceof MetlogClient ? client : getClient(client ?? "");
  const originals: [keyof typeof LEVELS, Console["log"], Console["log"]][] = [];
  let inside = false; // a value that writes to the console while it is shown must not come back here
  for (const name of Object.keys(LEVELS) as (keyof typeof LEVELS)[]) {
    const original = target[name];
    const watched = (...args: unknown[]): void => {
      if (!inside) {
        inside = true;
        try {
          const fields: Fields = { level: name };
          const error = args.find((arg) => arg instanceof Error);
          if (error !== undefined) Object.assign(fields, exceptionFields(error));
          const words = args.map((arg) => (arg instanceof Error ? `${arg.name}: ${arg.message}` : arg));
          chosen.log(["oldstyle", "console"], format(...words), { severity: LEVELS[name], fields });
        } catch (failure) {
          chosen.failed(failure);
        } finally {
          inside = false;
        }
      }
      if (write) original.apply(target, args);
    };
    originals.push([name, original, watched]);
    target[name] = watched;
  }
  return () => {
    for (const [name, original, watched] of originals) if (target[name] === watched) target[name] = original;
  };
}
