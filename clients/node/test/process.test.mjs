// The end of a process: each row of the table in docs/node.md, with real processes, threads and cluster workers.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { decode } from "metlog";
import { httpServer, run, streamServer, udpServer, until } from "./helpers.mjs";

const range = (count) => Array.from({ length: count }, (_, n) => n);
const numbers = (events) => events.filter((event) => event.type === "numbered").map((event) => event.fields.n);
const START = `import * as metlog from "metlog";
const url = process.argv[1];
metlog.configure(url, { exit_timeout: 2 });
for (let n = 0; n < 100; n += 1) metlog.log("numbered", "", { fields: { n } });
`;

/** A server of each kind, as its URL and what it got. */
async function server(t, kind) {
  if (kind === "udp") {
    const found = await udpServer(t);
    return { url: `udp://127.0.0.1:${found.port}`, events: found.events };
  }
  if (kind === "http") {
    const { gunzipSync } = await import("node:zlib");
    const found = await httpServer(t);
    const body = ({ headers, body }) => decode(headers["content-encoding"] === "gzip" ? gunzipSync(body) : body);
    return { url: `http://127.0.0.1:${found.port}/submit/a`, events: () => found.requests.flatMap(body) };
  }
  if (kind === "file") {
    const path = join(mkdtempSync(join(tmpdir(), "metlog-")), "f");
    writeFileSync(path, "");
    return { url: `file:${path}`, events: () => decode(readFileSync(path)) };
  }
  const found = await streamServer(t);
  return { url: `tcp://127.0.0.1:${found.port}`, events: found.lines };
}

for (const kind of ["udp", "tcp", "http", "file"]) {
  test(`${kind}: nothing left to do: everything is sent, and the stream ends; the process does not linger`, async (t) => {
    const { url, events } = await server(t, kind);
    const { code, stderr, ms } = await run(START, [url]);
    assert.equal(code, 0, stderr);
    await until(() => events().at(-1)?.type === "metlog.end");
    assert.deepEqual(numbers(events()), range(100));
    assert.ok(ms < 8000, `${ms} ms`);
  });
}

test("what another beforeExit listener logs is sent as well", async (t) => {
  const { url, events } = await server(t, "udp");
  await run(`${START} let once = true; process.on("beforeExit", () => { if (once) { once = false; setTimeout(() => metlog.log("late"), 20); } });`, [url]);
  await until(() => events().at(-1)?.type === "metlog.end");
  assert.equal(events().at(-2).type, "late");
});

test("nothing left to do, and a sender that hangs: exit_timeout is used up once", async () => {
  const sender = "{ max_frame: 1000, send: () => new Promise(() => {}), deadline: (left) => console.log(left) }";
  const { code, stdout } = await run(`import * as metlog from "metlog"; metlog.configure({ sender: ${sender}, exit_timeout: 0.3 }); metlog.log("a");`);
  assert.deepEqual([code, stdout], [0, "0\n"]);
});

for (const how of ["on", "prependListener"]) {
  test(`a beforeExit listener that logs each time (${how}) does not keep the process`, async (t) => {
    const { url, events } = await server(t, "file");
    const log = 'let called = 0; const bye = () => { called += 1; metlog.log("bye"); if (called > 20) process.exit(1); };';
    const { code } = await run(`import * as metlog from "metlog"; ${log} process.${how}("beforeExit", bye); metlog.configure(process.argv[1]);`, [url]);
    assert.equal(code, 0);
    assert.equal(events().at(-1)?.type, "metlog.end");
    assert.ok(events().some((event) => event.type === "bye"));
  });
}

for (const kind of ["udp", "file"]) {
  for (const [how, script, expected] of [
    ["process.exit()", "process.exit(3);", 3],
    ["process.exit() later", "setTimeout(() => process.exit(4), 300);", 4],
    ["an uncaught exception", `setTimeout(() => { throw new Error("uncaught"); }, 10);`, 1],
    ["an unhandled rejection", `Promise.reject(new Error("unhandled"));`, 1],
    ["a log in an exit listener of the application", `process.on("exit", () => {}); process.exitCode = 5; setTimeout(() => process.exit(), 10);`, 5],
  ]) {
    test(`${kind}: ${how}: everything is sent, the end too, the exit code stays`, async (t) => {
      const { url, events } = await server(t, kind);
      const { code } = await run(START + script, [url]);
      assert.equal(code, expected);
      await until(() => events().at(-1)?.type === "metlog.end");
      assert.deepEqual(numbers(events()), range(100));
    });
  }
}

test("tcp: process.exit() on an open connection: what the kernel takes is sent", async (t) => {
  const { url, events } = await server(t, "tcp");
  const { code } = await run(`${START} await metlog.flush(); for (let n = 100; n < 200; n += 1) metlog.log("numbered", "", { fields: { n } }); process.exit(3);`, [url]);
  assert.equal(code, 3);
  await until(() => events().at(-1)?.type === "metlog.end");
  assert.deepEqual(numbers(events()), range(200));
});

