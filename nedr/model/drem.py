"""DREM: dense residual enhancement, which subtracts redundant detail (NeDR-Dehaze, Sec. 3; RDN, Zhang et al. 2018)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.model.heads import SLOPE


class ResidualDenseBlock(nn.Module):
    """Dense 3x3 layers, each seeing all before it, a 1x1 local fusion and the local residual."""

    def __init__(self, channels: int, growth: int, layers: int = 3) -> None:
        super().__init__()
        widths = [channels + i * growth for i in range(layers)]
        self.layers = nn.ModuleList(nn.Conv2d(width, growth, 3, padding=1) for width in widths)
        self.fusion = nn.Conv2d(channels + layers * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        dense = x
        for layer in self.layers:
            dense = torch.cat([dense, F.leaky_relu(layer(dense), SLOPE)], dim=1)
        y: Tensor = x + self.fusion(dense)
        return y


class DREM(nn.Module):
    """x - conv(leaky ReLU(conv(s))), s = the sum of a first convolution of x and two residual dense blocks after it."""

    def __init__(self, channels: int, width: int, growth: int, *, kernel: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        self.blocks = nn.ModuleList(ResidualDenseBlock(width, growth) for _ in range(2))
        self.gather = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.redundant = nn.Conv2d(width, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        block = self.first(x)
        total = block
        for layer in self.blocks:
            block = layer(block)
            total = total + block
        y: Tensor = x - self.redundant(F.leaky_relu(self.gather(total), SLOPE))
        return y
