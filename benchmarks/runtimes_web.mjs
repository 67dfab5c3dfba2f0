// Run the cases that `python -m benchmarks.runtimes --export FOLDER` wrote in ONNX Runtime Web (WebAssembly, CPU), and
// compare each rewritten model's grid with ONNX Runtime's. Prints JSON for `runtimes.py --web`.
//
//   npm install onnxruntime-web            (in any folder outside the repository)
//   node benchmarks/runtimes_web.mjs FOLDER THAT_FOLDER/node_modules

import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, modules] = process.argv.slice(2);
if (!folder || !modules) {
  console.error("usage: node runtimes_web.mjs FOLDER_OF_CASES NODE_MODULES");
  process.exit(2);
}
const require = createRequire(join(resolve(modules), "index.js"));
const ort = require("onnxruntime-web/wasm");
const { version } = JSON.parse(readFileSync(join(modules, "onnxruntime-web", "package.json"), "utf8"));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const KINDS = { float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int8: Int8Array, int32: Int32Array };

function read(place, entry) {
  const bytes = readFileSync(join(place, entry.file));
  const kind = KINDS[entry.type];
  if (!kind) throw new Error(`arrays of ${entry.type} are not read here`);
  return new kind(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Largest |difference| / max |expected|; infinity where shapes differ or anything is not a number. */
function difference(found, expected) {
  if (found.length !== expected.length) return Infinity;
  let top = 0;
  let gap = 0;
  for (let i = 0; i < found.length; i++) {
    const one = Math.abs(found[i] - expected[i]);
    if (Number.isNaN(one)) return Infinity;
    gap = Math.max(gap, one);
    top = Math.max(top, Math.abs(expected[i]));
  }
  return top > 0 ? gap / top : gap;
}

/** Mean over the cells of a grid (N, K, H, W), as N * K numbers. */
function means({ data, dims }) {
  const cells = dims[2] * dims[3];
  const result = new Float64Array(dims[0] * dims[1]);
  for (let i = 0; i < data.length; i++) result[Math.floor(i / cells)] += data[i] / cells;
  return result;
}

async function run(file, feeds) {
  const session = await ort.InferenceSession.create(readFileSync(file), { executionProviders: ["wasm"] });
  return session.run(feeds);
}

async function check(place) {
  const about = JSON.parse(readFileSync(join(place, "case.json"), "utf8"));
  const arrays = new Map(about.arrays.map((entry) => [entry.name, { ...entry, data: read(place, entry) }]));
  const feeds = {};
  for (const [name, { type, data, dims }] of arrays) {
    if (name.startsWith("in/")) feeds[name.slice(3)] = new ort.Tensor(type, data, dims);
  }
  const result = { name: about.name, version: `onnxruntime-web ${version}`, state: "equal", grid: 0, mean: 0, why: "" };
  try {
    await run(join(place, about.original), feeds);
  } catch (error) {
    return { ...result, state: "original fails", why: String(error) };
  }
  let found;
  try {
    found = await run(join(place, about.rewritten), feeds);
  } catch (error) {
    return { ...result, state: "fails", why: String(error) };
  }
  for (const [logits, grid] of about.heads) {
    result.grid = Math.max(result.grid, difference(found[grid].data, arrays.get(`out/${grid}`).data));
    result.mean = Math.max(result.mean, difference(means(found[grid]), found[logits].data));
  }
  const [forGrid, forMean] = about.tolerances;
  if (!(result.grid <= forGrid && result.mean <= forMean)) result.state = "differs";
  return result;
}

const rows = [];
for (const entry of readdirSync(folder, { withFileTypes: true })) {
  if (!entry.isDirectory()) continue;
  const place = join(folder, entry.name);
  if (readdirSync(place).includes("case.json")) rows.push(await check(place));
}
console.log(JSON.stringify(rows, null, 1));
process.exit(rows.length > 0 && rows.every((row) => row.state !== "differs" && row.state !== "fails") ? 0 : 1);