test("http: close() before process.exit() sends everything", async (t) => {
  const { url, events } = await server(t, "http");
  await run(`${START} await metlog.close(); process.exit(0);`, [url]);
  assert.deepEqual(numbers(events()), range(100));
});

test("a dead peer: the process ends within exit_timeout, and timers and sockets keep nothing alive", async (t) => {
  const silent = await httpServer(t, () => null);
  const stuck = await streamServer(t, undefined, { read: false });
  for (const url of ["tcp://127.0.0.1:1", "http://127.0.0.1:1", `http://127.0.0.1:${silent.port}`, `tcp://127.0.0.1:${stuck.port}`, "udp://no-such-host.invalid:1"]) {
    const { code, ms, stderr } = await run(`${START.replace("exit_timeout: 2", "exit_timeout: 0.5")} process.on("exit", () => console.log(JSON.stringify(metlog.stats())));`, [url]);
    assert.equal(code, 0, stderr);
    assert.ok(ms < 6000, `${url}: ${ms} ms`);
  }
  const idle = await run(`import * as metlog from "metlog"; metlog.configure("udp://127.0.0.1:1", { filters: ["rate_limit:?rate=1"] }); metlog.log("a"); await metlog.flush();`);
  assert.equal(idle.code, 0);
});

for (const [kind, number] of [["SIGTERM", "SIGTERM"], ["SIGINT", "SIGINT"], ["SIGHUP", "SIGHUP"]]) {
  test(`${kind}: flushOnSignal sends everything, and the signal still ends the process`, async (t) => {
    const { url, events } = await server(t, "tcp");
    const { signal } = await run(`${START} metlog.flushOnSignal("${kind}"); setInterval(() => {}, 1000); console.log("up");`, [url], { onLine: (line, child) => line.includes("up") && child.kill(number) });
    assert.equal(signal, kind);
    await until(() => numbers(events()).length === 100);
  });
}

test("SIGTERM without a listener ends at once; with one of the application's, that one decides", async (t) => {
  const one = await server(t, "udp");
  const bare = await run(`${START.replace("exit_timeout: 2", "exit_timeout: 2, buffer: { flush_interval: 60 }")} setInterval(() => {}, 1000); console.log("up");`, [one.url], { onLine: (line, child) => line.includes("up") && child.kill("SIGTERM") });
  assert.equal(bare.signal, "SIGTERM");
  assert.ok(numbers(one.events()).length < 100);
  const other = await server(t, "udp");
  const own = await run(`${START} process.on("SIGTERM", async () => { await metlog.close(); process.exit(9); }); metlog.flushOnSignal("SIGTERM"); setInterval(() => {}, 1000); console.log("up");`, [other.url], { onLine: (line, child) => line.includes("up") && child.kill("SIGTERM") });
  assert.equal(own.code, 9);
  await until(() => other.events().at(-1)?.type === "metlog.end");
  assert.deepEqual(numbers(other.events()), range(100));
});

for (const [order, lines] of [
  ["before", (listen, ours) => [listen, ours]],
  ["after", (listen, ours) => [ours, listen]],
]) {
  test(`flushOnSignal leaves the end to a listener that is called once, added ${order} it`, async (t) => {
    const { url } = await server(t, "file");
    const listen = 'process.once("SIGTERM", () => setTimeout(() => process.exit(9), 200));';
    const script = `${START} ${lines(listen, 'metlog.flushOnSignal("SIGTERM");').join(" ")} setInterval(() => {}, 1000); console.log("up");`;
    const { code } = await run(script, [url], { onLine: (line, child) => line.includes("up") && child.kill("SIGTERM") });
    assert.equal(code, 9);
  });
}

test("flushOnSignal, called twice, and by another copy of the module: the signal still ends the process", async (t) => {
  const { url, events } = await server(t, "file");
  const again = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url); for (const key of Object.keys(require.cache)) delete require.cache[key];
    require("metlog").flushOnSignal("SIGTERM");`;
  const script = `${START} metlog.flushOnSignal("SIGTERM"); metlog.flushOnSignal("SIGTERM"); ${again} setTimeout(() => process.exit(8), 8000); console.log("up");`;
  const { signal } = await run(script, [url], { onLine: (line, child) => line.includes("up") && child.kill("SIGTERM") });
  assert.equal(signal, "SIGTERM");
  assert.deepEqual(numbers(events()), range(100));
});

test("the module loaded again and again, as jest does: each copy sends what it has, without a warning of a leak", async (t) => {
  const { url, events } = await server(t, "udp");
  const script = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);
    for (let n = 0; n < 12; n += 1) {
      for (const key of Object.keys(require.cache)) delete require.cache[key];
      const copy = require("metlog"); copy.configure(process.argv[1]); copy.log("numbered", "", { fields: { n } });
    }`;
  const { code, stderr } = await run(script, [url]);
  assert.deepEqual([code, stderr], [0, ""]);
  await until(() => events().filter((event) => event.type === "metlog.end").length === 12);
  assert.deepEqual(numbers(events()).sort((a, b) => a - b), range(12));
});

