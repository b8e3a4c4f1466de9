"""Frames per second, memory and flicker of videos.

    python benchmarks/video.py [--threads N] [--frames N]

`end to end` is all of `nedr clip.mp4 -o clear.mp4`: H.264 with sound in, decoded, dehazed, encoded as H.264, sound
copied. `memory` is the most that a fresh process held meanwhile, for a short and a long clip. `flicker` is how much the
values of a still scene vary over time (standard deviation, of 255, mean over the values). `fades` is how far the
ratio of result to input departs from that of the steady scene while it fades to black and back.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from bench import machine, peak_memory, table
from PIL import Image

from nedr.inference.dehazer import Dehazer
from nedr.pictures.arrays import Array
from nedr.pictures.job import Job
from nedr.video import pipeline
from nedr.video.formats import Encoding
from nedr.video.temporal import VideoDehazer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import footage

SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}
EVERY = [1, 4, 8]
EXAMPLES = Path(__file__).parents[1] / "examples"
AIRLIGHT = np.array([0.80, 0.82, 0.86], np.float32)
SIGMA = 2.5 / 255


def main() -> None:
    """Parse the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak", metavar="CLIP", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(round(end_to_end(options.peak, options.threads)[1] / 1e6))
        return
    print(machine(), f"\n{options.threads} threads, best of {options.repeats}\n", sep="")
    with tempfile.TemporaryDirectory() as held:
        table(["end to end", "frames/s", "processor s each"], speed(Path(held), options))
        print()
        table(["frames at 1280x720", "peak MB"], memory(Path(held), options))
    print()
    table(["a still scene", "flicker", "relative to the clear clip"], flicker(options.threads))
    print()
    table(["a fade to black and back", "least", "most"], fades(options.threads))


def speed(folder: Path, options: argparse.Namespace) -> Iterable[list[str]]:
    """A row for each size and how often the network runs, measured in turn."""
    for name, size in SIZES.items():
        clip = footage.film(folder / f"{name}.mp4", footage.panned("temple", size, options.frames, sigma=0.005))
        rounds: dict[int, list[tuple[float, float]]] = {every: [] for every in EVERY}
        for every in EVERY * options.repeats:
            processor = time.process_time()
            wall, _ = end_to_end(clip, options.threads, every)
            rounds[every].append((wall, time.process_time() - processor))
        for every, times in rounds.items():
            rate = options.frames / min(wall for wall, _ in times)
            yield [f"{name} --every {every}", f"{rate:.1f}", f"{min(cpu for _, cpu in times) / options.frames:.3f}"]


def memory(folder: Path, options: argparse.Namespace) -> Iterable[list[str]]:
    """A row for each length."""
    for frames in (50, 400):
        clip = footage.film(folder / f"{frames}.mp4", footage.panned("temple", SIZES["720p"], frames, step=1))
        command = [sys.executable, __file__, "--peak", str(clip), "--threads", str(options.threads)]
        yield [str(frames), subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()]


def end_to_end(clip: Path, threads: int, every: int = 4) -> tuple[float, int]:
    """Seconds of one run, and the most memory this process has held."""
    started = time.perf_counter()
    job, encoding = Job(clip, clip.with_suffix(".clear.mp4")), Encoding(every=every)
    pipeline.dehaze(job, Dehazer(threads=threads), encoding=encoding, overwrite=True)
    return time.perf_counter() - started, peak_memory()


def flicker(threads: int) -> Iterable[list[str]]:
    """A row for each way to dehaze a still scene, seen by a noisy sensor."""
    photo = Image.open(EXAMPLES / "temple.jpg").convert("RGB").resize((640, 360), Image.Resampling.BOX)
    clear, rng = np.asarray(photo, np.float32) / 255 * 0.8, np.random.default_rng(0)
    t = np.linspace(0.35, 0.9, 360, dtype=np.float32)[:, None, None]
    noise = [rng.normal(0, SIGMA, clear.shape).astype(np.float32) for _ in range(32)]
    hazy = [np.clip(clear * t + AIRLIGHT * (1 - t) + each, 0, 1) for each in noise]
    frames, dehazer = [codes(frame) for frame in hazy], Dehazer(threads=threads)
    usual = deviation(codes(np.clip(clear + each, 0, 1)) for each in noise)
    ways = {
        "clear clip, same noise": usual,
        "hazy clip": deviation(frames),
        "each frame as a photograph": deviation(dehazer.dehaze(frame) for frame in frames),
        "nedr.VideoDehazer": deviation(VideoDehazer(dehazer)(frames)),
        "nedr.VideoDehazer(denoise=False)": deviation(VideoDehazer(dehazer, denoise=False)(frames)),
        "nedr CLIP --every 1, lossless": deviation(through_files(hazy, dehazer, every=1)),
        "nedr CLIP, lossless": deviation(through_files(hazy, dehazer)),
    }
    for name, found in ways.items():
        yield [name, f"{found:.2f}", f"{found / usual:.2f}x"]


def fades(threads: int) -> Iterable[list[str]]:
    """A row for each way: the ratio of result to input, relative to the steady scene's, without frames of under 3."""
    levels = np.concatenate([np.ones(10), np.linspace(1, 0, 16), np.linspace(0, 1, 16)])
    hazy = next(footage.panned("temple", (180, 320), 1))
    frames, dehazer = [codes(hazy * level) for level in levels], Dehazer(threads=threads)
    ways = {
        "each frame as a photograph": [dehazer.dehaze(frame) for frame in frames],
        "nedr.VideoDehazer": list(VideoDehazer(dehazer)(frames)),
    }
    for name, results in ways.items():
        ratios = [
            after.mean() / before.mean() for after, before in zip(results, frames, strict=True) if before.mean() > 3
        ]
        yield [name, f"{min(ratios) / ratios[9]:.2f}x", f"{max(ratios) / ratios[9]:.2f}x"]


def through_files(frames: list[Array], dehazer: Dehazer, every: int = 4) -> list[Array]:
    """Frames (H, W, 3) in [0, 1] through a video file and back, losslessly compressed."""
    with tempfile.TemporaryDirectory() as held:
        job = Job(Path(held) / "clip.mkv", Path(held) / "clear.mkv")
        footage.film(job.photo, frames, codec="ffv1", format="yuv444p", sound=False)
        pipeline.dehaze(job, dehazer, encoding=Encoding(codec="ffv1", every=every))
        with footage.av.open(str(job.result)) as container:
            return [footage.shown(frame) for frame in container.decode(video=0)]


def codes(frame: Array) -> Array:
    """A frame in [0, 1] as uint8."""
    return np.rint(frame * 255).astype(np.uint8)


def deviation(frames: Iterable[Array]) -> float:
    """Mean over all values of the standard deviation over time, without the first frames."""
    return float(np.stack(list(frames)[4:]).astype(np.float32).std(axis=0).mean())


if __name__ == "__main__":
    main()
