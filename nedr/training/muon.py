"""Muon: momentum with every matrix made orthogonal, so that all directions of a kernel learn at the same pace.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the scale is that of Liu et al., "Muon
is scalable for LLM training" (2025), which makes AdamW's rates fit. torch has it only for matrices; here kernels count
as matrices (outputs, inputs * height * width).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import AdamW

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration that drives singular values to about 1
ITERATIONS = 5
MOMENTUM = 0.95
LEAST_CHANNELS = 4
RMS = 0.2  # root mean square of an update at a rate of 1: about AdamW's


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (m, n) with all singular values about 1 (Newton-Schulz): same shape."""
    a, b, c = COEFFICIENTS
    x: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(AdamW):
    """AdamW whose groups marked `muon` take orthogonal steps of Nesterov momentum instead: kernels and matrices."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group.get("muon")]
        loss: float | None = super().step(closure)
        self.param_groups = groups
        for group in groups:
            for parameter in group["params"] if group.get("muon") else ():
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])
        return loss

    def _move(self, parameter: nn.Parameter, gradient: Tensor, rate: float | Tensor, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1.0 - MOMENTUM)
        update = orthogonal(gradient.lerp(state["momentum"], MOMENTUM).flatten(1))
        scale = RMS * max(update.shape) ** 0.5
        parameter.mul_(1.0 - rate * decay).sub_(update.view(parameter.shape) * (rate * scale))


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter mixes channels: a matrix or kernel of several inputs and outputs, not a depthwise one."""
    return parameter.dim() >= 2 and min(parameter.shape[:2]) >= LEAST_CHANNELS
