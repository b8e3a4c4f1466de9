"""Size and speed of the network: parameters, multiply-accumulates at 256 x 256, whole views per second in training.

    python benchmarks/network.py [--presets base,paper] [--batch 8] [--repeats 3]

Multiply-accumulates are counted without running anything; a training view is one forward and backward pass.
"""

import argparse

import torch
from bench import best, machine, table

from nedr.model.nedr import PRESETS, NeDR, scene_radiance
from nedr.training.ablate import SIDE, size


def main() -> None:
    """Parse the options and print one row per preset, the speed of `base` on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", default="base,paper")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    sizes = [(name, *size(PRESETS[name])) for name in options.presets.split(",")]
    rows = [(name, f"{parameters / 1e6:.2f}", f"{operations / 1e9:.2f}") for name, parameters, operations in sizes]
    table(("preset", "parameters (M)", "GMACs at 256 x 256"), rows)
    model = NeDR().to(memory_format=torch.channels_last)
    seconds = best(lambda: step(model, options.batch), options.repeats)
    print(f"base, one thread: {options.batch / seconds:.1f} views of {SIDE} x {SIDE} per second, forward and backward")


def step(model: NeDR, batch: int) -> None:
    """One forward and backward pass of the shipped preset."""
    views = torch.rand(batch, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    estimate = model(views)
    radiance = scene_radiance(views, estimate.transmission, estimate.airlight)
    (radiance.abs().mean() + estimate.density.mean()).backward()


if __name__ == "__main__":
    main()
