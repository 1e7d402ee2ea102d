// Senders against real servers: delivery, refusal, recovery, bounds.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import tls from "node:tls";
import { gunzipSync } from "node:zlib";
import * as metlog from "metlog";
import { httpServer, run, streamServer, udpServer, until } from "./helpers.mjs";

const require = createRequire(import.meta.url);
const make = (sender, more = {}) => metlog.MetlogClient.fromConfig(sender, more);
const folder = () => mkdtempSync(join(tmpdir(), "metlog-"));
const numbered = (client, count, from = 0) => {
  for (let n = from; n < from + count; n += 1) client.log("numbered", "", { fields: { n } });
};
const numbers = (events) => events.filter((event) => event.type === "numbered").map((event) => event.fields.n);
const range = (count) => Array.from({ length: count }, (_, n) => n);
const holds = ({ accepted, sent, buffered, dropped }) => assert.equal(accepted, sent + buffered + Object.values(dropped).reduce((a, b) => a + b, 0));

test("udp: every event once, in order, and the end of the stream", async (t) => {
  const server = await udpServer(t);
  const client = make(`udp://127.0.0.1:${server.port}`);
  numbered(client, 2000);
  await client.close();
  await until(() => server.events().at(-1)?.type === "metlog.end");
  assert.deepEqual(numbers(server.events()), range(2000));
  assert.ok(server.frames.length < 200 && server.frames.every((frame) => frame.length <= 8192));
  assert.equal(server.events().at(-1).fields.last_seq, 2000);
  assert.deepEqual(client.stats().sent, 2000);
});

test("udp: a name is looked up in the background; what is sent before is kept", async (t) => {
  const server = await udpServer(t);
  const dns = require("node:dns");
  const real = dns.lookup;
  let answers = [];
  t.mock.method(dns, "lookup", (name, options, done) => (name === "collector.test" ? void answers.push(done) : real(name, options, done)));
  const { UdpSender } = require("../dist/senders/udp.js");
  const sender = new UdpSender({ host: "collector.test", port: server.port });
  assert.equal(sender.max_frame, 1432);
  const client = make({ sender });
  numbered(client, 10);
  assert.equal(await client.flush(0.05), false);
  assert.deepEqual([client.stats().buffered, sender.stats().waiting], [10, 2]);
  answers[0](null, [{ address: "127.0.0.1", family: 4 }]);
  await until(() => server.events().length === 10);
  assert.equal(client.stats().sent, 10);
  await client.close();
  const lost = make({ sender: new UdpSender({ host: "collector.test", port: server.port }) });
  numbered(lost, 5);
  await lost.close(0.1); // nobody answers
  assert.deepEqual([lost.stats().dropped, lost.stats().buffered], [{ unresolved: 5 }, 0]);
});

