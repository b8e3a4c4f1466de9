"""The dehazing network of NeDR-Dehaze's figure: encoder, ChnMapper, KAN-CID, refine layers, IDRM, DREM and heads."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.drem import DREM
from nedr.model.encoder import Encoder
from nedr.model.heads import (
    TERMS,
    AirlightHead,
    BoundedHead,
    DensityHead,
    airlight_at,
    brightest,
    dark_channel,
    dark_channel_airlight,
)
from nedr.model.idrm import IDRM
from nedr.model.kan_cid import KANCID
from nedr.model.refine import ChnMapper, Standardise, fuse, level_at, refine_layers
from nedr.model.resample import Size, averaged, sampled

VIEW_MULTIPLE = 32
CUE_STRIDE = 4  # of the cells in which cues are gathered, whatever the lattice that is asked for
CUE_PATCH = 7  # of these cells, of the wider cues
CUES, CUES_OVER_AIRLIGHT = 5, 5


@dataclass(frozen=True)
class NeDRConfig:
    """Sizes of the network; the defaults are the `base` preset, which is trained and shipped."""

    encoder: Literal["lite0", "lite3"] = "lite0"
    widths: tuple[int, int, int, int] = (16, 48, 96, 96)  # decoder channels at strides 4, 8, 16, 32
    grid_stride: int = 8  # of the coarse grid E' that the IDRM decodes
    lattice_stride: int = 4  # of the lattice on which the field is asked for, unless another is named
    dropout: float = 0.0  # inside KAN-CID
    idrm_hidden: tuple[int, ...] = (96, 64)  # widths of F_MLP
    idrm_outputs: int = 24
    drem_width: int = 24
    drem_growth: int = 16
    drem_scale: int = 1  # cells of DREM's lattice, and the IDRM's, to one of the lattice asked for, along each side
    head_width: int = 24
    airlight: Literal["predicted", "brightest", "dark_channel"] = "predicted"
    transmission: tuple[float, float] = (0.03, 1.0)
    density: tuple[float, float] = (0.05, 4.0)
    cues: bool = True  # the lattice also sees the darkest, the brightest and the contrast of cells and patches
    kan: bool = True  # layers of splines in KAN-CID; off: linear ones of the same cost
    kan_layers: int = 2  # how many of them, where they are splines
    kan_norm: bool = True  # layer normalisation before them, which is not published
    kan_residual: bool = True  # a way around KAN-CID's depthwise convolution, likewise
    kan_cid: bool = True  # off: the box passes its maps on; likewise the next two (see `training.ablate`)
    idrm: bool = True
    drem: bool = True

    def __post_init__(self) -> None:
        if self.grid_stride not in (2, 4, 8, 16) or self.lattice_stride not in (1, 2, 4, 8):
            found = f"{self.grid_stride} and {self.lattice_stride}"
            raise ValueError(f"expected grid_stride 2, 4, 8 or 16 and lattice_stride 1, 2, 4 or 8, found {found}")
        if self.kan_layers < 2 or self.drem_scale < 1:
            found = f"{self.kan_layers} and {self.drem_scale}"
            raise ValueError(f"expected kan_layers of 2 or more and drem_scale of 1 or more, found {found}")
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
        cues=False,
    ),
}


class HazeEstimate(NamedTuple):
    """What the network says of a view.

    transmission: t (B, 1, h, w) on the lattice; airlight, terms: A(x) as its mean (B, 3), RGB in [0, 1], and the terms
    (B, 3, 5) by which it changes over the picture (`heads.airlight_at`); density: beta (B,).
    """

    transmission: Tensor
    airlight: Tensor
    density: Tensor
    terms: Tensor


def depth(transmission: Tensor, density: Tensor) -> Tensor:
    """d = -ln t / beta (Koschmieder): (B, 1, h, w), (B,) -> (B, 1, h, w)."""
    return -transmission.log() / density[:, None, None, None]


def scene_radiance(
    hazy: Tensor, transmission: Tensor, airlight: Tensor, terms: Tensor | None = None, *, floor: float = 0.05
) -> Tensor:
    """J = (I - A) / max(t, floor) + A, not clipped: (B, 3, H, W), (B, 1, h, w), (B, 3), (B, 3, 5) -> (B, 3, H, W).

    A coarser t is brought to the picture's size bilinearly; without terms A is the same everywhere.
    """
    if transmission.shape[-2:] != hazy.shape[-2:]:
        transmission = F.interpolate(transmission, hazy.shape[-2:], mode="bilinear", align_corners=False)
    colour = airlight[:, :, None, None] if terms is None else airlight_at(airlight, terms, *hazy.shape[-2:])
    return (hazy - colour) / transmission.clamp_min(floor) + colour


def displayed(picture: Tensor) -> Tensor:
    """A picture clipped to [0, 1] whose gradient is not: a value outside still learns the way back."""
    return picture + (picture.clamp(0.0, 1.0) - picture).detach()


class NeDR(nn.Module):
    """I -> t, A, beta. Tensors in, tensors out; any aspect ratio, sides multiples of 32.

    The IDRM's answer, the picture and its cues lie on the lattice that is asked for. A(x) is read from them under a
    first guess of t; the picture over A(x) joins them, and t is read from what DREM leaves of it all.
    """

    def __init__(self, config: NeDRConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NeDRConfig()
        widths = config.widths
        self.encoder = Encoder(config.encoder)
        self.standardise = nn.ModuleList(Standardise(width) for width in self.encoder.channels)
        self.mapper = ChnMapper(self.encoder.channels, widths)
        self.kan_cid = nn.ModuleList(mixing(width, config) for width in widths)
        self.refine = refine_layers(widths, config.grid_stride)
        grid_width = widths[level_at(config.grid_stride)]
        idrm = IDRM(grid_width, config.idrm_hidden, config.idrm_outputs)
        self.idrm = idrm if config.idrm else nn.Conv2d(grid_width, config.idrm_outputs, 3, padding=1)
        channels = config.idrm_outputs + 3 + (CUES if config.cues else 0)
        self.density_head = DensityHead(sum(self.encoder.channels), config.density)
        if config.airlight == "predicted":
            self.guess_head = BoundedHead(channels, config.head_width, config.transmission)
            self.airlight_head = AirlightHead(channels, sum(self.encoder.channels))
        channels += CUES_OVER_AIRLIGHT if config.cues else 0
        self.drem = DREM(channels, config.drem_width, config.drem_growth) if config.drem else nn.Identity()
        self.transmission_head = BoundedHead(channels, config.head_width, config.transmission)

    def forward(self, view: Tensor, lattice: tuple[Size, Size] | None = None) -> HazeEstimate:
        """RGB view (B, 3, H, W) in [0, 1] -> the estimate on a lattice (h, w), by default the configured stride's.

        Any lattice over the whole picture will do: it says where t is asked for, not what the haze is.
        """
        stride = self.config.lattice_stride
        asked = lattice or (view.shape[-2] // stride, view.shape[-1] // stride)
        height, width = (size * self.config.drem_scale for size in asked)
        grid, pooled = self.grid(view)
        image = averaged(view, height, width)
        shown = [self._decode(grid, height, width), image]
        darkest = -F.max_pool2d(-view, CUE_STRIDE) if self.config.cues else view
        if self.config.cues:
            shown.append(sampled(cues(view, darkest), height, width))
        airlight, terms = self._airlight(torch.cat(shown, dim=1), view, image, pooled)
        if self.config.cues:
            shown.append(cues_over_airlight(image, darkest, airlight, terms))
        transmission = self.transmission_head(self.drem(torch.cat(shown, dim=1)))
        if self.config.drem_scale > 1:
            transmission = averaged(transmission, *asked)
        return HazeEstimate(transmission, airlight, self.density_head(pooled), terms)

    def grid(self, view: Tensor) -> tuple[Tensor, Tensor]:
        """View -> the coarse grid E' (B, C, H / grid_stride, W / grid_stride), and the means of the encoder's maps."""
        features = [layer(level) for layer, level in zip(self.standardise, self.encoder(view), strict=True)]
        levels = (block(level) for block, level in zip(self.kan_cid, self.mapper(features), strict=True))
        pooled = torch.cat([feature.mean(dim=(-2, -1)) for feature in features], dim=1)
        return fuse(levels, self.refine, self.config.grid_stride), pooled

    def _airlight(self, shown: Tensor, view: Tensor, image: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """A (B, 3) and its terms (B, 3, 5): predicted, or taken from the view as published and the same everywhere."""
        if self.config.airlight == "predicted":
            airlight, terms = self.airlight_head(shown, image, self.guess_head(shown), pooled)
            return airlight, terms
        airlight = brightest(view) if self.config.airlight == "brightest" else dark_channel_airlight(view)
        return airlight, airlight.new_zeros(*airlight.shape, TERMS)

    def _decode(self, grid: Tensor, height: Size, width: Size) -> Tensor:
        """E' -> (B, idrm_outputs, h, w): the implicit function, or plain bilinear upsampling without it."""
        if isinstance(self.idrm, IDRM):
            return self.idrm.lattice(grid, height, width)
        return sampled(self.idrm(grid), height, width)


