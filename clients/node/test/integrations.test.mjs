// Express, Fastify, Koa; console, pino, winston: what they send, and that they get in nobody's way.
import assert from "node:assert/strict";
import http from "node:http";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import express from "express";
import fastify from "fastify";
import Koa from "koa";
import * as metlog from "metlog";
import { watchConsole } from "metlog/console";
import { metlogErrors, metlogMiddleware as forExpress } from "metlog/express";
import { metlogPlugin } from "metlog/fastify";
import { metlogMiddleware as forKoa } from "metlog/koa";
import transport, { metlogStream } from "metlog/pino";
import { metlogTransport } from "metlog/winston";
import pino from "pino";
import winston from "winston";
import { run, udpServer, until } from "./helpers.mjs";

const require = createRequire(import.meta.url);
const make = (more = {}) => metlog.MetlogClient.fromConfig("memory:", { logger: "web", ...more });
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/** Each framework with the same application; gives a port. */
const FRAMEWORKS = {
  async express(t, options) {
    const app = express();
    app.use(forExpress(options));
    app.get("/orders/:number", (request, response) => {
      metlog.context({ user: "u1" });
      response.send("hello");
    });
    app.get("/later", async (request, response) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      metlog.context({ later: true }, () => {});
      response.write("a");
      response.end("bé");
    });
    app.get("/broken", () => { throw new RangeError("broken"); });
    const router = express.Router({ mergeParams: true });
    router.get("/items/:item", (request, response) => response.end());
    app.use("/shops/:shop", router);
    app.get("/healthz", (request, response) => response.end());
    app.get("/hang", () => {});
    app.use(metlogErrors());
    app.use((error, request, response, next) => response.status(500).end("error")); // eslint-disable-line no-unused-vars
    return listen(t, http.createServer(app));
  },
  async fastify(t, options) {
    const app = fastify();
    await app.register(metlogPlugin, options);
    app.get("/orders/:number", async () => {
      metlog.context({ user: "u1" });
      return "hello";
    });
    app.get("/later", async (request, reply) => {
      await new Promise((resolve) => setTimeout(resolve, 30));
      metlog.context({ later: true });
      return reply.send("abé");
    });
    app.get("/broken", async () => { throw new RangeError("broken"); });
    app.get("/healthz", async () => "");
    app.get("/hang", () => {});
    await app.listen({ port: 0, host: "127.0.0.1" });
    t.after(() => (app.server.closeAllConnections(), app.close()));
    return app.server.address().port;
  },
  async koa(t, options) {
    const app = new Koa();
    app.silent = true;
    app.use(forKoa({ ...options, route: ({ path }) => (path.startsWith("/orders/") ? "/orders/:number" : null) }));
    app.use(async (context) => {
      if (context.path.startsWith("/orders/")) {
        metlog.context({ user: "u1" });
        context.body = "hello";
      } else if (context.path === "/later") {
        await new Promise((resolve) => setTimeout(resolve, 30));
        metlog.context({ later: true });
        context.body = "abé";
      } else if (context.path === "/broken") {
        throw new RangeError("broken");
      } else if (context.path === "/hang") {
        await new Promise(() => {});
      } else if (context.path === "/healthz") {
        context.body = "";
      } else {
        context.throw(404);
      }
    });
    return listen(t, http.createServer(app.callback()));
  },
};

async function listen(t, server) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))));
  return server.address().port;
}

