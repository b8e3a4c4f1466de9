"""Which parts of a network are alive: dead units of each layer, and what each of the paper's boxes adds to the result.

    python benchmarks/alive.py weights/base.safetensors pairs.csv

A unit is dead if it is never above 0 before its activation, over the hazy pictures of the pairs. A box's share is the
PSNR lost when its output is replaced by its mean over these pictures, in dB, as the mean of each set.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from bench import table

from nedr.training.alive import dead_units, shares
from nedr.training.checkpoint import load_weights
from nedr.training.validation import Validation


def main() -> None:
    """Parse the options and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-shares", action="store_true", help="dead units only, which is quick")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, validation = load_weights(options.weights).eval(), Validation(options.pairs)
    found = dead_units(model, validation.hazy())
    rows = [(name, str(units), str(dead), f"{dead / units:.0%}") for name, (dead, units) in found.items()]
    dead, units = (sum(counts) for counts in zip(*found.values(), strict=True))
    table(["layer", "units", "dead", "share"], [*rows, ("all", str(units), str(dead), f"{dead / units:.1%}")])
    if options.no_shares:
        return
    print("\nPSNR lost when a box returns its mean, dB\n")
    lost = shares(model, validation)
    sets = list(next(iter(lost.values())))
    shown = [
        [box, *(f"{value:.2f}" for value in (*row.values(), np.mean(list(row.values()))))] for box, row in lost.items()
    ]
    table(["box", *sets, "mean of the sets"], shown)


if __name__ == "__main__":
    main()
