// The controls beside the picture: strength with undo, what is shown, figures, histogram, saving one photograph.
import { draw, group, heard, items, picture } from "./photographs.js";
import { FORMATS } from "./server.js";
import { t } from "./words.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);
const SUFFIXES = {
  "image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif", "image/webp": "webp", "image/avif": "avif",
  "image/bmp": "bmp", "image/x-portable-anymap": "ppm",
};
const LOSSY = ["jpeg", "webp", "avif"];
const COPIED = 12e6; // pixels of a picture on the clipboard
const past = [], future = []; // changes of strength: [item, before, after] of all that changed together

// Strength

// `settled` is what the slider stood at before the hand took it.
function give(pairs) {
  for (const [item, strength] of pairs) item.strength = item.settled = strength;
  refresh();
  for (const [item] of pairs) if (item.id) draw(item).catch(() => {});
}

function change(pairs) {
  const changed = pairs.filter(([item, strength]) => item.settled !== strength).map(([item, strength]) => [item, item.settled, strength]);
  if (!changed.length) return refresh();
  past.push(changed);
  future.length = 0;
  give(changed.map(([item, , strength]) => [item, strength]));
}

function step(from, to, side) {
  const changed = from.pop();
  if (!changed) return;
  to.push(changed);
  give(changed.map((one) => [one[0], one[side]]).filter(([item]) => items.includes(item)));
}

export const undo = () => step(past, future, 1);
export const redo = () => step(future, past, 2);

function slid(value) {
  if (value === "") return; // a number is about to be typed
  const strength = Math.min(1.5, Math.max(0, Number(value) || 0));
  for (const item of group(viewer.current())) item.strength = strength;
  $("strength").value = strength;
  if (document.activeElement !== $("amount")) $("amount").value = strength.toFixed(2);
  viewer.render();
}

function settle(strength = viewer.current().strength) {
  change(group(viewer.current()).map((item) => [item, strength]));
}

// What belongs to the photograph that is open

export function refresh() {
  const item = viewer.current();
  if (!item) return;
  $("strength").value = item.strength;
  $("amount").value = item.strength.toFixed(2);
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("apply-all").hidden = items.length < 2;
  $("clip").hidden = !item.clip?.about;
  if (item.clip?.about) $("clip-text").textContent = t("clipReady", { ...item.clip.about, seconds: Math.round(item.clip.about.seconds) });
  if (item.about) describe(item.about);
  viewer.render();
}

function describe({ airlight, density, mean_transmission: mean, width, height }) {
  const colour = `#${airlight.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("")}`;
  $("swatch").style.background = colour;
  $("airlight").textContent = colour;
  $("density").textContent = density.toFixed(2);
  $("through").textContent = `${Math.round(100 * mean)} %`;
  $("size").textContent = `${width} × ${height}`;
}

// How often each brightness occurs, with marks where it is clipped

function histogram() {
  const small = new OffscreenCanvas(200, 150), pen = small.getContext("2d", { willReadFrequently: true });
  pen.drawImage($("after"), 0, 0, 200, 150);
  const { data } = pen.getImageData(0, 0, 200, 150), counts = new Uint32Array(256);
  let dark = 0, bright = 0, seen = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (!data[i + 3]) continue;
    const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
    seen += 1;
    counts[Math.round(0.299 * r + 0.587 * g + 0.114 * b)] += 1;
    if (Math.max(r, g, b) < 2) dark += 1;
    if (Math.max(r, g, b) > 253) bright += 1;
  }
  if (!seen) return; // the canvas is about to be drawn again
  const [low, high] = [dark, bright].map((count) => count > seen / 1000);
  bars(counts, low, high);
  const percent = (count) => (100 * count / seen).toFixed(1), clipped = low || high;
  $("clipping").textContent = t(clipped ? "clipping" : "clippingNone", { dark: percent(dark), bright: percent(bright) });
}

