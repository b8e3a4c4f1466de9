"""Patch critic: whether each patch of a picture looks real (PatchGAN, Isola et al. 2017), spectrally normalised."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchCritic(nn.Sequential):
    """Five 4x4 convolutions (Miyato et al. 2018 for the normalisation), each score sees 70 x 70 pixels.

    (B, 3, H, W) in [0, 1] -> scores (B, 1, about H / 8, about W / 8), 1 for real and 0 for fake (LSGAN).
    """

    def __init__(self, width: int = 32) -> None:
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(widths)):
            stride = 2 if index < 3 else 1
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1)), nn.LeakyReLU(0.2)]
        super().__init__(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1)))


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Share of patches judged correctly, real ones with scores nearer to 1, fake ones nearer to 0: scalar."""
    return ((real > 0.5).float().mean() + (fake < 0.5).float().mean()) / 2
