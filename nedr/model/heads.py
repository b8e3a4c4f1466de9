"""Heads of the dehazing network: transmission t, airlight A and scattering coefficient beta."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HAZIEST = 0.001  # fraction of pixels the dark-channel airlight looks at (He et al. 2009)
HIDDEN = 64


class BoundedHead(nn.Module):
    """conv 3x3, ReLU, conv 3x3, tanh scaled into `bounds`: one value per lattice cell, t or depth."""

    def __init__(self, channels: int, width: int, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.low, self.high = bounds
        self.hidden = nn.Conv2d(channels, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, 1, h, w) inside `bounds`."""
        y = torch.tanh(self.last(F.relu(self.hidden(x))))
        return self.low + (self.high - self.low) * (0.5 + 0.5 * y)


class DensityHead(nn.Module):
    """beta from the global averages of the encoder's maps; no gradient flows back into the encoder."""

    def __init__(self, channels: int, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.low, self.high = bounds
        self.hidden = nn.Linear(channels, HIDDEN)
        self.last = nn.Linear(HIDDEN, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, channels) -> beta (B,) inside `bounds`."""
        y = torch.tanh(self.last(F.relu(self.hidden(pooled.detach())))).squeeze(-1)
        return self.low + (self.high - self.low) * (0.5 + 0.5 * y)


class AirlightHead(nn.Module):
    """A = the colour of the haziest pixels under a first estimate of t, corrected by a learned residual.

    Four attention maps over the lattice, biased towards low t, pool colour, t and features; the first one's colour is
    the starting point, and a small network on everything pooled adds the residual (in logits, so A stays in (0, 1)).
    """

    def __init__(self, channels: int, pooled: int, *, maps: int = 4) -> None:
        super().__init__()
        self.attention = nn.Conv2d(channels, maps, 1)
        self.haziness = nn.Parameter(torch.linspace(10.0, 0.0, maps))
        self.hidden = nn.Linear(pooled + maps * (3 + 1 + channels), HIDDEN)
        self.last = nn.Linear(HIDDEN, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, image: Tensor, transmission: Tensor, pooled: Tensor) -> Tensor:
        """(B, channels, h, w), (B, 3, h, w), (B, 1, h, w), (B, pooled) -> A (B, 3), RGB in (0, 1)."""
        logits = self.attention(x) + self.haziness[:, None, None] * (1.0 - transmission)
        weights = logits.flatten(2).softmax(dim=-1)  # (B, maps, h * w)
        everything = torch.cat([image, transmission, x], dim=1).flatten(2)  # (B, 4 + channels, h * w)
        gathered = weights @ everything.transpose(1, 2)  # (B, maps, 4 + channels)
        start = gathered[:, 0, :3].clamp(0.02, 0.98)
        residual = self.last(F.relu(self.hidden(torch.cat([pooled, gathered.flatten(1)], dim=1))))
        return torch.sigmoid(torch.logit(start) + residual)


def brightest(image: Tensor) -> Tensor:
    """A as the published indoor setting takes it: the maximum of each channel, (B, 3, H, W) -> (B, 3)."""
    return image.amax(dim=(-2, -1))


def dark_channel(image: Tensor, patch: int) -> Tensor:
    """The least of all channels in the patch around each pixel (He et al. 2009): (B, 3, H, W) -> (B, 1, H, W)."""
    return -F.max_pool2d(-image.amin(dim=1, keepdim=True), patch, stride=1, padding=patch // 2)


def dark_channel_airlight(image: Tensor, *, patch: int = 15) -> Tensor:
    """A as the published outdoor setting takes it: mean colour where the dark channel is brightest (He et al. 2009)."""
    dark = dark_channel(image, patch)
    count = max(1, int(dark[0].numel() * HAZIEST))
    index = dark.flatten(1).topk(count, dim=1).indices  # (B, count)
    return image.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).mean(dim=-1)
