"""Depth network D: a clear picture J -> d, as the dehazing network, without KAN-CID and IDRM."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.encoder import Encoder
from nedr.model.heads import BoundedHead
from nedr.model.refine import ChnMapper, fuse, level_at, refine_layers


@dataclass(frozen=True)
class DepthConfig:
    """Sizes of D: those of the dehazing network beside it."""

    encoder: Literal["lite0", "lite3"] = "lite0"
    widths: tuple[int, int, int, int] = (16, 48, 64, 64)
    grid_stride: int = 8
    lattice_stride: int = 4
    head_width: int = 24
    bounds: tuple[float, float] = (0.05, 3.0)  # of d


class DepthNet(nn.Module):
    """J -> d inside the configured bounds on a lattice; tensors in, tensors out, sides multiples of 32."""

    def __init__(self, config: DepthConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DepthConfig()
        self.encoder = Encoder(config.encoder)
        self.mapper = ChnMapper(self.encoder.channels, config.widths)
        self.refine = refine_layers(config.widths, config.grid_stride)
        self.head = BoundedHead(config.widths[level_at(config.grid_stride)], config.head_width, config.bounds)

    def forward(self, clear: Tensor) -> Tensor:
        """RGB (B, 3, H, W) in [0, 1] -> d (B, 1, H / lattice_stride, W / lattice_stride)."""
        grid = fuse(self.mapper(self.encoder(clear)), self.refine, self.config.grid_stride)
        ratio = self.config.grid_stride // self.config.lattice_stride
        if ratio > 1:
            grid = F.interpolate(grid, scale_factor=ratio, mode="bilinear", align_corners=False)
        depth: Tensor = self.head(grid)
        return depth
