// The picture before and after. Up to the preview's size the browser mixes the results of neighbouring strengths;
// beyond it the visible part comes from the server, pixel for pixel what the download will be.
import { bitmap, mark, shown as file } from "./photographs.js";
import { t } from "./words.js";

const $ = (id) => document.getElementById(id);
const PREVIEW = 1280; // pixels of the preview's long side
const STEPS = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]; // strengths that the server draws; what lies between is mixed
const STILL = 20; // milliseconds without a move until sharp pixels are asked for: a hand that moves does so in every frame
const NEAR = 28; // pixels around the line where a drag moves the line
const view = { item: null, kind: "result", scale: 1, x: 0, y: 0, opening: 0, mode: "" };
const pointers = new Map();
let timer = 0, stop = new AbortController();
export const drawn = new EventTarget(); // "result": the picture on the right has changed

export function current() {
  return view.item;
}

// Opening

export async function open(item) {
  const ticket = view.opening += 1;
  view.item = item;
  view.frames = new Map();
  view.maps = {};
  blur();
  if (!item.about) {
    const look = await createImageBitmap(item.file).catch(() => null);
    if (!look || ticket !== view.opening || item.about) return look?.close();
    begin(look, look.width, look.height);
    return;
  }
  const { width, height } = item.about;
  try {
    const [before] = await Promise.all([0, ...nearest(item.strength)].map(frame));
    if (ticket === view.opening) begin(before, width, height);
  } catch (error) {
    if (error.name !== "AbortError") mark(item, "failed", error);
    return;
  }
  for (const strength of STEPS) if (ticket === view.opening) await frame(strength).catch(() => {});
}

function begin(before, width, height) {
  const same = view.width === width && view.height === height && view.shownItem === view.item;
  Object.assign(view, { width, height, before, shownItem: view.item });
  const across = Math.min(before.width, PREVIEW), down = Math.max(1, Math.round(across * before.height / before.width));
  for (const canvas of [$("before"), $("after")]) Object.assign(canvas, { width: across, height: down });
  $("before").getContext("2d").drawImage(before, 0, 0, across, down);
  $("viewer").hidden = false;
  if (!same) fit();
  render();
  place();
}

function frame(strength) {
  const { frames, item } = view;
  if (!frames.has(strength)) frames.set(strength, bitmap(item, { strength, scale: step(item), ...file(item) }).then((found) => {
    frames.set(strength, found);
    return found;
  }, (error) => {
    frames.delete(strength);
    throw error;
  }));
  return Promise.resolve(frames.get(strength));
}

function step({ about: { width, height } }) {
  return Math.min(1, PREVIEW / Math.max(width, height));
}

function nearest(strength) {
  const above = Math.max(1, STEPS.findIndex((one) => one >= strength - 1e-9));
  return [STEPS[above - 1], STEPS[above]];
}

// Drawing

export async function show(kind) {
  view.kind = kind;
  const { item } = view;
  if (kind !== "result" && !view.maps[kind]) {
    const map = await bitmap(item, { map: kind, scale: step(item) }).catch(() => null);
    if (view.item !== item || !map) return;
    view.maps[kind] = map;
  }
  render();
}

export function render() {
  const { kind, item, before } = view, canvas = $("after"), pen = canvas.getContext("2d");
  if (!before) return;
  $("tag-after").textContent = kind === "result" ? t("after") : t(kind);
  const [low, high] = nearest(item.strength), share = (item.strength - low) / (high - low);
  const [first, second] = [low, high].map((one) => view.frames.get(one)).map((found) => found instanceof ImageBitmap ? found : null);
  pen.globalAlpha = 1;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (kind !== "result" && view.maps[kind]) pen.drawImage(view.maps[kind], 0, 0, canvas.width, canvas.height);
  else if (!item.about) pen.drawImage(before, 0, 0, canvas.width, canvas.height);
  else {
    if (!first && !second) pen.drawImage(before, 0, 0, canvas.width, canvas.height);
    if (share < 1 && first) pen.drawImage(first, 0, 0, canvas.width, canvas.height);
    if (share > 0 && second) {
      pen.globalAlpha = first ? share : 1;
      pen.drawImage(second, 0, 0, canvas.width, canvas.height);
    }
    if (!first || !second) Promise.all([frame(low), frame(high)]).then(() => view.item === item && render(), () => {});
  }
  $("sharp-after").hidden = true;
  drawn.dispatchEvent(new Event("result"));
  sharpen();
}

