"use strict";
// One request brings the haze of a photograph; strength is applied here. The download is computed by the server.
const AT_ONCE = 2; // requests of one page at the same time
const PREVIEW = 1280; // pixels of the preview's long side
const NEAR = 28; // pixels around the line where a drag moves the line, also when zoomed
const SUFFIXES = {
  "image/jpeg": "jpg", "image/png": "png", "image/tiff": "tif", "image/webp": "webp", "image/avif": "avif",
  "image/bmp": "bmp", "image/x-portable-anymap": "ppm",
};
const LEGENDS = { result: "", transmission: "Bright is clear, dark is hazy.", depth: "Bright is far, dark is near." };
const $ = (id) => document.getElementById(id);
const items = [], queue = [], pointers = new Map();
const view = { item: null, x: 0, y: 0, opening: 0, mode: "" };
let working = 0;

// The server

class Refused extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

async function ask(path, file) {
  await file.slice(0, 1).arrayBuffer().catch(() => { throw new Refused("it cannot be read; a folder cannot be dropped, the pictures in it can"); });
  const headers = { "Content-Type": "application/octet-stream" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(path, { method: "POST", body: file, headers }).catch(() => null);
    if (!answer) throw new Refused("the server cannot be reached, or the file is larger than it accepts", 0);
    if (answer.ok) return answer;
    if (answer.status !== 429 || tries === 20) throw await refusal(answer);
    await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("Retry-After") || 2)));
  }
}

async function refusal(answer) {
  const problem = await answer.json().catch(() => ({}));
  return new Refused(problem.error || `the server answered ${answer.status}`, answer.status);
}

// Photographs: waiting, working, done or failed

function add(file) {
  const item = { file, state: "waiting", strength: Number($("strength").value) };
  items.push(item);
  list(item);
  enqueue(item);
}

function enqueue(item) {
  queue.push(item);
  mark(item, "waiting");
  while (working < AT_ONCE && queue.length) work();
}

async function work() {
  working += 1;
  while (queue.length) await describe(queue.shift());
  working -= 1;
}

async function describe(item) {
  mark(item, "working");
  try {
    item.field = await (await ask(`/v1/field?preview=${PREVIEW}`, item.file)).json();
    mark(item, "done");
    if (!view.item) await show(item);
  } catch (error) {
    mark(item, "failed", error);
  }
}

function list(item) {
  const row = document.createElement("li");
  row.innerHTML = '<button class="open" type="button" disabled><img alt="" width="64" height="48"><span></span></button><span class="state"></span><button class="plain again" type="button" hidden>Try again</button>';
  row.querySelector(".open span").textContent = item.file.name;
  row.querySelector(".open").addEventListener("click", () => show(item));
  row.querySelector(".again").addEventListener("click", () => enqueue(item));
  item.row = row;
  $("list").append(row);
  $("photographs").hidden = false;
  document.body.classList.add("loaded");
}

function mark(item, state, error) {
  const { row } = item, again = error && (error.status === 0 || [401, 408, 429, 503].includes(error.status));
  Object.assign(item, { state, again });
  row.className = state;
  row.querySelector(".state").textContent = error ? error.message : state;
  row.querySelector(".open").disabled = state !== "done";
  row.querySelector(".again").hidden = !again;
  if (state === "done") row.querySelector("img").src = item.field.preview.picture;
  if (error && error.status === 401) askToken();
  count();
}

function count() {
  const of = (state) => items.filter((item) => item.state === state).length;
  const done = of("done"), failed = of("failed");
  $("count").textContent = `${done} of ${items.length} done${failed ? `, ${failed} failed` : ""}`;
  $("all").hidden = done < 2;
}

function askToken() {
  $("token-row").hidden = false;
  $("token").focus();
}

// The view

async function decoded(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

async function pixels(url) {
  const image = await decoded(url);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, image.width, image.height);
}

