// The client: calls, accounting, filters, context, timers, configuration.
import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import * as metlog from "metlog";
import { until } from "./helpers.mjs";

const require = createRequire(import.meta.url);
const make = (more = {}, sender = "memory:") => metlog.MetlogClient.fromConfig(sender, more);
const eventsOf = async (client) => {
  await client.flush();
  return client.sender.events;
};
const holds = ({ accepted, sent, buffered, dropped }) => assert.equal(accepted, sent + buffered + Object.values(dropped).reduce((a, b) => a + b, 0));

test("import and require share one default client", async () => {
  const required = require("metlog");
  metlog.configure("memory:", { logger: "both" });
  required.log("from-require");
  metlog.log("from-import");
  await metlog.flush();
  assert.deepEqual(required.getClient().sender.events.map((event) => event.type), ["from-require", "from-import"]);
  assert.equal(required.MetlogClient, metlog.MetlogClient);
  await metlog.close();
});

test("an event has every key of the envelope, in the order of the wire", async () => {
  const client = make({ logger: "shop", hostname: "web-1" });
  client.log(["login", "sync"], "user logged in", { fields: { user: "u1" }, severity: 5 });
  client.metlog("odd", { payload: "p", severity: 2, logger: "other", tokens: ["a", "b"], weight: 4, fields: { x: 1 } });
  await client.flush();
  const lines = Buffer.from(client.sender.frames[0]).toString().trim().split("\n");
  const [first, second] = lines.map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(first), ["timestamp", "type", "tokens", "logger", "severity", "payload", "fields", "env_version", "pid", "hostname", "stream", "seq"]);
  assert.match(first.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}000)?Z$/);
  assert.ok(Math.abs(Date.parse(first.timestamp) - Date.now()) < 10_000);
  assert.match(first.stream, /^[0-9a-f]{16}$/);
  const { timestamp: _, stream, ...rest } = first;
  assert.deepEqual(rest, { type: "login", tokens: ["login", "sync"], logger: "shop", severity: 5, payload: "user logged in", fields: { user: "u1" }, env_version: "1", pid: process.pid, hostname: "web-1", seq: 1 });
  assert.deepEqual([second.weight, second.logger, second.type, second.tokens, second.stream, second.seq], [4, "other", "odd", ["a", "b"], stream, 2]);
  await client.close();
  const end = client.stats() && lines;
  assert.equal(end.length, 2);
});

test("the short way, with the line made at once, says the same as the careful one", async () => {
  const cases = [
    ["a", "m", {}], [["a"], "m", { x: 1 }], [["a", "b"], 'quote " and \\ and \u2028 é 😀 \u0000', { s: 'in "fields"\n', n: 1.5, z: 0, neg: -3, b: true, nil: null }],
    [["a", "b", "c"], "", { nested: { list: [1, "x", { y: null }] } }], [["é", "ü"], "m", { "kéy": "välue" }], [["\ud800"], "\udc00", { a: "\ud800" }], [[], "m", {}], ["", "", {}],
    ["big", "", { a: 2 ** 53, b: 1e21, c: 1e-7, d: Number.MIN_VALUE, e: -1e-9, f: 1e15 }],
  ];
  const [short, careful] = [make(), make({ filters: [(event) => event] })];
  for (const [tokens, msg, fields] of cases) for (const client of [short, careful]) client.log(tokens, msg, { fields });
  const strip = ({ timestamp: _, stream: __, ...rest }) => rest;
  const [one, other] = [(await eventsOf(short)).map(strip), (await eventsOf(careful)).map(strip)];
  assert.deepEqual(one, other);
  assert.equal(one.length, cases.length);
  assert.deepEqual(one[6].tokens, ["event"]);
});

test("severity_max is asked before anything is built; a severity that does not exist becomes the nearest", async () => {
  const client = make({ filters: ["severity_max:?severity=4"] });
  for (const severity of [0, 4, 5, 7, -3, 99, "3", 2.7]) client.log("a", String(severity), { severity });
  client.debug("no");
  client.warn("yes");
  const found = (await eventsOf(client)).map((event) => [event.payload, event.severity]);
  assert.deepEqual(found, [["0", 0], ["4", 4], ["-3", 0], ["3", 3], ["2.7", 2], ["yes", 4]]);
  const { filtered, errors } = client.stats();
  assert.deepEqual([filtered, errors], [4, 0]); // 5, 7, 99 and debug
});

test("a severity may be its name; what is neither number nor name is 6", async () => {
  const client = make();
  const given = ["error", " WARN ", "crit", "high", " ", "__proto__", NaN, {}, Symbol("s"), null, undefined, { valueOf() { throw new Error("no"); } }];
  for (const severity of given) {
    client.log("a", "", { severity });
    client.metlog("a", { severity });
  }
  assert.deepEqual((await eventsOf(client)).map((event) => event.severity), [3, 4, 2, 6, 6, 6, 6, 6, 6, 6, 6, 6].flatMap((severity) => [severity, severity]));
  assert.equal(client.stats().errors, 0);
});

