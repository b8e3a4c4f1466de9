// What comes in, and what belongs together.
import { add, again, heard, items } from "./photographs.js";
import { LANGUAGES, choose, chosen, t, translate } from "./words.js";
import { useToken } from "./server.js";
import * as clips from "./clips.js";
import * as panel from "./panel.js";
import * as strip from "./filmstrip.js";
import * as viewer from "./viewer.js";

const $ = (id) => document.getElementById(id);

function say(text, error) {
  $("message").textContent = text;
  if (error?.status === 401) askToken();
}

function askToken() {
  $("token-row").hidden = false;
  $("token").focus();
}

function take(found) {
  say("");
  if (!found.length) say(t("nothing"));
  for (const { file, path } of found) {
    if (clips.isClip(file)) clips.addClip(file, path);
    else add(file, { path });
  }
}

// Files of a drop, those in folders too, with their paths.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean), files = [...transfer.files];
  if (!files.length && !entries.length) return say(t(transfer.types.includes("text/uri-list") || transfer.types.includes("text/plain") ? "link" : "nothing"));
  const folders = entries.some((entry) => entry.isDirectory);
  take(folders ? (await Promise.all(entries.map(below))).flat() : files.map((file) => ({ file, path: file.name })));
}

async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed)).catch(() => null);
    const wanted = file && (file.type.startsWith("image/") || clips.isClip(file) || /\.(heic|heif|tiff?|ppm|pgm|avif)$/i.test(file.name));
    return wanted && !file.name.startsWith(".") ? [{ file, path: entry.fullPath.slice(1) }] : [];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {
    const some = await new Promise((go, failed) => reader.readEntries(go, failed)).catch(() => []);
    if (!some.length) break;
    found.push(...some);
  }
  return (await Promise.all(found.map(below))).flat();
}

function plain(files) {
  take([...files].map((file) => ({ file, path: file.name })));
}

function shown() {
  const item = viewer.current();
  const here = Boolean(item && items.includes(item));
  $("viewer").hidden = !here || item.state === "failed" || (!item.about && $("viewer").hidden);
  $("panel").hidden = !here || !item.about;
  if (here) panel.refresh();
}

translate();
$("language").append(...Object.entries(LANGUAGES).map(([key, { name }]) => new Option(name, key)));
$("language").value = chosen();
$("language").addEventListener("change", () => {
  choose($("language").value);
  items.forEach(strip.update);
  shown();
});
strip.listen(say);
panel.listen(say);
clips.listen(say);
viewer.listen(strip.turn);

heard.addEventListener("chosen", shown);
heard.addEventListener("change", ({ item }) => {
  if (item.error?.status === 401) askToken();
  const open = viewer.current(), better = !items.includes(open) || open.state === "failed" || open.clip?.file === open.file;
  if (item.state === "failed") item.opened = false;
  if (item.state === "done" && (item === open ? !item.opened : better)) {
    item.opened = true;
    if (item === open) viewer.open(item).then(shown);
    else strip.choose(item);
  }
  if (item === open) shown();
});
heard.addEventListener("removed", ({ item }) => {
  if (item !== viewer.current()) return;
  const next = items.find((other) => other.state === "done");
  if (next) strip.choose(next);
  else shown();
});

$("files").addEventListener("change", (event) => {
  plain(event.target.files);
  event.target.value = "";
});
$("example").addEventListener("click", async () => {
  const answer = await fetch("example.jpg").catch(() => null);
  if (answer) plain([new File([await answer.blob()], "example.jpg", { type: "image/jpeg" })]);
  else say(t("unreachable"));
});
$("token-row").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken($("token").value.trim());
  $("token-row").hidden = true;
  items.filter((item) => item.error?.again).forEach(again);
});
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("#token")) return;
  event.preventDefault();
  if (event.shiftKey) panel.redo();
  else panel.undo();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
for (const end of ["dragleave", "drop"]) document.addEventListener(end, () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dropped(event.dataTransfer);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) plain(event.clipboardData.files);
  else if (!event.target.matches("input")) say(t("link"));
});
