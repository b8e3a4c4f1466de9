"""Dehazing PSNR on held-out pairs while a run goes on, and pictures to look at."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nedr.errors import UsageError
from nedr.model.nedr import VIEW_MULTIPLE, NeDR, scene_radiance

LONG_SIDE = 256


def view_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Sides of the view of a (height, width) picture: aspect ratio kept, up to multiples of 32, 128 at least."""
    scale = long_side / max(height, width)
    sides = [max(128, round(side * scale / VIEW_MULTIPLE) * VIEW_MULTIPLE) for side in (height, width)]
    return sides[0], sides[1]


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255.0)


def psnr(a: Tensor, b: Tensor) -> float:
    """PSNR of two pictures rounded to 8 bit, in dB."""
    error = ((a.clamp(0, 1) * 255).round() - (b * 255).round()).square().mean()
    return float(10.0 * torch.log10(255.0**2 / error.clamp_min(1e-10)))


class Validation:
    """The pairs of a CSV file (set, hazy, clear): mean PSNR per set, full size, of the network's plain inversion."""

    def __init__(self, pairs: Path, *, long_side: int = LONG_SIDE) -> None:
        with pairs.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if not rows or not {"set", "hazy", "clear"} <= rows[0].keys():
            raise UsageError(f"{pairs}: expected the columns set, hazy, clear and at least one row")
        self.rows = [(row["set"], pairs.parent / row["hazy"], pairs.parent / row["clear"]) for row in rows]
        self.long_side = long_side

    @torch.no_grad()
    def scores(self, model: NeDR) -> dict[str, float]:
        """Mean PSNR per set, in dB."""
        training = model.training
        model.eval()
        values = defaultdict(list)
        for name, hazy, clear in self.rows:
            values[name].append(self._score(model, hazy, clear))
        model.train(training)
        return {name: float(np.mean(scores)) for name, scores in values.items()}

    def _score(self, model: NeDR, hazy: Path, clear: Path) -> float:
        with Image.open(hazy) as file:
            image = file.convert("RGB")
        with Image.open(clear) as file:
            truth = to_tensor(file.convert("RGB"))
        height, width = view_size(image.height, image.width, self.long_side)
        estimate = model(to_tensor(image.resize((width, height), Image.Resampling.BICUBIC)))
        return psnr(scene_radiance(to_tensor(image), estimate.transmission, estimate.airlight), truth)


@torch.no_grad()
def picture_grid(model: NeDR, batch: dict[str, Tensor], *, rows: int = 4) -> Tensor:
    """Input, result, truth and transmission of a batch's first samples as one picture (3, rows * H, 4 * W)."""
    hazy, clear = batch["hazy"][:rows], batch["clear"][:rows]
    estimate = model(hazy)
    result = scene_radiance(hazy, estimate.transmission, estimate.airlight).clamp(0, 1)
    shown = torch.nn.functional.interpolate(estimate.transmission, hazy.shape[-2:]).expand(-1, 3, -1, -1)
    return torch.cat([torch.cat(list(column), dim=1) for column in (hazy, result, clear, shown)], dim=2)
