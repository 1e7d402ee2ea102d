/** Fastify: `await app.register(metlogPlugin, options)`. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { request as inRequest } from "./core/context.js";
import type { Exchange, MiddlewareOptions } from "./integrations/request.js";
import { Recorder } from "./integrations/request.js";

export type { MiddlewareOptions } from "./integrations/request.js";

interface FastifyRequest {
  raw: IncomingMessage;
  originalUrl?: string;
  routeOptions?: { url?: unknown };
}
interface FastifyReply {
  raw: ServerResponse;
}
interface FastifyInstance {
  addHook(name: string, hook: (...args: never[]) => void): unknown;
}

/** Logs each request, when its answer is over. */
export function metlogPlugin(app: FastifyInstance, options: MiddlewareOptions, done: () => void): void {
  const recorder = new Recorder(options);
  const exchanges = new WeakMap<object, Exchange>();
  app.addHook("onRequest", (request: FastifyRequest, reply: FastifyReply, next: () => void) => {
    const exchange = recorder.watch(request.raw, reply.raw, request.originalUrl ?? request.raw.url);
    if (exchange === null) {
      next();
      return;
    }
    exchanges.set(request, exchange);
    exchange.template = () => {
      if (recorder.route !== undefined) return recorder.route(request);
      const url = request.routeOptions?.url;
      return typeof url === "string" ? url : null;
    };
    inRequest(exchange.shared, next);
  });
  app.addHook("onError", (request: FastifyRequest, _reply: FastifyReply, error: { statusCode?: number }, next: () => void) => {
    const exchange = exchanges.get(request);
    if (exchange !== undefined && !((error.statusCode ?? 500) < 500)) exchange.error = error;
    next();
  });
  done();
}

// Hooks hold for the whole application, not for what is registered inside this plugin alone.
Object.assign(metlogPlugin, { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "metlog" });
