"""A calibrated start: one pass over some views, after which every layer's outputs have a known spread.

Layer-sequential unit variance (Mishkin & Matas, "All you need is a good init", 2016), with the spread chosen by layer.
A decoder started like this can learn at one rate throughout; no level of features vanishes or drowns out the others.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nedr.model.encoder import BATCH_NORM_EPS, FrozenNormConv
from nedr.model.heads import BoundedHead, DensityHead
from nedr.model.kan import KANLinear
from nedr.model.nedr import NeDR
from nedr.model.refine import Standardise

Hook = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]
RESIDUAL = 0.5  # spread of what is added to a stream or subtracted from it
LEAST = 1e-4


@torch.no_grad()
def calibrate(model: NeDR, views: Tensor) -> None:
    """Scale the network's layers in place by their outputs for `views` (B, 3, H, W) in [0, 1], RGB.

    The encoder keeps its weights where it has batch statistics (an ImageNet start) and gets statistics where not.
    """
    handles = [module.register_forward_hook(hook) for module, hook in _hooks(model)]
    training = model.training
    model.eval()(views)
    model.train(training)
    for handle in handles:
        handle.remove()


def _hooks(model: NeDR) -> list[tuple[nn.Module, Hook]]:
    small = {id(head.last) for head in model.modules() if isinstance(head, BoundedHead | DensityHead)}
    hooks: list[tuple[nn.Module, Hook]] = []
    inside = {id(part) for module in model.modules() if isinstance(module, KANLinear) for part in module.children()}
    for name, module in model.named_modules():
        if isinstance(module, FrozenNormConv):
            if not module.mean.any():
                hooks.append((module, _set_statistics))
        elif isinstance(module, Standardise):
            hooks.append((module, _standardise))
        elif isinstance(module, nn.Conv2d | nn.Linear | KANLinear) and id(module) not in inside:
            residual = id(module) in small or name.endswith(("fusion", "second", "redundant", "channel_independent"))
            hooks.append((module, _Scaled(RESIDUAL if residual else 1.0)))
    return hooks


class _Scaled:
    """Gives a layer's outputs a spread, the first time it runs."""

    def __init__(self, spread: float) -> None:
        self.spread, self.done = spread, False

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        weights, bias = parameters_of(module)
        if self.done or not any(weight.any() for weight in weights):  # zero on purpose
            return None
        self.done = True
        scale = self.spread / output.std().clamp_min(LEAST)
        for weight in weights:
            weight.mul_(scale)
        if bias is not None:
            bias.mul_(scale)
        return output * scale


def parameters_of(module: nn.Module) -> tuple[list[Tensor], Tensor | None]:
    """A layer's kernels and its bias, if it has one."""
    if isinstance(module, KANLinear):
        return [module.base.weight, module.spline.weight], module.base.bias
    assert isinstance(module, nn.Conv2d | nn.Linear)
    return [module.weight], module.bias


def _standardise(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    assert isinstance(module, Standardise)
    module.mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
    module.deviation.copy_(inputs[0].std(dim=(0, 2, 3)).clamp_min(0.05 * inputs[0].std()).clamp_min(LEAST))
    return module.forward(inputs[0])


def _set_statistics(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Set the batch statistics of a convolution that has none, from outputs divided only by sqrt(1 + eps)."""
    assert isinstance(module, FrozenNormConv)
    mean, variance = output.mean(dim=(0, 2, 3)), output.var(dim=(0, 2, 3))
    module.mean.copy_(mean * (1.0 + BATCH_NORM_EPS) ** 0.5)
    module.variance.copy_(variance * (1.0 + BATCH_NORM_EPS))
    return module.forward(*inputs)
