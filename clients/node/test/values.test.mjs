// Values that JSON cannot say: the rows of the table in docs/node.md, on both encoders and through the client; nothing throws.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as metlog from "metlog";

const looped = { kept: 1 };
looped.again = [looped];
const nested = (levels) => {
  let inner = [];
  for (let level = 1; level < levels; level += 1) inner = [inner];
  return inner;
};
class Point {
  constructor() {
    this.x = 1;
    this.y = 2.5;
  }
}
class Money {
  toJSON() {
    return "12.50 EUR";
  }
}
class Torn {
  *[Symbol.iterator]() {
    yield 1;
    throw new Error("no");
  }
}
const throwing = { kept: 1, get bad() { throw new Error("no"); } };
const hostile = new Proxy({}, { ownKeys() { throw new Error("no"); }, getPrototypeOf() { throw new Error("no"); }, get() { throw new Error("no"); } });
const cause = new AggregateError([new RangeError("one"), new TypeError("two")], "both", { cause: new Error("cause") });
Object.assign(cause, { config: { headers: { authorization: "secret" } } });
const whole = (text) => ["AggregateError: both", "RangeError: one", "TypeError: two", "Caused by:", "Error: cause"].every((word) => text.includes(word)) && !text.includes("secret");

// value, what it becomes; by row of the table
const CASES = {
  "NaN, infinity": [[NaN, null], [-Infinity, null], [[1, { a: Infinity }], [1, { a: null }]]],
  "BigInt of 64 bits": [[5n, 5], [2n ** 63n - 1n, 2n ** 63n - 1n], [-(2n ** 63n), -(2n ** 63n)], [2n ** 64n - 1n, 2n ** 64n - 1n]],
  "BigInt beyond 64 bits (below -2**63 or above 2**64 - 1)": [[2n ** 64n, String(2n ** 64n)], [-(2n ** 63n) - 1n, String(-(2n ** 63n) - 1n)], [{ a: [2n ** 70n] }, { a: [String(2n ** 70n)] }]],
  "a lone surrogate, in text or in a key": [["\ud800x", "\\ud800x"], [{ "\udfff": 1 }, { "\\udfff": 1 }], [["a\udc00"], ["a\\udc00"]]],
  "`Buffer`, `Uint8Array`, `DataView`, `ArrayBuffer`": [[Buffer.from([255, 0]), "/wA="], [new Uint8Array([97]), "YQ=="], [new DataView(new ArrayBuffer(1)), "AA=="], [new ArrayBuffer(1), "AA=="]],
  "other typed arrays, `Set`, other iterables": [[new Float64Array([1.5]), [1.5]], [new Int16Array([-1]), [-1]], [new BigInt64Array([7n]), [7]], [new Set([1, "a"]), [1, "a"]], [(function* () { yield 1; })(), [1]]],
  "`Map`": [[new Map([["a", 1]]), { a: 1 }], [new Map([["a", new Map([["b", [1]]])]]), { a: { b: [1] } }]],
  "`Date`": [[new Date(0), "1970-01-01T00:00:00Z"], [new Date(1), "1970-01-01T00:00:00.001000Z"], [{ at: new Date(1500) }, { at: "1970-01-01T00:00:01.500000Z" }]],
  "an invalid `Date`": [[new Date(NaN), null]],
  "`URL`, `URLSearchParams`; an object with `toJSON`": [[new URL("http://a.example/b"), "http://a.example/b"], [new Money(), "12.50 EUR"], [[new Money()], ["12.50 EUR"]]],
  "boxed `String`, `Number`, `Boolean`, `BigInt`": [[Object("a"), "a"], [Object(1), 1], [Object(true), true], [Object(1n), 1]],
  "an object of a class": [[new Point(), { x: 1, y: 2.5 }], [Object.create({ inherited: 1 }, { own: { value: 2, enumerable: true } }), { own: 2 }]],
  "undefined in a table": [[{ a: undefined, b: 1 }, { b: 1 }]],
  "undefined in a list": [[[undefined, 1], [null, 1]]],
  "an `Error`": [[new TypeError("x"), (text) => text.startsWith("TypeError: x\n    at ")], [cause, whole]],
  "a key of a `Map` that is a number, a BigInt, bytes or a `Date`": [[new Map([[1, 2]]), { 1: 2 }], [new Map([[1.5, 2]]), { 1.5: 2 }], [new Map([[Buffer.from("x"), 1]]), { "eA==": 1 }], [new Map([[new Date(0), 1]]), { "1970-01-01T00:00:00Z": 1 }]],
  "a key of a `Map` that is null, undefined, true or false": [[new Map([[null, 1]]), { null: 1 }], [new Map([[true, 1]]), { true: 1 }]],
  "a key of a `Map` of any other kind": [[new Map([[[1, 2], 3]]), { "[1,2]": 3 }]],
  "a structure that holds itself": [[looped, { kept: 1, again: ["<circular>"] }]],
  "nesting that not every reader reads (more than 90 levels)": [[nested(20_000), (value) => /^\[{60,64}"<too deep>"\]{60,64}$/.test(JSON.stringify(value))]],
  "a symbol": [[Symbol("q"), "Symbol(q)"]],
  "a function": [[function called() {}, "<function called>"], [() => {}, "<function>"]],
  "`RegExp`, `Promise`, `WeakMap`, `WeakSet`": [[/a+/g, "/a+/g"], [new WeakMap(), "<WeakMap>"], [Promise.resolve(), "<Promise>"]],
  "a getter that throws": [[throwing, { kept: 1, bad: "<unreadable>" }]],
  "an object that throws when it is read (a proxy, an iterator, `toJSON`)": [
    [hostile, "<object>"], [{ toJSON() { throw new Error("no"); } }, "<Object>"], [new Torn(), "<Torn>"],
  ],
};