function bars(counts, dark, bright) {
  const pen = $("histogram").getContext("2d"), style = getComputedStyle(document.body), most = Math.max(1, ...[...counts].sort((a, b) => b - a).slice(3, 4));
  pen.clearRect(0, 0, 256, 64);
  pen.fillStyle = style.color;
  counts.forEach((count, k) => pen.fillRect(k, 64 - Math.min(64, 64 * count / most), 1, 64));
  pen.fillStyle = style.getPropertyValue("--bad");
  for (const [on, x, way] of [[dark, 0, 1], [bright, 256, -1]]) {
    if (!on) continue;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x + 12 * way, 0);
    pen.lineTo(x, 12);
    pen.fill();
  }
}

// Saving

export function asked(item) {
  const format = $("format").value, given = { strength: item.strength };
  if (format) given.format = format;
  if (LOSSY.includes(format)) given.quality = Number($("quality").value) || 92;
  return given;
}

export function save(url, name) {
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
}

export async function download(item) {
  const answer = await picture(item, asked(item)), kind = answer.headers.get("Content-Type");
  const url = URL.createObjectURL(await answer.blob());
  save(url, `${item.name.replace(/\.[^.]*$/, "")}.dehazed.${SUFFIXES[kind]}`);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

async function copy(item) {
  if (!navigator.clipboard || !window.ClipboardItem) return t("cannotCopy");
  const { width, height } = item.about, scale = Math.min(1, Math.sqrt(COPIED / (width * height)));
  const blob = picture(item, { strength: item.strength, format: "png", scale }).then((answer) => answer.blob());
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    return t("copied");
  } catch {
    return t("cannotCopy");
  }
}

function formats() {
  const chosen = $("format").value;
  $("format").replaceChildren(new Option(t("asItCame"), ""), ...FORMATS.map((name) => new Option(name.toUpperCase(), name)));
  $("format").value = chosen;
}

export function listen(say) {
  const busy = async (button, work) => {
    button.disabled = true;
    say("");
    try {
      say(await work(viewer.current()) || "");
    } catch (error) {
      say(error.words || String(error), error);
    }
    button.disabled = false;
  };
  formats();
  $("language").addEventListener("change", formats);
  for (const id of ["strength", "amount"]) {
    $(id).addEventListener("input", () => slid($(id).value));
    $(id).addEventListener("change", () => settle());
  }
  $("strength").addEventListener("dblclick", () => settle(1));
  $("reset").addEventListener("click", () => settle(1));
  $("undo").addEventListener("click", undo);
  $("redo").addEventListener("click", redo);
  $("apply-all").addEventListener("click", () => change(items.map((item) => [item, viewer.current().strength])));
  $("shown").addEventListener("input", () => {
    const kind = document.querySelector("#shown :checked").value;
    $("legend").textContent = kind === "result" ? "" : t(kind === "depth" ? "legendDepth" : "legendTransmission");
    viewer.show(kind);
  });
  $("format").addEventListener("input", () => { $("quality-row").hidden = !LOSSY.includes($("format").value); });
  $("download").addEventListener("click", () => busy($("download"), download));
  $("copy").addEventListener("click", () => busy($("copy"), copy));
  $("fit").addEventListener("click", viewer.fit);
  $("one").addEventListener("click", () => viewer.oneToOne());
  $("zoom-in").addEventListener("click", () => viewer.zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => viewer.zoomBy(1 / 1.5));
  for (const [kind, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["keydown", true], ["keyup", false], ["blur", false]])
    $("hold").addEventListener(kind, (event) => { if (!event.key || [" ", "Enter"].includes(event.key)) viewer.hold(on); });
  let waiting = 0;
  viewer.drawn.addEventListener("result", () => {
    clearTimeout(waiting);
    waiting = setTimeout(histogram, 80);
  });
  heard.addEventListener("change", ({ item }) => { if (item === viewer.current() && item.about) describe(item.about); });
}