test("messages take arguments; errors and tables among the others become fields", async () => {
  const client = make();
  client.info("hello %s, %d%%, %j, %i", "x", 5, { a: 1 }, "7px");
  client.info("no places", { user: "u1" }, new TypeError("bad"));
  client.info("odd", 1, 2);
  client.info("%s and %s", "one");
  client.error(new RangeError("alone"));
  client.exception("not an error", "thrown text");
  client.critical("c", { fields: { deep: 1 }, exc_info: new Error("given") });
  const events = await eventsOf(client);
  assert.equal(events[0].payload, "hello x, 5%, { a: 1 }, 7");
  assert.deepEqual([events[1].fields.user, events[1].fields.exception_type, events[1].fields.exception_message], ["u1", "TypeError", "bad"]);
  assert.match(events[2].fields["metlog.format_error"], /not all arguments converted/);
  assert.equal(events[2].payload, "odd");
  assert.match(events[3].fields["metlog.format_error"], /not enough arguments/);
  assert.deepEqual([events[4].payload, events[4].fields.exception_type, events[4].severity], ["alone", "RangeError", 3]);
  assert.equal(events[5].fields.exception_message, "thrown text");
  assert.deepEqual([events[6].severity, events[6].fields.deep, events[6].fields.exception_message], [2, 1, "given"]);
  assert.ok(events.every((event) => event.type === "oldstyle"));
});

test("an error's causes and members are whole, its other properties stay inside, its size is bounded", () => {
  let error = new Error("innermost");
  for (let depth = 0; depth < 5; depth += 1) error = new Error(`level ${depth}`, { cause: error });
  const fields = metlog.exceptionFields(error);
  for (const word of ["innermost", "level 0", "level 4"]) assert.ok(fields.traceback.includes(word));
  const circle = new Error("circle");
  circle.cause = circle;
  assert.match(metlog.exceptionFields(circle).traceback, /<circular: Error>/);
  const long = metlog.exceptionFields(new Error("x".repeat(100_000)));
  assert.ok(long.traceback.length < 33_000 && long.exception_message.length < 33_000);
  assert.match(long.traceback, /characters left out/);
  const odd = new Error("odd");
  Object.defineProperty(odd, "stack", { get() { throw new Error("no"); } });
  assert.match(metlog.exceptionFields(odd).traceback, /^Error: odd/);
});

test("counters and timers; a rate leaves some out and the weight makes up for it", async (t) => {
  const client = make({ disabled_timers: ["off"] });
  client.incr("hits");
  client.incr("hits", 3);
  client.timerSend("t", 12.5);
  client.timerSend("off", 1);
  t.mock.method(Math, "random", () => 0.3);
  client.incr("some", 1, 0.5);
  client.incr("none", 1, 0.2);
  assert.equal(client.timer("sync", () => 7), 7);
  const rejected = client.timer("async", Promise.reject(new Error("on")));
  await assert.rejects(rejected, /on/);
  assert.throws(() => client.timer("throws", () => { throw new Error("through"); }), /through/);
  const block = client.timer("block");
  block[Symbol.dispose]();
  block.stop();
  assert.ok(block.result >= 0);
  const events = (await eventsOf(client)).map(({ type, tokens, payload, fields, weight }) => ({ type, tokens, payload, fields, weight }));
  assert.deepEqual(events[0], { type: "counter", tokens: ["counter", "hits"], payload: "1", fields: { name: "hits", count: 1 }, weight: 1 });
  assert.deepEqual(events[1].fields, { name: "hits", count: 3 });
  assert.deepEqual(events[2], { type: "timer", tokens: ["timer", "t"], payload: "12.5", fields: { name: "t", ms: 12.5 }, weight: 1 });
  assert.deepEqual([events[3].fields.name, events[3].weight], ["some", 2]);
  assert.deepEqual(events.slice(4).map((event) => event.fields.name).sort(), ["async", "block", "sync", "throws"]);
});

test("a timer awaits a thenable that runs at each `then` once, and leaves promises what they are", async () => {
  const client = make();
  let runs = 0;
  const query = (fails) => ({
    then(resolve, reject) {
      runs += 1;
      return (fails ? Promise.reject(new Error("no table")) : Promise.resolve("rows")).then(resolve, reject);
    },
  });
  assert.equal(await client.timer("function", () => query(false)), "rows");
  assert.equal(await client.timer("thenable", query(false)), "rows");
  await assert.rejects(client.timer("fails", () => query(true)), /no table/);
  assert.equal(runs, 3);
  class Own extends Promise {}
  for (const promise of [Promise.resolve(1), Own.resolve(2), runInNewContext("Promise.resolve(3)")]) {
    assert.equal(client.timer("promise", promise), promise);
    await promise;
  }
  assert.deepEqual((await eventsOf(client)).map((event) => event.fields.name), ["function", "thenable", "fails", "promise", "promise", "promise"]);
});

