// What the page asks of a photograph, done beside it in a thread of its own. A request is { call, kind, ... }, answered
// by { call, result } or { call, error: a word of the page's }; { cancel } takes one back that has not begun.
import { MODEL } from "./constants.js";
import { inside } from "./borders.js";
import { apply, fitted, lumaOf, map } from "./field.js";
import { byLevel, profile } from "./icc.js";
import { about, carrying, upright } from "./metadata.js";
import { averaged, noise, view } from "./view.js";

const photographs = new Map(); // by name: the file, and what is known of it
const bitmaps = new Map(), images = new Map(); // the last few, decoded: at full size, and parts as they were asked for
const cancelled = new Set();
let line = null; // to the network's thread

class Problem extends Error {}

// The value under a key, made once; no more than `most` are kept.
async function kept(cache, key, most, make) {
  const found = cache.get(key) || make();
  cache.delete(key);
  cache.set(key, found);
  for (const [old, value] of [...cache].slice(0, -most)) {
    cache.delete(old);
    value.then((one) => one.close?.(), () => {});
  }
  return found.catch((error) => {
    cache.delete(key);
    throw error;
  });
}

// Asks the network's thread; without a view, whether it is ready.
function network(view, rows, columns) {
  return new Promise((go, stop) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data: { found, error } }) => {
      port1.close();
      if (error) stop(new Error(error));
      else go(found);
    };
    line.postMessage({ view, rows, columns }, [port2]);
  });
}

// Pixels

// Upright, in the colours of its profile where we can read that, else in sRGB.
function bitmap({ id, file, colours }) {
  const how = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: colours ? "none" : "default" };
  return kept(bitmaps, id, 2, () => createImageBitmap(file, how).catch(() => { throw new Problem("file"); }));
}

// The region of a photograph at some size, as an ImageData that nobody else has.
async function pixels(item, region, width, height) {
  const whole = await bitmap(item), pen = canvas(width, height).getContext("2d", { willReadFrequently: true }), [x0, y0, x1, y1] = region;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(whole, x0, y0, x1 - x0, y1 - y0, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

function canvas(width, height) {
  try {
    const found = new OffscreenCanvas(width, height);
    if (found.getContext("2d", { willReadFrequently: true })) return found;
  } catch { /* told below */ }
  throw new Problem("too_large");
}

function copied({ data, width, height }) {
  return new ImageData(new Uint8ClampedArray(data), width, height);
}

// What can be asked

async function keep({ id, file }) {
  const item = { id, file, ...await about(new Uint8Array(await file.arrayBuffer())) };
  item.colours = item.icc && profile(item.icc);
  const { width, height } = await bitmap(item), image = await pixels(item, [0, 0, width, height], width, height), field = await seen(image, item);
  const transparent = item.kind !== "jpeg" && isTransparent(image);
  photographs.set(id, { ...item, width, height, field });
  const mean = field.lattice.values.reduce((sum, t) => sum + t, 0) / field.lattice.values.length;
  return { id, width, height, transparent, format: transparent || item.kind === "png" ? "png" : "jpeg", airlight: field.srgb, density: field.density, mean_transmission: mean };
}

function isTransparent({ data }) {
  for (let at = 3; at < data.length; at += 4) if (data[at] < 255) return true;
  return false;
}

// The field of a picture, in its own colours; `srgb` is its airlight in sRGB. The network sees sRGB.
async function seen(image, { grey, colours }) {
  const box = inside(image), small = view(image, box), [rows, columns] = [small.rows, small.columns].map((side) => Math.floor(side / MODEL.stride));
  const other = colours && !colours.same ? (grey ? byLevel(colours) : colours) : null, finding = network(other ? recoloured(small, other.toSrgb) : small, rows, columns);
  const luma = small.planes[0].map((_, k) => lumaOf(small.planes.map((plane) => plane[k]))), known = { guide: averaged(luma, small, rows, columns), noise: noise(image, box) };
  const found = await finding, srgb = found.airlight;
  if (other) Object.assign(found, fitted(found, other.toOwn));
  if (grey) {
    found.airlight = new Array(3).fill(lumaOf(found.airlight));
    found.terms = new Array(3).fill(found.terms[0].map((_, k) => lumaOf(found.terms.map((channel) => channel[k]))));
  }
  return { ...found, ...known, srgb, box, width: image.width, height: image.height };
}

function recoloured({ planes, rows, columns }, change) {
  const out = planes.map((plane) => new Float32Array(plane.length));
  planes[0].forEach((_, k) => change(planes.map((plane) => plane[k])).forEach((value, c) => { out[c][k] = value; }));
  return { planes: out, rows, columns };
}

// A part of the result at some scale, or a map of the haze, as an ImageBitmap.
async function part({ id, asked }) {
  const item = photographs.get(id), { width, height, field, colours } = item, region = asked.region || [0, 0, width, height];
  const [wide, high] = [region[2] - region[0], region[3] - region[1]].map((side) => Math.max(1, Math.round(side * asked.scale)));
  if (asked.map) return createImageBitmap(map(field, asked.map, wide, high));
  const image = await kept(images, [id, region, wide].join(), 3, () => pixels(item, region, wide, high));
  const own = asked.strength ? apply(copied(image), field, asked.strength, region) : copied(image);
  return createImageBitmap(colours && !colours.same ? colours.paint(own) : own);
}

// The whole result as a file, with the photograph's EXIF.
async function whole({ id, asked: { strength, type, quality } }) {
  const { file, width, height, field, exif, icc, colours, kind } = photographs.get(id);
  if (!strength && !quality && type === `image/${kind}`) return file;
  const image = await pixels(photographs.get(id), [0, 0, width, height], width, height), sheet = new OffscreenCanvas(width, height);
  sheet.getContext("2d").putImageData(strength ? apply(image, field, strength, [0, 0, width, height]) : image, 0, 0);
  const blob = await sheet.convertToBlob({ type, quality: quality ? quality / 100 : MODEL.quality / 100 });
  return carrying(blob, exif && upright(exif.slice()), colours && icc);
}

function forget({ id }) {
  photographs.delete(id);
  for (const cache of [bitmaps, images]) for (const key of [...cache.keys()].filter((one) => `${one}`.split(",")[0] === id)) cache.delete(key);
}

const KINDS = { warm: () => network(), keep, part, whole, forget };

self.addEventListener("message", async ({ data: { call, kind, cancel, ...given }, ports }) => {
  if (ports.length) return [line] = ports;
  if (cancel) return cancelled.add(cancel);
  await new Promise((go) => setTimeout(go)); // what has been taken back meanwhile is not begun
  if (cancelled.delete(call)) return;
  try {
    const result = await KINDS[kind](given);
    postMessage({ call, result }, result instanceof ImageBitmap ? [result] : []);
  } catch (error) {
    postMessage({ call, error: error instanceof Problem ? error.message : "engine", text: String(error) });
  }
});
