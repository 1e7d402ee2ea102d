// What the Python client does with given input (test/vectors.json, made by tests/system/node/vectors.py) is done here as well.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as metlog from "metlog";

const require = createRequire(import.meta.url);
const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));
const { blake2b64 } = require("../dist/filters/blake2b.js");
const { safePath } = require("../dist/integrations/safe-path.js");

async function through(filters, fields, payload = "") {
  const client = metlog.MetlogClient.fromConfig("memory:", { filters });
  client.log("a", payload, { fields });
  await client.flush();
  const [event] = client.sender.events;
  await client.close();
  return event ?? null;
}

test("pseudonyms agree, so that unique users agree between languages", async () => {
  assert.ok(vectors.pseudonyms.length > 15);
  for (const [value, pseudonym] of vectors.pseudonyms) {
    const event = await through([{ name: "redact", pseudonymize: ["v"], key: vectors.key }], { v: value });
    assert.deepEqual(event.fields.v, pseudonym, JSON.stringify(value));
  }
});

test("the filter sample keeps the same users", async () => {
  for (const [value, digest] of vectors.shares) {
    const event = await through([{ name: "sample", field: "v", rate: 0.5 }], { v: value });
    const share = Number(BigInt(`0x${digest}`)) / 2 ** 64;
    assert.equal(event !== null, share < 0.5, `${JSON.stringify(value)} ${share}`);
    if (typeof value === "string") assert.equal(Buffer.from(blake2b64(Buffer.from(value))).toString("hex"), digest);
  }
});

test("addresses are cut to the same networks", async () => {
  for (const [text, network] of vectors.cut_ip) {
    assert.equal((await through([{ name: "redact", cut_ip: ["v"] }], { v: text })).fields.v, network, text);
  }
});

test("the ready-made masks hide the same", async () => {
  for (const [name, text, masked] of vectors.masks) {
    assert.equal((await through([{ name: "redact", mask: [name] }], {}, text)).payload, masked, `${name}: ${text}`);
  }
});

for (const [options, fields] of vectors.redact) {
  test(`redact ${JSON.stringify(options)} leaves the same`, async () => {
    assert.deepEqual((await through([{ name: "redact", ...options }], vectors.fields)).fields, fields);
  });
}

test("paths of requests become the same routes", () => {
  for (const [path, route] of vectors.routes) assert.equal(safePath(path), route);
});

/** The Python client's words in this language: tables, nothing, and numbers, of which JavaScript has one type. */
const here = (line) =>
  line
    .replace("= None", "= undefined")
    .replace(/(= -?\d+)\.0(?=[:\s])/g, "$1")
    .replace(/\{ name = ('\w+'), (\w+) = … \}/, "{ name: $1, $2: … }");

for (const [settings, problems] of vectors.problems) {
  test(`the faults of ${JSON.stringify(settings)} are told alike: key, value, remedy`, () => {
    assert.throws(() => metlog.MetlogClient.fromConfig(settings), (error) => {
      assert.ok(error instanceof metlog.ConfigError, String(error.stack));
      assert.deepEqual(error.problems, problems.map(here));
      return true;
    });
  });
}
