// What the page asks of its server, where there is none: the same questions as in ../static/server.js, answered by a
// thread of the browser, with the network in another. Nothing leaves the computer.
import { engine } from "./engine.js";
import { t } from "./words.js";
import { Zip } from "./zip.js";

const WORDS = { file: "unreadable", too_large: "tooManyPixelsHere", missing: "clipsHere", engine: "engineFailed", locked: "locked" };
const SUFFIXES = { "image/jpeg": "jpg", "image/png": "png" };
export const FORMATS = ["jpeg", "png"];

export class Refused extends Error {
  constructor(code, text = "") {
    super(text);
    Object.assign(this, { status: 0, code, again: code === "engine" });
  }

  get words() {
    return t(WORDS[this.code] || "engineFailed", { error: this.message });
  }
}

export function useToken() {}

// The threads

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const calls = new Map(), { port1, port2 } = new MessageChannel();
engine.postMessage(null, [port1]);
worker.postMessage({}, [port2]);
let last = 0;

worker.addEventListener("message", ({ data: { call, result, error, text } }) => {
  const { go, stop } = calls.get(call) || {};
  calls.delete(call);
  if (error) stop?.(new Refused(error, text));
  else go?.(result);
});
for (const thread of [worker, engine]) thread.addEventListener("error", (event) => {
  for (const { stop } of calls.values()) stop(new Refused("engine", event.message || "worker.js"));
  calls.clear();
});

function work(kind, given, signal) {
  return new Promise((go, stop) => {
    const call = (last += 1);
    calls.set(call, { go, stop });
    worker.postMessage({ call, kind, ...given });
    signal?.addEventListener("abort", () => {
      if (calls.delete(call)) worker.postMessage({ cancel: call });
      stop(signal.reason);
    });
  });
}

// The first photograph need not wait for the weights; a failure is reported with it.
export const ready = work("warm", {}).catch(() => {});

// Once nothing is asked any more: for what a photograph should not wait for.
export async function quiet() {
  await ready;
  while (calls.size) await new Promise((go) => setTimeout(go, 1000));
}

// Photographs

const formats = new Map(); // that each is saved in unless told otherwise

export async function send(path, file, { sent = () => {}, signal } = {}) {
  if (path !== "v1/pictures") throw new Refused("missing");
  await file.slice(0, 1).arrayBuffer().catch(() => { throw new Refused("locked"); });
  const id = crypto.randomUUID();
  sent(1);
  const about = await work("keep", { id, file }, signal);
  formats.set(id, about.format);
  return about;
}

// A part of a photograph's result or all of it, made when its pixels or its file are asked for.
class Answer {
  constructor(id, asked, signal) {
    Object.assign(this, { id, asked, signal, headers: new Headers({ "Content-Type": asked.type }) });
  }

  bitmap() {
    return work("part", { id: this.id, asked: this.asked }, this.signal);
  }

  async blob() {
    const { id, asked, signal } = this;
    if (!asked.map && !asked.region && asked.scale === 1) return work("whole", { id, asked }, signal);
    const found = await this.bitmap(), canvas = new OffscreenCanvas(found.width, found.height);
    canvas.getContext("bitmaprenderer").transferFromImageBitmap(found);
    return canvas.convertToBlob({ type: asked.type, quality: 0.95 });
  }
}

export function bitmap(answer) {
  return answer.bitmap();
}

function understood(id, given) {
  return {
    strength: Number(given.strength ?? 1), scale: Number(given.scale ?? 1), region: given.region?.split(",").map(Number), map: given.map,
    type: `image/${given.format || formats.get(id)}`, quality: given.quality && Number(given.quality),
  };
}

// Several in one ZIP

const jobs = new Map();

function begin({ pictures }) {
  const job = { id: crypto.randomUUID(), name: "dehazed.zip", state: "working", done: 0, total: pictures.length, failed: 0, file: null, missing: [] };
  jobs.set(job.id, job);
  packed(job, pictures);
  return job;
}

async function packed(job, pictures) {
  const zip = new Zip();
  for (const { id, name, ...given } of pictures) {
    const asked = understood(id, given);
    await new Answer(id, asked).blob().then((blob) => zip.add(`${name.replace(/\.[^./]*$/, "")}.dehazed.${SUFFIXES[asked.type]}`, blob)).catch(() => { job.failed += 1; });
    job.done += 1;
  }
  Object.assign(job, { file: URL.createObjectURL(zip.done()), state: "done" });
}

// The questions

export async function ask(path, { method = "GET", json, signal } = {}) {
  const [, kind, id, rest] = path.split(/[/?]/), given = Object.fromEntries(new URLSearchParams(path.split("?")[1]));
  if (kind === "limits") return Response.json({ jobs: true });
  if (kind === "jobs") return Response.json(method === "POST" ? begin(json) : jobs.get(id));
  if (kind === "pictures" && rest === "dehazed") return new Answer(id, understood(id, given), signal);
  formats.delete(id);
  return work("forget", { id });
}