test("context goes with what is called and awaited, and not beside it", async () => {
  const client = make({ fields: { base: 1, over: "base" } });
  const job = (id) => metlog.context({ id, over: "context" }, async () => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
    client.log("inside", "", { fields: { n: id } });
    client.bind({ over: "bound" }).log("bound");
    metlog.context({ deeper: true }, () => client.log("deeper", "", { fields: { over: "call" } }));
  });
  await Promise.all([job(1), job(2), job(3)]);
  const scope = metlog.context({ until: "disposed" });
  client.log("scoped");
  scope[Symbol.dispose]();
  client.log("outside");
  const events = await eventsOf(client);
  for (const { type, fields } of events) {
    if (type === "inside") assert.deepEqual(fields, { base: 1, over: "context", id: fields.n, n: fields.n });
    if (type === "bound") assert.equal(fields.over, "bound");
    if (type === "deeper") assert.deepEqual([fields.over, fields.deeper], ["call", true]);
    if (type === "scoped") assert.equal(fields.until, "disposed");
    if (type === "outside") assert.deepEqual(fields, { base: 1, over: "base" });
  }
  assert.equal(events.length, 11);
});

test("the caller's fields are never changed, and may change afterwards", async () => {
  const client = make({ filters: [{ name: "redact", drop: ["password"], mask: ["email"] }] });
  const fields = { password: "x", list: ["a@b.de"], nested: { n: 1 } };
  client.log("a", "", { fields });
  fields.nested.n = 2;
  fields.list.push("later");
  const [event] = await eventsOf(client);
  assert.deepEqual(event.fields, { list: ["***"], nested: { n: 1 } });
  assert.deepEqual(fields, { password: "x", list: ["a@b.de", "later"], nested: { n: 2 } });
});

test("filters: dropped, changed, thrown and added events are counted right", async () => {
  const seen = [];
  const client = make({
    filters: [
      (event) => (event.type === "drop" ? null : event),
      (event) => { if (event.type === "throw") throw new Error("filter"); return event; },
      (event) => { seen.push(event.type); client.log("from-a-filter"); return event; },
      (event) => metlog.replace(event, { logger: "changed", fields: { ...event.fields, more: 1 } }),
    ],
  });
  for (const type of ["keep", "drop", "throw"]) client.log(type);
  const events = await eventsOf(client);
  assert.deepEqual(events.map((event) => [event.type, event.logger, event.fields.more]), [["keep", "changed", 1]]);
  assert.deepEqual(seen, ["keep"]);
  const { accepted, filtered, errors } = client.stats();
  assert.deepEqual({ accepted, filtered, errors }, { accepted: 1, filtered: 3, errors: 1 }); // drop, throw, and what the filter logged
});

test("a filter that gives no event drops it; an event that it made anew, or froze, is in the stream", async () => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on("unhandledRejection", note);
  for (const given of [true, false, 5, "text", {}, Promise.resolve({ type: "a" }), Promise.reject(new Error("no"))]) {
    const client = make({ filters: [() => given] });
    client.log("a");
    assert.deepEqual(await eventsOf(client), []);
    const { accepted, filtered, buffered, errors } = client.stats();
    assert.deepEqual({ accepted, filtered, buffered, errors }, { accepted: 0, filtered: 1, buffered: 0, errors: 1 }, String(given));
  }
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", note);
  assert.deepEqual(unhandled, []);
  for (const filter of [(event) => ({ type: "new", fields: event.fields }), (event) => Object.freeze(metlog.replace(event, { type: "new" })), (event) => Object.freeze(event)]) {
    const client = make({ logger: "shop", filters: [filter] });
    client.log("new", "", { fields: { a: 1 } });
    client.log("new", "", { fields: { a: 1 } });
    const events = await eventsOf(client);
    assert.deepEqual(events.map(({ type, logger, fields, pid, seq }) => [type, logger, fields, pid, seq]), [1, 2].map((seq) => ["new", "shop", { a: 1 }, process.pid, seq]));
    assert.equal(new Set(events.map((event) => event.stream || null)).size, 1);
    assert.ok(events[0].stream);
  }
});

