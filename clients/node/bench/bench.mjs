// What an event costs the caller, beside the peers: medians of interleaved rounds within one run, as ratios to building the same event and
// JSON.stringify. Time is the processor's, of the whole process
// (`process.cpuUsage`): what a call leaves for later counts too, and other work on the machine disturbs it least. The variants of metlog have
// their own rounds afterwards, so that the usual call is measured in a process that makes usual calls. `clients/node/ci.sh bench` runs it on
// each Node.js and prints rows of Markdown. `--check` exits 1 where a ratio is too high.
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import { createRequire } from "node:module";
import * as metlog from "metlog";

const require = createRequire(import.meta.url);
const option = (name, otherwise) => Number(process.argv[process.argv.indexOf(`--${name}`) + 1 || Infinity] ?? otherwise);
const ROUNDS = option("rounds", 25);
const CALLS = option("calls", 10_000);
const SINGLE = Math.ceil(CALLS / 10);

// The other end is a process of its own: it must not be measured.
const sink = spawn(process.execPath, ["-e", "const d = require('dgram').createSocket('udp4'); d.bind(0, '127.0.0.1', () => console.log(d.address().port)); d.on('message', () => {})"], { stdio: ["ignore", "pipe", "inherit"] });
const port = Number(await new Promise((resolve) => sink.stdout.once("data", (line) => resolve(String(line)))));
const url = `udp://127.0.0.1:${port}`;

const fields = (n) => ({ user: `u${n % 1000}`, route: "/account", ms: 12.5, status: 200 });
const event = (n) => ({
  timestamp: new Date().toISOString(), type: "login", tokens: ["login", "sync"], logger: "sync", severity: 6, payload: "user logged in", fields: fields(n), env_version: "1",
  pid: 4711, hostname: "web-1", stream: "c6ec91b9a85db15b", seq: n,
});
const client = (settings = {}) => metlog.MetlogClient.fromConfig(url, { logger: "sync", ...settings });
const logging = (to) => (n) => to.log(["login", "sync"], "user logged in", { fields: fields(n) });
const connected = dgram.createSocket("udp4");
await new Promise((resolve) => connected.connect(port, "127.0.0.1", resolve));
const fixed = Buffer.from(`${JSON.stringify(event(1))}\n`);
const ignore = () => {};

function peer(name, make) {
  try {
    return make(require(name));
  } catch (error) {
    console.error(`${name} is left out: ${error.message.split("\n")[0]}`);
    return {};
  }
}

const inContext = client();
const cases = {
  "build the event and `JSON.stringify`": { call: (n) => JSON.stringify(event(n)).length },
  "**metlog** `log`, default": { call: logging(client()) },
  "**metlog** `log` with `context` and `bind`": { variant: true, call: (n) => metlog.context({ request_id: "a1" }, () => logging(inContext.bind({ shop: 7 }))(n)) },
  "**metlog** `incr`": { variant: true, call: ((to) => () => to.incr("login"))(client()) },
  "**metlog** `log`, `redact` of names": { variant: true, call: logging(client({ filters: [{ name: "redact", drop: ["password"] }] })) },
  "**metlog** `log`, `severity_max` drops it": { variant: true, call: ((to) => (n) => to.log(["login", "sync"], "user logged in", { severity: 7, fields: fields(n) }))(client({ filters: ["severity_max:?severity=6"] })) },
  "**metlog** `log`, encoder `msgpack`": { variant: true, call: logging(client({ encoder: "msgpack" })) },
  "build, stringify, `dgram.send`: a datagram an event": { call: (n) => connected.send(Buffer.from(`${JSON.stringify(event(n))}\n`), ignore), calls: SINGLE },
  "`dgram.send` of a buffer made before": { call: () => connected.send(fixed, ignore), calls: SINGLE },
  "**metlog** `log`, `flush_interval: 0`: a datagram an event": { call: logging(client({ buffer: { flush_interval: 0 } })), calls: SINGLE },
  ...peer("hot-shots", (StatsD) => {
    const options = { host: "127.0.0.1", port, protocol: "udp", errorHandler: ignore, cacheDns: true };
    const [buffered, each] = [new StatsD({ ...options, maxBufferSize: 8192, bufferFlushInterval: 50 }), new StatsD(options)];
    return {
      "hot-shots `increment`, buffered, 3 tags": { call: (n) => buffered.increment("login", 1, { user: `u${n % 1000}`, route: "/account", status: "200" }) },
      "hot-shots `increment`, buffered": { call: () => buffered.increment("login") },
      "hot-shots `increment`, a datagram each": { call: () => each.increment("login"), calls: SINGLE },
    };
  }),
  ...peer("node-statsd", (StatsD) => {
    const made = new StatsD({ host: "127.0.0.1", port });
    return { "node-statsd `increment`, a datagram each": { call: () => made.increment("login"), calls: SINGLE } };
  }),
  ...peer("pino", (pino) => {
    const base = { base: { pid: 4711, hostname: "web-1" } };
    const [sync, async_] = [pino(base, pino.destination({ dest: "/dev/null", sync: true })), pino(base, pino.destination({ dest: "/dev/null", sync: false, minLength: 8192 }))];
    const info = (log) => (n) => log.info({ type: "login", fields: fields(n) }, "user logged in");
    return { "pino `info` to /dev/null, a write each": { call: info(sync) }, "pino `info` to /dev/null, 8 KB at once": { call: info(async_) } };
  }),
  ...peer("winston", (winston) => {
    const { combine, timestamp, json } = winston.format;
    const log = winston.createLogger({ format: combine(timestamp(), json()), transports: [new winston.transports.Stream({ stream: fs.createWriteStream("/dev/null") })] });
    return { "winston `info`, JSON to /dev/null": { call: (n) => log.info("user logged in", { type: "login", fields: fields(n) }), calls: SINGLE } };
  }),
};

