// Every frame of tests/corpus: read as the manifest says, and written again byte for byte as the Python client does.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, DecodeError, JsonEncoder, MsgpackEncoder, SignedEncoder } from "metlog";
import { replace } from "metlog";

const FOLDER = new URL("../../../tests/corpus/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("manifest.json", FOLDER), "utf8"));
const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));

const DEFAULTS = {
  tokens: [], logger: "", severity: 6, payload: "", fields: {}, weight: 1, env_version: "1", pid: 0, hostname: "", stream: "", seq: 0,
};

function frameOf(file) {
  const data = readFileSync(new URL(file, FOLDER));
  return file.endsWith(".hex") ? Buffer.from(data.toString().replace(/#.*/g, "").replace(/\s+/g, ""), "hex") : data;
}

const encoderFor = (file) => (file.startsWith("json") ? new JsonEncoder() : new MsgpackEncoder());

function assertSame(found, expected) {
  assert.equal(found.length, expected.length);
  found.forEach((event, index) => {
    const { timestamp, ...wanted } = { ...DEFAULTS, ...expected[index] };
    if (timestamp !== undefined) assert.equal(event.timestamp, timestamp);
    const { timestamp: _, ...rest } = event;
    assert.deepEqual(withNumbers(rest), withNumbers(wanted));
  });
}

/** JSON.parse of the manifest cannot hold integers of 64 bits: what is beyond is compared as the nearest number. */
function withNumbers(value) {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(withNumbers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withNumbers(item)]));
}

for (const entry of manifest.frames) {
  test(`${entry.file} is read as the manifest says`, () => {
    const [kind] = entry.file.split("/");
    const { id, secret } = manifest.key;
    const encoder = kind === "signed" ? new SignedEncoder(encoderFor(entry.inner), secret, id) : encoderFor(entry.file);
    const frame = frameOf(entry.file);
    if (entry.bad === undefined) {
      assertSame(encoder.decode(frame), entry.events);
      if (kind !== "signed") assertSame(decode(frame), entry.events);
      else assert.match(Buffer.from(encoder.frame(encoder.decode(frame).map((event) => encoder.encode(event)))).toString("latin1"), /^\{"metlog.signed":"hmac-sha256",/);
      return;
    }
    assert.throws(() => encoder.decode(frame), (error) => {
      assert.ok(error instanceof DecodeError, String(error.stack));
      assert.ok(entry.bad[0].words.split("|").some((word) => error.message.includes(word)), error.message);
      return true;
    });
  });
}

for (const { file, timestamp, json, msgpack } of vectors.corpus) {
  test(`${file} is written byte for byte as by the Python client`, () => {
    const events = encoderFor(file).decode(frameOf(file)).map((event) => (timestamp ? replace(event, { timestamp }) : event));
    const [asJson, asMsgpack] = [new JsonEncoder(), new MsgpackEncoder()];
    assert.equal(Buffer.from(asJson.frame(events.map((event) => asJson.encode(event)))).toString(), json);
    assert.equal(Buffer.from(asMsgpack.frame(events.map((event) => asMsgpack.encode(event)))).toString("hex"), msgpack);
  });
}

test("the signature is the Python client's: a signed frame of the corpus is made again, byte for byte", () => {
  const { id, secret } = manifest.key;
  for (const file of ["signed/json.hex", "signed/msgpack.hex"]) {
    const frame = frameOf(file);
    const inner = frame.subarray(frame.indexOf(0x0a) + 1);
    const whole = { content_type: "", encode: () => inner, frame: ([part]) => part, decode: () => [] };
    assert.deepEqual(Buffer.from(new SignedEncoder(whole, secret, id).frame([inner])), frame);
  }
});
