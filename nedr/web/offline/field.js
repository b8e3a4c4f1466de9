// The haze of one picture as a continuous field, and the way back, as nedr/inference/field.py and inversion.py.
//
// A field is { lattice: { values, rows, columns }, guide: luma at the lattice's cells, airlight (3), terms (3 x 5),
// density, noise, box: x0, y0, x1, y1 of what lies inside the borders of a picture of width x height pixels }.
import { COLOURS, LUMA, RENDERING } from "./constants.js";
import { line, places } from "./lattice.js";

export function lumaOf([r, g, b]) {
  return LUMA[0] * r + LUMA[1] * g + LUMA[2] * b;
}

const held = (value, least, most) => Math.min(most, Math.max(least, value));

// A(x) of one channel at x, y in -1..1.
function light(mean, [x1, y1, xx, xy, yy], x, y) {
  return held(mean + x1 * x + y1 * y + xx * (x * x - 1 / 3) + xy * x * y + yy * (y * y - 1 / 3), 0, 1);
}

const AROUND = 7, AXIS = Array.from({ length: AROUND }, (_, k) => (k + 0.5) * 2 / AROUND - 1), SPREAD = AXIS.reduce((sum, x) => sum + x * x, 0) / AROUND;

// Airlight and terms in other colours: A(x) is changed at some points, and fitted again by least squares. On their
// grid 1, x, y, x^2 - SPREAD, x y and y^2 - SPREAD are orthogonal.
export function fitted({ airlight, terms }, change) {
  const points = AXIS.flatMap((y) => AXIS.map((x) => ({ x, y, value: change(airlight.map((mean, c) => light(mean, terms[c], x, y))) })));
  const share = (c, basis) => points.reduce((sum, point) => sum + basis(point) * point.value[c], 0) / points.reduce((sum, point) => sum + basis(point) ** 2, 0);
  const bases = [({ x }) => x, ({ y }) => y, ({ x }) => x * x - SPREAD, ({ x, y }) => x * y, ({ y }) => y * y - SPREAD];
  const changed = [0, 1, 2].map((c) => bases.map((basis) => share(c, basis)));
  const means = changed.map(([, , xx, , yy], c) => held(share(c, () => 1) + (xx + yy) * (1 / 3 - SPREAD), 0, 1));
  return { airlight: means, terms: changed };
}

function floorOf({ noise }) {
  return held(noise / RENDERING.noiseLimit, RENDERING.floor, RENDERING.floorLimit);
}

// k of the curve J + k J (1 - J): what the veil lacks of white.
function brightening({ airlight, lattice: { values } }, strength) {
  const t = values.reduce((sum, value) => sum + value ** strength, 0) / values.length;
  return RENDERING.brighten * (1 - Math.min(1, lumaOf(airlight))) * (1 - t);
}

// Means over (2 radius + 1) squared cells, edge cells held.
function boxed(values, rows, columns, radius) {
  const along = (from, size, step, starts) => {
    const out = new Float32Array(from.length);
    for (const start of starts)
      for (let k = 0; k < size; k += 1) {
        let sum = 0;
        for (let j = -radius; j <= radius; j += 1) sum += from[start + step * held(k + j, 0, size - 1)];
        out[start + step * k] = sum / (2 * radius + 1);
      }
    return out;
  };
  const down = along(values, rows, columns, Array.from({ length: columns }, (_, k) => k));
  return along(down, columns, 1, Array.from({ length: rows }, (_, k) => k * columns));
}

// Slope and offset of `values` on the picture's luma, at the lattice's cells.
function guided(values, guide, rows, columns) {
  const mean = (list, radius = RENDERING.radius) => boxed(list, rows, columns, radius);
  const luma = mean(guide), t = mean(values), squares = mean(guide.map((g) => g * g)), products = mean(guide.map((g, k) => g * values[k]));
  const slope = mean(luma.map((g, k) => (products[k] - g * t[k]) / (Math.max(0, squares[k] - g * g) + RENDERING.epsilon)), 1);
  return { slope, offset: values.map((value, k) => value - slope[k] * guide[k]) };
}

// Coefficients of t = slope * luma(I - A) + offset for a strength.
function medium(field, strength) {
  const { rows, columns, values } = field.lattice, { slope, offset } = guided(values.map((t) => t ** strength), field.guide, rows, columns);
  const shifted = offset.map((value, k) => {
    const x = (k % columns + 0.5) * 2 / columns - 1, y = (Math.floor(k / columns) + 0.5) * 2 / rows - 1;
    return value + slope[k] * lumaOf(field.airlight.map((mean, c) => light(mean, field.terms[c], x, y)));
  });
  return { slope: { values: slope, rows, columns }, offset: { values: shifted, rows, columns } };
}

// Positions of `count` pixels that show `from` to `to` of a picture, as parts of what lies between `low` and `high`.
function positions(count, from, to, low, high) {
  return Float64Array.from({ length: count }, (_, k) => (from + (k + 0.5) * (to - from) / count - low) / (high - low));
}

