"""Training: one configuration, one loop, for the warm-up and the unpaired stage alike."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nedr.errors import NedrError, UsageError
from nedr.model.nedr import NeDR
from nedr.training.alive import dead_units, shares
from nedr.training.config import Paths, TrainConfig
from nedr.training.graphs import RecordedSteps
from nedr.training.stream import batches, packed_samples
from nedr.training.unpaired import UnpairedRun
from nedr.training.validation import Validation
from nedr.training.warmup import CHECKPOINT, WEIGHTS, Run, mean_of_processes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

MOST_COMPILED = 64  # variants of the network; the next one is not compiled


def begin(config: TrainConfig, paths: Paths, fabric: Fabric) -> Run:
    """The run of the configured stage, at its first step."""
    return UnpairedRun(config, paths, fabric) if config.unpaired else Run(config, paths, fabric)


def fit(
    config: TrainConfig,
    paths: Paths,
    *,
    fabric: Fabric | None = None,
    progress: bool = True,
    force: bool = False,
    minutes: float = math.inf,
    compiled: bool = False,
    graphs: bool = False,
) -> Path:
    """Train, resuming from a checkpoint in `paths.out` if there is one; return the file of the averaged weights.

    Logs every term, the throughput, validation PSNR per set and picture grids to TensorBoard under `paths.out`.
    force: resume even if the checkpoint's run had other settings, such as the seed, a loss or a rate.
    minutes: stop after this time, with a checkpoint from which the same call resumes. compiled: `torch.compile` first.
    graphs: record every kind of step once and launch it as a CUDA graph from then on (`RecordedSteps`).

    Raises UsageError for unusable pictures or configuration and for a checkpoint with other settings, NedrError when
    training diverges or ends in a state that is not worth keeping.
    """
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    run = begin(config, paths, fabric)
    if (paths.out / CHECKPOINT).exists():
        run.resume(paths.out / CHECKPOINT, force=force)
    validation = Validation(paths.validation) if paths.validation else None
    advance = stepping(run, compiled=compiled, graphs=graphs)
    loader = stream(run)
    with SummaryWriter(str(paths.out / "log")) as log:
        shown = progress and fabric.is_global_zero
        bar = tqdm(loader, initial=run.step, total=config.optim.steps, disable=not shown, unit="step", mininterval=5)
        began, first = time.monotonic(), run.step
        for batch in bar:
            terms = advance(batch)
            if run.step % config.log.scalars == 0:
                speed = (run.step - first) * config.data.batch / (time.monotonic() - began)
                bar.set_postfix(loss=f"{log_terms(run, terms, speed, log):.4f}", refresh=False)
            report(run, batch, validation, log)
            if time.monotonic() - began > 60 * minutes:
                break
    return finished(run)


def stepping(run: Run, *, compiled: bool, graphs: bool) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """What advances a run by one step, made fast as asked for."""
    if run.fabric.device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as convolutions have it anyway
    if compiled:
        compile_network(run.model)
    return RecordedSteps(run).advance if graphs else run.advance


def compile_network(model: NeDR, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile what does not depend on the lattice, once per size of view, with and without a learning encoder."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = MOST_COMPILED
    model.grid = torch.compile(model.grid, backend=backend, dynamic=False)  # type: ignore[method-assign]


def log_terms(run: Run, terms: Mapping[str, Tensor], speed: float, log: "SummaryWriter") -> float:
    """Write every term (its mean over all processes), the gradient's norm, the views per second; return the loss."""
    values = {name: mean_of_processes(run.fabric, value.detach()).item() for name, value in terms.items()}
    others = {"views_per_second": speed, "gradient_norm": run.gradient_norm.item()}
    for name, value in (values | others).items() if run.fabric.is_global_zero else ():
        log.add_scalar(f"train/{name}", value, run.step)
    return values["total"]


def stream(run: Run) -> Iterable[dict[str, Tensor]]:
    """A run's remaining batches, on its device. Raises UsageError for unusable pictures."""
    config, paths, fabric = run.config, run.paths, run.fabric
    if paths.packed is None:
        share = batches(config, paths, run.step, rank=fabric.global_rank, world=fabric.world_size)
        return fabric.setup_dataloaders(share, use_distributed_sampler=False)  # type: ignore[return-value]
    if fabric.world_size > 1:
        raise UsageError("packed pictures are for one device: expected --devices 1")
    return packed_samples(config, paths.packed, fabric.device).batches(run.step, config.optim.steps)


def finished(run: Run) -> Path:
    """Save, and return the file of the averaged weights. Raises NedrError if these are not worth keeping."""
    run.save()
    file = run.paths.out / WEIGHTS
    if run.saved != run.step:
        kept = f"{file} holds those of step {run.saved}" if run.saved else "no weights were written"
        raise NedrError(f"transmission was constant at the last step, {run.step}: {kept}")
    return file


def report(run: Run, batch: dict[str, Tensor], validation: Validation | None, log: Any) -> None:
    """What happens only every so many steps: checkpoint, picture grid, validation."""
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
    if validation and (run.step % every.alive == 0 or last):
        log_alive(run, validation, log)


def log_alive(run: Run, validation: Validation, log: "SummaryWriter") -> None:
    """Write the share of dead units of each layer, and what each of the paper's boxes adds on each set, in dB."""
    for layer, (dead, units) in dead_units(run.averaged, validation.hazy()).items():
        log.add_scalar(f"dead/{layer}", dead / units, run.step)
    for box, sets in shares(run.averaged, validation).items():
        for name, decibels in sets.items():
            log.add_scalar(f"share/{box}/{name}", decibels, run.step)
        print(f"step {run.step}  {box} adds {sum(sets.values()) / len(sets):.2f} dB", flush=True)
