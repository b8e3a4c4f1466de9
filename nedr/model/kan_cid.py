"""KAN-CID: channel-independent spatial mixing, then channel-dependent KAN mixing (NeDR-Dehaze, Sec. 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.kan import BASES, KANLinear


def bounce(size: int, pad: int, device: torch.device | None = None) -> Tensor:
    """Indices that reflect a line of `size` cells outwards by `pad`, back and forth where `pad` exceeds the line."""
    period = max(2 * (size - 1), 1)
    folded = torch.arange(-pad, size + pad, device=device) % period
    return torch.minimum(folded, period - folded)


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """Reflect padding of (B, C, H, W) that also works on maps smaller than the pad (torch's own refuses them)."""
    height, width = x.shape[-2:]
    if min(height, width) > pad:
        return F.pad(x, (pad, pad, pad, pad), mode="reflect")
    rows = x.index_select(-2, bounce(height, pad, x.device))
    return rows.index_select(-1, bounce(width, pad, x.device))


class KANCID(nn.Module):
    """On (B, C, H, W): depthwise 7x7 (each channel alone), then KANLinear-GELU-KANLinear per pixel, with no way around.

    `layers`: how many KANLinear there are, at least 2, with a GELU between any two; 2 are published.

    The channel vector is layer-normalised and halved before the KAN, so that it lies where the splines live, unless
    `norm` is off. `residual`: the depthwise convolution's input is added to its output. Neither is published. Without
    `kan` two linear layers mix instead, with as many weights and multiplications as two KANLinear.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel: int = 7,
        dropout: float = 0.0,
        kan: bool = True,
        layers: int = 2,
        norm: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.pad = kernel // 2
        self.residual = residual
        self.channel_independent = nn.Conv2d(channels, channels, kernel, groups=channels)
        self.norm = nn.LayerNorm(channels) if norm else nn.Identity()
        if isinstance(self.norm, nn.LayerNorm):
            nn.init.constant_(self.norm.weight, 0.5)
        wide = (1 + BASES) * channels
        self.expand = KANLinear(channels, channels) if kan else nn.Linear(channels, wide)
        self.between = nn.ModuleList(KANLinear(channels, channels) for _ in range(layers - 2 if kan else 0))
        self.dropout = nn.Dropout(dropout)
        self.project = KANLinear(channels, channels) if kan else nn.Linear(wide, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        mixed = self.channel_independent(reflect_pad(x, self.pad))
        mixed = x + mixed if self.residual else mixed
        pixels = self.norm(mixed.permute(0, 2, 3, 1))  # (B, H, W, C)
        pixels = F.gelu(self.expand(pixels))
        for layer in self.between:
            pixels = F.gelu(layer(pixels))
        fused: Tensor = self.project(self.dropout(pixels))
        return fused.permute(0, 3, 1, 2)
