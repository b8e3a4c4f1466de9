"""What exported weights answer: the mean of what the network says of a view and of two copies that it sees otherwise.

Both copies are mirrored, one under more and one under less of the view's own haze. By the scattering model
I = J t + A (1 - t) the picture s I + (1 - s) A has the transmission s t, the same J and the same A, so what the network
says of it, divided by s, is another answer to the same question. Answers err differently and their mean errs less
(self-ensemble: Timofte, Rothe and Van Gool, "Seven ways to improve example-based single image super resolution", CVPR
2016). Where there is no haze to change, the copies do not count.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nedr.inference.airlight import MIRRORED
from nedr.model.nedr import HazeEstimate, NeDR
from nedr.model.resample import Size

SHARES = (0.7, 1.15)  # s, of the view's transmission in its copies
COUNTED = 0.3  # from this optical depth -log t on a copy counts as much as the view itself; below, in proportion


def self_ensemble(network: NeDR, view: Tensor, lattice: tuple[Size, Size] | None = None) -> HazeEstimate:
    """The haze of views (B, 3, H, W) RGB in [0, 1]: means of the optical depth, of A, of its terms and of beta."""
    first = network(view, lattice)
    optical = -first.transmission.log()
    counted = (optical / COUNTED).clamp(max=1)  # (B, 1, h, w)
    copies = network(torch.cat([mirrored_copy(view, first.airlight, share) for share in SHARES]), lattice)
    t, airlight, density, terms = (values.chunk(len(SHARES)) for values in copies)
    depths = [-(each.flip(-1) / share).clamp(max=1).log() for each, share in zip(t, SHARES, strict=True)]
    signs = copies.terms.new_tensor(MIRRORED)
    once = counted.mean(dim=(1, 2, 3))  # (B,)
    return HazeEstimate(
        (-weighted(optical, depths, counted)).exp(),
        weighted(first.airlight, airlight, once[:, None]),
        weighted(first.density, density, once),
        weighted(first.terms, [each * signs for each in terms], once[:, None, None]),
    )


def mirrored_copy(view: Tensor, airlight: Tensor, share: float) -> Tensor:
    """Views (B, 3, H, W), mirrored, their transmission multiplied by `share`, by their airlight A (B, 3)."""
    return (share * view + (1 - share) * airlight[..., None, None]).clamp(0, 1).flip(-1)


def weighted(first: Tensor, others: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The mean of one value, which counts once, and of others, each of which counts `weight` times."""
    return (first + weight * sum(others)) / (1 + weight * len(others))
