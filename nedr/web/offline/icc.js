// Colour profiles of three primaries and a curve each, as cameras and screens have them; what has tables instead is
// left to the browser, which then gives sRGB. White is D50, as in every profile.
const TO_XYZ = [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]];
const SAMPLES = [[0.1, 0.5, 0.9], [0.8, 0.2, 0.4], [0.5, 0.5, 0.5], [0.9, 0.9, 0.1]];

const held = (value) => Math.min(1, Math.max(0, value));
const times = (matrix, vector) => matrix.map((row) => row.reduce((sum, value, k) => sum + value * vector[k], 0));
const srgb = (v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055);
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);

function inverse([[a, b, c], [d, e, f], [g, h, i]]) {
  const [p, q, r] = [e * i - f * h, f * g - d * i, d * h - e * g], det = a * p + b * q + c * r;
  return [[p, c * h - b * i, b * f - c * e], [q, a * i - c * g, c * d - a * f], [r, b * g - a * h, a * e - b * d]].map((row) => row.map((value) => value / det));
}

// The curve that a tag describes, from 0..1 to 0..1.
function curve(view, at) {
  const fixed = (k) => view.getInt32(at + 12 + 4 * k) / 65536;
  if (view.getUint32(at) === 0x70617261) return parametric(view.getUint16(at + 8), [0, 1, 2, 3, 4, 5, 6].map((k) => (at + 16 + 4 * k <= view.byteLength ? fixed(k) : 0)));
  const count = view.getUint32(at + 8), value = (k) => view.getUint16(at + 12 + 2 * k) / 65535;
  if (count === 0) return (v) => v;
  if (count === 1) return (v) => v ** (view.getUint16(at + 12) / 256);
  return (v) => {
    const where = v * (count - 1), k = Math.min(count - 2, Math.floor(where));
    return value(k) + (where - k) * (value(k + 1) - value(k));
  };
}

// The parametric curves of the standard, by their number.
function parametric(kind, [g, a, b, c, d, e, f]) {
  return [
    (v) => v ** g,
    (v) => (v >= -b / a ? (a * v + b) ** g : 0),
    (v) => (v >= -b / a ? (a * v + b) ** g + c : c),
    (v) => (v >= d ? (a * v + b) ** g : c * v),
    (v) => (v >= d ? (a * v + b) ** g + e : c * v + f),
  ][kind];
}

// Where a growing curve takes a value.
function undone(curved, value) {
  let low = 0, high = 1;
  for (let k = 0; k < 24; k += 1) {
    const middle = (low + high) / 2;
    if (curved(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// A profile as { toSrgb, toOwn } of colours in 0..1, and paint, which turns an ImageData to sRGB; `same` if it is sRGB
// itself. Null for what is damaged or has tables.
export function profile(bytes) {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length), text = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
    const tags = new Map(Array.from({ length: view.getUint32(128) }, (_, k) => [text(132 + 12 * k), view.getUint32(136 + 12 * k)]));
    if (text(16) !== "RGB " || text(20) !== "XYZ " || tags.has("A2B0")) return null;
    const curves = ["rTRC", "gTRC", "bTRC"].map((name) => curve(view, tags.get(name)));
    const primaries = ["rXYZ", "gXYZ", "bXYZ"].map((name) => [8, 12, 16].map((k) => view.getInt32(tags.get(name) + k) / 65536));
    return between(curves, times3(inverse(TO_XYZ), primaries));
  } catch {
    return null;
  }
}

// A matrix times three columns.
function times3(matrix, columns) {
  const found = columns.map((column) => times(matrix, column));
  return [0, 1, 2].map((k) => found.map((column) => column[k]));
}

function between(curves, matrix) {
  const back = inverse(matrix);
  const toSrgb = (colour) => times(matrix, curves.map((curved, c) => curved(colour[c]))).map((v) => srgb(held(v)));
  const toOwn = (colour) => times(back, colour.map(linear)).map((v, c) => undone(curves[c], held(v)));
  const same = SAMPLES.every((colour) => toSrgb(colour).every((value, c) => Math.abs(value - colour[c]) < 1 / 255));
  return { toSrgb: betweenLevels(toSrgb), toOwn: betweenLevels(toOwn), same, paint: (image) => paint(image, curves, matrix) };
}

// A conversion as the library has it: exact to 8 bits at whole levels, between these interpolated in all three channels.
function betweenLevels(convert) {
  return (colour) => {
    const levels = colour.map((v) => 255 * held(v)), low = levels.map((v) => Math.floor(Math.min(v, 254))), sum = [0, 0, 0];
    for (let corner = 0; corner < 8; corner += 1) {
      const step = [0, 1, 2].map((c) => (corner >> c) & 1), weight = step.reduce((w, s, c) => w * (s ? levels[c] - low[c] : 1 - levels[c] + low[c]), 1);
      if (weight) convert(low.map((v, c) => (v + step[c]) / 255)).forEach((v, c) => { sum[c] += (weight * Math.round(255 * v)) / 255; });
    }
    return sum;
  };
}

// The conversions of a profile for grey, each level on its own, as the library has them: read off a ramp's green channel.
export function byLevel({ toSrgb, toOwn }) {
  const read = (convert) => {
    const ramp = Float32Array.from({ length: 256 }, (_, k) => convert([k / 255, k / 255, k / 255])[1]);
    return (colour) => colour.map((v) => {
      const level = 255 * held(v), low = Math.min(254, Math.floor(level));
      return ramp[low] + (level - low) * (ramp[low + 1] - ramp[low]);
    });
  };
  return { toSrgb: read(toSrgb), toOwn: read(toOwn) };
}

const STEPS = 4096;

// By tables: the curves' 256 levels, and sRGB's curve finely enough for 8 bits.
function paint(image, curves, [red, green, blue]) {
  const [lr, lg, lb] = curves.map((curved) => Float32Array.from({ length: 256 }, (_, k) => curved(k / 255))), { data } = image;
  const coded = Uint8ClampedArray.from({ length: STEPS + 1 }, (_, k) => 255 * srgb((k / STEPS) ** 2)), code = (v) => coded[Math.round(STEPS * Math.sqrt(held(v)))];
  for (let at = 0; at < data.length; at += 4) {
    const r = lr[data[at]], g = lg[data[at + 1]], b = lb[data[at + 2]];
    data[at] = code(red[0] * r + red[1] * g + red[2] * b);
    data[at + 1] = code(green[0] * r + green[1] * g + green[2] * b);
    data[at + 2] = code(blue[0] * r + blue[1] * g + blue[2] * b);
  }
  return image;
}
