"""Does the network fit what it was trained on? Even grey haze on training scenes, and what limits the result.

    python benchmarks/seen.py MEASURED [--scenes 50] [--weights FILE.onnx]

MEASURED is the folder that `nedr train --depth` takes. beta is drawn from 0.6 to 1.8, A from 0.7 to 1.0, without
noise. Scores near those of unseen scenes mean that the network is undertrained; scores far above, that it has
memorised scenes. The columns are those of limits.py.
"""

import argparse
from pathlib import Path

import numpy as np
from bench import table
from limits import swapped

from nedr.inference.dehazer import Dehazer
from nedr.pictures.arrays import Array
from nedr.training.data import add_its_haze, depth_pairs, read_depth, read_rgb

WHOLE, SIZE = (0.0, 0.0, 1.0, 1.0), (240, 320)


def main() -> None:
    """Parse the options and print one row: the mean dB over the scenes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path)
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--weights", default=None)
    options = parser.parse_args()
    scenes = depth_pairs(options.measured)
    chosen, rng = scenes[:: max(1, len(scenes) // options.scenes)][: options.scenes], np.random.default_rng(0)
    dehazer = Dehazer(options.weights)
    scores = [swapped(dehazer, *hazy_and_clear(*scene, rng)) for scene in chosen]
    table(("scenes", *scores[0]), [(str(len(scores)), *(f"{np.mean([s[k] for s in scores]):.2f}" for k in scores[0]))])


def hazy_and_clear(clear: Path, depth: Path, rng: np.random.Generator) -> tuple[Array, Array]:
    """A scene with even grey haze and without, uint8 (H, W, 3)."""
    scene = read_rgb(clear, WHOLE, SIZE)
    hazy = add_its_haze(scene, read_depth(depth, WHOLE, SIZE), rng)
    return np.rint(hazy * 255).astype(np.uint8), np.rint(scene * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
