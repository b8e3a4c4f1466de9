// Bars and frames around a picture, as nedr/inference/borders.py finds them, with its constants.
import { BORDERS } from "./constants.js";

const SIDES = ["left", "top", "right", "bottom"];

// x0, y0, x1, y1 of what lies inside the borders of an ImageData.
export function inside(image) {
  let box = [0, 0, image.width, image.height];
  for (let nested = 0; nested < BORDERS.nested; nested += 1) {
    const bars = SIDES.map((side) => bar(lines(image, box, side)));
    const widths = bars.map((found, k) => (believed(found, bars[(k + 2) % 4]) ? found.width : 0));
    if (!widths.some(Boolean)) break;
    box = [box[0] + widths[0], box[1] + widths[1], box[2] - widths[2], box[3] - widths[3]];
  }
  const area = (box[2] - box[0]) * (box[3] - box[1]);
  return area >= BORDERS.leastInside * image.width * image.height ? box : [0, 0, image.width, image.height];
}

// Lines parallel to a side, the outermost first: where pixel `k` of line `n` lies in the data.
function lines({ data, width }, [x0, y0, x1, y1], side) {
  const upright = side === "left" || side === "right", [count, length] = upright ? [x1 - x0, y1 - y0] : [y1 - y0, x1 - x0];
  const at = {
    left: (n, k) => (y0 + k) * width + x0 + n, right: (n, k) => (y0 + k) * width + x1 - 1 - n,
    top: (n, k) => (y0 + n) * width + x0 + k, bottom: (n, k) => (y1 - 1 - n) * width + x0 + k,
  }[side];
  return { data, count, length, at };
}

function apart(piece, colour) {
  return Math.max(...piece.map((value, c) => Math.abs(value - colour[c])));
}

function believed(bar, other) {
  const alike = other.width > 0 && apart(bar.colour, other.colour) <= BORDERS.tolerance;
  return alike || (Math.max(...bar.colour) <= BORDERS.dark && bar.spread <= BORDERS.evenAlone);
}

function bar(side) {
  const first = pieces(side, 0), colour = [0, 1, 2].map((c) => median(first.map((piece) => piece[c])));
  const isOf = (piece) => apart(piece, colour) <= BORDERS.tolerance, share = (list) => list.filter(Boolean).length / list.length;
  const none = { width: 0, colour, spread: 0 }, depth = Math.min(side.count, Math.floor(BORDERS.widest * side.count) + 2);
  if (share(first.map(isOf)) < BORDERS.outermost) return none;
  const found = Array.from({ length: depth }, (_, n) => pieces(side, n)), alike = found.map((line) => line.map(isOf));
  for (const width of edges(alike)) {
    const within = alike.slice(0, width).flat(), distances = found.slice(0, width).flat().filter((_, k) => within[k]).map((piece) => apart(piece, colour));
    const spread = median(distances);
    if (share(within) >= BORDERS.whole && spread <= BORDERS.even) return { width, colour, spread };
  }
  return none;
}

// A line as means of a few pixels each.
function pieces({ data, length, at }, n) {
  const number = Math.min(BORDERS.pieces, length), step = Math.max(1, Math.floor(length / (number * BORDERS.pixels)));
  const chosen = Math.ceil(length / step), starts = Array.from({ length: number + 1 }, (_, k) => Math.floor(k * chosen / number));
  return starts.slice(0, -1).map((start, k) => {
    const sum = [0, 0, 0], count = starts[k + 1] - start;
    for (let j = start; j < starts[k + 1]; j += 1) for (let c = 0; c < 3; c += 1) sum[c] += data[4 * at(n, j * step) + c];
    return sum.map((value) => value / count);
  });
}

function median(values) {
  const sorted = Float64Array.from(values).sort(), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Widths at which most pieces leave the bar's colour together, the straightest edge first.
function* edges(alike) {
  const number = alike[0].length, depth = alike.length, blur = 3 + 2 * Math.floor(depth / 1000);
  const seen = alike[0].filter((_, k) => alike.some((line) => !line[k])).length;
  if (seen < BORDERS.seen * number) return;
  const leaves = (n, k) => (n > 0 && alike[n - 1][k] && !alike[n][k] ? 1 : 0);
  const together = new Array(depth).fill(0), first = new Array(depth).fill(0), left = new Array(depth).fill(0);
  for (let k = 0; k < number; k += 1)
    for (let n = 0, total = 0, lately = 0; n < depth; n += 1) {
      const now = leaves(n, k);
      left[n] += now;
      total += now;
      lately += now - (n >= blur ? leaves(n - blur, k) : 0);
      if (lately > 0) together[n] += 1;
      if (lately > 0 && lately === total) first[n] += 1;
    }
  for (let n = 0; n < depth; n += 1) if (first[n] < BORDERS.first * seen) together[n] = 0;
  const order = [...together.keys()].sort((a, b) => together[b] - together[a]).slice(0, 3);
  for (const n of order) {
    if (together[n] < BORDERS.straight * seen) return;
    yield width(left, Math.max(0, n - blur + 1), n);
  }
}

// The line by which three quarters of the pieces that leave between two lines have left.
function width(left, from, to) {
  const wanted = 0.75 * left.slice(from, to + 1).reduce((sum, count) => sum + count, 0);
  for (let n = from, sum = 0; ; n += 1) {
    sum += left[n];
    if (sum >= wanted) return n;
  }
}
