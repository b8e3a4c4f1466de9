"""The samples of a run by number, step by step: the same for any number of processes and after interruptions."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nedr.errors import UsageError
from nedr.training.config import Paths, TrainConfig
from nedr.training.data import (
    DrawnHaze,
    HazyPhotographs,
    RebuiltITS,
    SyntheticHaze,
    Together,
    depth_pairs,
    held_out,
    list_images,
    view_size,
)
from nedr.training.device_haze import DeviceHaze
from nedr.training.packed import read


class Stream(Sampler[int]):
    """The sample numbers that process `rank` of `world` sees in steps `start` to `stop`, `batch` per step over all.

    A resumed run continues with the next picture, and any number of processes see the same pictures in a step.
    """

    def __init__(self, start: int, stop: int, batch: int, *, rank: int = 0, world: int = 1) -> None:
        if batch % world:
            raise UsageError(f"a batch of {batch} cannot be shared by {world} processes: expected a multiple")
        self.steps, self.batch = range(start, stop), batch
        self.share, self.rank = batch // world, rank

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            first = step * self.batch + self.rank * self.share
            yield from range(first, first + self.share)

    def __len__(self) -> int:
        return len(self.steps) * self.share


def samples(config: TrainConfig, paths: Paths) -> Dataset[dict[str, Tensor]]:
    """What the run learns from, by number. Raises UsageError for missing or empty folders."""
    unpaired, seed = config.unpaired, config.seed
    if unpaired and unpaired.source == "its":
        if not paths.depth:
            raise UsageError("the ITS protocol draws haze on measured scenes: expected --depth DIR")
        its = RebuiltITS(depth_pairs(paths.depth), config.data, seed=seed, drawn=unpaired.drawn > 0)
        return Together(its, DrawnHaze(unpaired.beta, config.haze, seed=seed))
    clear = list_images(paths.clear, config.data.exclude) if paths.clear else []
    measured = depth_pairs(paths.depth) if paths.depth else []
    synthetic = SyntheticHaze(clear, measured, config.data, config.haze, seed=seed, labels=paths.labels)
    if not unpaired:
        return synthetic
    if not paths.hazy:
        raise UsageError("the unpaired stage learns from hazy photographs: expected --hazy DIR")
    photographs = [p for p in list_images(paths.hazy) if not (unpaired.holdout and held_out(p, unpaired.holdout))]
    real = HazyPhotographs(photographs, config.data, seed=seed)
    return Together(synthetic, real, DrawnHaze(unpaired.beta, config.haze, seed=seed))


def packed_samples(config: TrainConfig, file: Path, device: torch.device) -> DeviceHaze:
    """What a run learns from packed pictures, drawn on a device. Raises UsageError outside the warm-up."""
    if config.unpaired:
        raise UsageError("packed pictures are for the warm-up: the unpaired stage reads --hazy, --clear and --depth")
    return DeviceHaze(read(file, device), config.data, config.haze, seed=config.seed)


def first_views(config: TrainConfig, paths: Paths, *, count: int = 16) -> Tensor:
    """Views (count, 3, H, W) that a run never learns from, of one size, to calibrate a new network on."""
    if paths.packed:
        other = replace(config, data=replace(config.data, batch=count), seed=config.seed + 1)
        return packed_samples(other, paths.packed, torch.device("cpu")).batch(0)["hazy"]
    data = samples(replace(config, data=replace(config.data, views=config.data.views[:1]), seed=config.seed + 1), paths)
    name = "hazy" if config.unpaired is None or config.unpaired.source != "its" else "real"
    return torch.stack([data[index][name] for index in range(count)])


def views_until(config: TrainConfig, stop: int, stage: str) -> Counter[str]:
    """How many views of each size the steps before `stop` have, over all processes, named by `view_name`."""
    batch, seed = config.data.batch, config.seed
    sizes = (view_size(config.data, seed, step * batch) for step in range(stop))
    return Counter({name: steps * batch for name, steps in Counter(view_name(stage, *s) for s in sizes).items()})


def view_name(stage: str, height: int, width: int) -> str:
    """The name under which a stage's views are counted, portrait and landscape together: "warm-up 96x128"."""
    return f"{stage} {min(height, width)}x{max(height, width)}"


def batches(
    config: TrainConfig, paths: Paths, start: int, *, rank: int = 0, world: int = 1
) -> DataLoader[dict[str, Tensor]]:
    """The run's samples from step `start` on, or one process's share of them."""
    dataset = samples(config, paths)
    stream = Stream(start, config.optim.steps, config.data.batch, rank=rank, world=world)
    workers = config.data.workers
    return DataLoader(
        dataset, stream.share, sampler=stream, num_workers=workers, prefetch_factor=4 if workers else None
    )