for (const [name, begin] of Object.entries(FRAMEWORKS)) {
  test(`${name}: one event a request, as the Python middleware sends it, and two metrics`, async (t) => {
    const metrics = [];
    const statsd = { increment: (...given) => metrics.push(["c", ...given]), timing: (...given) => metrics.push(["t", ...given]) };
    const client = make({ statsd });
    const port = await begin(t, { client, query: ["page"], headers: ["accept-language"] });
    const get = (path, options = {}) => fetch(`http://127.0.0.1:${port}${path}`, options).then((answer) => answer.text());
    await get("/orders/17?page=2&token=x", { headers: { "x-request-id": "r1", traceparent: TRACE, "accept-language": "en", cookie: "secret" } });
    await get("/later");
    await get("/broken");
    await get("/nothing/here/12345?x=1");
    await get("/healthz");
    await get("/orders/1", { method: "HEAD" });
    const gone = new AbortController();
    const hanging = get("/hang", { signal: gone.signal }).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    gone.abort();
    await hanging;
    await until(async () => (await client.flush(), client.sender.events.length === 6));
    const [order, later, broken, nothing, head, hang] = client.sender.events;
    const { ms, ...rest } = order.fields;
    assert.deepEqual(rest, { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736", span_id: "00f067aa0ba902b7", request_id: "r1", "header.accept-language": "en", "query.page": "2", user: "u1", method: "GET", route: "/orders/:number", status: 200, bytes: 5 });
    assert.deepEqual([order.type, order.tokens, order.payload, order.severity], ["request", ["request", "GET"], "GET /orders/:number 200", 6]);
    assert.ok(ms >= 0 && ms < 5000 && later.fields.ms >= 25);
    assert.deepEqual([later.fields.bytes, later.fields.later], [4, true]);
    assert.deepEqual([broken.fields.status, broken.severity, broken.fields.error], [500, 3, "RangeError"]);
    assert.deepEqual([nothing.fields.status, nothing.severity, nothing.fields.error], [404, 6, undefined]);
    assert.match(nothing.fields.route, /^\/nothing\/here\/\{id\}$|^\*?$/);
    assert.deepEqual([head.tokens[1], head.fields.bytes], ["HEAD", 0]);
    assert.deepEqual([hang.fields.status, hang.fields.disconnected, hang.severity], [499, true, 6]);
    assert.deepEqual(metrics.slice(0, 2).map((metric) => metric.slice(0, 2)), [["c", "request.GET.200"], ["t", "request.GET"]]);
    assert.equal(metrics.length, 12);
  });
}

test("express: mounted routers keep their templates; methods of clients make no names of metrics; samples weigh", async (t) => {
  const client = make();
  const port = await FRAMEWORKS.express(t, { client });
  await (await fetch(`http://127.0.0.1:${port}/shops/77/items/5`)).text();
  const socket = require("node:net").connect(port, "127.0.0.1");
  socket.write("REPORT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await new Promise((resolve) => socket.on("close", resolve).resume());
  await until(async () => (await client.flush(), client.sender.events.length === 2));
  const [mounted, odd] = client.sender.events;
  assert.equal(mounted.fields.route, "/shops/{id}/items/:item");
  assert.deepEqual(odd.tokens, ["request", "OTHER"]);
  const sampled = make();
  const other = await FRAMEWORKS.express(t, { client: sampled, sample: 0.5, statsd: false });
  for (let n = 0; n < 40; n += 1) await (await fetch(`http://127.0.0.1:${other}/orders/${n}`)).text();
  await (await fetch(`http://127.0.0.1:${other}/broken`)).text();
  await sampled.flush();
  const events = sampled.sender.events;
  assert.ok(events.length > 5 && events.length < 38);
  assert.ok(events.slice(0, -1).every((event) => event.weight === 2) && events.at(-1).weight === 1);
  for (const options of [{ sample: 0 }, { exclude: "/a" }, { route: "x" }, { client: {} }]) assert.throws(() => forExpress(options), metlog.ConfigError);
});

test("console: calls become events and are written all the same, until it is put back", async () => {
  const client = make();
  const written = new PassThrough();
  const target = new console.Console(written, written);
  const back = watchConsole({ client, target });
  target.log("hello %s", "x", { a: 1 });
  target.error("failed", new TypeError("bad"));
  target.warn({ toString() { throw new Error("no"); } });
  back();
  target.log("not any more");
  await client.flush();
  const [hello, failed, warned, more] = client.sender.events;
  assert.deepEqual([hello.tokens, hello.severity, hello.payload, hello.fields.level], [["oldstyle", "console"], 6, "hello x { a: 1 }", "log"]);
  assert.deepEqual([failed.severity, failed.fields.exception_type, failed.fields.exception_message], [3, "TypeError", "bad"]);
  assert.ok(warned.severity === 4 && more === undefined);
  assert.match(String(written.read()), /hello x \{ a: 1 \}\nfailed TypeError: bad[^]*not any more/);
});

test("pino: in the same thread", async () => {
  const client = make();
  const log = pino({ name: "shop", level: "trace" }, metlogStream({ client }));
  for (const level of ["trace", "debug", "info", "warn", "error", "fatal"]) log[level]({ left: 3 }, "stock of %s", "pears");
  log.child({ request: "r1" }).error(new RangeError("bad"), "failed");
  await client.flush();
  const events = client.sender.events;
  assert.deepEqual(events.map((event) => event.severity), [7, 7, 6, 4, 3, 2, 3]);
  assert.deepEqual([events[0].tokens, events[0].payload, events[0].fields.left], [["oldstyle", "shop"], "stock of pears", 3]);
  const { exception_type, exception_message, traceback, request } = events[6].fields;
  assert.deepEqual([exception_type, exception_message, request], ["RangeError", "bad", "r1"]);
  assert.match(traceback, /^RangeError: bad\n/);
  const stream = transport({ sender: "null:" });
  stream.write('{"level":30,"msg":"half'); // a record may come in pieces, or be none
  stream.write(' and half"}\nno json\n');
  await new Promise((resolve) => stream.end(resolve));
});

test("pino: integers keep all their digits, whatever else is in the line; characters that chunks cut in two stay whole", async () => {
  const client = make();
  pino({ base: undefined }, metlogStream({ client })).info({ order: 9007199254740993n, half: "\ud800" }, "paid");
  const stream = metlogStream({ client });
  stream.write('{"level":30,"order":9007199254740993,"deep":{"id":-18014398509481985},"text":"1234567890123456","ms":0.1234567890123456}\n');
  for (const byte of Buffer.from('{"level":30,"msg":"größe 📏"}\n')) stream.write(Buffer.of(byte));
  stream.write("1234567890123456 is no record\n");
  await client.flush();
  const [paid, order, size, line] = client.sender.events;
  assert.deepEqual([paid.payload, paid.fields.order, paid.fields.half], ["paid", 9007199254740993n, "\\ud800"]);
  assert.deepEqual([order.fields.order, order.fields.deep, order.fields.text, order.fields.ms], [9007199254740993n, { id: -18014398509481985n }, "1234567890123456", 0.1234567890123456]);
  assert.deepEqual([size.payload, line.payload], ["größe 📏", "1234567890123456 is no record"]);
});

test("pino: as a transport in its worker thread, with a client of its own", async (t) => {
  const server = await udpServer(t);
  const script = `import pino from "pino"; const log = pino({ transport: { target: "metlog/pino", options: { sender: process.argv[1], logger: "worker" } } }); log.info({ n: 1 }, "hello"); log.flush(); setTimeout(() => {}, 300);`;
  const { code, stderr } = await run(script, [`udp://127.0.0.1:${server.port}`]);
  assert.equal(code, 0, stderr);
  await until(() => server.events().length >= 1);
  const [event] = server.events();
  assert.deepEqual([event.logger, event.payload, event.fields.n], ["worker", "hello", 1]);
});

test("winston: levels, splat, errors; the logger's level and the transport's own", async () => {
  const client = make();
  const log = winston.createLogger({ level: "verbose", format: winston.format.combine(winston.format.errors({ stack: true }), winston.format.splat()), defaultMeta: { service: "shop" }, transports: [metlogTransport({ client })] });
  log.info("stock of %s", "pears", { left: 3 });
  log.debug("not taken");
  log.error("failed", { error: new TypeError("bad") });
  log.warn({ message: "an object", a: 1 });
  await until(async () => (await client.flush(), client.sender.events.length === 3));
  const [info, failed, warned] = client.sender.events;
  assert.deepEqual([info.tokens, info.severity, info.payload, info.fields.left], [["oldstyle", "shop"], 6, "stock of pears", 3]);
  assert.deepEqual([failed.severity, failed.fields.exception_type, failed.fields.exception_message], [3, "TypeError", "bad"]);
  assert.deepEqual([warned.severity, warned.payload, warned.fields.a], [4, "an object", 1]);
  const few = make();
  const quiet = winston.createLogger({ level: "debug", transports: [metlogTransport({ client: few, level: "warn" })] });
  quiet.info("no");
  quiet.warn("yes");
  await until(async () => (await few.flush(), few.sender.events.length === 1));
  quiet.close();
});
