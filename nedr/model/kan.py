"""KANLinear: a linear layer whose inputs pass through learned cubic splines (Liu et al. 2024, "KAN", eq. 2.10-2.12)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID_INTERVALS = 5
SPLINE_ORDER = 3
BASES = GRID_INTERVALS + SPLINE_ORDER


def _spline_centres(x: Tensor, intervals: int) -> Tensor:
    """Centres of the uniform cubic B-splines over a grid on [-1, 1], (intervals + 3,), in x's type and place."""
    return -1.0 + (2.0 / intervals) * (torch.arange(intervals + SPLINE_ORDER, dtype=x.dtype, device=x.device) - 1.0)


def _scaled_distance(x: Tensor, intervals: int) -> Tensor:
    """(x - c_j) / h for every spline centre c_j: (...,) -> (..., intervals + 3)."""
    return (x.unsqueeze(-1) - _spline_centres(x, intervals)).mul_(intervals / 2.0)


def _bases(x: Tensor, intervals: int) -> Tensor:
    u = _scaled_distance(x, intervals).abs()
    outer, inner = (2.0 - u).clamp_min(0.0), (1.0 - u).clamp_min(0.0)
    return (outer * outer * outer - 4.0 * inner * inner * inner) / 6.0


class _CubicBSpline(torch.autograd.Function):
    """The bases with their derivative in closed form: nothing but x is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, intervals: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.intervals = intervals
        return _bases(x, intervals)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """dB/dx = sign(x - c) (4 max(0, 1 - u)^2 - max(0, 2 - u)^2) / (2 h)."""
        (x,) = ctx.saved_tensors
        signed = _scaled_distance(x, ctx.intervals)
        u = signed.abs()
        outer, inner = (2.0 - u).clamp_min_(0.0), u.neg_().add_(1.0).clamp_min_(0.0)
        slope = inner.square_().mul_(4.0).sub_(outer.square_()).mul_(signed.sign_()).mul_(gradients[0])
        return slope.sum(-1) * (ctx.intervals / 4.0), None


def cubic_bspline(x: Tensor, intervals: int = GRID_INTERVALS) -> Tensor:
    """All uniform cubic B-spline bases at `x` of any shape (...,); returns (..., intervals + 3).

    Closed form: with u = |x - c_j| / h, B(u) = (max(0, 2 - u)^3 - 4 max(0, 1 - u)^3) / 6, which equals the
    Cox-de Boor recursion without its comparisons. Beyond the outermost support every basis is 0.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        bases: Tensor = _CubicBSpline.apply(x, intervals)  # type: ignore[no-untyped-call]
        return bases
    return _bases(x, intervals)


class KANLinear(nn.Module):
    """y = W_b SiLU(x) + W_s B(x) over the last dimension: (..., inputs) -> (..., outputs).

    The base branch W_b keeps answering (and training) where x leaves the spline grid [-1, 1] and B(x) fades to 0.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Linear(inputs, outputs)
        self.spline = nn.Linear(inputs * BASES, outputs, bias=False)
        nn.init.normal_(self.spline.weight, std=0.1 * inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs); any range, though the splines see only |x| < 1.8."""
        bases = cubic_bspline(x).flatten(-2)  # (..., inputs * BASES)
        y: Tensor = self.base(F.silu(x)) + self.spline(bases)
        return y
