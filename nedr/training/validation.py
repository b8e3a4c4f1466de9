"""Dehazing PSNR on held-out pairs during a run, through the code that users run, and pictures to look at."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nedr.evaluation.metrics import psnr
from nedr.evaluation.paired import read_pair, read_pairs
from nedr.inference.dehazer import Dehazer
from nedr.inference.onnx import Estimate, Lattice
from nedr.model.nedr import NeDR, scene_radiance
from nedr.pictures.arrays import Array, Floats

VIEW = 256


class TorchNetwork:
    """A network in training, in the form that a Dehazer takes: one view, without the copies that exports see."""

    def __init__(self, model: NeDR, view: int = VIEW) -> None:
        self.model, self.view, self.stride = model, view, model.config.lattice_stride

    def __call__(self, view: Floats, lattice: Lattice | None = None) -> Estimate:
        """The haze of a view (H, W, 3) RGB in [0, 1], t on a lattice (rows, columns)."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            found = self.model(torch.from_numpy(view.transpose(2, 0, 1)[None].copy()).to(device), lattice)
        transmission, airlight, terms = (x.cpu().numpy() for x in (found.transmission, found.airlight, found.terms))
        return Estimate(transmission[0, 0], airlight[0], float(found.density), terms[0])


class Validation:
    """The pairs of a CSV file (set, hazy, clear): mean PSNR per set, RGB, 8 bit, full size."""

    def __init__(self, pairs: Path) -> None:
        self.pairs = read_pairs(pairs)

    def hazy(self) -> Iterator[Array]:
        """The hazy picture of each pair: (H, W, 3) uint8."""
        return (read_pair(pair)[0] for pair in self.pairs)

    def scores(self, model: NeDR) -> dict[str, float]:
        """Mean PSNR per set, in dB; the model keeps its mode."""
        training = model.training
        dehazer = Dehazer(TorchNetwork(model.eval()), threads=1)
        values = defaultdict(list)
        for pair in self.pairs:
            hazy, clear = read_pair(pair)
            values[pair.set].append(psnr(dehazer.dehaze(hazy), clear))
        model.train(training)
        return {name: float(np.mean(scores)) for name, scores in values.items()}


@torch.no_grad()
def picture_grid(model: NeDR, hazy: Tensor, truth: Tensor | None = None, *, rows: int = 4) -> Tensor:
    """A batch's first samples as one picture (3, rows * H, 3 or 4 * W): input, result, truth if known, transmission."""
    hazy = hazy[:rows]
    estimate = model(hazy)
    result = scene_radiance(hazy, estimate.transmission, estimate.airlight, estimate.terms).clamp(0, 1)
    shown = F.interpolate(estimate.transmission, hazy.shape[-2:]).expand(-1, 3, -1, -1)
    columns = (hazy, result, shown) if truth is None else (hazy, result, truth[:rows], shown)
    return torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