const page = readFileSync(new URL("../../../docs/node.md", import.meta.url), "utf8");
const rows = new Map(
  page
    .split("## Values that JSON cannot say")[1]
    .split("\n## ")[0]
    .split("\n")
    .filter((line) => line.startsWith("| ") && !/^\| (value|---) /.test(line))
    .map((line) => line.replace(/^\| | \|$/g, "").split(" | "))
    .map(([value, , told]) => [value, { yes: true, no: false }[told]]),
);

test("every row of the table has its cases", () => {
  assert.deepEqual([...rows.keys()], Object.keys(CASES));
  assert.ok([...rows.values()].every((told) => typeof told === "boolean"));
});

const JS_INTEGER = (value) => (typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value);

for (const [row, cases] of Object.entries(CASES)) {
  cases.forEach(([value, expected], number) => {
    for (const encoder of ["json", "msgpack"]) {
      for (const extra of [{}, { filters: [(event) => event] }, { fields: { base: 1 } }]) {
        test(`${row} ${number}: ${encoder}, ${Object.keys(extra)}`, async () => {
          if (row.startsWith("other typed") && typeof value.next === "function") value = (function* () { yield 1; })(); // it is read once
          const client = metlog.MetlogClient.fromConfig("memory:", { encoder, ...extra });
          client.log("case", "p", { fields: { before: 1, v: value, after: "x" } });
          await client.flush();
          const [{ fields }] = client.sender.events;
          const made = fields.v;
          if (typeof expected === "function") assert.ok(expected(made), JSON.stringify(made));
          else assert.deepEqual(JS_INTEGER(made), JS_INTEGER(expected));
          assert.deepEqual([fields.before, fields.after], [1, "x"]);
          assert.equal("metlog.repaired" in fields, rows.get(row), JSON.stringify(fields["metlog.repaired"]));
          assert.ok((fields["metlog.repaired"] ?? []).every((note) => note.startsWith("fields.v")));
          const { accepted, sent, repaired, errors } = client.stats();
          assert.deepEqual({ accepted, sent, repaired, errors }, { accepted: 1, sent: 1, repaired: Number(rows.get(row)), errors: 0 });
          await client.close();
        });
      }
    }
  });
}

test("huge texts and many values: kept within limits only where an event has to be repaired", async () => {
  const client = metlog.MetlogClient.fromConfig("memory:");
  const text = "x".repeat(1_500_000);
  client.log("a", text, { fields: { text } });
  client.log("b", "", { fields: { text, odd: NaN, many: Array.from({ length: 20_000 }, (_, n) => n) } });
  await client.flush();
  const [first, second] = client.sender.events;
  assert.equal(first.payload.length + first.fields.text.length, 3_000_000);
  assert.equal(second.fields.text.length, 1_000_000);
  assert.ok(second.fields.many.length < 10_000);
  assert.ok(second.fields["metlog.repaired"].some((note) => note.includes("cut: more than 10000 values")));
  await client.close();
});

