/** What is behind a client and all that are bound to it. */

import type { MetlogClient } from "./client.js";
import type { Pipeline } from "./pipeline.js";
import { Unconfigured } from "./pipeline.js";

const NOT_CONFIGURED = "metlog is not configured: events are counted and left out (metlog.configure() sends them; told once)";

/** An extension method; `this` is the client in it. */
export type Method = (this: MetlogClient, ...args: never[]) => unknown;

/** What a client and those bound to it share. */
export class Home {
  pipeline: Pipeline | Unconfigured = new Unconfigured(NOT_CONFIGURED);
  statsd: unknown = null;
  disabledTimers: ReadonlySet<string> = new Set();
  private readonly methods = new Map<string, Method>();
  /** Pipelines that were replaced and still send what they hold. */
  readonly closing = new Set<Promise<void>>();
  /** Prototypes that hold the extension methods, by the prototype of the clients' class: no list of clients is needed. */
  private readonly faces = new Map<object, object>();

  /** Returns the prototype of the clients of a class. */
  face(prototype: object): object {
    let face = this.faces.get(prototype);
    if (face === undefined) {
      face = Object.create(prototype) as object;
      this.faces.set(prototype, face);
      for (const [name, method] of this.methods) attach(face, name, method);
    }
    return face;
  }

  /** Puts a method on every client, those there are and those to come. */
  put(name: string, method: Method): void {
    this.methods.set(name, method);
    for (const face of this.faces.values()) attach(face, name, method);
  }
}

/** Makes a function a method that is bound to the client it is read from, and that an assignment to one client replaces there. */
function attach(face: object, name: string, method: Method): void {
  Object.defineProperty(face, name, {
    get(this: MetlogClient) {
      return method.bind(this);
    },
    set(this: MetlogClient, value: unknown) {
      Object.defineProperty(this, name, { value, configurable: true, writable: true });
    },
    configurable: true,
  });
}
