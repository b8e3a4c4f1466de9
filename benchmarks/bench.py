"""What the benchmarks share: a picture, a stopwatch, a table, and the machine they ran on."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SIZES = {"720p": (720, 1280), "1 MP": (816, 1224), "4K": (2160, 3840), "24 MP": (4000, 6000)}


def photograph(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A hazy scene made of soft shapes, edges and noise: uint8 (height, width, 3), the same every time."""
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    near = (y > 0.3 + 0.1 * np.sin(9 * x)).astype(np.float32)
    t = 0.25 + 0.6 * near * y
    scene = 0.35 + 0.25 * np.sin(14 * x) * np.cos(11 * y)
    grain = np.random.default_rng(0).normal(0, 0.01, (height, width)).astype(np.float32)
    planes = [(scene * weight + grain) * t + 0.88 * (1 - t) for weight in (0.8, 1.0, 1.15)]
    return np.rint(np.clip(np.stack(planes, axis=2), 0, 1) * 255).astype(np.uint8)


def best(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` runs, after one that does not count: the least disturbed by other jobs."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def processor_time(work: Callable[[], Any], repeats: int) -> float:
    """Processor seconds, all threads together, of the cheapest of `repeats` runs: hardly affected by other jobs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a Markdown table; the first column is text, the others are numbers."""
    print("| " + " | ".join(header) + " |")
    print("|---" + "|---:" * (len(header) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def machine() -> str:
    """One line on where the figures come from, with the load from other jobs: compare them only within one run."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{processor()}, {os.cpu_count()} cores{load}, Python {platform.python_version()}, numpy {np.__version__}"


def processor() -> str:
    """The processor's name as the system reports it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def peak_memory() -> int:
    """The most bytes this process has held in memory since it started."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent process held when it started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