const FLOOR = "build the event and `JSON.stringify`";
const AGAIN = "the same, beside the variants";
const pause = (ms) => new Promise((resolve) => (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));
const times = new Map([...Object.keys(cases), AGAIN].map((name) => [name, []]));
for (const later of [false, true]) for (let round = -2; round < ROUNDS; round += 1) {
  for (const [name, { call, calls = CALLS, variant = false }] of Object.entries(cases)) {
    if (variant !== later && name !== FLOOR) continue;
    const slice = Math.ceil(calls / 10);
    const start = process.cpuUsage();
    for (let from = 0; from < calls; from += slice) {
      for (let n = from; n < from + slice; n += 1) call(n);
      await pause(0);
    }
    await pause(10); // what a call leaves for later is its cost as well; waiting itself takes no processor time
    const { user, system } = process.cpuUsage(start);
    const spent = (user + system) * 1000;
    if (round >= 0) times.get(later && name === FLOOR ? AGAIN : name).push(spent / calls);
  }
  await pause(20);
}

const sorted = (name) => times.get(name).sort((a, b) => a - b);
const median = (name) => sorted(name)[ROUNDS >> 1];
const floorOf = (name) => median(cases[name]?.variant || name === AGAIN ? AGAIN : FLOOR);
console.log(`\nNode.js ${process.version}, ${ROUNDS} rounds\n\n| | CPU ns | × | ± |\n| --- | ---: | ---: | ---: |`);
for (const name of times.keys()) {
  if (name === AGAIN) continue;
  const floor = floorOf(name);
  const all = sorted(name);
  const spread = (all[Math.floor(ROUNDS * 0.75)] - all[Math.floor(ROUNDS * 0.25)]) / 2;
  console.log(`| ${name} | ${median(name).toFixed(0)} | ${(median(name) / floor).toFixed(2)} | ${(spread / floor).toFixed(2)} |`);
}
const limits = [
  ["**metlog** `log`, default", "build the event and `JSON.stringify`", 1.2],
  ["**metlog** `log`, default", "hot-shots `increment`, buffered, 3 tags", 0.8],
  ["**metlog** `log`, `flush_interval: 0`: a datagram an event", "build, stringify, `dgram.send`: a datagram an event", 1.1],
];
let wrong = 0;
for (const [ours, theirs, most] of limits) {
  if (!times.has(theirs)) continue;
  const ratio = median(ours) / median(theirs);
  if (ratio > most) wrong += 1;
  console.log(`\n${ours} is ${ratio.toFixed(2)} × ${theirs}; at most ${most}`);
}
sink.kill();
process.exit(process.argv.includes("--check") && wrong > 0 ? 1 : 0);