test("an encoder that gives no bytes: its events are counted once, as dropped", async () => {
  for (const given of ["text", undefined, null, 5, new Uint8Array(0), Promise.resolve(Buffer.from("x"))]) {
    for (const at of ["encode", "frame"]) {
      const encoder = { content_type: "x/y", encode: () => Buffer.from("x"), frame: (parts) => Buffer.concat(parts), decode: () => [], [at]: () => given };
      const client = make({ encoder });
      const { sender } = client;
      for (const type of ["a", "b"]) client.log(type);
      await client.close();
      const { accepted, sent, buffered, dropped } = client.stats();
      assert.deepEqual({ accepted, sent, buffered, dropped }, { accepted: 2, sent: 0, buffered: 0, dropped: { [`${at}_error`]: 2 } }, `${at}: ${given}`);
      assert.equal(sender.frames.length, 0);
    }
  }
});

test("a sender's flush and close may give anything", async () => {
  for (const given of [true, null, {}, 0]) {
    const client = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send() {}, flush: () => given, close: () => given } });
    client.log("a");
    assert.equal(await client.flush(), true);
    await client.close();
    assert.deepEqual([client.stats().sent, client.stats().errors], [1, 0]);
  }
});

test("timers that a test put in the place of the platform's make no event come twice", async (t) => {
  for (const made of [{ unref() {} }, 7]) {
    t.mock.method(globalThis, "setTimeout", (body) => (setImmediate(body), made));
    const client = make({ buffer: { flush_interval: 0.001 } });
    for (const type of ["a", "b", "c"]) {
      client.log(type);
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    }
    t.mock.restoreAll();
    assert.deepEqual((await eventsOf(client)).map((event) => event.type), ["a", "b", "c"]);
    await client.close();
  }
});

test("msgpack: an event of any size is read as it was written", () => {
  const { MsgpackEncoder } = require("../dist/encoders/msgpack.js");
  const event = { timestamp: "2026-11-30T12:00:00Z", type: "a", tokens: ["a"], logger: "", severity: 6, weight: 1, env_version: "1", pid: 1, hostname: "h", stream: "s", seq: 1 };
  for (const size of [...Array.from({ length: 60 }, (_, n) => 3900 + n * 5), 8300, 20_000, 70_000, 1_100_000]) {
    const given = { ...event, payload: "x".repeat(size), fields: { list: [size, true, null, "t", {}] } };
    assert.deepEqual(metlog.decode(new MsgpackEncoder().encode(given)), [given], `${size}`);
  }
  const fields = Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`k${n}`, n % 3 === 0 ? n : n % 3 === 1 ? `${n}` : [n]]));
  const given = { ...event, payload: "", fields };
  assert.deepEqual(metlog.decode(new MsgpackEncoder().encode(given)), [given]);
});

test("types, and severities by type", async () => {
  const client = make({ filters: [{ name: "type_deny", types: ["no"] }, { name: "type_severity_max", types: { request: 4 } }, { name: "type_allow", types: ["request", "yes"] }] });
  for (const [type, severity] of [["no", 1], ["request", 4], ["request", 6], ["yes", 7], ["other", 1]]) client.log(type, "", { severity });
  assert.deepEqual((await eventsOf(client)).map((event) => [event.type, event.severity]), [["request", 4], ["yes", 7]]);
});

test("sample divides the weight; rate_limit tells what it suppressed, through the filters behind it", async () => {
  const sampled = make({ filters: [{ name: "sample", rate: 0.25, types: ["a"] }] });
  for (let n = 0; n < 4000; n += 1) sampled.log("a");
  sampled.log("b");
  const events = await eventsOf(sampled);
  const weights = events.filter((event) => event.type === "a").map((event) => event.weight);
  assert.ok(weights.length > 800 && weights.length < 1200 && weights.every((weight) => weight === 4), String(weights.length));
  assert.equal(events.at(-1).weight, 1);
  const limited = make({ filters: [{ name: "rate_limit", rate: 1, burst: 2, window: 0.2 }, { name: "redact", mask: ["email"] }] });
  for (let n = 0; n < 10; n += 1) limited.log("mail a@b.de");
  await until(async () => (await eventsOf(limited)).length === 3);
  const [, , told] = await eventsOf(limited);
  assert.deepEqual([told.type, told.tokens, told.payload, told.severity], ["suppressed", ["suppressed", "mail ***"], "8", 6]);
  assert.deepEqual([told.fields.count, told.fields.weight, told.fields.type], [8, 8, "mail ***"]);
  for (let n = 0; n < 5; n += 1) limited.log("mail a@b.de");
  const { sender } = limited;
  await limited.close();
  assert.equal(sender.events.filter((event) => event.type === "suppressed").length, 2); // the rest at close
  assert.equal(sender.events.at(-1).type, "metlog.end");
});

