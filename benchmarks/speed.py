"""Time and memory from array to array by picture size, stage by stage, next to a copy and the classical baselines.

python benchmarks/speed.py                     the table of sizes, and frames per second of a video
python benchmarks/speed.py --rivals            also the other qualities, DCP, CAP, and a DCP from OpenCV calls
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
from bench import SIZES, best, machine, peak_memory, photograph, processor_time, table

from nedr.inference.dehazer import Dehazer
from nedr.inference.view import noise_level, view
from nedr.pictures.arrays import Array

GOALS = {"720p": 1 / 12, "1 MP": 0.12, "4K": 0.6, "24 MP": 1.6}


def main() -> None:
    """Parse the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="an .onnx file instead of the bundled weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--rivals", action="store_true", help="time the other qualities and the classical methods too (minutes)"
    )
    parser.add_argument("--peak", metavar="SIZE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    dehazer = Dehazer(options.weights, threads=options.threads)
    if options.peak:
        peak(dehazer, options.peak)
        return
    print(machine(), f"\n{options.threads} threads, best of {options.repeats}\n", sep="")
    header = [
        "picture",
        "view + noise",
        "network",
        "pixels",
        "whole",
        "goal",
        "CPU",
        "pixels GB/s",
        "copy GB/s",
        "peak MB",
    ]
    table(header, stages(dehazer, options))
    frame = photograph(*SIZES["720p"])
    frames = 1 / best(lambda: dehazer.dehaze(frame), options.repeats * 4)
    print(f"\nvideo at 1280 x 720: {frames:.1f} frames/s (goal 12)\n")
    if options.rivals:
        table(["method", "720p", "1 MP", "4K"], rivals(dehazer, options))


def stages(dehazer: Dehazer, options: argparse.Namespace) -> Iterator[list[str]]:
    """One row per size: seconds of each part, processor time, bytes per second, peak memory of a process of its own."""
    network = dehazer._network
    assert network is not None
    for name, size in SIZES.items():
        picture = photograph(*size)
        field, out, small = dehazer.field(picture), np.empty_like(picture), view(picture, network.view)
        copy = best(lambda out=out, picture=picture: np.copyto(out, picture), options.repeats)
        parts = [
            best(lambda picture=picture: (view(picture, network.view), noise_level(picture)), options.repeats),
            best(lambda small=small: network(small), options.repeats),
            best(lambda picture=picture, field=field: field.apply(picture, threads=options.threads), options.repeats),
            best(lambda picture=picture: dehazer.dehaze(picture), options.repeats),
        ]
        rates = [f"{2 * picture.nbytes / seconds / 1e9:.2f}" for seconds in (parts[2], copy)]
        cpu = processor_time(lambda picture=picture: dehazer.dehaze(picture), options.repeats)
        figures = [f"{seconds:.3f}" for seconds in (*parts, GOALS[name], cpu)]
        yield [name, *figures, *rates, peak_of(name, options)]


def peak_of(name: str, options: argparse.Namespace) -> str:
    """Peak memory in MB of a fresh process that dehazes one picture of this size, including the picture."""
    command = [sys.executable, __file__, "--peak", name, "--threads", str(options.threads)]
    command += ["--weights", options.weights] if options.weights else []
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def peak(dehazer: Dehazer, name: str) -> None:
    """Dehaze once and print this process's peak memory in MB. The picture repeats a few rows."""
    height, width = SIZES[name]
    dehazer.dehaze(np.tile(photograph(8, width), (height // 8, 1, 1)))
    print(round(peak_memory() / 1e6))


def rivals(dehazer: Dehazer, options: argparse.Namespace) -> Iterator[list[str]]:
    """Seconds of each method by size, each also as a multiple of ours in the same run."""
    methods: dict[str, Callable[[Array], Array]] = {
        "nedr": dehazer.dehaze,
        "nedr, fast": Dehazer(options.weights, quality="fast", threads=options.threads).dehaze,
        "nedr, best": Dehazer(options.weights, quality="best", threads=options.threads).dehaze,
        "dcp": Dehazer(method="dcp", threads=options.threads).dehaze,
        "cap": Dehazer(method="cap", threads=options.threads).dehaze,
        "dcp by OpenCV": opencv_dcp,
    }
    ours: dict[str, float] = {}
    for method, work in methods.items():
        cells = []
        for name in ("720p", "1 MP", "4K"):
            picture = photograph(*SIZES[name])
            repeats = options.repeats if "nedr" in method or name != "4K" else 1
            seconds = best(lambda work=work, picture=picture: work(picture), repeats)
            ours.setdefault(name, seconds)
            cells.append(f"{seconds:.3f} ({seconds / ours[name]:.1f}x)")
        yield [method, *cells]


def opencv_dcp(picture: Array) -> Array:
    """The dark channel prior as commonly written with OpenCV: erosion, guided filter of box filters, inversion."""
    import cv2

    image = picture.astype(np.float32) / 255
    kernel = np.ones((15, 15), np.uint8)
    dark = cv2.erode(image.min(axis=2), kernel)
    brightest = np.argpartition(dark.ravel(), -max(1, dark.size // 1000))[-max(1, dark.size // 1000) :]
    airlight = image.reshape(-1, 3)[brightest].mean(axis=0)
    rough = 1 - 0.95 * cv2.erode((image / airlight).min(axis=2), kernel)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    def mean(plane: Array) -> Array:
        return cv2.boxFilter(plane, cv2.CV_32F, (121, 121))

    slope = (mean(grey * rough) - mean(grey) * mean(rough)) / (mean(grey * grey) - mean(grey) ** 2 + 1e-3)
    t = np.maximum(mean(slope) * grey + mean(mean(rough) - slope * mean(grey)), 0.1)
    return np.rint(np.clip((image - airlight) / t[..., None] + airlight, 0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
