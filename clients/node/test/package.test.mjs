// What is published: its files, its entry points, its types; and the code of its README and docs/node.md runs.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("..", import.meta.url));
const described = JSON.parse(readFileSync(join(FOLDER, "package.json"), "utf8"));
const ENTRIES = Object.keys(described.exports).filter((name) => name !== "./package.json").map((name) => name.replace(/^\./, "metlog"));

/** A folder in which `metlog` and what its tests use are installed. */
function project(link = FOLDER) {
  const folder = mkdtempSync(join(tmpdir(), "metlog-"));
  mkdirSync(join(folder, "node_modules"));
  for (const name of readdirSync(join(FOLDER, "node_modules"))) {
    if (name !== "metlog" && !name.startsWith(".")) symlinkSync(join(FOLDER, "node_modules", name), join(folder, "node_modules", name));
  }
  if (link !== null) symlinkSync(link, join(folder, "node_modules", "metlog"));
  return folder;
}

const execute = (command, args, options) =>
  new Promise((resolve) => execFile(command, args, { timeout: 60_000, ...options }, (error, stdout, stderr) => resolve({ code: error ? (error.code ?? 1) : 0, stdout, stderr })));

test("npm pack: code, types, README and licence, and nothing of ours or others beside", { timeout: 120_000 }, () => {
  const packed = JSON.parse(execFileSync("npm", ["pack", "--json", "--silent", "--ignore-scripts", "--dry-run"], { cwd: FOLDER, encoding: "utf8" }));
  const files = (Array.isArray(packed) ? packed[0] : Object.values(packed)[0]).files.map(({ path }) => path);
  assert.deepEqual(files.filter((path) => !/^dist\/([\w-]+\/)?[\w-]+\.(d\.)?m?[jt]s$|^(package\.json|README\.md|LICENSE)$/.test(path)), []);
  assert.deepEqual(files.filter((path) => /test|bench|vectors|node_modules|src\//.test(path)), []);
  for (const path of ["README.md", "package.json", "dist/index.js", "dist/index.mjs", "dist/index.d.ts", "dist/index.d.mts"]) assert.ok(files.includes(path), path);
  // What is compiled is what there are sources of: a file that was renamed leaves nothing behind.
  for (const path of files.filter((path) => path.startsWith("dist/"))) assert.ok(existsSync(join(FOLDER, path.replace(/^dist/, "src").replace(/(\.d)?\.(m?)[jt]s$/, ".$2ts"))), path);
  assert.match(described.scripts.prepack, /LICENSE/); // copied for the package
});

test("the package has no dependency, and its optional peers are optional", () => {
  assert.equal(described.dependencies, undefined);
  assert.deepEqual(Object.keys(described.peerDependencies), Object.keys(described.peerDependenciesMeta));
  assert.ok(Object.values(described.peerDependenciesMeta).every(({ optional }) => optional === true));
  for (const path of readdirSync(join(FOLDER, "dist"), { recursive: true }).filter((name) => name.endsWith("js"))) {
    const code = readFileSync(join(FOLDER, "dist", path), "utf8");
    for (const [, name] of code.matchAll(/(?:require\(|from )"([^"]+)"/g)) assert.match(name, /^(node:|\.\.?\/)/, path);
  }
  const sent = readFileSync(join(FOLDER, "src", "index.ts"), "utf8");
  assert.ok(sent.includes(`version = "${described.version}"`));
});

test("the version is the Python package's", () => {
  assert.match(readFileSync(join(FOLDER, "../../metlog/__init__.py"), "utf8"), new RegExp(`__version__ = "${described.version}"`));
});

test("each entry gives the same by import and by require", async () => {
  const folder = project();
  const script = `
    const assert = require("node:assert");
    (async () => {
      for (const name of ${JSON.stringify(ENTRIES)}) {
        const [imported, required] = [await import(name), require(name)];
        const names = (found) => Object.keys(found).filter((key) => !["default", "__esModule", "module.exports"].includes(key)).sort();
        assert.deepEqual(names(imported), names(required), name);
        assert.ok(names(imported).length > 0);
        for (const key of names(imported)) assert.equal(imported[key], required[key], name + " " + key);
      }
    })().catch((error) => { console.error(error); process.exit(1); });`;
  const { code, stderr } = await execute(process.execPath, ["--eval", script], { cwd: folder });
  assert.equal(code, 0, stderr);
});

test("the types are right for both kinds of module", { timeout: 120_000 }, async () => {
  const folder = project();
  const text = `import * as metlog from "metlog"; import { metlogMiddleware } from "metlog/express"; import transport from "metlog/pino";
const client: metlog.MetlogClient = metlog.configure("null:", { logger: "typed" });
client.log(["a", "b"], "m", { severity: 3, fields: { x: 1n } });
const n: number = metlog.timer("t", () => 5); const p: Promise<string> = metlog.timer("t", async () => "x"); const timer: metlog.Timer = metlog.timer("t", { rate: 0.5 });
const query: PromiseLike<number> = { then: null as never }; const q: Promise<number>[] = [metlog.timer("t", query), metlog.timer("t", () => query)]; const text: Promise<string> = metlog.timer("t", Promise.resolve("x"));
// @ts-expect-error a promise comes back, not its value
metlog.timer("t", Promise.resolve("x")).length;
function through<T>(work: () => T): T { return metlog.timer("t", work); }
const sender: metlog.Sender = { max_frame: 100, send: async () => {} }; const filter: metlog.Filter = (event) => (event.severity > 3 ? null : event);
metlog.register("sender", "mine", () => sender, { port: { kind: "integer", required: true } });
const stats: metlog.Stats = metlog.stats(); const use: (request: never, response: never, next: () => void) => void = metlogMiddleware({ sample: 0.5 });
// @ts-expect-error tokens are text
client.log([1]);
// @ts-expect-error no such option
metlogMiddleware({ smaple: 1 });
export { n, p, q, text, through, timer, filter, stats, use, transport };
`;
  for (const name of ["module.mts", "common.cts"]) {
    writeFileSync(join(folder, name), name.endsWith("cts") ? text.replace('import transport from "metlog/pino";', 'import { default as transport } from "metlog/pino";') : text);
  }
  const options = { compilerOptions: { module: "nodenext", target: "es2022", strict: true, noEmit: true, types: ["node"], lib: ["es2024", "esnext.disposable"] }, include: ["*.mts", "*.cts"] };
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(options));
  const { code, stdout, stderr } = await execute(join(FOLDER, "node_modules/.bin/tsc"), ["-p", folder], { cwd: folder });
  assert.equal(code, 0, stdout + stderr);
});

for (const page of ["../../docs/node.md", "README.md"]) {
  test(`the code of ${page} runs as it stands, in order`, async () => {
    const folder = project();
    const blocks = [...readFileSync(join(FOLDER, page), "utf8").matchAll(/^```js\n([^]*?)^```$/gm)].map(([, code]) => code);
    assert.ok(blocks.length > 0);
    writeFileSync(join(folder, "page.mjs"), `import assert from "node:assert/strict";\n${blocks.join("\n")}`);
    const { code, stdout, stderr } = await execute(process.execPath, ["page.mjs"], { cwd: folder });
    assert.equal(code, 0, stdout + stderr);
  });
}

test("tables of docs/node.md name every component, and no other", async () => {
  const metlog = await import("metlog");
  const text = readFileSync(join(FOLDER, "../../docs/node.md"), "utf8");
  for (const kind of ["sender", "encoder", "filter"]) {
    const row = new RegExp(`^\\| ${kind}s \\| (.*) \\|$`, "m").exec(text)[1];
    assert.deepEqual([...row.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name).sort(), metlog.names(kind));
  }
});

test("no lock file and no address of a registry is kept in the repository", () => {
  const listed = execFileSync("git", ["ls-files", "."], { cwd: FOLDER, encoding: "utf8" }).trim().split("\n");
  assert.ok(listed.includes("package.json"));
  assert.deepEqual(listed.filter((name) => /lock|\.npmrc|node_modules|dist\//.test(name)), []);
});
