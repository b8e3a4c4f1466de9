"""The dehazing network of NeDR-Dehaze's figure: encoder, ChnMapper, KAN-CID, refine layers, IDRM, DREM and heads."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.drem import DREM
from nedr.model.encoder import Encoder
from nedr.model.heads import AirlightHead, BoundedHead, DensityHead, brightest, dark_channel, dark_channel_airlight
from nedr.model.idrm import IDRM
from nedr.model.kan_cid import KANCID
from nedr.model.refine import ChnMapper, fuse, level_at, refine_layers

VIEW_MULTIPLE = 32


@dataclass(frozen=True)
class NeDRConfig:
    """Sizes of the network; the defaults are the `base` preset, which is trained and shipped."""

    encoder: Literal["lite0", "lite3"] = "lite0"
    widths: tuple[int, int, int, int] = (16, 48, 64, 64)  # decoder channels at strides 4, 8, 16, 32
    grid_stride: int = 8  # of the coarse grid E' that the IDRM decodes
    lattice_stride: int = 4  # of the lattice on which the field is asked for
    dropout: float = 0.0  # inside KAN-CID
    idrm_hidden: tuple[int, ...] = (64, 64)  # widths of F_MLP
    idrm_outputs: int = 32
    drem_width: int = 32
    drem_growth: int = 16
    head_width: int = 24
    airlight: Literal["predicted", "brightest", "dark_channel"] = "predicted"
    transmission: tuple[float, float] = (0.03, 1.0)
    density: tuple[float, float] = (0.05, 4.0)
    dark_channel: bool = True  # the lattice also sees how dark the darkest thing of each cell and patch is
    kan_cid: bool = True  # the three switches of the ablation
    idrm: bool = True
    drem: bool = True

    def __post_init__(self) -> None:
        if self.grid_stride not in (2, 4, 8) or self.lattice_stride not in (1, 2, 4, 8):
            found = f"{self.grid_stride} and {self.lattice_stride}"
            raise ValueError(f"expected grid_stride 2, 4 or 8 and lattice_stride 1, 2, 4 or 8, found {found}")
        if self.lattice_stride > self.grid_stride:
            raise ValueError(f"lattice_stride {self.lattice_stride} is coarser than grid_stride {self.grid_stride}")
        for name, (low, high) in (("transmission", self.transmission), ("density", self.density)):
            if not 0.0 < low < high:
                raise ValueError(f"{name} needs bounds 0 < low < high, found {low}, {high}")


PRESETS = {
    "base": NeDRConfig(),
    "paper": NeDRConfig(
        encoder="lite3",
        widths=(32, 64, 128, 256),
        grid_stride=2,
        lattice_stride=1,
        dropout=0.1,
        idrm_hidden=(256, 256, 256),
        drem_width=64,
        drem_growth=64,
        head_width=32,
        airlight="brightest",
        transmission=(0.05, 0.95),
        density=(0.6, 1.8),
        dark_channel=False,
    ),
}
DARK_PATCH = 7  # cells, of the wider dark channel


class HazeEstimate(NamedTuple):
    """What the network says of a view: t (B, 1, h, w) on the lattice, A (B, 3) RGB in [0, 1], beta (B,)."""

    transmission: Tensor
    airlight: Tensor
    density: Tensor


def depth(transmission: Tensor, density: Tensor) -> Tensor:
    """d = -ln t / beta (Koschmieder): (B, 1, h, w), (B,) -> (B, 1, h, w)."""
    return -transmission.log() / density[:, None, None, None]


def scene_radiance(hazy: Tensor, transmission: Tensor, airlight: Tensor, *, floor: float = 0.05) -> Tensor:
    """J = (I - A) / max(t, floor) + A, not clipped: (B, 3, H, W), (B, 1, h, w), (B, 3) -> (B, 3, H, W).

    A coarser t is brought to the picture's size bilinearly.
    """
    if transmission.shape[-2:] != hazy.shape[-2:]:
        transmission = F.interpolate(transmission, hazy.shape[-2:], mode="bilinear", align_corners=False)
    colour = airlight[:, :, None, None]
    return (hazy - colour) / transmission.clamp_min(floor) + colour


def displayed(picture: Tensor) -> Tensor:
    """A picture clipped to [0, 1] whose gradient is not: a value outside still learns the way back."""
    return picture + (picture.clamp(0.0, 1.0) - picture).detach()


class NeDR(nn.Module):
    """I -> t, A, beta. Tensors in, tensors out; any aspect ratio, sides multiples of 32."""

    def __init__(self, config: NeDRConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NeDRConfig()
        widths = config.widths
        self.encoder = Encoder(config.encoder)
        self.mapper = ChnMapper(self.encoder.channels, widths)
        self.kan_cid = nn.ModuleList(
            KANCID(width, dropout=config.dropout) if config.kan_cid else nn.Identity() for width in widths
        )
        self.refine = refine_layers(widths, config.grid_stride)
        grid_width = widths[level_at(config.grid_stride)]
        idrm = IDRM(grid_width, config.idrm_hidden, config.idrm_outputs)
        self.idrm = idrm if config.idrm else nn.Conv2d(grid_width, config.idrm_outputs, 3, padding=1)
        dark = 2 if config.dark_channel else 0
        channels = config.idrm_outputs + 3 + dark
        self.drem = DREM(channels, config.drem_width, config.drem_growth) if config.drem else nn.Identity()
        self.density_head = DensityHead(sum(self.encoder.channels), config.density)
        self.transmission_head = BoundedHead(channels, config.head_width, config.transmission)
        if config.airlight == "predicted":
            self.airlight_head = AirlightHead(channels, sum(self.encoder.channels))
            self.joint_head = BoundedHead(channels + 4 + dark, config.head_width, config.transmission)

    def forward(self, view: Tensor, lattice: tuple[int, int] | None = None) -> HazeEstimate:
        """RGB view (B, 3, H, W) in [0, 1] -> the estimate on a lattice (h, w), by default the configured stride's."""
        features = self.encoder(view)
        pooled = torch.cat([feature.mean(dim=(-2, -1)) for feature in features], dim=1)
        image, darkest = self._cells(view, lattice)
        shown = [image, darkness(darkest)] if self.config.dark_channel else [image]
        field = self.drem(torch.cat([self._decode(self._fuse(features), lattice), *shown], dim=1))
        transmission = self.transmission_head(field)
        if self.config.airlight == "predicted":
            airlight = self.airlight_head(field, image, transmission, pooled)
            light = airlight.clamp_min(0.05)[:, :, None, None]
            seen = [image / light]  # haze is whatever looks like A
            if self.config.dark_channel:
                seen.append(darkness(darkest / light))  # 1 - t at most: J cannot be below 0
            transmission = self.joint_head(torch.cat([field, transmission, *seen], dim=1))
        else:
            airlight = brightest(view) if self.config.airlight == "brightest" else dark_channel_airlight(view)
        return HazeEstimate(transmission, airlight, self.density_head(pooled))

    def _cells(self, view: Tensor, lattice: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
        """The view (B, 3, H, W) on the lattice: the mean and the minimum of each channel in each cell."""
        if lattice:
            return lattice_image(view, *lattice), darkest_in_cells(view, *lattice)
        stride = self.config.lattice_stride
        return F.avg_pool2d(view, stride), -F.max_pool2d(-view, stride)

    def _fuse(self, features: list[Tensor]) -> Tensor:
        """Four encoder maps -> the coarse grid E' (B, C, H / grid_stride, W / grid_stride)."""
        levels = (block(level) for block, level in zip(self.kan_cid, self.mapper(features), strict=True))
        return fuse(levels, self.refine, self.config.grid_stride)

    def _decode(self, grid: Tensor, lattice: tuple[int, int] | None) -> Tensor:
        """E' -> (B, idrm_outputs, h, w): the implicit function, or plain bilinear upsampling without it."""
        ratio = self.config.grid_stride // self.config.lattice_stride
        if not isinstance(self.idrm, IDRM):
            size = lattice or (grid.shape[-2] * ratio, grid.shape[-1] * ratio)
            return F.interpolate(self.idrm(grid), size, mode="bilinear", align_corners=False)
        return self.idrm.lattice(grid, *lattice) if lattice else self.idrm.regular(grid, ratio, ratio)


def lattice_image(view: Tensor, height: int, width: int) -> Tensor:
    """The view averaged onto a lattice (B, 3, height, width), whatever the ratio."""
    if view.shape[-2] % height == 0 and view.shape[-1] % width == 0:
        return F.avg_pool2d(view, (view.shape[-2] // height, view.shape[-1] // width))
    return F.interpolate(view, (height, width), mode="bilinear", align_corners=False, antialias=True)


def darkest_in_cells(view: Tensor, height: int, width: int) -> Tensor:
    """The minimum of each channel in each cell of a lattice (B, 3, height, width), which averages lose."""
    if view.shape[-2] % height == 0 and view.shape[-1] % width == 0:
        return -F.max_pool2d(-view, (view.shape[-2] // height, view.shape[-1] // width))
    return -F.adaptive_max_pool2d(-view, (height, width))


def darkness(darkest: Tensor) -> Tensor:
    """The dark channel of each cell, and of the patch of 7 x 7 cells around it: (B, 3, h, w) -> (B, 2, h, w)."""
    return torch.cat([darkest.amin(dim=1, keepdim=True), dark_channel(darkest, DARK_PATCH)], dim=1)