// The first and the end of those positions that lie in 0..1; they grow.
function within(where) {
  const first = where.findIndex((part) => part > 0), end = where.findIndex((part) => part >= 1);
  return [first < 0 ? where.length : first, end < 0 ? where.length : end];
}

// Removes the haze from an ImageData, in place, which shows the region x0, y0, x1, y1 of the picture at any scale.
export function apply(image, field, strength, [x0, y0, x1, y1]) {
  const { width, height, data } = image, { slope, offset } = medium(field, strength), [left, top, right, bottom] = field.box;
  const across = positions(width, x0, x1, left, right), down = positions(height, y0, y1, top, bottom);
  const column = places(across, slope.columns), row = places(down, slope.rows), span = within(across), [first, end] = within(down);
  const work = { data, column, across, span, least: floorOf(field), k: brightening(field, strength) };
  for (let y = first; y < end; y += 1) {
    const [slopes, offsets] = [slope, offset].map((lattice) => line(lattice, row.cell[y], row.fraction[y]));
    invert(work, slopes, offsets, lights(field, 2 * down[y] - 1), 4 * y * width);
  }
  return image;
}

// What A(x) is along a row, at y in -1..1: for each channel c0 + c1 * x + c2 * x * x, of 255.
function lights({ airlight, terms }, y) {
  return airlight.map((mean, c) => {
    const [x1, y1, xx, xy, yy] = terms[c];
    return [mean + y1 * y + yy * (y * y - 1 / 3) - xx / 3, x1 + xy * y, xx].map((value) => 255 * value);
  });
}

// J = (I - A) / t + A along a row, brightened by k; t is held at `least`, and some of the veil stays in a pixel's colour.
function invert({ data, column: { cell, fraction }, across, span, least, k: bright }, slopes, offsets, [[r0, r1, r2], [g0, g1, g2], [b0, b1, b2]], start) {
  const [lr, lg, lb] = LUMA, curve = (value) => { const scene = Math.min(255, Math.max(0, value)); return scene * (1 + bright - bright * scene / 255); };
  for (let x = span[0], at = start + 4 * span[0]; x < span[1]; x += 1, at += 4) {
    const k = 4 * (cell[x] + 1), f = fraction[x], p = 2 * across[x] - 1;
    const ar = Math.min(255, Math.max(0, (r2 * p + r1) * p + r0)), ag = Math.min(255, Math.max(0, (g2 * p + g1) * p + g0)), ab = Math.min(255, Math.max(0, (b2 * p + b1) * p + b0));
    const r = data[at] - ar, g = data[at + 1] - ag, b = data[at + 2] - ab, luma = lr * r + lg * g + lb * b;
    const slope = ((slopes[k + 3] * f + slopes[k + 2]) * f + slopes[k + 1]) * f + slopes[k];
    const t = ((offsets[k + 3] * f + offsets[k + 2]) * f + offsets[k + 1]) * f + offsets[k] + slope * luma / 255;
    const passed = Math.min(1, Math.max(least, t)), gain = 1 / passed, colour = 1 / (passed + RENDERING.colourVeil * (1 - passed)), shift = luma * (gain - colour);
    data[at] = curve(r * colour + shift + ar); // a clamped array rounds and holds to 0..255
    data[at + 1] = curve(g * colour + shift + ag);
    data[at + 2] = curve(b * colour + shift + ab);
  }
}

// The field as a coloured map of the whole picture: bright is clear, or far for "depth".
export function map(field, kind, width, height) {
  const image = new ImageData(width, height), t = sampled(field, width, height);
  const depth = kind === "depth" ? t.map((value) => -Math.log(value)) : t, most = kind === "depth" ? depth.reduce((a, b) => Math.max(a, b), 1e-6) : 1;
  depth.forEach((value, k) => image.data.set([...COLOURS[Math.round(255 * held(value / most, 0, 1))], 255], 4 * k));
  return image;
}

// Transmission at the pixels of a width x height raster of the whole picture; 1 on borders.
function sampled({ lattice, box: [left, top, right, bottom], width: wide, height: high }, width, height) {
  const across = positions(width, 0, wide, left, right), down = positions(height, 0, high, top, bottom), t = new Float32Array(width * height).fill(1);
  const column = places(across, lattice.columns), row = places(down, lattice.rows), [start, stop] = within(across), [first, end] = within(down);
  const least = lattice.values.reduce((a, b) => Math.min(a, b)), most = lattice.values.reduce((a, b) => Math.max(a, b));
  for (let y = first; y < end; y += 1) {
    const cubics = line(lattice, row.cell[y], row.fraction[y]);
    for (let x = start; x < stop; x += 1) {
      const k = 4 * (column.cell[x] + 1), f = column.fraction[x];
      t[y * width + x] = held(((cubics[k + 3] * f + cubics[k + 2]) * f + cubics[k + 1]) * f + cubics[k], least, most);
    }
  }
  return t;
}