def mixing(width: int, config: NeDRConfig) -> nn.Module:
    """KAN-CID for maps of `width` channels, or nothing in its place, as configured."""
    if not config.kan_cid:
        return nn.Identity()
    norm, residual = config.kan_norm, config.kan_residual
    return KANCID(width, dropout=config.dropout, kan=config.kan, layers=config.kan_layers, norm=norm, residual=residual)


def cues(view: Tensor, darkest: Tensor) -> Tensor:
    """What averages lose, in cells of 4 pixels: (B, 3, H, W), minimum in each cell (B, 3, h, w) -> (B, CUES, h, w).

    The dark channel of each cell and of the 7 x 7 cells around it (He et al. 2009), the brightest channel around, and
    the deviation of brightness inside the cell and around.
    """
    brightest_here = F.max_pool2d(view.amax(dim=1, keepdim=True), CUE_STRIDE)
    grey = view.mean(dim=1, keepdim=True)
    mean, square = F.avg_pool2d(grey, CUE_STRIDE), F.avg_pool2d(grey.square(), CUE_STRIDE)
    wide_mean, wide_square = _around(mean), _around(square)
    contrast = [(s - m.square()).clamp_min(1e-6).sqrt() for m, s in ((mean, square), (wide_mean, wide_square))]
    brightest_around = F.max_pool2d(brightest_here, CUE_PATCH, stride=1, padding=CUE_PATCH // 2)
    return torch.cat([darkness(darkest), brightest_around, *contrast], dim=1)


def cues_over_airlight(image: Tensor, darkest: Tensor, airlight: Tensor, terms: Tensor) -> Tensor:
    """I / A (3) and 1 - the darkest of it in cells and patches (2), which bounds t as J >= 0: (B, 5, h, w)."""
    height, width = image.shape[-2:]
    light = airlight_at(airlight, terms, height, width).clamp_min(0.05)
    coarse = airlight_at(airlight, terms, *darkest.shape[-2:]).clamp_min(0.05)
    return torch.cat([image / light, sampled(darkness(darkest / coarse), height, width)], dim=1)


def darkness(darkest: Tensor) -> Tensor:
    """The dark channel of each cell, and of the patch of 7 x 7 cells around it: (B, 3, h, w) -> (B, 2, h, w)."""
    return torch.cat([darkest.amin(dim=1, keepdim=True), dark_channel(darkest, CUE_PATCH)], dim=1)


def _around(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, CUE_PATCH, stride=1, padding=CUE_PATCH // 2, count_include_pad=False)