test("frames are coalesced to max_frame, in bytes; sent by the interval, or at once", async () => {
  const client = make({ buffer: { flush_interval: 0.05, max_frame: 1000 } });
  for (let n = 0; n < 50; n += 1) client.log("a", "é".repeat(100), { fields: { n } });
  client.log("long", "é".repeat(2000));
  assert.ok(client.sender.frames.length > 10); // full ones do not wait
  await until(() => client.stats().sent === 51);
  const sizes = client.sender.frames.map((frame) => frame.length);
  assert.ok(sizes.slice(0, -1).every((size) => size <= 1000) && sizes.at(-1) > 4000, String(sizes));
  assert.ok(sizes.length < 51);
  assert.deepEqual(client.sender.events.map((event) => event.seq), Array.from({ length: 51 }, (_, n) => n + 1));
  const single = make({ buffer: { flush_interval: 0 } });
  for (let n = 0; n < 3; n += 1) single.log("a");
  assert.equal(single.sender.frames.length, 3); // before the call returned
});

test("stats: after every step accepted = sent + dropped + buffered, and drops are told once they can be", async () => {
  let failing = true;
  const frames = [];
  const drops = [];
  const sender = { max_frame: 300, send: async (frame) => { await null; if (failing) throw new metlog.SenderError("down", "unreachable"); frames.push(frame); } };
  const client = metlog.MetlogClient.fromConfig({ sender, buffer: { flush_interval: 0.01 }, on_drop: (...drop) => { drops.push(drop); if (drops.length < 5) client.log("from-the-hook"); throw new Error("hook"); } });
  for (let n = 0; n < 20; n += 1) {
    client.log("a", "x".repeat(200));
    holds(client.stats());
  }
  await client.flush(5);
  holds(client.stats());
  assert.ok(client.stats().dropped.unreachable >= 20);
  assert.ok(drops.length > 5 && drops.every(([reason]) => reason === "unreachable"));
  failing = false;
  const lost = client.stats().dropped.unreachable;
  client.log("b");
  await client.flush(5);
  await until(() => frames.some((frame) => metlog.decode(frame)[0].type === "metlog.report"));
  const report = frames.flatMap((frame) => metlog.decode(frame)).find((event) => event.type === "metlog.report");
  assert.ok(report.fields.dropped.unreachable >= lost);
  await client.close();
  const end = metlog.decode(frames.at(-1))[0];
  assert.deepEqual([end.type, end.fields.last_seq], ["metlog.end", end.seq - 1]);
  const { accepted, sent, dropped, buffered } = client.stats();
  assert.deepEqual([accepted, buffered], [sent + dropped.unreachable, 0]);
  client.log("after");
  assert.equal(client.stats().accepted, accepted); // the counts stay readable, and closed is closed
});

test("a sender may throw, reject, hang, settle twice, or throw nothing at all", async () => {
  const calls = { throws: () => { throw new Error("x"); }, rejects: () => Promise.reject(new Error("x")), nothing: () => { throw undefined; }, rejectsNothing: () => Promise.reject() };
  for (const [name, send] of Object.entries(calls)) {
    const client = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send } });
    client.log("a");
    await client.flush(1);
    assert.deepEqual([client.stats().dropped, client.stats().buffered], [{ send_error: 1 }, 0], name);
    await client.close(0.1);
  }
  const twice = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send() {}, sendCallback(frame, done) { done(); done(new Error("again")); setTimeout(done, 1); } } });
  twice.log("a");
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.deepEqual([twice.stats().sent, twice.stats().dropped], [1, {}]);
  const hanging = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send: () => new Promise(() => {}) } });
  hanging.log("a");
  const started = performance.now();
  assert.equal(await hanging.flush(0.1), false);
  await hanging.close(0.1);
  assert.ok(performance.now() - started < 2000);
  assert.deepEqual([hanging.stats().dropped, hanging.stats().buffered], [{ exit: 1 }, 0]);
});

test("a frame larger than the queue does not push out those that wait", async () => {
  let release;
  const sent = [];
  const sender = { max_frame: 100_000, send: (frame) => (sent.push(frame.length), release === undefined ? new Promise((resolve) => (release = resolve)) : undefined) };
  const client = metlog.MetlogClient.fromConfig({ sender, buffer: { max_bytes: 10_000, flush_interval: 0 } });
  for (const size of [10, 10, 10, 50_000, 10]) client.log("a", "x".repeat(size));
  assert.deepEqual(client.stats().dropped, { queue_full: 1 });
  release();
  assert.equal(await client.flush(1), true);
  assert.deepEqual([client.stats().sent, client.stats().buffered, sent.filter((length) => length > 10_000)], [4, 0, []]);
  await client.close();
});

test("reasons are those of SenderError; an error of others counts as send_error", async () => {
  const errors = [Object.assign(new Error("x"), { reason: "request 4711 was refused" }), new metlog.SenderError("y", "gone")];
  const client = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send: () => { throw errors.shift(); } }, buffer: { flush_interval: 0 } });
  for (let n = 0; n < 2; n += 1) {
    client.log("a");
    await client.flush(1);
  }
  assert.deepEqual(client.stats().dropped, { send_error: 1, gone: 1 });
  await client.close();
});

