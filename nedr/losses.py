"""Training losses: one small function each, its formula in the docstring; all return a scalar tensor."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nedr.model.nedr import lattice_image


def radiance_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """mean |J^ - J| over pictures (B, 3, H, W)."""
    return (predicted - truth).abs().mean()


def radiance_rms(predicted: Tensor, truth: Tensor) -> Tensor:
    """mean over pictures of sqrt(mean (J^ - J)^2): what PSNR measures, and no dense picture rules the batch."""
    return ((predicted - truth).square().mean(dim=(1, 2, 3)) + 1e-6).sqrt().mean()


def transmission_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """mean |t^ - t| on the lattice: (B, 1, h, w) against the full truth (B, 1, H, W) averaged onto it."""
    return (predicted - lattice_image(truth, *predicted.shape[-2:])).abs().mean()


def airlight_l1(predicted: Tensor, truth: Tensor, transmission: Tensor) -> Tensor:
    """mean (1 - min t) |A^ - A| over (B, 3): A is asked for only as far as the picture shows it."""
    shown = 1.0 - transmission.amin(dim=(1, 2, 3))
    return (shown[:, None] * (predicted - truth).abs()).mean()


def density_l1(predicted: Tensor, truth: Tensor, lowest: float) -> Tensor:
    """mean |log beta^ - log beta| over (B,), with the truth raised to the lowest density the network can say."""
    return F.l1_loss(predicted.log(), torch.clamp(truth, min=lowest).log())