// Where the picture lies: `scale` is pixels of the stage for one of the photograph

function stage() {
  return { width: $("stage").clientWidth, height: $("stage").clientHeight };
}

function whole() {
  const { width, height } = stage();
  return Math.min(width / view.width, height / view.height);
}

export function fit() {
  view.scale = whole();
  place();
}

export function zoomTo(scale, px = stage().width / 2, py = stage().height / 2) {
  const least = whole(), most = Math.max(8 / devicePixelRatio, 8 * least), wanted = Math.min(most, Math.max(least, scale));
  view.x = px - (px - view.x) * wanted / view.scale;
  view.y = py - (py - view.y) * wanted / view.scale;
  view.scale = wanted;
  place();
}

export function zoomBy(ratio, px, py) {
  zoomTo(view.scale * ratio, px, py);
}

export function oneToOne(px, py) {
  zoomTo(1 / devicePixelRatio, px, py);
}

export function isWhole() {
  return view.scale <= whole() * 1.001;
}

function within(offset, size, room) {
  return size <= room ? (room - size) / 2 : Math.min(0, Math.max(offset, room - size));
}

// All four canvases hang on the same three numbers, so they zoom and move in step.
export function place() {
  if (!view.before) return;
  const { width, height } = stage(), { style, classList } = $("stage");
  view.scale = Math.max(view.scale, whole());
  view.x = within(view.x, view.scale * view.width, width);
  view.y = within(view.y, view.scale * view.height, height);
  for (const canvas of [$("before"), $("after")]) lay(canvas, [0, 0, view.width, view.height]);
  for (const canvas of [$("sharp-before"), $("sharp-after")]) if (canvas.region) lay(canvas, canvas.region);
  style.setProperty("--split", `${$("split").value}%`);
  classList.toggle("zoomed", !isWhole());
  $("factor").value = `${Math.round(100 * view.scale * devicePixelRatio)} %`;
  sharpen();
}

function lay(canvas, [x0, y0, x1, y1]) {
  const { scale, x, y } = view;
  canvas.style.transform = `translate(${x + x0 * scale}px, ${y + y0 * scale}px) scale(${(x1 - x0) * scale / canvas.width}, ${(y1 - y0) * scale / canvas.height})`;
}

// Sharp pixels

function blur() {
  clearTimeout(timer);
  stop.abort();
  for (const canvas of [$("sharp-before"), $("sharp-after")]) Object.assign(canvas, { hidden: true, region: null, asked: "" });
  $("sharpness").textContent = "";
}

function sharpen() {
  clearTimeout(timer);
  stop.abort();
  $("sharpness").textContent = "";
  if (view.item?.about && step(view.item) < 1 && view.scale * devicePixelRatio > 1.02 * step(view.item)) timer = setTimeout(sharp, STILL);
  else for (const canvas of [$("sharp-before"), $("sharp-after")]) canvas.hidden = true;
}

function visible() {
  const { scale, x, y } = view, { width, height } = stage();
  const most = [view.width, view.height, view.width, view.height];
  return [Math.floor(-x / scale), Math.floor(-y / scale), Math.ceil((width - x) / scale), Math.ceil((height - y) / scale)]
    .map((value, k) => Math.min(most[k], Math.max(0, value)));
}

async function sharp() {
  stop = new AbortController();
  const { signal } = stop, { item } = view, region = visible(), scale = Math.min(1, view.scale * devicePixelRatio);
  const sides = [[$("sharp-after"), item.strength], [$("sharp-before"), 0]].slice(view.kind === "result" ? 0 : 1);
  $("sharpness").textContent = t("sharpening");
  try {
    await Promise.all(sides.map(async ([canvas, strength]) => {
      const asked = { strength, region: region.join(","), scale: scale.toFixed(5), ...file(item) };
      if (JSON.stringify(asked) !== canvas.asked) paint(canvas, await bitmap(item, asked, signal), region, asked);
      if (!signal.aborted) canvas.hidden = false;
    }));
    $("sharpness").textContent = "";
  } catch (error) {
    if (error.name !== "AbortError") $("sharpness").textContent = "";
  }
}

