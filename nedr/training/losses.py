"""Training losses: one small function each, its formula in the docstring; all return a scalar tensor."""

from collections.abc import Callable

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


def transmission_edges(predicted: Tensor, truth: Tensor) -> Tensor:
    """sum over s = 1, 2, 4 of mean |D_s t^ - D_s t|, D_s t the differences of cells s apart along rows and columns.

    Outlines of near things are few cells, so `transmission_l1` alone leaves them blurred. Shapes as there.
    """
    error = predicted - lattice_image(truth, *predicted.shape[-2:])
    steps = ((error[..., s:, :] - error[..., :-s, :], error[..., s:] - error[..., :-s]) for s in (1, 2, 4))
    return torch.stack([0.5 * (down.abs().mean() + across.abs().mean()) for down, across in steps]).sum()


def airlight_l1(predicted: Tensor, truth: Tensor, transmission: Tensor) -> Tensor:
    """mean (1 - min t) |A^ - A| over (B, 3): A is asked for only as far as the picture shows it."""
    shown = 1.0 - transmission.amin(dim=(1, 2, 3))
    return (shown[:, None] * (predicted - truth).abs()).mean()


def density_l1(predicted: Tensor, truth: Tensor, lowest: float) -> Tensor:
    """mean |log beta^ - log beta| over (B,), with the truth raised to the lowest density the network can say."""
    return F.l1_loss(predicted.log(), torch.clamp(truth, min=lowest).log())


def cycle_l1(again: Tensor, picture: Tensor) -> Tensor:
    """mean |I^ - I| (or J~ and J) over pictures (B, 3, H, W) that went there and back."""
    return (again - picture).abs().mean()


def lsgan(scores: Tensor, real: bool) -> Tensor:
    """mean (C(x) - 1)^2 where x should look real, mean C(x)^2 where it should not (LSGAN, Mao et al. 2017)."""
    return (scores - float(real)).square().mean()


def density_square(predicted: Tensor, drawn: Tensor) -> Tensor:
    """mean (beta(I~) - beta)^2 over (B,): the density that was drawn must be found again."""
    return (predicted - drawn).square().mean()


def depth_l1(predicted: Tensor, of_haze: Tensor, bounds: tuple[float, float]) -> Tensor:
    """mean |D(J^) - d(I)| over (B, 1, h, w), with d = -ln t / beta inside what D can say."""
    return (predicted - of_haze.clamp(*bounds)).abs().mean()


def known_depth_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """mean |D(J) - d| on the lattice, (B, 1, h, w) against a measured or drawn depth (B, 1, H, W) averaged onto it."""
    return (predicted - lattice_image(truth, *predicted.shape[-2:])).abs().mean()


def perceptual(features: Callable[[Tensor], list[Tensor]], predicted: Tensor, truth: Tensor) -> Tensor:
    """mean over levels of mean |phi(J~) - phi(J)| / mean |phi(J)|, phi the frozen ImageNet encoder's maps."""
    pairs = zip(features(predicted), features(truth), strict=True)
    return torch.stack([(a - b).abs().mean() / (b.abs().mean() + 1e-6) for a, b in pairs]).mean()