test("the queue is bounded in bytes: the oldest frames make room", async () => {
  let release;
  const frames = [];
  const sender = { max_frame: 1000, send: (frame) => (frames.push(frame), release === undefined ? new Promise((resolve) => (release = resolve)) : undefined) };
  const client = metlog.MetlogClient.fromConfig({ sender, buffer: { max_bytes: 10_000, flush_interval: 0 } });
  for (let n = 0; n < 100; n += 1) client.log("a", "x".repeat(500), { fields: { n } });
  const { dropped, buffered } = client.stats();
  holds(client.stats());
  assert.ok(dropped.queue_full > 70 && buffered < 20, JSON.stringify(client.stats()));
  release();
  await client.flush(5);
  const numbers = frames.flatMap((frame) => metlog.decode(frame)).filter((event) => event.type === "a").map((event) => event.fields.n);
  assert.deepEqual(numbers.slice(-5), [95, 96, 97, 98, 99]);
  await client.close();
});

test("events too large for the transport are cut and marked; what cannot be cut is dropped as too_large", async () => {
  for (const encoder of ["json", "msgpack"]) {
    const frames = [];
    const sender = { max_frame: 500, max_event: 600, nonblocking: true, send: (frame) => void frames.push(frame) };
    const client = metlog.MetlogClient.fromConfig({ sender, encoder });
    client.log("long", "é😀".repeat(1000), { fields: { kept: 1 } });
    client.log("wide", "p", { fields: { kept: 1, big: "x".repeat(5000) } });
    client.log("x".repeat(5000), "p");
    await client.flush();
    const [long, wide, type] = frames.flatMap((frame) => metlog.decode(frame));
    assert.ok(frames.every((frame) => frame.length <= 600));
    assert.match(long.payload, /^(é😀)+é?… \[truncated\]$/);
    assert.deepEqual(long.fields, { kept: 1, truncated: true });
    assert.deepEqual([wide.payload, wide.fields], ["p", { kept: 1, truncated: true }]);
    assert.equal(type.type.length, 256);
    const small = metlog.MetlogClient.fromConfig({ sender: { ...sender, max_event: 100 }, encoder });
    small.log("a");
    await small.flush();
    assert.deepEqual(small.stats().dropped, { too_large: 1 });
    await small.close();
  }
});

test("configure swaps a live client over without losing an event; bound clients follow; a fault changes nothing", async () => {
  const client = metlog.getClient("swapped");
  client.log("before"); // a counted no-op
  assert.deepEqual([client.stats().filtered, client.isActive], [1, false]);
  const bound = client.bind({ b: 1 });
  client.configure("memory:");
  const first = client.sender;
  for (let n = 0; n < 100; n += 1) bound.log("a");
  client.configure("memory:", { logger: "second" });
  const second = client.sender;
  bound.log("a");
  assert.throws(() => client.configure("upd:"), metlog.ConfigError);
  assert.equal(client.sender, second);
  await client.close();
  assert.deepEqual(first.events.map((event) => event.type).slice(-2), ["a", "metlog.end"]);
  assert.equal(first.events.length, 101);
  assert.deepEqual(second.events.map((event) => [event.type, event.logger, event.fields.b]), [["a", "second", 1], ["metlog.end", "second", undefined]]);
  assert.notEqual(first.events[0].stream, second.events[0].stream);
});

test("tee: each branch has filters, encoder, buffer and a stream of its own", async () => {
  const client = metlog.MetlogClient.fromConfig({
    sender: { name: "tee", senders: ["memory:", { sender: "memory:", encoder: "msgpack", filters: ["severity_max:?severity=3"] }] },
    filters: [(event) => (event.type === "no" ? null : event)],
    logger: "teed",
  });
  client.log("disk", "full", { severity: 2 });
  client.log("disk", "fine");
  client.log("no");
  await client.flush();
  assert.deepEqual(client.branches.map((branch) => branch.stats().sent), [2, 1]);
  const [one, other] = client.branches.map((branch) => branch.sender.events);
  assert.deepEqual([one.map((event) => event.seq), other.map((event) => event.seq)], [[1, 2], [1]]);
  assert.ok(one[0].stream !== other[0].stream && other[0].logger === "teed");
  assert.equal(Buffer.from(client.branches[1].sender.frames[0])[0] & 0xf0, 0x80);
  const { accepted, filtered, sent } = client.stats();
  assert.deepEqual({ accepted, filtered, sent }, { accepted: 3, filtered: 2, sent: 3 });
  await client.close();
});

