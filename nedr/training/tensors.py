"""Dehazing in a pipeline of torch tensors: batches on their own device, the network and the pass over the pixels in
torch. The haze of a whole picture, a few hundred numbers, passes through `HazeField`, as everywhere.
"""

from functools import lru_cache
from os import PathLike

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.errors import ImageError, UsageError
from nedr.inference import lattice
from nedr.inference.field import HazeField, Rendering, check_strength
from nedr.inference.inversion import Medium
from nedr.inference.view import averaged, noise_level, view_size
from nedr.model.heads import airlight_at
from nedr.model.nedr import HazeEstimate, NeDR
from nedr.pictures.arrays import LUMA
from nedr.training.checkpoint import load_published
from nedr.training.self_ensemble import self_ensemble

VIEW = 256
_PATCH, _PATCHES = 16, 24  # for the noise, placed as in `nedr.inference.view.noise_level`


class Dehaze(nn.Module):
    """Removes haze from batches of pictures; the module and its input must be on one device.

    weights: a .safetensors file of a training run, or a network itself;  rendering: as for `nedr.Dehazer`
    view: long side in pixels of what the network sees, for which the weights were made

    Equals `nedr.Dehazer` with the same weights as ONNX, within rounding, except that it does not look for bars and
    frames. It passes no gradients. Raises NedrError for another file, UsageError for networks that add haze.
    """

    def __init__(
        self, weights: str | PathLike[str] | NeDR, *, rendering: Rendering | None = None, view: int = VIEW
    ) -> None:
        super().__init__()
        network = weights if isinstance(weights, NeDR) else load_published(str(weights))
        if not isinstance(network, NeDR):
            raise UsageError(f"{weights} adds haze; expected weights that remove it")
        self.network = network.eval().requires_grad_(False)
        self.rendering, self.view = rendering or Rendering(), view

    @torch.no_grad()
    def forward(self, pictures: Tensor, strength: float = 1.0) -> Tensor:
        """RGB (B, 3, H, W), floats in [0, 1] -> the same without haze, of the same type; strength as for `dehaze`.

        Raises ImageError for another shape or type, UsageError for a strength outside [0, 1.5].
        """
        check_strength(strength)
        if pictures.ndim != 4 or pictures.shape[1] != 3 or not pictures.is_floating_point():
            raise ImageError(f"expected floats (B, 3, H, W), found {pictures.dtype} {tuple(pictures.shape)}")
        if strength == 0:
            return pictures.clone()
        hazy = pictures.float()
        media = [field._medium(strength, 3) for field in self.fields(hazy)]
        clear = [cleared(picture, medium) for picture, medium in zip(hazy, media, strict=True)]
        return torch.stack(clear).to(pictures.dtype)

    @torch.no_grad()
    def fields(self, pictures: Tensor) -> list[HazeField]:
        """The haze of each picture of a batch (B, 3, H, W), float32 in [0, 1]."""
        views = seen(pictures, self.view)
        found = HazeEstimate(*(part.float().cpu() for part in self_ensemble(self.network, views)))
        small = views.permute(0, 2, 3, 1).cpu().numpy()
        return [self._field(found, small[index], picture, index) for index, picture in enumerate(pictures)]

    def _field(self, found: HazeEstimate, small: np.ndarray, picture: Tensor, index: int) -> HazeField:
        transmission = found.transmission[index, 0].clamp(1e-3, 1).numpy()
        return HazeField(
            lattice=transmission,
            guide=averaged(small, *transmission.shape),
            airlight=found.airlight[index].clamp(0, 1).numpy(),
            density=max(float(found.density[index]), 1e-6),
            noise=noise(picture[1]),
            rendering=self.rendering,
            terms=found.terms[index].numpy(),
        )


def seen(pictures: Tensor, long_side: int) -> Tensor:
    """The views of whole pictures as `nedr.inference.view.view` makes them: (B, 3, H, W) -> (B, 3, h, w)."""
    height, width = size = pictures.shape[-2:]
    target = view_size(height, width, long_side)
    blocks = [max(1, side // (2 * small)) for side, small in zip(size, target, strict=True)]
    small = F.avg_pool2d(pictures, blocks, ceil_mode=True, count_include_pad=False)
    down, across = (
        torch.from_numpy(_bicubic(count, side / block, out)).to(pictures)
        for count, side, block, out in zip(small.shape[-2:], size, blocks, target, strict=True)
    )
    return (down @ small @ across.T).clamp(0, 1)


def cleared(picture: Tensor, medium: Medium) -> Tensor:
    """The scene behind one picture (3, H, W), by the same steps as `nedr.inference.inversion`."""
    height, width = picture.shape[-2:]
    down, across = (
        torch.from_numpy(_cubic(size, cells)).to(picture)
        for size, cells in zip((height, width), medium.offset.shape, strict=True)
    )
    layers = down @ torch.from_numpy(medium.stack).to(picture) @ across.T  # (k, H, W)
    light = torch.from_numpy(medium.airlight).to(picture)
    if medium.terms is None:
        airlight = light[:, None, None]
    else:
        airlight = airlight_at(light[None], torch.from_numpy(medium.terms).to(picture)[None], height, width)[0]
    veiled = picture - airlight
    luma = torch.einsum("c,chw->hw", picture.new_tensor(LUMA), veiled)
    t = layers[0] if medium.slope is None else layers[0] + layers[1] * luma
    t = t.clamp(medium.floor, 1)
    gain, own = 1 / t, 1 / (t + medium.colour_veil * (1 - t))
    scene = (veiled * own + luma * (gain - own) + airlight).clamp(0, 1)
    return scene * (medium.curve[0] - medium.curve[1] * scene)


def noise(green: Tensor) -> float:
    """`nedr.inference.view.noise_level` of a picture's green (H, W), moving only the patches off the device."""
    if min(green.shape) < 2 * _PATCH * _PATCHES:
        return noise_level(green.cpu().numpy())
    rows, columns = (
        (np.linspace(0, side // 8 - _PATCH // 8, _PATCHES).astype(int)[:, None] * 8 + np.arange(_PATCH)).ravel()
        for side in green.shape
    )
    at = [torch.from_numpy(index).to(green.device) for index in (rows, columns)]
    return noise_level(green[at[0][:, None], at[1]].cpu().numpy())


@lru_cache(maxsize=32)
def _bicubic(count: int, length: float, out: int) -> np.ndarray:
    """Pillow's bicubic filter from the first `length` of `count` samples to `out`, as a matrix (out, count)."""
    identity = Image.fromarray(np.eye(count, dtype=np.float32))
    return np.asarray(identity.resize((count, out), Image.Resampling.BICUBIC, box=(0, 0, count, length)))


@lru_cache(maxsize=32)
def _cubic(size: int, cells: int) -> np.ndarray:
    """The lattice's surface at the centres of `size` pixels, as a matrix (size, cells)."""
    rows = lattice.along_rows(np.eye(cells, dtype=np.float32)[None], size, 0, size)
    return np.ascontiguousarray(rows[0, 2:-2].T)
