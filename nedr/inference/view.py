"""What is learnt from the whole picture before any pixel is touched: a small view of it, and how noisy it is."""

import numpy as np
from PIL import Image

from nedr.pictures.arrays import Array, Floats, colours, peak

STEP = 32
MIN_SIDE = 128

# Values summed at a time: enough to hide Python's own cost, few enough to stay in the cache.
BLOCK_VALUES = 1 << 17


def view_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Height and width of the view: about `long_side` at the longer, both multiples of 32 and at least 128.

    The view may be slightly anisotropic; lattice and picture meet in relative coordinates, so nothing is lost by it.
    """
    scale = long_side / max(height, width)
    high, wide = (max(MIN_SIDE, STEP * round(side * scale / STEP)) for side in (height, width))
    return high, wide


def view(image: Array, long_side: int) -> Floats:
    """The whole of a checked picture, antialiased, at `view_size`: float32 (h, w, 3) RGB in [0, 1], grey repeated."""
    height, width = image.shape[:2]
    high, wide = view_size(height, width, long_side)
    # Blocks first, so that the filter that follows has at most a few samples per output whatever the picture's size.
    down, across = (max(1, side // (2 * target)) for side, target in ((height, high), (width, wide)))
    small = reduce(colours(image), down, across)
    box = (0, 0, width / across, height / down)  # the last block may reach past the picture's edge
    planes = [
        np.asarray(Image.fromarray(small[:, :, c]).resize((wide, high), Image.Resampling.BICUBIC, box=box))
        for c in range(small.shape[2])
    ]
    stacked = np.stack(planes * (3 // len(planes)), axis=2)
    return np.asarray(np.clip(stacked, 0, 1), np.float32)


def reduce(planes: Array, down: int, across: int) -> Floats:
    """Means over blocks of `down` x `across` pixels, float32 in [0, 1]; blocks at the far edges average what is there.

    (H, W, C) -> (ceil(H / down), ceil(W / across), C), a few rows of blocks at a time, so that memory stays flat.
    """
    height, width, count = planes.shape
    small = np.zeros((-(-height // down), -(-width // across), count), np.float32)
    whole = height // down
    step = max(1, BLOCK_VALUES // (width * count))
    for row in range(0, whole, step):
        stop = min(row + step, whole)
        _add_blocks(planes[row * down : stop * down], across, small[row:stop])
    if whole < len(small):
        _add_blocks(planes[whole * down :], across, small[whole:])
    starts = np.arange(0, width, across)
    sizes = np.minimum(starts + across, width) - starts
    rows = np.minimum(down, height - np.arange(0, height, down))
    small /= (rows[:, None] * sizes * peak(planes))[:, :, None].astype(np.float32)
    return small


def _add_blocks(part: Array, across: int, sums: Floats) -> None:
    """Adds to `sums` (n, w, C) the n rows of blocks that `part` (n * down, W, C) consists of."""
    count = len(sums)
    total = np.add.reduce(part.reshape(count, len(part) // count, *part.shape[1:]), axis=1, dtype=np.float32)
    for c in range(sums.shape[2]):
        for k in range(across):
            column = total[:, k::across, c]
            sums[:, : column.shape[1], c] += column


def averaged(view: Floats, height: int, width: int) -> Floats:
    """The mean over the area of each cell of a lattice, of any size: (H, W, C) -> (height, width, C)."""
    return _cell_means(_cell_means(view, height, 0), width, 1)


def _cell_means(values: Floats, count: int, axis: int) -> Floats:
    """Means over `count` equal parts of an axis, which may end inside a pixel: differences of the running integral."""
    lines = np.moveaxis(values, axis, 0)
    integral = np.zeros((len(lines) + 1, *lines.shape[1:]))
    np.cumsum(lines, axis=0, dtype=np.float64, out=integral[1:])
    edges = np.arange(count + 1) * (len(lines) / count)
    whole = np.minimum(edges.astype(int), len(lines) - 1)
    share = (edges - whole).reshape(-1, *[1] * (lines.ndim - 1))
    reached = integral[whole] + share * lines[whole]
    means = np.diff(reached, axis=0) * (count / len(lines))
    return np.asarray(np.moveaxis(means, 0, axis), np.float32)


def noise_level(image: Array, most: int = 24) -> float:
    """Standard deviation of a checked picture's noise in its flat parts, of a range of 1; compression blocks count.

    Sensor noise by Immerkaer's operator (CVIU 1996) on up to `most` x `most` patches of the green channel, of which
    the quietest quarter that is neither black nor clipped speaks for the picture; blocks by how much more neighbours
    differ across the borders of an 8-pixel grid than beside them.
    """
    green = colours(image)[:, :, -2 if image.ndim == 3 and image.shape[2] > 1 else 0]
    patches = _patches(green, most) / peak(image)
    mean = patches.mean(axis=(1, 2))
    patches = patches[(mean > 0.02) & (mean < 0.98)]
    if not len(patches):
        return 0.0
    laplacian = np.diff(np.diff(patches, 2, axis=1), 2, axis=2)
    sigma = np.sqrt(np.pi / 2) / 6 * np.abs(laplacian).mean(axis=(1, 2))
    quiet = patches[np.argsort(sigma)[: max(1, len(sigma) // 4)]]
    return float(np.hypot(np.quantile(sigma, 0.25), _blocking(quiet)))


def _patches(plane: Array, most: int, side: int = 16) -> Floats:
    """Patches (n, side, side) spread over `plane`, their corners on the 8-pixel grid of JPEG and its successors."""
    spread = [np.unique(np.linspace(0, max(0, n // 8 - side // 8), most).astype(int)) * 8 for n in plane.shape]
    found = [plane[y : y + side, x : x + side] for y in spread[0] for x in spread[1]]
    whole = [patch for patch in found if patch.shape == (side, side)]
    return np.stack(whole).astype(np.float32) if whole else np.empty((0, side, side), np.float32)


def _blocking(patches: Floats) -> float:
    """Mean step across the grid line in the middle of each patch, less the step beside it, of both directions."""
    excess = 0.0
    for axis in (1, 2):
        steps = np.abs(np.diff(patches, axis=axis)).mean(axis=(0, 3 - axis))  # (15,), the grid line at 7
        excess += float(steps[7] - 0.5 * (steps[6] + steps[8])) / 2
    return max(0.0, excess)
