"""Mean teacher on real photographs: what the averaged weights find in one is the label for a changed copy of it.

Tarvainen and Valpola, "Mean teachers are better role models" (2017); for haze, Fang et al., CORUN (2024). The teacher
sees the photograph, its mirror image and a smaller view, and returns the mean; the student sees a copy with more of
the same haze, of another size and exposure, and so learns of dense haze what is known of thin haze. A label is kept
only if it can be trusted without a truth: the result's dark channel is lower than the photograph's, and hardly anything
in it clips. The thinner the haze, the more a label counts.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nedr.inference.airlight import MIRRORED
from nedr.model.heads import airlight_at, dark_channel
from nedr.model.nedr import VIEW_MULTIPLE, HazeEstimate, scene_radiance

PATCH = 7  # of the dark channel
BEYOND, CLIPPED = 0.05, 0.01  # a result is no longer trusted if that share of its values is further outside [0, 1]
FALL = 0.01  # least decrease of the mean dark channel
GAIN, NOISE = 0.15, 0.02  # how much a copy's exposure and pixels differ from the photograph's
SMALLER = 0.7  # size of the smaller view

Network = Callable[..., HazeEstimate]  # a view (B, 3, H, W) and the lattice for t


class Label(NamedTuple):
    """The teacher's t and A(x), as in `HazeEstimate`, and for which pictures they can be trusted (B,)."""

    transmission: Tensor
    airlight: Tensor
    terms: Tensor
    trusted: Tensor


@torch.no_grad()
def label(teacher: Network, hazy: Tensor) -> Label:
    """The teacher's labels of photographs (B, 3, H, W), t on the teacher's lattice: the mean of three views."""
    first = teacher(hazy)
    lattice = (first.transmission.shape[-2], first.transmission.shape[-1])
    mirrored, small = teacher(hazy.flip(-1), lattice), teacher(smaller(hazy), lattice)
    optical = torch.stack([first.transmission, mirrored.transmission.flip(-1), small.transmission]).log().mean(dim=0)
    airlight = torch.stack([first.airlight, mirrored.airlight, small.airlight]).mean(dim=0)
    signs = first.terms.new_tensor(MIRRORED)
    terms = torch.stack([first.terms, mirrored.terms * signs, small.terms]).mean(dim=0)
    clear = scene_radiance(hazy, optical.exp(), airlight, terms)
    return Label(optical.exp(), airlight, terms, trusted(hazy, clear))


def smaller(view: Tensor) -> Tensor:
    """The same pictures at about 0.7 times their size, sides still multiples of 32: (B, 3, H, W) -> (B, 3, h, w)."""
    sides = [max(2 * VIEW_MULTIPLE, VIEW_MULTIPLE * round(SMALLER * side / VIEW_MULTIPLE)) for side in view.shape[-2:]]
    return F.interpolate(view, sides, mode="bilinear", align_corners=False, antialias=True)


def trusted(hazy: Tensor, clear: Tensor) -> Tensor:
    """Whether results (B, 3, H, W), not clipped, are good enough to learn from: (B,) bool."""
    outside = ((clear < -BEYOND) | (clear > 1.0 + BEYOND)).float().mean(dim=(1, 2, 3))
    before, after = (dark_channel(x.clamp(0, 1), PATCH).mean(dim=(1, 2, 3)) for x in (hazy, clear))
    return (outside < CLIPPED) & (after < before - FALL)


class Copy(NamedTuple):
    """Changed photographs (B, 3, h, w), their t on the label's lattice, and the gain (B, 1, 1, 1) on A and J."""

    hazy: Tensor
    transmission: Tensor
    gain: Tensor


def changed(hazy: Tensor, known: Label, seed: list[int], *, more: float) -> Copy:
    """Photographs with more of their own haze, I t^k + A (1 - t^k) = J t^(1 + k) + A (1 - t^(1 + k)), k up to `more`.

    They are also darker, noisier and half the time smaller.
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    draw = torch.rand(2, len(hazy), 1, 1, 1, generator=generator).to(hazy.device)
    shrinks = torch.rand(1, generator=generator).item() < 0.5
    gain, power = 1.0 - GAIN * draw[0], more * draw[1]  # darker only: brighter would clip
    passed = F.interpolate(known.transmission, hazy.shape[-2:], mode="bilinear", align_corners=False) ** power
    copy = hazy * passed + airlight_at(known.airlight, known.terms, *hazy.shape[-2:]) * (1.0 - passed)
    copy = smaller(copy) if shrinks else copy
    noise = NOISE * torch.randn(copy.shape, generator=generator).to(hazy.device)
    return Copy((copy * gain + noise).clamp(0.0, 1.0), known.transmission ** (1.0 + power), gain)


def loss(student: Network, hazy: Tensor, known: Label, seed: list[int], *, more: float) -> Tensor:
    """mean over photographs of (|t^ - t| + |J^ - J|) times the label's mean t, or times 0 where it is not trusted.

    The student sees changed copies, with up to `more` of the photographs' own optical depth added.
    """
    copy = changed(hazy, known, seed, more=more)
    found = student(copy.hazy, (known.transmission.shape[-2], known.transmission.shape[-1]))
    said = scene_radiance(copy.hazy, found.transmission, found.airlight, found.terms)
    lit = copy.gain.flatten(1)
    truth = scene_radiance(copy.hazy, copy.transmission, known.airlight * lit, known.terms * lit[..., None])
    apart = (found.transmission - copy.transmission).abs().mean(dim=(1, 2, 3))
    apart = apart + (said - truth).abs().mean(dim=(1, 2, 3))
    return (apart * known.trusted * known.transmission.mean(dim=(1, 2, 3))).mean()