async function show(item) {
  const ticket = view.opening += 1, { picture, transmission, maps } = item.field.preview;
  view.item = item;
  const loading = [pixels(picture), pixels(transmission), decoded(maps.transmission), decoded(maps.depth)];
  const [before, { data }, ...drawn] = await Promise.all(loading);
  if (ticket !== view.opening) return; // another one was opened meanwhile
  Object.assign(view, { x: 0, y: 0, before, maps: { transmission: drawn[0], depth: drawn[1] } });
  view.t = new Uint16Array(data.length / 4);
  for (let k = 0; k < view.t.length; k += 1) view.t[k] = (data[4 * k] << 8) + data[4 * k + 1];
  for (const other of items) other.row.querySelector(".open").toggleAttribute("aria-current", other === item);
  describeHaze(item.field);
  $("strength").value = item.strength;
  $("zoom").value = 1;
  for (const canvas of [$("before"), $("after")]) Object.assign(canvas, { width: before.width, height: before.height });
  $("stage").style.setProperty("--ratio", Math.min(3, Math.max(0.6, before.width / before.height)));
  $("before").getContext("2d").putImageData(before, 0, 0);
  $("viewer").hidden = false;
  render();
  place();
}

function describeHaze({ airlight, density, mean_transmission: mean, width, height }) {
  const colour = `#${airlight.map((value) => Math.round(255 * value).toString(16).padStart(2, "0")).join("")}`;
  $("swatch").style.background = colour;
  $("airlight").textContent = colour;
  $("density").textContent = density.toFixed(2);
  $("through").textContent = `${Math.round(100 * mean)} %`;
  $("size").textContent = `${width} × ${height}`;
}

function shown() {
  return document.querySelector("#shown :checked").value;
}

function render() {
  const kind = shown(), { item, before } = view, pen = $("after").getContext("2d");
  $("amount").value = item.strength.toFixed(2);
  $("legend").textContent = LEGENDS[kind];
  $("tag-after").textContent = kind === "result" ? "after" : kind;
  if (kind === "result") pen.putImageData(cleared(item), 0, 0);
  else pen.drawImage(view.maps[kind], 0, 0, before.width, before.height);
}

// J = A + gain * luma + colour gain * colour, as the library computes it; the gain is one of 65536.
function cleared({ field, strength }) {
  const { before, t } = view;
  if (strength === 0) return before;
  const gains = Float32Array.from({ length: 65536 }, (_, k) =>
    1 / Math.min(1, Math.max(Math.max(k / 65535, 1e-4) ** strength, field.floor)));
  const out = new ImageData(before.width, before.height), from = before.data, to = out.data;
  const [ar, ag, ab] = field.airlight.map((value) => 255 * value), most = 1 / field.colour_floor;
  for (let i = 0, k = 0; i < from.length; i += 4, k += 1) {
    const gain = gains[t[k]], tint = Math.min(gain, most);
    const r = from[i] - ar, g = from[i + 1] - ag, b = from[i + 2] - ab;
    const grey = (0.299 * r + 0.587 * g + 0.114 * b) * (gain - tint);
    to[i] = ar + grey + tint * r;
    to[i + 1] = ag + grey + tint * g;
    to[i + 2] = ab + grey + tint * b;
    to[i + 3] = 255;
  }
  return out;
}

// Both pictures hang on the same four numbers, so they zoom and move in step.
function place() {
  const { style, clientWidth: width, clientHeight: height, classList } = $("stage"), zoom = Number($("zoom").value);
  view.x = Math.min(0, Math.max(view.x, width * (1 - zoom)));
  view.y = Math.min(0, Math.max(view.y, height * (1 - zoom)));
  style.setProperty("--x", `${view.x}px`);
  style.setProperty("--y", `${view.y}px`);
  style.setProperty("--zoom", zoom);
  style.setProperty("--split", `${$("split").value}%`);
  classList.toggle("zoomed", zoom > 1);
  $("factor").value = `${zoom.toFixed(1)}×`;
}

function zoomTo(zoom, px, py) {
  const old = Number($("zoom").value);
  $("zoom").value = zoom;
  zoomedFrom(old, px, py);
}

function zoomedFrom(old, px = $("stage").clientWidth / 2, py = $("stage").clientHeight / 2) {
  const ratio = Number($("zoom").value) / old;
  view.x = px - (px - view.x) * ratio;
  view.y = py - (py - view.y) * ratio;
  place();
}

function move(dx, dy) {
  view.x += dx;
  view.y += dy;
  place();
}

// Mouse, touch and keyboard on the picture

function inside({ clientX, clientY }) {
  const box = $("stage").getBoundingClientRect();
  return { x: clientX - box.left, y: clientY - box.top };
}