test("settings from a file, the environment and an application's own keys", async () => {
  const folder = mkdtempSync(join(tmpdir(), "metlog-"));
  const path = join(folder, "metlog.json");
  writeFileSync(path, JSON.stringify({ metlog: { logger: "${METLOG_TEST_NAME:-unnamed}", sender: { name: "memory", limit: 7 }, filters: [{ name: "severity_max", severity: 5 }] } }));
  const fromFile = metlog.MetlogClient.fromConfig(path, { sender: { max_frame: 100 } });
  fromFile.log("a", "", { severity: 1 });
  assert.deepEqual([fromFile.sender.limit, fromFile.sender.max_frame, fromFile.filters[0].severity_max, (await eventsOf(fromFile))[0].logger], [7, 100, 5, "unnamed"]);
  writeFileSync(join(folder, "more.json"), JSON.stringify({ sender: "memory", logger: "${METLOG_LOGER} a$$b" }));
  process.env.METLOG_LOGER = "c$$d";
  process.env.METLOG_CONFIG = join(folder, "more.json");
  process.env.METLOG_HOSTNAME = "h$$${NONE}";
  const dollars = metlog.MetlogClient.fromConfig(); // METLOG_LOGER is the file's own
  for (const key of ["METLOG_LOGER", "METLOG_CONFIG", "METLOG_HOSTNAME"]) delete process.env[key];
  dollars.log("a");
  const [{ logger, hostname }] = await eventsOf(dollars);
  assert.deepEqual([logger, hostname], ["c$$d a$b", "h$$${NONE}"]);
  writeFileSync(join(folder, "more.json"), JSON.stringify({ sender: { name: "memory", limit: "${METLOG_NONE}" } }));
  assert.throws(() => metlog.MetlogClient.fromConfig(join(folder, "more.json")), /sender.limit = '\$\{METLOG_NONE\}': the environment variable METLOG_NONE is not set/);
  const inCode = make({ logger: "a$$b${NONE}", fields: { price: "$$5" } });
  inCode.log("a");
  assert.deepEqual((await eventsOf(inCode)).map((event) => [event.logger, event.fields.price]), [["a$$b${NONE}", "$$5"]]);
  const variables = { METLOG_CONFIG: path, METLOG_LOGGER: "env", METLOG_SENDER: "memory:", METLOG_BUFFER__FLUSH_INTERVAL: "0.5", METLOG_STATSD: "off", METLOG_DATA: "elsewhere", METLOG_TEST_NAME: "set" };
  Object.assign(process.env, variables);
  const fromEnvironment = metlog.MetlogClient.fromConfig();
  process.env.METLOG_LOGER = "x";
  assert.throws(() => metlog.MetlogClient.fromConfig(), /METLOG_LOGER = 'x': no such setting; did you mean METLOG_LOGGER\?/);
  for (const key of [...Object.keys(variables), "METLOG_LOGER"]) delete process.env[key];
  fromEnvironment.log("a", "", { severity: 1 });
  assert.equal((await eventsOf(fromEnvironment))[0].logger, "env");
  const flat = { "sqlalchemy.url": "x", "metlog.sender": "memory", "metlog.sender.limit": "5", "metlog.filters": "severity_max:?severity=6\nsample:?rate=0.5", "metlog.buffer.flush_interval": "0.5" };
  const fromKeys = metlog.MetlogClient.fromConfig(flat);
  assert.deepEqual([fromKeys.sender.limit, fromKeys.filters.length], [5, 2]);
  for (const [name, reason] of [["metlog.toml", /reads JSON/], ["missing.json", /cannot be read/]]) assert.throws(() => metlog.MetlogClient.fromConfig(join(folder, name)), reason);
  writeFileSync(join(folder, "bad.json"), "{");
  assert.throws(() => metlog.MetlogClient.fromConfig(join(folder, "bad.json")), /not JSON/);
});

test("sizes and times of the buffer may have units", async () => {
  const client = make({ buffer: { max_frame: "1KB", max_bytes: "8MB", flush_interval: "10ms" } });
  for (let n = 0; n < 10; n += 1) client.log("a", "x".repeat(100));
  await until(() => client.stats().sent === 10, 2);
  assert.ok(client.sender.frames.every((frame) => frame.length <= 1024) && client.sender.frames.length >= 3);
  assert.throws(() => make({ buffer: { max_frame: "1 mile" } }), /buffer\.max_frame = '1 mile': wants bytes, as 67108864 or "64MB"/);
  await client.close();
});

test("secrets are never shown in an error", () => {
  for (const settings of [{ sender: { name: "http", tokn: "x", token: ["s3cret"] } }, { encoder: { name: "signed", key: 5, keys: "s3cret" } }, { sender: "http://h/?token=s3cret&tokn=1" }, { sendr: { password: "s3cret" } }]) {
    assert.throws(() => metlog.MetlogClient.fromConfig(settings), (error) => error instanceof metlog.ConfigError && !error.message.includes("s3cret"));
  }
});

