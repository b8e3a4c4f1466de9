"""Mean teacher on real photographs: what the averaged weights find in one is the label of a changed copy of it.

Tarvainen and Valpola, "Mean teachers are better role models" (2017); for haze, Fang et al., CORUN (2024). A label is
kept only where it can be trusted without a truth: the result's dark channel is lower than the photograph's, and hardly
anything in it clips.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nedr.model.heads import dark_channel
from nedr.model.nedr import HazeEstimate, scene_radiance

PATCH = 7  # of the dark channel
CLIPPED = 0.01  # share of values outside [0, 1] from which a result is not trusted
FALL = 0.01  # least fall of the mean dark channel
GAIN, NOISE = 0.15, 0.02  # how far a copy's exposure and its pixels differ from the photograph's


class Label(NamedTuple):
    """What the teacher says: t (B, 1, h, w), J (B, 3, H, W) unclipped, and which pictures it can be trusted on (B,)."""

    transmission: Tensor
    clear: Tensor
    trusted: Tensor


@torch.no_grad()
def label(teacher: Callable[[Tensor], HazeEstimate], hazy: Tensor) -> Label:
    """The teacher's labels of photographs (B, 3, H, W)."""
    found = teacher(hazy)
    clear = scene_radiance(hazy, found.transmission, found.airlight, found.terms)
    return Label(found.transmission, clear, trusted(hazy, clear))


def trusted(hazy: Tensor, clear: Tensor) -> Tensor:
    """Whether results (B, 3, H, W), not clipped, are ones to learn from: (B,) bool."""
    outside = ((clear < 0.0) | (clear > 1.0)).float().mean(dim=(1, 2, 3))
    before, after = (dark_channel(x.clamp(0, 1), PATCH).mean(dim=(1, 2, 3)) for x in (hazy, clear))
    return (outside < CLIPPED) & (after < before - FALL)


def changed(hazy: Tensor, seed: list[int]) -> tuple[Tensor, Tensor]:
    """A copy of photographs with other exposure and noise, and the gain (B, 1, 1, 1), by which J changes too."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    draw = torch.rand(len(hazy), 1, 1, 1, generator=generator).to(hazy.device)
    gain = 1.0 - GAIN * draw  # darker only: brighter would clip
    noise = NOISE * torch.randn(hazy.shape, generator=generator).to(hazy.device)
    return (hazy * gain + noise).clamp(0.0, 1.0), gain


def loss(student: Callable[[Tensor], HazeEstimate], hazy: Tensor, known: Label, seed: list[int]) -> Tensor:
    """mean over trusted photographs of |t^ - t| + |J^ - J|, the student looking at changed copies; 0 without any."""
    copy, gain = changed(hazy, seed)
    found = student(copy)
    clear = scene_radiance(copy, found.transmission, found.airlight, found.terms)
    apart = (found.transmission - known.transmission).abs().mean(dim=(1, 2, 3))
    apart = apart + (clear - gain * known.clear).abs().mean(dim=(1, 2, 3))
    return (apart * known.trusted).sum() / known.trusted.sum().clamp_min(1)
