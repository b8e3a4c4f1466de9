"""Heads of the dehazing network: transmission t, airlight A and scattering coefficient beta."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.resample import Size, centres

HAZIEST = 0.001  # fraction of pixels the dark-channel airlight looks at (He et al. 2009)
HIDDEN = 64
TERMS = 5  # of A(x) beside its mean
SLOPE = 0.1  # of leaky ReLUs: a unit that drifts below 0 still learns the way back
LEAK = 0.05  # of a bounded answer's slope where it lies at a bound
SATURATED = 4.0  # beyond it, tanh is 1 but for 0.0007


class _Tanh(torch.autograd.Function):
    """tanh whose slope never vanishes towards 0, so that an answer at a bound learns back; outwards it ends at a bound.

    A slope that led further out, where the truth *is* the bound (no haze: t = 1), would let values grow for ever.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        outwards = (x.abs() > SATURATED) & (gradient * x < 0.0)
        return gradient * torch.where(outwards, 0.0, 1.0 - y * y + LEAK)


def bounded(x: Tensor, low: float, high: float, *, training: bool) -> Tensor:
    """tanh scaled into [low, high]; in training its slope is that of `_Tanh`."""
    y: Tensor = _Tanh.apply(x) if training else torch.tanh(x)  # type: ignore[no-untyped-call]
    return low + (high - low) * (0.5 + 0.5 * y)


class BoundedHead(nn.Module):
    """conv 3x3, leaky ReLU, conv 3x3, tanh scaled into `bounds`: one value per lattice cell, t or depth."""

    def __init__(self, channels: int, width: int, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.low, self.high = bounds
        self.hidden = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 1, h, w) inside `bounds`."""
        y = self.last(F.leaky_relu(self.hidden(x), SLOPE))
        return bounded(y, self.low, self.high, training=self.training)


class DensityHead(nn.Module):
    """beta from the global averages of the encoder's maps; no gradient flows back into the encoder."""

    def __init__(self, channels: int, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.low, self.high = bounds
        self.hidden = nn.Linear(channels, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, channels) -> beta (B,) inside `bounds`."""
        y = self.last(F.leaky_relu(self.hidden(pooled.detach()), SLOPE)).squeeze(-1)
        return bounded(y, self.low, self.high, training=self.training)


class AirlightHead(nn.Module):
    """A(x): its mean A, and five numbers a channel that let it change smoothly over the picture (see `airlight_at`).

    Four attention maps over the lattice, biased towards low t, gather colour, t and features, and how these change over
    the picture (moments with the same five polynomials). The first map's colour is where A starts; a small network on
    everything gathered adds a residual (in logits, so that A stays in (0, 1)) and says the five terms.
    """

    def __init__(self, channels: int, pooled: int, *, maps: int = 4, projected: int = 8) -> None:
        super().__init__()
        self.attention = nn.Conv2d(channels, maps, 1)
        self.haziness = nn.Parameter(torch.linspace(10.0, 0.0, maps))
        self.projection = nn.Conv2d(channels, projected, 1)
        self.hidden = nn.Linear(pooled + maps * (4 + channels) + maps * TERMS * (4 + projected), HIDDEN)
        self.second = nn.Linear(HIDDEN, HIDDEN)
        self.last = nn.Linear(HIDDEN, 3 + 3 * TERMS)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, image: Tensor, transmission: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, channels, h, w), (B, 3, h, w), (B, 1, h, w), (B, pooled) -> A (B, 3) in (0, 1), terms (B, 3, TERMS)."""
        logits = self.attention(x) + self.haziness[:, None, None] * (1.0 - transmission)
        weights = logits.flatten(2).softmax(dim=-1)  # (B, maps, h * w)
        shown = torch.cat([image, transmission], dim=1).flatten(2)  # (B, 4, h * w)
        gathered = weights @ torch.cat([shown, x.flatten(2)], dim=1).transpose(1, 2)  # (B, maps, 4 + channels)
        local = torch.cat([shown, self.projection(x).flatten(2)], dim=1)  # (B, 4 + projected, h * w)
        local = local - local.mean(dim=-1, keepdim=True)
        shapes = polynomials(x.shape[-2], x.shape[-1], x).flatten(1)  # (TERMS, h * w)
        moments = (weights[:, :, None] * shapes).flatten(1, 2) @ local.transpose(1, 2)  # (B, maps * TERMS, ...)
        everything = torch.cat([pooled, gathered.flatten(1), 4.0 * moments.flatten(1)], dim=1)
        hidden = F.leaky_relu(self.second(F.leaky_relu(self.hidden(everything), SLOPE)), SLOPE)
        residual, terms = self.last(hidden).split([3, 3 * TERMS], dim=1)
        start = gathered[:, 0, :3].clamp(0.02, 0.98)
        return torch.sigmoid(torch.logit(start) + residual), terms.unflatten(1, (3, TERMS))


def polynomials(height: Size, width: Size, like: Tensor) -> Tensor:
    """x, y, x^2 - 1/3, x y, y^2 - 1/3 at a raster's cell centres, x and y in [-1, 1]: (TERMS, height, width).

    Each has a mean of 0 over the picture, so that what they are added to stays the mean.
    """
    x, y = centres(width, like)[None, :], centres(height, like)[:, None]
    one = torch.ones_like(x) * torch.ones_like(y)
    return torch.stack([x * one, y * one, (x * x - 1 / 3) * one, x * y, (y * y - 1 / 3) * one])


def airlight_at(airlight: Tensor, terms: Tensor, height: Size, width: Size) -> Tensor:
    """A(x) = A + sum_k c_k p_k(x) within [0, 1], p_k as in `polynomials`: (B, 3), (B, 3, TERMS) -> (B, 3, h, w)."""
    smooth = terms @ polynomials(height, width, airlight).flatten(1)  # (B, 3, h * w)
    within = (airlight[:, :, None] + smooth).clamp(0.0, 1.0)
    return within.unflatten(2, (height, width))  # type: ignore[no-any-return, no-untyped-call]


def brightest(image: Tensor) -> Tensor:
    """A as the published indoor setting takes it: the maximum of each channel, (B, 3, H, W) -> (B, 3)."""
    return image.amax(dim=(-2, -1))


def dark_channel(image: Tensor, patch: int) -> Tensor:
    """The least of all channels in the patch around each pixel (He et al. 2009): (B, 3, H, W) -> (B, 1, H, W)."""
    return -F.max_pool2d(-image.amin(dim=1, keepdim=True), patch, stride=1, padding=patch // 2)


def dark_channel_airlight(image: Tensor, *, patch: int = 15) -> Tensor:
    """A as the published outdoor setting takes it: mean colour where the dark channel is brightest (He et al. 2009)."""
    dark = dark_channel(image, patch)
    count = max(1, int(dark[0].numel() * HAZIEST))
    index = dark.flatten(1).topk(count, dim=1).indices  # (B, count)
    return image.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).mean(dim=-1)