function paint(canvas, found, region, asked) {
  Object.assign(canvas, { width: found.width, height: found.height, region, asked: JSON.stringify(asked) });
  canvas.getContext("2d").drawImage(found, 0, 0);
  found.close();
  lay(canvas, region);
}

export function isSharp() {
  return !$("sharp-after").hidden && !$("sharp-before").hidden;
}

// Mouse, touch and keyboard on the picture

export function hold(on) {
  $("stage").classList.toggle("held", on);
}

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
  const at = inside(event), far = Math.abs(at.x - Number($("split").value) / 100 * $("stage").clientWidth) > NEAR;
  pointers.set(event.pointerId, { ...at, from: at });
  const mouse = event.pointerType === "mouse";
  if (pointers.size > 1) view.mode = "pinch";
  else if (!isWhole() && far || event.button === 1) view.mode = "move";
  else view.mode = far && !mouse ? "swipe" : "slide";
  if (view.mode === "slide" && mouse) slide(at);
}

function drag(event) {
  const before = pointers.get(event.pointerId), at = inside(event);
  if (!before) return;
  if (view.mode === "pinch") pinch(event.pointerId, before, at);
  else if (view.mode === "slide") slide(at);
  else if (view.mode === "move") move(at.x - before.x, at.y - before.y);
  pointers.set(event.pointerId, { ...at, from: before.from });
}

function pinch(id, before, at) {
  const [, other] = [...pointers].find(([key]) => key !== id) || [];
  if (!other) return;
  const far = (point) => Math.hypot(point.x - other.x, point.y - other.y) || 1;
  zoomBy(far(at) / far(before), (at.x + other.x) / 2, (at.y + other.y) / 2);
  move((at.x - before.x) / 2, (at.y - before.y) / 2);
}

function move(dx, dy) {
  view.x += dx;
  view.y += dy;
  place();
}

function release(event, turn) {
  const at = pointers.get(event.pointerId);
  pointers.delete(event.pointerId);
  if (view.mode === "swipe" && at && Math.abs(at.x - at.from.x) > 50) turn(at.x < at.from.x ? 1 : -1);
  view.mode = view.mode === "pinch" && pointers.size === 1 ? "move" : "";
}

function key(event, turn) {
  if (event.target.matches("input, select, textarea, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
  const onStage = event.target === $("stage"), moves = onStage && !isWhole(), step = 40;
  const acts = {
    "+": () => zoomBy(1.25), "=": () => zoomBy(1.25), "-": () => zoomBy(0.8), 0: fit, 1: () => oneToOne(),
    PageDown: () => turn(1), PageUp: () => turn(-1),
    ArrowLeft: moves ? () => move(step, 0) : onStage && (() => turn(-1)), ArrowRight: moves ? () => move(-step, 0) : onStage && (() => turn(1)),
    ArrowUp: moves && (() => move(0, step)), ArrowDown: moves && (() => move(0, -step)), " ": onStage && (() => hold(true)),
  };
  if (!acts[event.key] || !view.before) return;
  event.preventDefault();
  acts[event.key]();
}

export function listen(turn) {
  const element = $("stage");
  element.addEventListener("pointerdown", press);
  element.addEventListener("pointermove", drag);
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, (event) => release(event, turn));
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = inside(event);
    zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, x, y);
  }, { passive: false });
  element.addEventListener("dblclick", (event) => {
    const { x, y } = inside(event);
    if (isWhole()) oneToOne(x, y);
    else fit();
  });
  document.addEventListener("keydown", (event) => key(event, turn));
  document.addEventListener("keyup", (event) => { if (event.key === " ") hold(false); });
  $("split").addEventListener("input", place);
  new ResizeObserver(() => {
    if (view.before && !element.classList.contains("zoomed")) view.scale = whole(); // the whole picture stays whole
    place();
  }).observe(element);
}
