// What the tests share: servers that keep what they get, and scripts that run as processes of their own.
import { spawn } from "node:child_process";
import dgram from "node:dgram";
import http from "node:http";
import net from "node:net";
import { fileURLToPath } from "node:url";
import { decode } from "metlog";

export const FOLDER = fileURLToPath(new URL("..", import.meta.url));

/** Waits until `condition` gives something true; throws after some seconds. */
export async function until(condition, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited in vain for: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A UDP server; `frames` and `events` are what came. */
export async function udpServer(t, port = 0) {
  const socket = dgram.createSocket("udp4");
  const frames = [];
  socket.on("message", (frame) => frames.push(frame));
  await new Promise((resolve) => socket.bind(port, "127.0.0.1", resolve));
  try {
    socket.setRecvBufferSize(4 << 20);
  } catch {
    // as large as it is
  }
  const close = () => new Promise((resolve) => socket.close(resolve));
  t.after(() => close().catch(() => {}));
  return { port: socket.address().port, frames, events: () => frames.flatMap((frame) => decode(frame)), close };
}

/** A stream server on a port or a path; `text()` is all that came, over all connections. */
export async function streamServer(t, where = { port: 0, host: "127.0.0.1" }, { read = true, make = net.createServer, options } = {}) {
  const chunks = [];
  const sockets = new Set();
  const take = (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    if (read) socket.on("data", (chunk) => chunks.push(chunk));
    else socket.pause();
  };
  const server = options === undefined ? make(take) : make(options, take);
  await new Promise((resolve) => server.listen(where, resolve));
  const hangUp = () => sockets.forEach((socket) => socket.destroy());
  const close = () => new Promise((resolve) => (hangUp(), server.close(resolve)));
  t.after(close);
  const text = () => Buffer.concat(chunks).toString();
  return { port: server.address()?.port, text, lines: () => text().split("\n").filter(Boolean).map((line) => JSON.parse(line)), hangUp, close, sockets };
}

/** An HTTP server; `answer(request, body, count)` gives a status, or [status, headers]. */
export async function httpServer(t, answer = () => 201) {
  const requests = [];
  const server = http.createServer((request, response) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      requests.push({ headers: request.headers, url: request.url, method: request.method, body });
      const said = answer(request, body, requests.length);
      if (said === null) return; // never answers
      const [status, headers] = Array.isArray(said) ? said : [said, {}];
      response.writeHead(status, headers).end("told");
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), new Promise((resolve) => server.close(resolve))));
  return { port: server.address().port, requests };
}

/** Runs an ES module as a process; gives its code, signal, output and milliseconds. */
export async function run(script, args = [], { timeout = 20_000, onLine, env = {} } = {}) {
  const started = Date.now();
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script, "--", ...args.map(String)], {
    cwd: FOLDER,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    onLine?.(String(chunk), child);
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeout);
  const [code, signal] = await new Promise((resolve) => child.on("close", (...ended) => resolve(ended)));
  clearTimeout(timer);
  return { code, signal, stdout, stderr, ms: Date.now() - started };
}
