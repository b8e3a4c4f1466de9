"use strict";
// One request brings the field of a picture; strength is then applied here. The download is computed by the server.
const $ = (id) => document.getElementById(id);
const view = { item: null, x: 0, y: 0 };

async function ask(path, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
  for (let tries = 0; ; tries += 1) {
    const answer = await fetch(path, { method: "POST", body: file, headers });
    if (answer.ok) return answer;
    if (answer.status === 429 && tries < 20) {
      await new Promise((go) => setTimeout(go, 1000 * Number(answer.headers.get("Retry-After") || 2)));
      continue;
    }
    if (answer.status === 401) $("token-row").hidden = false;
    const problem = await answer.json().catch(() => ({}));
    throw new Error(problem.error || `the server answered ${answer.status}`);
  }
}

async function pixels(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, image.width, image.height);
}

async function add(file) {
  const row = document.createElement("li");
  const state = document.createElement("span");
  const show = document.createElement("button");
  Object.assign(show, { type: "button", textContent: file.name, disabled: true });
  state.textContent = "working";
  row.append(show, state);
  $("list").append(row);
  try {
    const field = await (await ask("/v1/field", file)).json();
    const [before, t, transmission, depth] = await Promise.all(
      [field.preview, field.transmission, field.maps.transmission, field.maps.depth].map(pixels));
    const item = { file, field, before, t, maps: { transmission, depth } };
    state.textContent = "done";
    show.disabled = false;
    show.addEventListener("click", () => open(item));
    open(item);
  } catch (error) {
    state.textContent = "failed";
    $("message").textContent = `${file.name}: ${error.message}`;
  }
}

async function addAll(files) {
  $("message").textContent = "";
  for (const file of files) await add(file);
}

function open(item) {
  Object.assign(view, { item, x: 0, y: 0 });
  $("viewer").hidden = false;
  $("zoom").value = 1;
  const { airlight, density, mean_transmission: mean, width, height } = item.field;
  const colour = airlight.map((value) => Math.round(255 * value));
  $("swatch").style.background = `rgb(${colour.join(" ")})`;
  $("facts").textContent =
    `Airlight ${colour.join(", ")}; density ${density.toFixed(2)}; mean transmission ${mean.toFixed(2)}; ${width} × ${height} pixels`;
  $("picture").width = item.before.width;
  $("picture").height = item.before.height;
  clear();
  draw();
}

// J = A + gain * luma + colour gain * colour, as nedr/inversion.py computes it.
function clear() {
  const { field, before, t } = view.item, strength = Number($("strength").value);
  const [ar, ag, ab] = field.airlight.map((value) => 255 * value);
  const out = new ImageData(before.width, before.height), from = before.data, to = out.data, map = t.data;
  for (let i = 0; i < from.length; i += 4) {
    const held = Math.max(((map[i] << 8) + map[i + 1]) / 65535, 1e-4) ** strength;
    const gain = 1 / Math.min(1, Math.max(held, field.floor)), tint = Math.min(gain, 1 / field.colour_floor);
    const r = from[i] - ar, g = from[i + 1] - ag, b = from[i + 2] - ab;
    const grey = (0.299 * r + 0.587 * g + 0.114 * b) * (gain - tint);
    to[i] = ar + grey + tint * r;
    to[i + 1] = ag + grey + tint * g;
    to[i + 2] = ab + grey + tint * b;
    to[i + 3] = 255;
  }
  view.item.after = strength === 0 ? before : out;
}

function draw() {
  const { before, after, maps } = view.item, pen = $("picture").getContext("2d");
  const scale = Number($("zoom").value), box = $("stage").getBoundingClientRect();
  view.x = Math.min(0, Math.max(view.x, box.width * (1 - scale)));
  view.y = Math.min(0, Math.max(view.y, box.height * (1 - scale)));
  const split = Number($("split").value) / 100;
  const { clientWidth: wide, clientHeight: high } = $("picture");
  const fit = Math.min(wide / before.width, high / before.height), margin = (wide - before.width * fit) / 2;
  const cut = Math.round(((split * box.width - view.x) / scale - margin) / fit);
  const edge = Math.min(before.width, Math.max(0, cut));
  const kind = $("shown").value;
  pen.putImageData(before, 0, 0, 0, 0, edge, before.height);
  pen.putImageData(kind === "result" ? after : maps[kind], 0, 0, edge, 0, before.width - edge, before.height);
  $("picture").style.transform = `translate(${view.x}px, ${view.y}px) scale(${scale})`;
  $("line").style.left = `${split * 100}%`;
  $("picture").dataset.edge = edge;
}

async function download() {
  const { file } = view.item, button = $("download");
  button.disabled = true;
  try {
    const answer = await ask(`/v1/dehaze?strength=${$("strength").value}`, file);
    const kind = answer.headers.get("Content-Type").replace("image/", "").replace("jpeg", "jpg");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = `${file.name.replace(/\.[^.]*$/, "")}.dehazed.${kind}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    $("message").textContent = `${file.name}: ${error.message}`;
  }
  button.disabled = false;
}

function drag(event) {
  if (!event.buttons || !view.item) return;
  const box = $("stage").getBoundingClientRect();
  if (event.shiftKey || event.buttons === 4) {
    view.x += event.movementX;
    view.y += event.movementY;
  } else $("split").value = 100 * (event.clientX - box.left) / box.width;
  draw();
}

function wheel(event) {
  event.preventDefault();
  const box = $("stage").getBoundingClientRect(), old = Number($("zoom").value);
  $("zoom").value = old * (event.deltaY < 0 ? 1.2 : 1 / 1.2);
  const ratio = Number($("zoom").value) / old, px = event.clientX - box.left, py = event.clientY - box.top;
  view.x = px - (px - view.x) * ratio;
  view.y = py - (py - view.y) * ratio;
  draw();
}

$("files").addEventListener("change", (event) => addAll([...event.target.files]));
$("example").addEventListener("click", async () => {
  addAll([new File([await (await fetch("/example.jpg")).blob()], "example.jpg", { type: "image/jpeg" })]);
});
$("strength").addEventListener("input", () => {
  $("amount").value = Number($("strength").value).toFixed(2);
  clear();
  draw();
});
for (const id of ["split", "zoom", "shown"]) $(id).addEventListener("input", draw);
$("download").addEventListener("click", download);
$("stage").addEventListener("pointerdown", (event) => { $("stage").setPointerCapture(event.pointerId); drag(event); });
$("stage").addEventListener("pointermove", drag);
$("stage").addEventListener("wheel", wheel, { passive: false });
document.addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  addAll([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => addAll([...event.clipboardData.files]));
