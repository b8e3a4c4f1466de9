"""Training losses: one small function each, its formula in the docstring; all return a scalar tensor."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from nedr.model.heads import airlight_at, dark_channel
from nedr.model.resample import averaged

LEAST_T = 0.05  # below it, logarithms are taken of this
DARK_PATCH = 7  # pixels per side
AIRLIGHT_CELLS = 8  # per side, on which A(x) is compared


def radiance_l1(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """weighted mean |J^ - J| over pictures (B, 3, H, W), weight (B, 1, H, W)."""
    return ((predicted - truth).abs() * weight).sum() / (3.0 * weight.sum()).clamp_min(1.0)


def radiance_rms(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """mean over pictures of sqrt(weighted mean (J^ - J)^2): what PSNR measures; no dense picture dominates."""
    squares = ((predicted - truth).square() * weight).sum(dim=(1, 2, 3))
    return (squares / (3.0 * weight.sum(dim=(1, 2, 3))).clamp_min(1.0) + 1e-6).sqrt().mean()


def on_lattice(weight: Tensor, height: int, width: int) -> Tensor:
    """Weights (B, 1, H, W) on a lattice; a cell with any part of weight 0 gets weight 0."""
    whole = averaged((weight > 0).float(), height, width) > 0.99
    return averaged(weight, height, width) * whole


def transmission_l1(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """weighted mean |t^ - t|, everything (B, 1, h, w) on the lattice."""
    return _mean((predicted - truth).abs(), weight)


def transmission_log(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """weighted mean |log t^ - log t|, t at least 0.05: an error of optical depth. Shapes as above."""
    return _mean((predicted.clamp_min(LEAST_T).log() - truth.clamp_min(LEAST_T).log()).abs(), weight)


def transmission_edges(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """sum over s = 1, 2, 4 of weighted mean |D_s t^ - D_s t|, D_s the differences of cells s apart, both ways.

    Outlines of near things cover few cells, so `transmission_l1` alone leaves them blurred. Same shapes.
    """
    error = predicted - truth
    terms = []
    for s in (1, 2, 4):
        down, across = error[..., s:, :] - error[..., :-s, :], error[..., s:] - error[..., :-s]
        terms.append(0.5 * _mean(down.abs(), weight[..., s:, :] * weight[..., :-s, :]))
        terms.append(0.5 * _mean(across.abs(), weight[..., s:] * weight[..., :-s]))
    return torch.stack(terms).sum()


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(1.0)


def airlight_l1(airlight: Tensor, terms: Tensor, light: Tensor, transmission: Tensor) -> Tensor:
    """mean ((1 - t) + 0.2 (1 - min t)) |A^(x) - A(x)|: A counts as far as the picture shows it.

    airlight (B, 3), terms (B, 3, 5) as `heads.airlight_at` takes them; A(x) (B, 3, H, W), t (B, 1, H, W).
    """
    shown = 1.0 - averaged(transmission, AIRLIGHT_CELLS, AIRLIGHT_CELLS)
    least = shown.amax(dim=(1, 2, 3), keepdim=True)
    predicted = airlight_at(airlight, terms, AIRLIGHT_CELLS, AIRLIGHT_CELLS)
    error = (predicted - averaged(light, AIRLIGHT_CELLS, AIRLIGHT_CELLS)).abs()
    return ((shown + 0.2 * least) * error).mean()


def density_l1(predicted: Tensor, truth: Tensor, lowest: float) -> Tensor:
    """mean |log beta^ - log beta| over (B,), with the truth raised to the lowest density the network can return."""
    return F.l1_loss(predicted.log(), torch.clamp(truth, min=lowest).log())


def cycle_l1(again: Tensor, picture: Tensor) -> Tensor:
    """mean |I^ - I| (or J~ and J) over pictures (B, 3, H, W) after a full cycle."""
    return (again - picture).abs().mean()


def lsgan(scores: Tensor, real: bool) -> Tensor:
    """mean (C(x) - 1)^2 where x should look real, mean C(x)^2 elsewhere (LSGAN, Mao et al. 2017)."""
    return (scores - float(real)).square().mean()


def density_square(predicted: Tensor, drawn: Tensor) -> Tensor:
    """mean (beta(I~) - beta)^2 over (B,): the density that was drawn must be found."""
    return (predicted - drawn).square().mean()


def depth_l1(predicted: Tensor, of_haze: Tensor, bounds: tuple[float, float]) -> Tensor:
    """mean |D(J^) - d(I)| over (B, 1, h, w), with d = -ln t / beta clamped to the range of D."""
    return (predicted - of_haze.clamp(*bounds)).abs().mean()


def known_depth_l1(predicted: Tensor, truth: Tensor) -> Tensor:
    """mean |D(J) - d| on the lattice, (B, 1, h, w) against a measured or drawn depth (B, 1, H, W) averaged onto it."""
    return (predicted - averaged(truth, *predicted.shape[-2:])).abs().mean()


def dark_channel_gap(result: Tensor, clear: Tensor) -> Tensor:
    """mean | dark(J^) - mean dark(J) |, of unclipped results compared with other, clear pictures, (B, 3, H, W).

    The dark channel (He et al. 2009) is low without haze; where too much haze was removed, it is below 0.
    """
    return (dark_channel(result, DARK_PATCH) - dark_channel(clear, DARK_PATCH).mean()).abs().mean()


def known_haze_l1(transmission: Tensor, airlight: Tensor, true_transmission: Tensor, true_airlight: Tensor) -> Tensor:
    """mean |t(I~) - t| + mean |A(I~) - A|, of haze that was added: (B, 1, h, w) and (B, 3), and so is the truth."""
    return (transmission - true_transmission).abs().mean() + (airlight - true_airlight).abs().mean()


def perceptual(features: Callable[[Tensor], list[Tensor]], predicted: Tensor, truth: Tensor) -> Tensor:
    """mean over levels of mean |phi(J~) - phi(J)| / mean |phi(J)|, phi the frozen ImageNet encoder's maps."""
    pairs = zip(features(predicted), features(truth), strict=True)
    return torch.stack([(a - b).abs().mean() / (b.abs().mean() + 1e-6) for a, b in pairs]).mean()