test("the envelope is treated alike", () => {
  const odd = { timestamp: "yesterday", type: 5, tokens: ["a", 1], logger: null, severity: 99, payload: Buffer.from("x"), fields: [1], weight: -1, env_version: "1", pid: "p", hostname: "h", stream: "s", seq: 2n ** 80n };
  for (const encoder of [new metlog.JsonEncoder(), new metlog.MsgpackEncoder()]) {
    const [found] = encoder.decode(encoder.frame([encoder.encode(odd)]));
    assert.equal(encoder.repaired, 1);
    assert.deepEqual(
      [found.type, found.tokens, found.severity, found.payload, found.weight, found.pid, found.seq, found.fields.fields],
      ["5", ["a", "1"], 6, "eA==", 1, 0, 0, [1]],
    );
    assert.ok(Math.abs(Date.parse(found.timestamp) - Date.now()) < 60_000);
  }
});

test("calls with arguments of the wrong kind throw nothing, and are counted", async () => {
  const client = metlog.MetlogClient.fromConfig("memory:");
  const odd = [undefined, null, 1, "text", Symbol("s"), [], {}, () => {}, hostile, throwing, NaN, 10n, new Map(), looped, "\ud800"];
  let calls = 0;
  for (const one of odd) {
    for (const other of odd) {
      client.log(one, other, { fields: other, severity: 5 });
      client.log("a", one, one);
      client.info(one, other);
      client.exception(one, other);
      client.incr(one, other);
      client.timerSend(one, other);
      client.metlog(one, { payload: other, tokens: other, fields: one });
      client.log(["a", one], "", { fields: { [String(typeof other)]: other } });
      calls += 8;
    }
  }
  await client.flush();
  const { accepted, sent, filtered, errors, buffered } = client.stats();
  assert.equal(buffered, 0);
  assert.equal(accepted, sent);
  assert.ok(accepted + filtered + errors >= calls, `${accepted} ${filtered} ${errors} of ${calls}`);
  assert.ok(accepted > calls * 0.7);
  assert.equal(client.sender.events.length, accepted); // all of it can be read
  await client.close();
});

test("nothing that is logged, configured or decoded reaches a prototype", async () => {
  const evil = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
  const filters = [{ name: "redact", mask: ["email"], drop: ["x"] }];
  for (const extra of [{}, { filters }, { encoder: "msgpack" }, { fields: JSON.parse(evil) }]) {
    const client = metlog.MetlogClient.fromConfig("memory:", extra);
    const bound = client.bind(JSON.parse(evil));
    metlog.context(JSON.parse(evil), () => bound.log("__proto__", "", { fields: JSON.parse(evil) }));
    client.log("a", "", { fields: { deep: JSON.parse(evil), list: [JSON.parse(evil)], map: new Map([["__proto__", { polluted: 1 }]]) } });
    client.info("%s", "__proto__", JSON.parse(evil));
    await client.flush();
    const [event] = client.sender.events;
    assert.ok(Object.hasOwn(event.fields, "__proto__"), JSON.stringify(extra)); // it is data like any other
    await client.close();
  }
  for (const frame of [`{"type":"a","fields":${evil},"__proto__":{"polluted":1}}`]) metlog.decode(Buffer.from(frame));
  const settings = [JSON.parse(`{"sender":"memory:","__proto__":{"polluted":1}}`), JSON.parse(`{"metlog.sender":"memory:","metlog.__proto__.polluted":1}`), JSON.parse(`{"metlog.buffer.__proto__.polluted":1}`), { sender: "memory:?__proto__=1" }, { sender: JSON.parse('{"name":"memory","__proto__":{"polluted":1}}') }, { sender: "memory:", buffer: JSON.parse('{"__proto__":{"polluted":1}}') }];
  for (const each of settings) assert.throws(() => metlog.MetlogClient.fromConfig(each), metlog.ConfigError);
  process.env["METLOG_BUFFER____PROTO____POLLUTED"] = "1";
  process.env.METLOG_SENDER = "memory:";
  assert.throws(() => metlog.MetlogClient.fromConfig(), metlog.ConfigError);
  delete process.env["METLOG_BUFFER____PROTO____POLLUTED"];
  delete process.env.METLOG_SENDER;
  assert.equal({}.polluted, undefined);
  assert.equal(Object.prototype.polluted, undefined);
  assert.equal(Function.prototype.polluted, undefined);
});
