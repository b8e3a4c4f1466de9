"""What limits the result: PSNR with one part of the estimate at a time replaced by the truth.

    python benchmarks/limits.py pairs.csv [--weights FILE.onnx]

For a pair I and J, the best t for an airlight and the best A for a transmission, either constant or A(x) with its five
terms, follow from I = J t + A (1 - t) by least squares. Nothing guides t here, so the columns differ only in the
estimate. Mean dB of each set.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from bench import table

from nedr.evaluation.metrics import psnr
from nedr.evaluation.paired import read_pair, read_pairs
from nedr.inference.airlight import grid, polynomials
from nedr.inference.dehazer import Dehazer
from nedr.pictures.arrays import Array, Floats
from nedr.training.synthesis import apparent_transmission

STRENGTHS = np.linspace(0.2, 1.5, 27)
GAINS = np.linspace(0.6, 1.8, 25)


def main() -> None:
    """Parse the options and print one row per set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs")
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    dehazer = Dehazer(options.weights)
    sets: dict[str, list[dict[str, float]]] = defaultdict(list)
    for pair in read_pairs(options.pairs):
        sets[pair.set].append(swapped(dehazer, *read_pair(pair)))
    names = next(iter(sets.values()))[0]
    rows = [(name, *(f"{np.mean([v[k] for v in values]):.2f}" for k in names)) for name, values in sets.items()]
    table(("set", *names), rows)


def swapped(dehazer: Dehazer, hazy8: Array, clear8: Array) -> dict[str, float]:
    """Scores of one pair, uint8 (H, W, 3) each: as estimated, then with one part taken from the truth."""
    field = dehazer.field(hazy8)
    hazy, clear = (np.asarray(image, np.float32) / np.float32(255) for image in (hazy8, clear8))
    t = field.transmission(*hazy.shape[:2])
    x, y = grid(*hazy.shape[:2])
    airlight = field.airlight_at((x + 1) / 2, (y + 1) / 2)

    def score(t: Floats, airlight: Floats, gain: float = 1.0) -> float:
        result = (hazy - airlight) / np.maximum(t, np.float32(0.05))[..., None] + airlight
        return psnr(np.rint(np.clip(result * gain, 0, 1) * 255).astype(np.uint8), clear8)

    return {
        "as estimated": score(t, airlight),
        "best A for this t": score(t, best_airlight(hazy, clear, t)),
        "best A(x) for this t": score(t, best_uneven_airlight(hazy, clear, t)),
        "best t for this A": score(apparent_transmission(hazy, clear, airlight, t), airlight),
        "best strength": largest(STRENGTHS, lambda strength: score(t ** np.float32(strength), airlight)),
        "best brightness": largest(GAINS, lambda gain: score(t, airlight, gain)),
    }


def best_airlight(hazy: Floats, clear: Floats, t: Floats) -> Floats:
    """The A (3,) in [0, 1] with which this transmission (H, W) best turns I into J."""
    inverse = 1 / np.maximum(t, np.float32(0.05))[..., None]
    share = 1 - inverse  # J = I / t + A (1 - 1 / t)
    found = ((clear - hazy * inverse) * share).sum((0, 1)) / (np.square(share).sum((0, 1)) + 1e-6)
    return np.asarray(found.clip(0, 1), np.float32)


def best_uneven_airlight(hazy: Floats, clear: Floats, t: Floats) -> Floats:
    """The smooth A(x) (H, W, 3) in [0, 1] with which this transmission best turns I into J."""
    inverse = 1 / np.maximum(t, np.float32(0.05))
    x, y = grid(*t.shape)
    basis = np.concatenate([np.ones((*t.shape, 1)), polynomials(x, y)], axis=2)
    shares = (basis * (1 - inverse)[..., None]).reshape(t.size, -1)
    found = np.linalg.lstsq(shares, (clear - hazy * inverse[..., None]).reshape(t.size, 3), rcond=None)[0]
    return np.asarray((basis @ found).clip(0, 1), np.float32)


def largest(values: Floats, score: Callable[[float], float]) -> float:
    """The best score over `values`."""
    return max(score(float(value)) for value in values)


if __name__ == "__main__":
    main()
