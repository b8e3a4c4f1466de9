"""ChnMapper and the refine layers: feature fusion from stride 32 to the coarse grid E' (RefineNet, Lin et al. 2017)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.heads import SLOPE

STRIDES = (4, 8, 16, 32)


class Standardise(nn.Module):
    """(x - mean) / deviation per channel, both fixed once and for all before training: a picture keeps its contrast."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return (x - self.mean[:, None, None]) / self.deviation[:, None, None]


class ChnMapper(nn.Module):
    """One 3x3 convolution per level, from the encoder's widths to the decoder's."""

    def __init__(self, inputs: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(i, w, 3, padding=1) for i, w in zip(inputs, widths, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps (B, inputs[i], H_i, W_i) -> (B, widths[i], H_i, W_i)."""
        return [level(feature) for level, feature in zip(self.levels, features, strict=True)]


class ResidualConvUnit(nn.Module):
    """x + conv(leaky ReLU(conv(leaky ReLU(x)))) at 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        hidden = F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE)
        y: Tensor = x + self.second(hidden)
        return y


class RefineLayer(nn.Module):
    """Fuse a level with what came from the coarser ones: a 1x1 convolution brings the latter to this level's width.

    A level finer than `below`'s target (`unshuffle` > 1) is folded into its channels first, so that E' can stay coarse
    without losing what the fine level saw: the IDRM decodes it again inside each cell.
    """

    def __init__(self, level: int, coarser: int, outputs: int, *, unshuffle: int = 1) -> None:
        super().__init__()
        self.unshuffle = unshuffle
        self.skip = nn.Conv2d(level * unshuffle**2, outputs, 1)
        self.top = nn.Conv2d(coarser, outputs, 1) if coarser else None
        self.unit = ResidualConvUnit(outputs)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        """(B, level, H, W), (B, coarser, H', W') -> (B, outputs, H / unshuffle, W / unshuffle)."""
        fused = self.skip(F.pixel_unshuffle(level, self.unshuffle))
        if self.top is not None and coarser is not None:
            fused = fused + F.interpolate(self.top(coarser), fused.shape[-2:], mode="bilinear", align_corners=False)
        refined: Tensor = self.unit(fused)
        return refined


def level_at(stride: int) -> int:
    """Index of the level whose width the grid of this stride has."""
    return STRIDES.index(max(stride, STRIDES[0]))


def refine_layers(widths: tuple[int, ...], grid_stride: int) -> nn.ModuleList:
    """From stride 4 to 32; a level finer than E' is folded into channels and takes the width of the level at E'."""
    layers = nn.ModuleList()
    for index, stride in enumerate(STRIDES):
        unshuffle = max(1, grid_stride // stride)
        home = level_at(grid_stride)
        coarser = widths[max(index + 1, home)] if index + 1 < len(STRIDES) else 0
        layers.append(RefineLayer(widths[index], coarser, widths[max(index, home)], unshuffle=unshuffle))
    return layers


def fuse(levels: Iterable[Tensor], layers: nn.ModuleList, grid_stride: int) -> Tensor:
    """Maps at strides 4, 8, 16, 32 -> the coarse grid E' (B, C, H / grid_stride, W / grid_stride), top down."""
    coarser: Tensor | None = None
    for level, refine in reversed(list(zip(levels, layers, strict=True))):
        coarser = refine(level, coarser)
    assert coarser is not None
    ratio = STRIDES[0] // grid_stride
    return F.interpolate(coarser, scale_factor=ratio, mode="bilinear") if ratio > 1 else coarser
