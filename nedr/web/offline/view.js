// What is learnt from the whole picture before any pixel is touched, as nedr/inference/view.py: a small view, the noise.
// A picture is an ImageData; `box` is x0, y0, x1, y1 in pixels of what lies inside its borders.
import { VIEW } from "./constants.js";

export function viewSize(height, width) {
  const scale = VIEW.long / Math.max(height, width);
  return [height, width].map((side) => Math.max(VIEW.least, VIEW.step * even(side * scale / VIEW.step)));
}

// Halves are rounded to the even neighbour, as Python does.
function even(value) {
  const down = Math.floor(value);
  return value - down === 0.5 ? down + (down % 2) : Math.round(value);
}

// The picture at the view's size: { rows, columns, planes } of three Float32Array in 0..1.
export function view(image, box) {
  const [width, height] = [box[2] - box[0], box[3] - box[1]], [rows, columns] = viewSize(height, width);
  const [down, across] = [[height, rows], [width, columns]].map(([side, target]) => Math.max(1, Math.floor(side / (2 * target))));
  const { planes, rows: high, columns: wide } = reduced(image, box, down, across);
  const planed = planes.map((plane) => {
    const narrow = resampled(plane, high, wide, columns, width / across, true);
    return resampled(narrow, high, columns, rows, height / down, false).map((value) => Math.min(1, Math.max(0, value)));
  });
  return { rows, columns, planes: planed };
}

// Means over blocks of pixels in 0..1; blocks at the far edges average what is there. Red and blue are summed in one number.
function reduced({ data, width: stride }, [x0, y0, x1, y1], down, across) {
  const rows = Math.ceil((y1 - y0) / down), columns = Math.ceil((x1 - x0) / across), pixels = new Uint32Array(data.buffer);
  const planes = [0, 1, 2].map(() => new Float32Array(rows * columns)), [r, g, b] = planes;
  for (let y = y0; y < y1; y += 1) {
    for (let x = x0, at = y * stride + x0, k = columns * Math.floor((y - y0) / down); x < x1; k += 1) {
      let ends = 0, middle = 0;
      for (const end = Math.min(x1, x + across); x < end; x += 1, at += 1) {
        ends += pixels[at] & 0xff00ff;
        middle += pixels[at] >>> 8 & 0xff;
      }
      r[k] += ends & 0xffff;
      g[k] += middle;
      b[k] += ends >>> 16;
    }
  }
  for (let k = 0; k < r.length; k += 1) {
    const high = Math.min(down, y1 - y0 - down * Math.floor(k / columns)), wide = Math.min(across, x1 - x0 - across * (k % columns));
    for (const plane of planes) plane[k] /= 255 * high * wide;
  }
  return { planes, rows, columns };
}

// Pillow's antialiased bicubic filter along one axis: to `count` samples over the first `reach` of the plane's.
function resampled(plane, rows, columns, count, reach, along) {
  const [size, lines] = along ? [columns, rows] : [rows, columns], [step, skip] = along ? [1, columns] : [columns, 1];
  const out = new Float32Array(count * lines), [there, over] = along ? [1, count] : [lines, 1];
  for (let k = 0; k < count; k += 1) {
    const { first, weights } = taps(k, reach / count, size);
    for (let line = 0; line < lines; line += 1) {
      let sum = 0;
      for (let j = 0, at = line * skip + first * step; j < weights.length; j += 1, at += step) sum += weights[j] * plane[at];
      out[line * over + k * there] = sum;
    }
  }
  return out;
}

function taps(k, scale, size) {
  const filter = Math.max(scale, 1), centre = (k + 0.5) * scale, first = Math.max(0, Math.trunc(centre - 2 * filter + 0.5));
  const end = Math.min(size, Math.trunc(centre + 2 * filter + 0.5));
  const weights = Array.from({ length: end - first }, (_, j) => bicubic((j + first - centre + 0.5) / filter));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return { first, weights: weights.map((weight) => weight / sum) };
}

function bicubic(distance) {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((2.5 - 0.5 * x) * x - 4) * x + 2 : 0;
}

// The mean of a view's luma over the area of each cell of a lattice: Float32Array (rows * columns).
export function averaged(luma, view, rows, columns) {
  const wide = cellMeans(luma, view.rows, view.columns, columns, 1, view.columns);
  return cellMeans(wide, columns, view.rows, rows, columns, 1, true);
}

// Means over `count` equal parts of `size` samples in each of `lines` lines; the parts may end inside a sample.
function cellMeans(values, lines, size, count, step, skip, down = false) {
  const out = new Float32Array(lines * count), share = size / count;
  for (let line = 0; line < lines; line += 1)
    for (let k = 0; k < count; k += 1) {
      let sum = 0;
      for (let j = Math.floor(k * share); j < Math.min(size, (k + 1) * share); j += 1)
        sum += values[line * skip + j * step] * (Math.min(j + 1, (k + 1) * share) - Math.max(j, k * share));
      out[down ? k * lines + line : line * count + k] = sum / share;
    }
  return out;
}

// Standard deviation of the noise in flat parts of green, of a range of 1; compression blocks count.
export function noise(image, box) {
  const all = patches(image, box).filter(({ mean }) => mean > 0.02 && mean < 0.98);
  if (!all.length) return 0;
  for (const patch of all) patch.sigma = sigma(patch.values);
  all.sort((a, b) => a.sigma - b.sigma);
  const place = 0.25 * (all.length - 1), low = Math.floor(place), high = Math.ceil(place);
  const quarter = all[low].sigma + (place - low) * (all[high].sigma - all[low].sigma);
  return Math.hypot(quarter, blocking(all.slice(0, Math.max(1, Math.floor(all.length / 4)))));
}

const SIDE = 16, MOST = 24;

function patches({ data, width: stride }, [x0, y0, x1, y1]) {
  const spread = (size) => [...new Set(Array.from({ length: MOST }, (_, k) => 8 * Math.floor(Math.max(0, Math.floor(size / 8) - 2) * k / (MOST - 1))))].filter((at) => at + SIDE <= size);
  return spread(y1 - y0).flatMap((top) => spread(x1 - x0).map((left) => {
    const values = new Float32Array(SIDE * SIDE);
    for (let k = 0; k < values.length; k += 1) values[k] = data[4 * ((y0 + top + (k >> 4)) * stride + x0 + left + (k & 15)) + 1] / 255;
    return { values, mean: values.reduce((sum, value) => sum + value, 0) / values.length };
  }));
}

// Immerkaer's operator: second differences in both directions.
function sigma(v) {
  let sum = 0;
  for (let y = 1; y < SIDE - 1; y += 1)
    for (let x = 1; x < SIDE - 1; x += 1) {
      const second = (k) => v[k - 1] - 2 * v[k] + v[k + 1], at = y * SIDE + x;
      sum += Math.abs(second(at - SIDE) - 2 * second(at) + second(at + SIDE));
    }
  return Math.sqrt(Math.PI / 2) / 6 * sum / (SIDE - 2) ** 2;
}

// Mean step across the grid line in the middle of each patch, less the steps beside it, of both directions.
function blocking(quiet) {
  let excess = 0;
  for (const [step, skip] of [[SIDE, 1], [1, SIDE]]) {
    const mean = (k) => quiet.reduce((sum, { values }) => {
      for (let j = 0; j < SIDE; j += 1) sum += Math.abs(values[(k + 1) * step + j * skip] - values[k * step + j * skip]);
      return sum;
    }, 0) / (quiet.length * SIDE);
    excess += (mean(7) - 0.5 * (mean(6) + mean(8))) / 2;
  }
  return Math.max(0, excess);
}
