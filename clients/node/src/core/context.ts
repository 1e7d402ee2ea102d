/** Fields for everything that is logged in the current asynchronous context: a request, a job. */

import { AsyncLocalStorage } from "node:async_hooks";
import type { Fields } from "./event.js";
import { put } from "./event.js";

interface Store {
  /** The fields in force, merged; never changed in place. */
  fields: Fields;
  /** What middleware gathers for the request's own event: shared by all that runs below it. */
  shared: Fields | null;
}

const storage = new AsyncLocalStorage<Store | undefined>();

/** The fields in force; undefined where there are none. */
export function contextFields(): Fields | undefined {
  return storage.getStore()?.fields;
}

/** The end of what `context` began; `using` calls it. */
export class ContextScope {
  constructor(private readonly before: Store | undefined) {}

  /** Takes the fields back. */
  [Symbol.dispose](): void {
    storage.enterWith(this.before);
  }
}

/**
 * Adds fields to every event that is logged inside `body`, in whatever it calls and awaits, and gives what `body` gives. Without
 * `body`: from the call on, in the current asynchronous context, until the scope is disposed of. Within a request that a metlog middleware
 * serves, the request's own event gets the fields as well.
 */
export function context(fields: Fields): ContextScope;
export function context<T>(fields: Fields, body: () => T): T;
export function context<T>(fields: Fields, body?: () => T): T | ContextScope {
  const before = storage.getStore();
  const store: Store = { fields: { ...before?.fields, ...fields }, shared: before?.shared ?? null };
  if (store.shared !== null) for (const key of Object.keys(fields)) put(store.shared, key, fields[key]);
  if (body !== undefined) return storage.run(store, body);
  storage.enterWith(store);
  return new ContextScope(before);
}

/** For middleware: runs `body` with a table that gathers what `context` adds anywhere below. */
export function request<T>(shared: Fields, body: () => T): T {
  return storage.run({ fields: { ...storage.getStore()?.fields }, shared }, body);
}

/** For middleware that has no call to wrap: as `request`, for the rest of the current asynchronous context. */
export function enterRequest(shared: Fields): void {
  storage.enterWith({ fields: { ...storage.getStore()?.fields }, shared });
}
