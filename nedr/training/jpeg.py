"""JPEG artefacts on tensors: the block transform, quantisation and halved colour of JPEG, without entropy coding."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 8
# The tables of ITU-T T.81, annex K, for quality 50.
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in [0, 1] after JPEG of quality (B,), 1 to 100; sides must be multiples of 16."""
    matrix, inverse = _colours(images.device)
    planes = torch.einsum("cd,bdhw->bchw", matrix, images * 255.0)
    luma = _quantised(planes[:, :1] - 128.0, _table(LUMA, quality)) + 128.0
    chroma = _quantised(F.avg_pool2d(planes[:, 1:], 2), _table(CHROMA, quality))
    chroma = F.interpolate(chroma, images.shape[-2:], mode="bilinear", align_corners=False)
    again = torch.einsum("cd,bdhw->bchw", inverse, torch.cat([luma, chroma], dim=1))
    return (again.round() / 255.0).clamp(0.0, 1.0)


def _table(base: tuple[tuple[int, ...], ...], quality: Tensor) -> Tensor:
    """Quantisation steps (B, 8, 8), by the rule of libjpeg and its successors."""
    scale = torch.where(quality < 50, 5000.0 / quality, 200.0 - 2.0 * quality)
    return ((_constant(base, quality.device) * scale[:, None, None] + 50.0) / 100.0).floor().clamp(1.0, 255.0)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Planes (B, C, H, W) with each block's transform rounded to steps (B, 8, 8)."""
    batch, channels, height, width = planes.shape
    blocks = planes.reshape(batch, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    transform, steps = _cosines(planes.device), table[:, None, None, None]
    coefficients = transform @ blocks @ transform.T
    rounded = (coefficients / steps).round() * steps
    return (transform.T @ rounded @ transform).transpose(3, 4).reshape(planes.shape)


@lru_cache
def _constant(values: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """A matrix of numbers, brought to a device once."""
    return torch.tensor(values, dtype=torch.float32, device=device)


@lru_cache
def _colours(device: torch.device) -> tuple[Tensor, Tensor]:
    """RGB to YCbCr and back, (3, 3) each."""
    there = torch.tensor(YCBCR, dtype=torch.float64)
    return there.float().to(device), torch.linalg.inv(there).float().to(device)


@lru_cache
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal discrete cosine transform of 8 values, (8, 8)."""
    k = torch.arange(BLOCK, dtype=torch.float32)
    matrix = torch.cos(math.pi / BLOCK * (k[None] + 0.5) * k[:, None]) * math.sqrt(2.0 / BLOCK)
    matrix[0] /= math.sqrt(2.0)
    return matrix.to(device)
