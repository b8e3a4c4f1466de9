"""What exported weights answer: the mean of what the network says of a view and of the view's mirror image.

A mirrored picture then has the mirrored haze, and where the two err differently, the mean errs less (self-ensemble:
Timofte, Rothe and Van Gool, "Seven ways to improve example-based single image super resolution", CVPR 2016).
"""

import torch
from torch import Tensor

from nedr.inference.airlight import MIRRORED
from nedr.model.nedr import HazeEstimate, NeDR
from nedr.model.resample import Size


def with_mirror_image(network: NeDR, view: Tensor, lattice: tuple[Size, Size] | None = None) -> HazeEstimate:
    """The mean optical depth -log t, A, its terms and beta of views (B, 3, H, W) and their mirror images."""
    pairs = (values.chunk(2) for values in network(torch.cat([view, view.flip(-1)]), lattice))
    (t, of_mirror), *others, (terms, turned) = pairs
    airlight, density = ((here + there) / 2 for here, there in others)
    transmission = (t * of_mirror.flip(-1)).sqrt()
    return HazeEstimate(transmission, airlight, density, (terms + turned * terms.new_tensor(MIRRORED)) / 2)
