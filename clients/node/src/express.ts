/** Express: `app.use(metlogMiddleware())`, before everything else. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { request as inRequest } from "./core/context.js";
import type { Exchange, MiddlewareOptions } from "./integrations/request.js";
import { Recorder } from "./integrations/request.js";
import { safePath } from "./integrations/safe-path.js";

export type { MiddlewareOptions } from "./integrations/request.js";

type Next = (error?: unknown) => void;
interface ExpressRequest extends IncomingMessage {
  originalUrl?: string;
  baseUrl?: string;
  route?: { path?: unknown };
}

const exchanges = new WeakMap<object, Exchange>();

/** Logs each request, when its answer is over. It takes what `(request, response, next)` takes: Connect and bare `http` servers too. */
export function metlogMiddleware(options: MiddlewareOptions = {}): (request: IncomingMessage, response: ServerResponse, next: Next) => void {
  const recorder = new Recorder(options);
  return (request: ExpressRequest, response, next) => {
    const exchange = recorder.watch(request, response, request.originalUrl ?? request.url);
    if (exchange === null) {
      next();
      return;
    }
    exchanges.set(request, exchange);
    exchange.template = () => {
      if (recorder.route !== undefined) return recorder.route(request);
      const path = request.route?.path;
      return typeof path === "string" ? `${safePath(request.baseUrl ?? "")}${path}` : null;
    };
    inRequest(exchange.shared, next);
  };
}

/** After all routes, before the error handlers: the class of an error that a route threw is on the request's event. The error goes on unchanged. */
export function metlogErrors(): (error: unknown, request: IncomingMessage, response: ServerResponse, next: Next) => void {
  return (error, request, _response, next) => {
    const exchange = exchanges.get(request);
    if (exchange !== undefined && !isRefusal(error)) exchange.error = error;
    next(error);
  };
}

/** An error that stands for an answer below 500 (`http-errors`): nothing failed. */
function isRefusal(error: unknown): boolean {
  const { status, statusCode } = (typeof error === "object" && error !== null ? error : {}) as { status?: unknown; statusCode?: unknown };
  const code = status ?? statusCode;
  return typeof code === "number" && code >= 400 && code < 500;
}
