"""Rehazing network R: physical haze on a clear picture, then a residual U-Net for what the scattering model misses."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.depth import DepthConfig, DepthNet
from nedr.model.nedr import displayed


class UNet(nn.Module):
    """Three scales (Ronneberger et al. 2015), group normalisation, so that a sample does not depend on its batch."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.first = _block(inputs, width)
        self.second = _block(width, 2 * width)
        self.third = _block(2 * width, 4 * width)
        self.up_second = _block(6 * width, 2 * width)
        self.up_first = _block(3 * width, width)
        self.last = nn.Conv2d(width, outputs, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W), zero before training; sides multiples of 4."""
        first = self.first(x)
        second = self.second(F.avg_pool2d(first, 2))
        third = self.third(F.avg_pool2d(second, 2))
        second = self.up_second(torch.cat([second, _doubled(third)], dim=1))
        first = self.up_first(torch.cat([first, _doubled(second)], dim=1))
        y: Tensor = self.last(first)
        return y


class Rehaze(nn.Module):
    """R: J, d, beta, A -> I, the scattering model plus a residual of at most `reach`; exactly the model untrained."""

    def __init__(self, width: int = 16, *, reach: float = 0.25) -> None:
        super().__init__()
        self.reach = reach
        self.unet = UNet(4, 3, width)

    def forward(self, clear: Tensor, depth: Tensor, density: Tensor, airlight: Tensor) -> Tensor:
        """J (B, 3, H, W), d (B, 1, h, w), beta (B,), A (B, 3) -> I (B, 3, H, W) in [0, 1]."""
        t, hazy = physical_haze(clear, depth, density, airlight)
        return displayed(hazy + self.residual(hazy, t))

    def residual(self, hazy: Tensor, transmission: Tensor) -> Tensor:
        """What is added to physical haze (B, 3, H, W) of t (B, 1, H, W): (B, 3, H, W) in [-reach, reach]."""
        return self.reach * torch.tanh(self.unet(torch.cat([hazy, transmission], dim=1)))


@dataclass(frozen=True)
class RehazingConfig:
    """Sizes of D and R together."""

    depth: DepthConfig = field(default_factory=DepthConfig)
    width: int = 16  # channels of the U-Net's first scale


class Rehazing(nn.Module):
    """D and R, all that it takes to make haze."""

    def __init__(self, config: RehazingConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RehazingConfig()
        self.depth = DepthNet(config.depth)
        self.rehaze = Rehaze(config.width)

    def forward(self, clear: Tensor, density: Tensor, airlight: Tensor) -> tuple[Tensor, Tensor]:
        """J (B, 3, H, W), beta (B,), A (B, 3) -> d (B, 1, h, w) on the lattice, residual (B, 3, H, W) of R."""
        depth = self.depth(clear)
        t, hazy = physical_haze(clear, depth, density, airlight)
        return depth, self.rehaze.residual(hazy, t)


def physical_haze(clear: Tensor, depth: Tensor, density: Tensor, airlight: Tensor) -> tuple[Tensor, Tensor]:
    """t = exp(-beta d) at the picture's size and I = J t + A (1 - t) (Koschmieder); shapes as in `Rehaze`."""
    t = torch.exp(-density[:, None, None, None] * depth)
    t = F.interpolate(t, clear.shape[-2:], mode="bilinear", align_corners=False)
    return t, clear * t + airlight[:, :, None, None] * (1.0 - t)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(4, outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