function slide(at) {
  $("split").value = 100 * at.x / $("stage").clientWidth;
  place();
}

function press(event) {
  $("stage").setPointerCapture(event.pointerId);
  const at = inside(event), line = Number($("split").value) / 100 * $("stage").clientWidth;
  pointers.set(event.pointerId, at);
  const moves = Number($("zoom").value) > 1 && Math.abs(at.x - line) > NEAR;
  view.mode = pointers.size > 1 ? "pinch" : moves || event.button === 1 ? "move" : "slide";
  if (view.mode === "slide" && event.pointerType === "mouse") slide(at);
}

function drag(event) {
  const before = pointers.get(event.pointerId), at = inside(event);
  if (!before) return;
  if (view.mode === "pinch") pinch(event.pointerId, before, at);
  else if (view.mode === "slide") slide(at);
  else move(at.x - before.x, at.y - before.y);
  pointers.set(event.pointerId, at);
}

function pinch(id, before, at) {
  const [, other] = [...pointers].find(([key]) => key !== id) || [];
  if (!other) return;
  const far = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
  zoomTo(Number($("zoom").value) * far(at) / far(before), (at.x + other.x) / 2, (at.y + other.y) / 2);
  move((at.x - before.x) / 2, (at.y - before.y) / 2);
}

function release(event) {
  pointers.delete(event.pointerId);
  if (view.mode === "pinch" && pointers.size === 1) view.mode = "move";
}

function wheel(event) {
  event.preventDefault();
  const { x, y } = inside(event);
  zoomTo(Number($("zoom").value) * (event.deltaY < 0 ? 1.2 : 1 / 1.2), x, y);
}

function key(event) {
  if (event.target !== $("stage") || event.ctrlKey || event.metaKey || event.altKey) return;
  const zoom = Number($("zoom").value), step = 40;
  const acts = {
    "+": () => zoomTo(zoom * 1.25), "=": () => zoomTo(zoom * 1.25), "-": () => zoomTo(zoom / 1.25), 0: () => zoomTo(1),
    ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
  };
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

// Downloads

async function save({ file, strength }) {
  try {
    const answer = await ask(`/v1/dehaze?strength=${strength}`, file);
    const kind = answer.headers.get("Content-Type"), link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `${file.name.replace(/\.[^.]*$/, "")}.dehazed.${SUFFIXES[kind]}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    $("message").textContent = `${file.name}: ${error.message}`;
    if (error.status === 401) askToken();
  }
}

async function download(button, chosen) {
  $("message").textContent = "";
  button.disabled = true;
  for (const item of chosen) await save(item);
  button.disabled = false;
}

// What the user does

function take(files) {
  $("message").textContent = "";
  for (const file of files) add(file);
}

$("files").addEventListener("change", (event) => { take([...event.target.files]); event.target.value = ""; });
$("example").addEventListener("click", async () => {
  const answer = await fetch("/example.jpg").catch(() => null);
  if (answer) take([new File([await answer.blob()], "example.jpg", { type: "image/jpeg" })]);
  else $("message").textContent = "the server cannot be reached";
});
$("token-row").addEventListener("submit", (event) => {
  event.preventDefault();
  $("token-row").hidden = true;
  items.filter((item) => item.again).forEach(enqueue);
});
$("strength").addEventListener("input", () => { view.item.strength = Number($("strength").value); render(); });
$("zoom").addEventListener("input", () => zoomedFrom(Number($("stage").style.getPropertyValue("--zoom"))));
$("split").addEventListener("input", place);
$("shown").addEventListener("input", render);
$("download").addEventListener("click", () => download($("download"), [view.item]));
$("all").addEventListener("click", () => download($("all"), items.filter((item) => item.state === "done")));
$("stage").addEventListener("pointerdown", press);
$("stage").addEventListener("pointermove", drag);
for (const end of ["pointerup", "pointercancel"]) $("stage").addEventListener(end, release);
$("stage").addEventListener("wheel", wheel, { passive: false });
$("stage").addEventListener("keydown", key);
$("stage").addEventListener("dblclick", (event) => {
  const { x, y } = inside(event);
  zoomTo(Number($("zoom").value) > 1 ? 1 : 3, x, y);
});
new ResizeObserver(place).observe($("stage"));
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