test("SIGKILL: with flush_interval 0 nothing that was logged is lost, nothing comes twice", async (t) => {
  const { url, events } = await server(t, "udp");
  const script = `${START.replace("exit_timeout: 2", "buffer: { flush_interval: 0 }")} let n = 100; setInterval(() => { for (let k = 0; k < 20; k += 1) { metlog.log("numbered", "", { fields: { n } }); n += 1; } console.log(n); }, 5);`;
  let last = 0;
  await run(script, [url], {
    onLine: (lines, child) => {
      last = Number(lines.trim().split("\n").at(-1));
      if (last > 500) child.kill("SIGKILL");
    },
  });
  await until(() => numbers(events()).length >= last);
  assert.deepEqual(numbers(events()), range(numbers(events()).length));
});

test("worker threads: each has a client and a stream of its own; one that ends by itself has sent everything", async (t) => {
  const { url, events } = await server(t, "udp");
  const script = `import { Worker, isMainThread } from "node:worker_threads"; import * as metlog from "metlog";
metlog.configure(process.argv[1]);
const body = \`const metlog = require("metlog"); const { workerData } = require("worker_threads"); metlog.configure(workerData.url); for (let n = 0; n < 100; n += 1) metlog.log("numbered", "", { fields: { n, worker: workerData.id } }); if (workerData.id === 2) process.exit(0);\`;
metlog.log("main");
await Promise.all([1, 2, 3].map((id) => new Promise((resolve) => new Worker(body, { eval: true, execArgv: [], workerData: { id, url: process.argv[1] } }).on("exit", resolve))));`;
  const { code, stderr } = await run(script, [url]);
  assert.equal(code, 0, stderr);
  await until(() => events().filter((event) => event.type === "metlog.end").length === 4);
  for (const worker of [1, 2, 3]) assert.deepEqual(events().filter((event) => event.fields.worker === worker).map((event) => event.fields.n), range(100));
  assert.equal(new Set(events().map((event) => event.stream)).size, 4);
});

test("cluster: each worker is a process with a stream of its own, disconnected or killed", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "metlog-"));
  const { url, events } = await server(t, "udp");
  const path = join(folder, "cluster.cjs");
  writeFileSync(
    path,
    `const cluster = require("node:cluster"); const metlog = require(process.argv[3]); const url = process.argv[2];
if (cluster.isPrimary) {
  metlog.configure(url); metlog.log("primary");
  for (let n = 0; n < 3; n += 1) cluster.fork();
  cluster.on("message", (worker) => (worker.id === 3 ? worker.kill("SIGTERM") : worker.disconnect()));
} else {
  metlog.configure(url); metlog.flushOnSignal("SIGTERM");
  for (let n = 0; n < 100; n += 1) metlog.log("numbered", "", { fields: { n, worker: cluster.worker.id } });
  setTimeout(() => process.send("done"), 50);
}`,
  );
  const { execFile } = await import("node:child_process");
  const { fileURLToPath } = await import("node:url");
  const done = await new Promise((resolve) => execFile(process.execPath, [path, url, fileURLToPath(new URL("../dist/index.js", import.meta.url))], { timeout: 20_000 }, (error, stdout, stderr) => resolve({ error, stderr })));
  assert.equal(done.error, null, done.stderr);
  await until(() => numbers(events()).length === 300);
  for (const worker of [1, 2, 3]) assert.deepEqual(events().filter((event) => event.fields.worker === worker).map((event) => event.fields.n), range(100));
  assert.equal(new Set(events().map((event) => event.stream)).size, 4);
});

test("job: what was logged inside is handed over before it settles, and an error goes on", async () => {
  const metlog = await import("metlog");
  const client = metlog.MetlogClient.fromConfig("memory:", { buffer: { flush_interval: 60 } });
  const result = await metlog.job(async () => {
    client.log("inside");
    return 7;
  });
  assert.deepEqual([result, client.stats().sent], [7, 1]);
  await assert.rejects(metlog.job(() => { client.log("inside"); throw new Error("on"); }), /on/);
  assert.equal(client.stats().sent, 2);
  await client.close();
});

test("nothing is ever an unhandled rejection: senders that reject everywhere, closed in every state", async () => {
  const script = `import * as metlog from "metlog";
process.on("unhandledRejection", (error) => { console.log("unhandled", error); });
const no = () => Promise.reject(new Error("no"));
for (const sender of [{ max_frame: 100, send: no, flush: no, close: no }, { max_frame: 100, nonblocking: true, send: no, close: no }, "http://127.0.0.1:1", "tcp://127.0.0.1:1", "udp://no.invalid"]) {
  const client = metlog.MetlogClient.fromConfig({ sender, exit_timeout: 0.1 });
  for (let n = 0; n < 10; n += 1) client.log("a", "x".repeat(100));
  client.flush(0.05); client.configure("memory:"); client.close(0.1); client.close(); client.log("after");
}
await new Promise((resolve) => setTimeout(resolve, 500));`;
  const { code, stdout } = await run(script);
  assert.deepEqual([code, stdout], [0, ""]);
});
