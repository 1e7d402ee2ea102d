/** Koa: `app.use(metlogMiddleware())`, before everything else. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { request as inRequest } from "./core/context.js";
import type { MiddlewareOptions } from "./integrations/request.js";
import { Recorder } from "./integrations/request.js";

export type { MiddlewareOptions } from "./integrations/request.js";

interface KoaContext {
  req: IncomingMessage;
  res: ServerResponse;
  originalUrl: string;
  /** Of `@koa/router`. */
  _matchedRoute?: unknown;
}

/** Logs each request, when its answer is over. */
export function metlogMiddleware(options: MiddlewareOptions = {}): (context: KoaContext, next: () => Promise<unknown>) => Promise<void> {
  const recorder = new Recorder(options);
  return async (context, next) => {
    const exchange = recorder.watch(context.req, context.res, context.originalUrl);
    if (exchange === null) {
      await next();
      return;
    }
    exchange.template = () => {
      if (recorder.route !== undefined) return recorder.route(context);
      return typeof context._matchedRoute === "string" ? context._matchedRoute : null;
    };
    try {
      await inRequest(exchange.shared, next);
    } catch (error) {
      const { status } = (typeof error === "object" && error !== null ? error : {}) as { status?: unknown };
      if (!(typeof status === "number" && status >= 400 && status < 500)) exchange.error = error; // ctx.throw(404) is an answer
      throw error;
    }
  };
}
