// The photographs of the page: each is waiting, working, done or failed, and has its own strength.
import { ask, bitmap as pixels, send } from "./server.js";

const AT_ONCE = 2; // photographs that are sent at the same time
export const items = [];
const queue = [];
let working = 0;
export const heard = new EventTarget(); // "change" with the item, "added", "removed"

export function tell(kind, item) {
  heard.dispatchEvent(Object.assign(new Event(kind), { item }));
}

export function add(file, { path = file.name, clip = null, strength = 1 } = {}) {
  const item = { file, path, name: path.split("/").pop(), clip, strength, settled: strength, state: "waiting", stop: new AbortController() };
  items.push(item);
  tell("added", item);
  if (clip?.stills !== "coming") enqueue(item);
  return item;
}

export function enqueue(item) {
  item.error = null;
  mark(item, "waiting");
  queue.push(item);
  while (working < AT_ONCE && queue.length) work();
}

// Tries once more what has failed; a video knows how it is sent.
export function again(item) {
  if (item.again) item.again();
  else enqueue(item);
}

// Out of the list, on this side only.
export function take(item) {
  if (!items.includes(item)) return;
  item.stop.abort();
  items.splice(items.indexOf(item), 1);
  if (queue.includes(item)) queue.splice(queue.indexOf(item), 1);
  if (item.thumb) URL.revokeObjectURL(item.thumb);
  tell("removed", item);
}

// What belongs together: a photograph alone, or all frames of a video.
export function group(item) {
  return item.clip ? items.filter((other) => other.clip === item.clip) : [item];
}

// A video goes with all its frames; what is made of it stays.
export function remove(item) {
  const { clip } = item;
  for (const one of group(item)) {
    take(one);
    if (one.id) forget(`v1/pictures/${one.id}`);
  }
  if (clip?.id && !clip.job) forget(`v1/videos/${clip.id}`);
}

export function forget(path) {
  ask(path, { method: "DELETE" }).catch(() => {});
}

export function mark(item, state, error = null) {
  Object.assign(item, { state, error });
  tell("change", item);
}

async function work() {
  working += 1;
  while (queue.length) await prepare(queue.shift());
  working -= 1;
}

async function prepare(item) {
  try {
    if (!item.id) await keep(item);
    await draw(item);
    mark(item, "done");
  } catch (error) {
    if (error.name !== "AbortError") mark(item, "failed", error);
  }
}

// Sends a file, and shows in an item's row how much of it has gone.
export function sent(path, file, item) {
  const progress = (share) => {
    item.sent = share;
    mark(item, share < 1 ? "sending" : "working");
  };
  return send(path, file, { sent: progress, signal: item.stop.signal });
}

async function keep(item) {
  item.about = await sent("v1/pictures", item.file, item);
  item.id = item.about.id;
}

// Sends what the server has let go of, once for all who miss it at the same time.
export function keepAgain(item) {
  item.keeping ??= keep(item).then(() => mark(item, "done"), (error) => {
    if (error.name !== "AbortError") mark(item, "failed", error);
    throw error;
  }).finally(() => { item.keeping = null; });
  return item.keeping;
}

// A kept picture as it is asked for; what the server has let go of is sent again.
export async function picture(item, asked, signal) {
  const { id } = item, path = () => `v1/pictures/${item.id}/dehazed?${new URLSearchParams(asked)}`;
  try {
    return await ask(path(), { signal });
  } catch (error) {
    if (error.code !== "gone") throw error;
    if (item.id === id) await keepAgain(item); // else another request has sent it since
    return ask(path(), { signal });
  }
}

export function shown(item) {
  return item.about?.transparent ? { format: "png" } : { format: "jpeg", quality: 95 };
}

export async function bitmap(item, asked, signal) {
  return pixels(await picture(item, asked, signal));
}

// The photograph's result in the filmstrip.
export async function draw(item) {
  const turn = item.drawing = (item.drawing || 0) + 1;
  const { width, height } = item.about, asked = { strength: item.strength, scale: Math.min(1, 240 / Math.max(width, height)) };
  const blob = await (await picture(item, { ...asked, ...shown(item) })).blob();
  if (turn !== item.drawing || !items.includes(item)) return; // another strength has been asked for, or it has gone
  if (item.thumb) URL.revokeObjectURL(item.thumb);
  item.thumb = URL.createObjectURL(blob);
  tell("change", item);
}
