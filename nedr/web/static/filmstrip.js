// The results side by side below the picture: choose, remove, try again, all in one ZIP.
import { ask } from "./server.js";
import { again, heard, items, keepAgain, remove } from "./photographs.js";
import { asked, download, save } from "./panel.js";
import { t } from "./words.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const POLL = 700; // milliseconds between two questions how far the ZIP is
const PATIENCE = 15; // of them while the browser does not fetch it: its dialogue was cancelled

function row(item) {
  const element = document.createElement("li");
  element.innerHTML = '<button class="open" type="button"><span class="thumb"><img alt="" hidden></span><span class="name"></span><span class="state"></span></button><button class="remove" type="button">×</button><button class="plain again small" type="button" hidden></button>';
  element.querySelector(".open").addEventListener("click", () => choose(item));
  element.querySelector(".again").addEventListener("click", () => again(item));
  element.querySelector(".remove").addEventListener("click", () => remove(item));
  item.row = element;
  $("list").append(element);
  update(item);
}

export function update(item) {
  const { row: element, state, error } = item, image = element.querySelector("img");
  element.className = state;
  element.querySelector(".name").textContent = item.name;
  element.querySelector(".open").title = item.path;
  element.querySelector(".state").textContent = error ? error.words || String(error) : state === "sending" ? t("sending", { percent: Math.round(100 * item.sent) }) : t(state);
  element.querySelector(".again").hidden = !error?.again;
  element.querySelector(".again").textContent = t("tryAgain");
  element.querySelector(".remove").setAttribute("aria-label", t("remove", { name: item.name }));
  if (item.thumb && image.src !== item.thumb) Object.assign(image, { src: item.thumb, hidden: false });
  count();
}

export function count() {
  const of = (state) => items.filter((item) => item.state === state).length;
  const done = of("done"), failed = of("failed");
  $("count").textContent = t(failed ? "countedFailed" : "counted", { done, all: items.length, failed });
  $("all").hidden = items.filter((item) => item.state === "done" && !item.clip).length < 2;
  $("retry").hidden = !items.some((item) => item.error?.again);
  $("previous").hidden = $("next").hidden = items.length < 2;
  $("photographs").hidden = !items.length;
  document.body.classList.toggle("loaded", items.length > 0);
}

export function choose(item) {
  for (const other of items) other.row.querySelector(".open").toggleAttribute("aria-current", other === item);
  item.row.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (item.state !== "failed") viewer.open(item);
  heard.dispatchEvent(new Event("chosen"));
}

export function turn(by) {
  const good = items.filter((item) => item.state === "done");
  const next = good[good.indexOf(viewer.current()) + by];
  if (next) choose(next);
}

// All in one file: the server makes it while the browser saves it, and says how far it is.
async function all(say) {
  const chosen = items.filter((item) => item.state === "done" && !item.clip), pictures = () => chosen.map((item) => ({ id: item.id, name: item.path, ...asked(item) }));
  const { jobs } = await (await ask("v1/limits")).json();
  if (!jobs) return oneByOne(chosen);
  let job = await (await ask("v1/jobs", { method: "POST", json: { pictures: pictures() } })).json();
  const missing = chosen.filter((item) => job.missing.includes(item.id));
  if (missing.length) {
    for (const item of missing) await keepAgain(item);
    job = await (await ask("v1/jobs", { method: "POST", json: { pictures: pictures() } })).json();
  }
  let saved = false; // a server streams its file from the start, a browser has it at the end
  const offer = () => {
    if (job.file && !saved) save(job.file, job.name);
    saved ||= Boolean(job.file);
  };
  offer();
  $("all-progress").hidden = false;
  for (let idle = 0; job.state !== "done" && idle < PATIENCE; idle = job.state === "ready" ? idle + 1 : 0) {
    await new Promise((go) => setTimeout(go, POLL));
    job = await (await ask(`v1/jobs/${job.id}`)).json();
    offer();
    $("all-progress").value = job.done / job.total;
    $("count").textContent = t("zipping", { done: job.done, all: job.total });
  }
  if (job.failed) say(t("zipFailed", { failed: job.failed }));
}

async function oneByOne(chosen) {
  for (const item of chosen) await download(item);
}

export function listen(say) {
  heard.addEventListener("added", ({ item }) => { row(item); if (items.length === 1) choose(item); });
  heard.addEventListener("change", ({ item }) => { if (items.includes(item)) update(item); });
  heard.addEventListener("removed", ({ item }) => { item.row.remove(); count(); });
  $("previous").addEventListener("click", () => turn(-1));
  $("next").addEventListener("click", () => turn(1));
  $("retry").addEventListener("click", () => items.filter((item) => item.error?.again).forEach(again));
  $("all").addEventListener("click", async () => {
    $("all").disabled = true;
    say("");
    await all(say).catch((error) => say(error.words || String(error), error));
    $("all").disabled = false;
    $("all-progress").hidden = true;
    count();
  });
}