test("udp: refusals are counted, another host takes over, and a peer that is there again is reached", async (t) => {
  const server = await udpServer(t);
  const away = await udpServer(t);
  await away.close();
  const two = make({ sender: { name: "udp", host: ["127.0.0.2", "127.0.0.1"], port: server.port }, buffer: { flush_interval: 0 } });
  for (let n = 0; n < 20; n += 1) {
    numbered(two, 1, n);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await two.close();
  assert.ok(numbers(server.events()).length >= 19); // the first may be lost: its refusal came with the second
  assert.ok(two.sender === null);
  const client = make({ sender: `udp://127.0.0.1:${away.port}`, buffer: { flush_interval: 0 } });
  for (let n = 0; n < 10; n += 1) {
    numbered(client, 1, n);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.ok(client.sender.stats().refused > 0);
  holds(client.stats());
  const again = await udpServer(t, away.port);
  numbered(client, 1, 100);
  numbered(client, 1, 101);
  await until(() => numbers(again.events()).includes(101));
  await client.close();
});

test("udp: a million events in one turn of the loop stay within bounds, and are accounted for", { timeout: 60_000 }, async (t) => {
  const server = await udpServer(t);
  const client = make(`udp://127.0.0.1:${server.port}`);
  const before = process.memoryUsage().rss;
  numbered(client, 300_000);
  const grown = (process.memoryUsage().rss - before) / 1e6;
  holds(client.stats());
  await client.flush(10);
  holds(client.stats());
  assert.equal(client.stats().buffered, 0);
  assert.ok(grown < 150, `${grown} MB`);
  await client.close();
});

for (const [name, where] of [["tcp", { port: 0, host: "127.0.0.1" }], ["unix", null]]) {
  test(`${name}: frames one after another; the connection is made again after the peer hung up`, async (t) => {
    const path = join(folder(), "socket");
    const server = await streamServer(t, where ?? { path });
    const client = make(name === "tcp" ? `tcp://127.0.0.1:${server.port}` : `unix:${path}`);
    numbered(client, 500);
    assert.equal(await client.flush(5), true);
    await until(() => server.lines().length === 500);
    server.hangUp();
    await until(() => server.sockets.size === 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    numbered(client, 500, 500);
    assert.equal(await client.flush(5), true);
    await client.close();
    await until(() => server.lines().length === 1001);
    assert.deepEqual(numbers(server.lines()), range(1000));
    assert.equal(server.lines().at(-1).type, "metlog.end");
  });
}

test("tcp: a peer that is not there yet is waited for, one that never comes is given up within the timeout", async (t) => {
  const place = await streamServer(t);
  await place.close();
  const client = make(`tcp://127.0.0.1:${place.port}?timeout=5`);
  numbered(client, 10);
  const flushed = client.flush(5);
  await new Promise((resolve) => setTimeout(resolve, 150));
  const server = await streamServer(t, { port: place.port, host: "127.0.0.1" });
  assert.equal(await flushed, true);
  await until(() => server.lines().length === 10);
  await client.close();
  const lost = make(`tcp://127.0.0.1:1?timeout=0.3`);
  numbered(lost, 3);
  const started = performance.now();
  assert.equal(await lost.flush(5), true);
  assert.ok(performance.now() - started < 2000);
  assert.deepEqual([lost.stats().dropped, lost.stats().sent], [{ refused: 3 }, 0]);
  await lost.close();
});

test("tcp: a peer that never reads holds nobody up; memory stays within max_bytes", async (t) => {
  const server = await streamServer(t, undefined, { read: false });
  const client = make(`tcp://127.0.0.1:${server.port}`, { buffer: { max_bytes: 500_000 }, exit_timeout: 0.3 });
  for (let round = 0; round < 100; round += 1) {
    for (let n = 0; n < 100; n += 1) client.log("a", "x".repeat(2000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { dropped, buffered } = client.stats();
  assert.ok(dropped.queue_full > 1000 && buffered * 2200 < 1_500_000, JSON.stringify(client.stats()));
  holds(client.stats());
  const started = performance.now();
  await client.close();
  assert.ok(performance.now() - started < 2000);
  assert.equal(client.stats().buffered, 0);
});

function certificate() {
  const at = folder();
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", join(at, "key.pem"), "-out", join(at, "cert.pem"), "-days", "2", "-subj", "/CN=collector", "-addext", "subjectAltName=DNS:collector,IP:127.0.0.1"], { stdio: "ignore" });
  return { cert: join(at, "cert.pem"), key: join(at, "key.pem") };
}

test("tcp with TLS: the certificate is always checked", async (t) => {
  const files = certificate();
  const options = { cert: readFileSync(files.cert), key: readFileSync(files.key) };
  const server = await streamServer(t, undefined, { make: tls.createServer, options });
  const url = `tcp://127.0.0.1:${server.port}?tls=true&timeout=1`;
  const client = make(`${url}&ca_file=${files.cert}`);
  numbered(client, 10);
  await client.close();
  await until(() => server.lines().length === 11);
  for (const [more, reason] of [["", "tls"], [`&ca_file=${files.cert}&server_name=other`, "tls"]]) {
    const refused = make(url + more);
    numbered(refused, 1);
    await refused.flush(5);
    assert.deepEqual(refused.stats().dropped, { [reason]: 1 }, more);
    await refused.close(0.1);
  }
  assert.throws(() => make(`${url}&ca_file=/nowhere.pem`), /sender\.ca_file = '\/nowhere\.pem'/);
});

test("http: a POST for each frame, compressed, with the token; repeated while the server cannot, not when it will not", async (t) => {
  const server = await httpServer(t, (request, body, count) => (count === 1 ? 503 : count === 2 ? [429, { "Retry-After": "0" }] : 201));
  const client = make({ sender: { name: "http", host: "127.0.0.1", port: server.port, path: "/submit/shop", token: "t0ken" } });
  numbered(client, 100);
  assert.equal(await client.flush(5), true);
  assert.equal(client.stats().sent, 100);
  await client.close();
  assert.equal(server.requests.length, 4); // twice again, and the end
  const [first, , third, last] = server.requests;
  assert.deepEqual([first.method, first.url, first.headers.authorization, first.headers["content-type"], first.headers["content-encoding"]], ["POST", "/submit/shop", "Bearer t0ken", "application/x-ndjson", "gzip"]);
  assert.deepEqual(numbers(metlog.decode(gunzipSync(third.body))), range(100));
  assert.equal(metlog.decode(last.headers["content-encoding"] === "gzip" ? gunzipSync(last.body) : last.body)[0].type, "metlog.end");
  const rejecting = await httpServer(t, () => 400);
  const rejected = make(`http://127.0.0.1:${rejecting.port}/submit/a`, { encoder: "msgpack" });
  numbered(rejected, 1);
  await rejected.flush(5);
  assert.deepEqual([rejected.stats().dropped, rejecting.requests.length], [{ rejected: 1 }, 1]);
  assert.equal(rejecting.requests[0].headers["content-type"], "application/msgpack");
  await rejected.close(0.1);
});

test("http: a body has the media type that its encoder says, or the option", async (t) => {
  const server = await httpServer(t, () => 201);
  const encoders = ["json", "msgpack", { name: "signed", key: "a secret of 20 bytes" }];
  for (const more of [{}, { content_type: "text/x" }]) {
    for (const encoder of encoders) {
      const client = make({ sender: { name: "http", host: "127.0.0.1", port: server.port, ...more }, encoder });
      client.log("a");
      await client.close();
    }
  }
  const kinds = ["application/x-ndjson", "application/msgpack", "application/x-metlog-signed"];
  const found = server.requests.map((request) => request.headers["content-type"]);
  assert.deepEqual([...new Set(found)], [...kinds, "text/x"]);
});

test("http: a server that never answers, or is not there, costs what it may and no more", async (t) => {
  const silent = await httpServer(t, () => null);
  for (const [url, reason] of [[`http://127.0.0.1:${silent.port}/?timeout=0.1&give_up=0.3`, "timeout"], ["http://127.0.0.1:1/?give_up=0.3", "refused"]]) {
    const client = make(url);
    numbered(client, 2);
    const started = performance.now();
    assert.equal(await client.flush(5), true);
    assert.ok(performance.now() - started < 3000);
    assert.deepEqual(client.stats().dropped, { [reason]: 2 });
    await client.close(0.1);
  }
  const client = make(`http://127.0.0.1:${silent.port}/`, { exit_timeout: 0.2 });
  numbered(client, 2);
  const started = performance.now();
  await client.close();
  assert.ok(performance.now() - started < 1500);
  assert.deepEqual([client.stats().buffered, Object.values(client.stats().dropped)], [0, [2]]);
});

test("file: appended whole, rotated by size, followed after a rotation from outside, no symbolic link", async () => {
  const at = folder();
  const path = join(at, "app.ndjson");
  writeFileSync(path, '{"half a li'); // what a crash left
  const client = make(`file:${path}`);
  numbered(client, 100);
  await client.flush();
  renameSync(path, `${path}.old`);
  numbered(client, 100, 100);
  await client.close();
  const [half, ...lines] = readFileSync(`${path}.old`, "utf8").trim().split("\n");
  assert.equal(half, '{"half a li');
  assert.deepEqual(numbers(lines.map((line) => JSON.parse(line))), range(100));
  assert.deepEqual(numbers(metlog.decode(readFileSync(path))), range(200).slice(100));
  assert.equal(statSync(path).mode & 0o777 & ~0o640, 0);
  const rotating = make({ sender: { name: "file", path: join(at, "r"), max_bytes: 5000, keep: 2, fsync: "always", mode: "0600" }, buffer: { max_frame: 1000 } });
  numbered(rotating, 100);
  await rotating.close();
  for (const name of ["r", "r.1", "r.2"]) assert.ok(statSync(join(at, name)).size <= 5000 && statSync(join(at, name)).size > 0);
  assert.throws(() => statSync(join(at, "r.3")));
  symlinkSync("/dev/null", join(at, "link"));
  const linked = make(`file:${join(at, "link")}`);
  numbered(linked, 1);
  await linked.flush();
  assert.deepEqual(linked.stats().dropped, { unreachable: 1 });
  const full = make("file:/dev/full");
  numbered(full, 1);
  await full.flush();
  assert.deepEqual(full.stats().dropped, { full: 1 });
});

test("stdout: frames in order with what the application prints; a reader that is gone ends nothing", async () => {
  const script = `import * as metlog from "metlog"; metlog.configure("stdout"); console.log("printed"); for (let n = 0; n < 50; n += 1) metlog.log("numbered", "", { fields: { n } }); await metlog.close(); console.error(JSON.stringify(metlog.stats().sent));`;
  const { stdout, stderr, code } = await run(script);
  const lines = stdout.trim().split("\n");
  assert.deepEqual([code, lines[0], lines.length, stderr.trim()], [0, "printed", 52, "50"]);
  const gone = `import * as metlog from "metlog"; metlog.configure("stdout"); process.stdin.once("end", async () => { for (let round = 0; round < 3; round += 1) { metlog.log("a"); await metlog.flush(1); await new Promise((r) => setTimeout(r, 50)); } console.error(JSON.stringify(metlog.stats())); process.exit(7); }); process.stdin.resume();`;
  const { spawn } = await import("node:child_process");
  const child = spawn(process.execPath, ["--input-type=module", "--eval", gone], { cwd: new URL("..", import.meta.url), stdio: ["pipe", "pipe", "pipe"] });
  child.stdout.destroy();
  let said = "";
  child.stderr.on("data", (chunk) => (said += chunk));
  child.stdin.end();
  const ended = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(ended, 7, said);
  assert.match(said, /"dropped":\{"refused":3\}/);
});

test("zmq: push to a listener, pub to subscribers, with CURVE or without", async (t) => {
  let zmq;
  try {
    zmq = require("zeromq");
  } catch (error) {
    t.skip(`zeromq is not installed here: ${error.message.split("\n")[0]}`);
    return;
  }
  const keys = zmq.curveKeyPair();
  for (const options of [{}, { curveServer: true, curveSecretKey: keys.secretKey }]) {
    const pull = new zmq.Pull(options);
    await pull.bind("tcp://127.0.0.1:*");
    const sender = { name: "zmq", endpoint: pull.lastEndpoint, ...(options.curveServer ? { server_key: keys.publicKey } : {}) };
    const client = make({ sender });
    numbered(client, 1000);
    await client.flush(5);
    const events = [];
    while (numbers(events).length < 1000) events.push(...metlog.decode((await pull.receive())[0]));
    assert.deepEqual(numbers(events), range(1000));
    await client.close();
    assert.equal(metlog.decode((await pull.receive())[0])[0].type, "metlog.end");
    pull.close();
  }
  const away = make({ sender: { name: "zmq", endpoint: "tcp://127.0.0.1:1" }, buffer: { max_bytes: 20_000 } });
  numbered(away, 5000);
  await away.close(0.2);
  holds(away.stats());
  assert.equal(away.stats().buffered, 0);
  assert.throws(() => make({ sender: { name: "zmq", endpoint: "nowhere" } }), /sender\.endpoint = 'nowhere': wants an endpoint/);
  assert.throws(() => make({ sender: { name: "zmq", server_key: "short" } }), /server_key: wants a CURVE key/);
});

test("times beyond what a timer takes are waited for, not over at once", async (t) => {
  const warnings = [];
  const note = (warning) => warnings.push(warning.name);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const silent = await httpServer(t, () => null);
  const stuck = await streamServer(t, undefined, { read: false });
  const lookups = t.mock.method(require("node:dns"), "lookup", (name, options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]));
  for (const url of [`http://127.0.0.1:${silent.port}?timeout=30d&give_up=60d`, `tcp://127.0.0.1:${stuck.port}?timeout=30d&max_frame=64MB`, "udp://collector.test:9?resolve_interval=30d"]) {
    const client = make(url, { buffer: { max_bytes: "64MB" } });
    client.log("a", "x".repeat(url.startsWith("tcp") ? 1 << 25 : 10));
    assert.equal(await client.flush(0.1), url.startsWith("udp"), url);
    assert.deepEqual(client.stats().dropped, {}, url);
    await client.close(0.05);
  }
  assert.equal(lookups.mock.callCount(), 1);
  const client = metlog.MetlogClient.fromConfig({ sender: { max_frame: 1000, send: () => new Promise((resolve) => setTimeout(resolve, 20)) } });
  client.log("a");
  assert.equal(await client.flush(Infinity), true);
  client.log("b");
  await client.close(1e9);
  assert.deepEqual([client.stats().sent, client.stats().dropped], [2, {}]);
  assert.deepEqual(warnings.filter((name) => name === "TimeoutOverflowWarning"), []);
});

test("http: a status whose body never ends is the receipt all the same", async (t) => {
  const { createServer } = require("node:http");
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    request.resume().on("end", () => response.writeHead(requests === 2 ? 400 : 200).write("x"));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))));
  const client = make(`http://127.0.0.1:${server.address().port}?timeout=0.1&give_up=5`);
  client.log("a");
  assert.equal(await client.flush(3), true);
  client.log("b");
  assert.equal(await client.flush(3), true);
  assert.deepEqual([client.stats().sent, client.stats().dropped, requests], [1, { rejected: 1 }, 2]);
  await client.close();
});
