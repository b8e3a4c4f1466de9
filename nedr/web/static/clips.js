// Videos: a few frames to look at and set the strength with, then the whole of it in the background. What is at work
// is remembered by the browser, so it is found again when the page is loaded again.
import { ask } from "./server.js";
import { add, forget, mark, sent, take } from "./photographs.js";
import { recall, remember } from "./memory.js";
import { t } from "./words.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const POLL = 1000, LATER = 5000; // milliseconds between two questions about a job, and after one that failed

export function isClip(file) {
  return file.type.startsWith("video/") || /\.(mp4|m4v|mov|mkv|webm|avi|ts|mts|m2ts|mpg|mpeg|wmv|3gp)$/i.test(file.name);
}

export function addClip(file, path) {
  const clip = { stills: "coming", name: file.name, file, frames: 0 }, item = add(file, { path, clip });
  item.again = () => prepare(clip, item);
  prepare(clip, item);
}

// Sends a video, unless that is done, and adds the frames that are still to come.
async function prepare(clip, item) {
  mark(item, "waiting");
  try {
    if (!clip.id) await keep(clip, item);
    clip.stills = "here";
    for (const [number, seconds] of [...clip.about.stills.entries()].slice(clip.frames)) {
      const blob = await (await ask(`v1/videos/${clip.id}/stills/${number}`, { signal: item.stop.signal })).blob();
      const clock = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
      add(new File([blob], `${clip.name} ${clock}`, { type: "image/jpeg" }), { clip });
      clip.frames += 1;
    }
    take(item); // the placeholder; its frames stay
  } catch (error) {
    if (error.name !== "AbortError") mark(item, "failed", error);
  }
}

async function keep(clip, item) {
  clip.about = await sent(`v1/videos?${new URLSearchParams({ name: clip.name.slice(-200) })}`, clip.file, item);
  clip.id = clip.about.id;
}

// Work in the background

function known() {
  return (recall("jobs") || "").split(" ").filter(Boolean);
}

async function start(item, say) {
  const { clip } = item, begin = async () => (await ask("v1/jobs", { method: "POST", json: { video: clip.id, strength: item.strength } })).json();
  const job = await begin().catch(async (error) => {
    if (error.code !== "gone") throw error;
    await keep(clip, item); // the server has let go of it
    mark(item, "done");
    return begin();
  });
  clip.job = job.id;
  remember("jobs", [...known(), job.id].join(" "));
  follow(job.id, say);
}

async function follow(id, say) {
  const line = document.createElement("li");
  line.innerHTML = '<span class="name"></span> <progress max="1"></progress> <span class="state quiet" role="status"></span> <a class="button small" hidden></a> <button class="plain small" type="button">×</button>';
  $("jobs").append(line);
  line.querySelector("button").setAttribute("aria-label", t("stop"));
  let over = false;
  line.querySelector("button").addEventListener("click", () => {
    over = true;
    end(id, line);
    forget(`v1/jobs/${id}`);
  });
  while (!over) {
    const job = await ask(`v1/jobs/${id}`).then((answer) => answer.json()).catch((error) => ({ error }));
    if (job.error?.code === "gone") return end(id, line);
    if (job.error?.status === 401) say(job.error.words, job.error);
    if (job.state) tell(job, line);
    if (["done", "failed"].includes(job.state)) return;
    await new Promise((go) => setTimeout(go, job.state ? POLL : LATER));
  }
}

function end(id, line) {
  remember("jobs", known().filter((other) => other !== id).join(" "));
  line.remove();
}

function tell(job, line) {
  const bar = line.querySelector("progress"), link = line.querySelector("a"), words = line.querySelector(".state");
  line.querySelector(".name").textContent = job.name;
  bar.hidden = ["done", "failed"].includes(job.state);
  if (job.total) bar.value = job.done / job.total;
  if (job.state === "done") {
    Object.assign(link, { href: job.file, download: job.name, textContent: t("clipSave"), hidden: false });
    words.textContent = t("done");
  } else if (job.state === "failed") words.textContent = t("clipFailed", { error: job.error });
  else words.textContent = job.done ? t("clipWorking", { done: job.done, all: job.total || "?" }) : t("clipWaiting");
}

export function listen(say) {
  for (const id of known()) follow(id, say);
  $("clip-start").addEventListener("click", () => start(viewer.current(), say).catch((error) => say(error.words || String(error), error)));
}
