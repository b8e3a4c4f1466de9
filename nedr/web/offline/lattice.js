// A coarse lattice as a continuous function, as nedr/inference/lattice.py: cubic convolution, edges held.

// Where positions (0 to 1 over the whole) fall among `size` cells: the cell, -1 to size - 1, and how far past its centre.
export function places(positions, size) {
  const cell = new Int32Array(positions.length), fraction = new Float32Array(positions.length);
  positions.forEach((position, k) => {
    const where = position * size - 0.5;
    cell[k] = Math.min(size - 1, Math.max(-1, Math.floor(where)));
    fraction[k] = Math.min(1, Math.max(0, where - cell[k]));
  });
  return { cell, fraction };
}

// Writes the cubic's four coefficients between p1 and p2, constant first, to out[at].
function cubic(p0, p1, p2, p3, out, at) {
  out[at] = p1;
  out[at + 1] = 0.5 * (p2 - p0);
  out[at + 2] = p0 - 2.5 * p1 + 2 * p2 - 0.5 * p3;
  out[at + 3] = 0.5 * (p3 - p0) + 1.5 * (p1 - p2);
}

// A line across a lattice, `fraction` past its row `cell`: the coefficients between every two neighbouring columns, of
// which the first pair is -1 and 0: Float32Array (4 * (columns + 1)).
export function line({ values, rows, columns }, cell, fraction) {
  const out = new Float32Array(4 * (columns + 1)), near = new Float32Array(columns + 4), down = new Float32Array(4);
  const row = (k) => columns * Math.min(rows - 1, Math.max(0, cell + k)), [a, b, c, d] = [-1, 0, 1, 2].map(row);
  for (let x = 0; x < columns; x += 1) {
    cubic(values[a + x], values[b + x], values[c + x], values[d + x], down, 0);
    near[x + 2] = ((down[3] * fraction + down[2]) * fraction + down[1]) * fraction + down[0];
  }
  near.fill(near[2], 0, 2).fill(near[columns + 1], columns + 2);
  for (let k = 0; k <= columns; k += 1) cubic(near[k], near[k + 1], near[k + 2], near[k + 3], out, 4 * k);
  return out;
}
