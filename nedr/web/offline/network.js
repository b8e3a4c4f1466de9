// The network, run by onnxruntime-web: by WebGPU where there is a graphics card, else by WebAssembly. A thread of its own,
// begun before everything else on the page: loading takes longest, and what is done to a photograph's pixels need not wait.
import { MODEL } from "./constants.js";

// A file of the site, unpacked if it is still packed: some servers unpack what they send.
async function bytes(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
  const found = new Uint8Array(await answer.arrayBuffer());
  if (found[0] !== 0x1f || found[1] !== 0x8b) return found;
  return new Uint8Array(await new Response(new Blob([found]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

async function session(runtime, provider) {
  const [ort, wasmBinary, model] = await Promise.all([import(`./runtime/${runtime}.js`), bytes(`runtime/${runtime}.wasm.packed`), bytes(MODEL.file)]);
  Object.assign(ort.env.wasm, { wasmBinary, numThreads: 1 });
  ort.env.logLevel = "error";
  // Without the optimizer WebAssembly is ready in half the time, and as fast; not every card can unfold half precision.
  const graphOptimizationLevel = provider === "wasm" ? "disabled" : "basic";
  const found = await ort.InferenceSession.create(model, { executionProviders: [provider], graphOptimizationLevel, logSeverityLevel: 3 });
  const run = (view, rows, columns) => answered(ort, found, view, rows, columns);
  await checked(run);
  return run;
}

// Compiles what is left to compile, and compares the answer to a pattern with the library's: cards may err.
async function checked(run) {
  const { least, check } = MODEL, pattern = (c) => Float32Array.from({ length: least ** 2 }, (_, k) => ((k * (c + 3)) % 251) / 250);
  const { lattice, airlight, density } = await run({ planes: [0, 1, 2].map(pattern), rows: least, columns: least }, 8, 8);
  const found = [lattice.values.reduce((sum, t) => sum + t, 0) / 64, ...airlight, density];
  if (found.some((value, k) => Math.abs(value - check[k]) > 0.01)) throw new Error("the network's answer differs from the library's");
}

// Transmission on a lattice, the airlight's mean and terms, and the density of a view.
async function answered(ort, found, { planes, rows, columns }, high, wide) {
  const values = new Float32Array(3 * rows * columns);
  planes.forEach((plane, c) => values.set(plane, c * rows * columns));
  const view = new ort.Tensor("float32", values, [1, 3, rows, columns]), lattice = new ort.Tensor("int64", BigInt64Array.of(BigInt(high), BigInt(wide)), [2]);
  const { transmission, airlight, terms, density } = await found.run({ view, lattice });
  const all = [transmission, airlight, terms, density].map(({ data }) => data);
  if (!all.every((data) => data.every(Number.isFinite))) throw new Error("the network answered with values that are not finite");
  return {
    lattice: { values: all[0].map((t) => Math.min(1, Math.max(1e-3, t))), rows: high, columns: wide },
    airlight: [...all[1]].map((value) => Math.min(1, Math.max(0, value))),
    terms: [0, 1, 2].map((c) => [...all[2].slice(5 * c, 5 * c + 5)]),
    density: Math.max(1e-6, all[3][0]),
  };
}

async function hasCard() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

// A function from a view and a lattice's rows and columns to the haze.
async function network() {
  const card = (await hasCard()) && (await session("webgpu", "webgpu").catch(() => null));
  return card || session("wasm", "wasm");
}

// Loaded once; after a failure again with the next question.
let loading = null;

function ready() {
  loading ||= network().catch((error) => {
    loading = null;
    throw error;
  });
  return loading;
}

// A question is { view, rows, columns }, or without them whether the network is loaded. Each brings the port of its answer.
async function answer({ data: { view, rows, columns }, ports: [port] }) {
  try {
    const run = await ready();
    port.postMessage({ found: view && await run(view, rows, columns) });
  } catch (error) {
    port.postMessage({ error: error.message || String(error) });
  }
}

ready().catch(() => {}); // told with the first question
self.addEventListener("message", ({ ports: [line] }) => { line.onmessage = answer; });