test("components of strangers: registered by name, given as they are, checked", async () => {
  assert.throws(() => metlog.register("sendr", "x", () => ({})), /wants one of sender, encoder, filter, plugin/);
  assert.throws(() => metlog.register("sender", "Not A Name", () => ({})), /wants a name/);
  metlog.register("sender", "broken", () => ({ max_frame: 1 }));
  assert.throws(() => metlog.MetlogClient.fromConfig("broken:"), /what its factory gave is no sender: it has no send/);
  metlog.register("sender", "fails", ({ port }) => { throw new Error(`port = ${port}: wants another`); }, { port: { kind: "integer" } });
  assert.throws(() => metlog.MetlogClient.fromConfig("fails://h:5"), (error) => error.problems.length === 1 && error.problems[0].includes("sender.host"));
  assert.throws(() => metlog.MetlogClient.fromConfig("fails:?port=5"), /^ConfigError: sender\.port = 5: wants another$/);
  class Upper { content_type = "text/plain"; encode = (event) => Buffer.from(event.type.toUpperCase()); frame = (parts) => Buffer.concat(parts); decode = () => []; }
  metlog.register("encoder", "upper", () => new Upper());
  metlog.register("plugin", "greet", () => function greet(name) { this.log("greeting", `hello ${name}`); });
  const client = make({ encoder: "upper", plugins: ["greet"] });
  const bound = client.bind({ x: 1 });
  client.greet("you");
  bound.greet("me");
  await client.flush();
  assert.equal(Buffer.from(client.sender.frames[0]).toString(), "GREETINGGREETING");
  assert.throws(() => client.addMethod(function log() {}), /has a method 'log' already/);
  client.addMethod(function twice() { return 2; });
  assert.equal(bound.twice(), 2);
  assert.ok(metlog.names("sender").includes("udp"));
});

test("methods: of all clients bound to one, made before or after, and of no other; bound to the one they are read from", async () => {
  class Shop extends metlog.MetlogClient {
    own() { return "own"; }
  }
  const client = new Shop().configure("memory:");
  const [before, other] = [client.bind({ at: "before" }), make()];
  client.addMethod(function sold() { this.log("sold"); return this; });
  const after = before.bind({ at: "after" });
  for (const each of [before, after]) {
    const { sold } = each;
    assert.equal(sold(), each);
  }
  assert.deepEqual((await eventsOf(client)).map((event) => event.fields.at), ["before", "after"]);
  assert.ok(client.own() === "own" && client.sold() === client && !("sold" in other) && !Object.keys(client).includes("sold"));
  assert.throws(() => after.addMethod(function sold() {}), /has a method 'sold' already/);
  after.sold = () => "here only";
  client.addMethod(function sold() { return "all"; }, true);
  assert.deepEqual([client.sold(), before.sold(), after.sold()], ["all", "all", "here only"]);
});

test("a client bound and let go of leaves nothing behind", async () => {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc");
  const client = make();
  const bindMany = async () => {
    for (let n = 0; n < 100_000; n += 1) {
      client.bind({ request: n });
      if (n % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    gc();
    return process.memoryUsage().heapUsed;
  };
  const before = await bindMany();
  const grown = ((await bindMany()) - before) / 1e6;
  assert.ok(grown < 2, `${grown} MB`);
});

test("statsd: false, an object, a package by name, or none of these", async () => {
  const off = make().statsd;
  for (const method of ["increment", "incr", "decrement", "gauge", "timing", "set", "histogram", "close"]) assert.equal(off[method]("a", 1), undefined);
  const work = () => 5;
  assert.equal(off.timer(work, "t")(), 5);
  const client = make({ statsd: { name: "hot-shots", mock: true, prefix: "shop." } });
  client.statsd.increment("orders");
  assert.match(String(client.statsd.mockBuffer), /shop\.orders:1\|c/);
  client.statsd.close();
  assert.throws(() => make({ statsd: new (class Other {})() }), metlog.ConfigError);
  assert.throws(() => make({ statsd: "no-such-package-anywhere" }), /npm install no-such-package-anywhere/);
  assert.throws(() => make({ statsd: "../evil" }), /the name of a package/);
});

test("memory stays flat over a million events", { timeout: 60_000 }, async () => {
  const client = metlog.MetlogClient.fromConfig("null:");
  const log = (n) => client.log(["login", `t${n % 50}`], "user logged in", { fields: { user: `u${n}`, route: "/account", ms: 12.5, n } });
  const used = () => (globalThis.gc?.(), process.memoryUsage().heapUsed);
  for (let n = 0; n < 100_000; n += 1) log(n);
  await client.flush();
  const before = used();
  for (let n = 0; n < 1_000_000; n += 1) {
    log(n);
    if (n % 50_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await client.flush();
  assert.equal(client.stats().sent, 1_100_000);
  const grown = (used() - before) / 1e6;
  assert.ok(grown < (globalThis.gc === undefined ? 30 : 5), `${grown} MB`);
  await client.close();
});
