"""Feature extraction: EfficientNet-Lite (Tan & Le 2019; Lite variants without squeeze-excitation, ReLU6 throughout)."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32


class Stage(NamedTuple):
    """One row of the EfficientNet table, before scaling."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int


STAGES = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
TAPS = (1, 2, 4, 6)  # the last stages at strides 4, 8, 16 and 32
SCALING = {"lite0": (1.0, 1.0), "lite3": (1.2, 1.4)}  # (width, depth) multipliers


def scaled_channels(channels: int, width: float) -> int:
    """Channels times `width`, rounded to a multiple of 8 that is never more than 10 % lower (EfficientNet's rule)."""
    target = channels * width
    rounded = max(8, int(target + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * target else rounded


def scaled_stages(variant: str) -> list[Stage]:
    """The stage table of an EfficientNet-Lite variant; the first and last stage keep their single block."""
    width, depth = SCALING[variant]
    last = len(STAGES) - 1
    return [
        stage._replace(
            channels=scaled_channels(stage.channels, width),
            repeats=stage.repeats if index in (0, last) else math.ceil(stage.repeats * depth),
        )
        for index, stage in enumerate(STAGES)
    ]


class FrozenNormConv(nn.Module):
    """Convolution and batch normalisation with frozen statistics, as one convolution.

    Frozen statistics make a sample's result independent of its batch, and gamma / sigma is folded into the kernel at
    each call: one pass over the activations instead of two. Stride 2 pads right and bottom first, as the ImageNet
    weights expect.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.stride, self.groups, self.folded = stride, groups, False
        total = kernel - stride
        self.pads = (total // 2, total - total // 2) * 2 if kernel > 1 else (0, 0, 0, 0)
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.gamma = nn.Parameter(torch.ones(outputs))
        self.beta = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        weight, bias = self._folded()
        if self.stride == 1:
            return F.conv2d(x, weight, bias, 1, self.pads[0], 1, self.groups)
        return F.conv2d(F.pad(x, self.pads), weight, bias, self.stride, 0, 1, self.groups)

    def _folded(self) -> tuple[Tensor, Tensor]:
        if self.folded:
            return self.weight, self.beta
        scale = self.gamma * torch.rsqrt(self.variance + BATCH_NORM_EPS)
        return self.weight * scale[:, None, None, None], self.beta - self.mean * scale

    @torch.no_grad()
    def fold(self) -> None:
        """Let the kernel and bias hold the normalisation for good: the same function, to be run, not trained."""
        weight, bias = self._folded()
        self.weight.copy_(weight)
        self.beta.copy_(bias)
        self.folded = True


class InvertedResidual(nn.Module):
    """MBConv without squeeze-excitation: 1x1 expand, depthwise, 1x1 project, shortcut where shapes allow."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = inputs * stage.expansion
        self.expand = FrozenNormConv(inputs, hidden, 1) if stage.expansion > 1 else None
        self.depthwise = FrozenNormConv(hidden, hidden, stage.kernel, stride=stride, groups=hidden)
        self.project = FrozenNormConv(hidden, stage.channels, 1)
        self.shortcut = stride == 1 and inputs == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, stage.channels, H / stride, W / stride)."""
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        y: Tensor = self.project(F.relu6(self.depthwise(hidden)))
        return x + y if self.shortcut else y


class Encoder(nn.Module):
    """EfficientNet-Lite features at strides 4, 8, 16 and 32; `channels` lists their widths."""

    def __init__(self, variant: str = "lite0") -> None:
        super().__init__()
        stages = scaled_stages(variant)
        self.stem = FrozenNormConv(3, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        inputs = STEM_CHANNELS
        for stage in stages:
            strides = [stage.stride] + [1] * (stage.repeats - 1)
            blocks = [InvertedResidual(inputs if i == 0 else stage.channels, stage, s) for i, s in enumerate(strides)]
            self.stages.append(nn.Sequential(*blocks))
            inputs = stage.channels
        self.channels = tuple(stages[tap].channels for tap in TAPS)
        self.repeats = [stage.repeats for stage in stages]

    def forward(self, image: Tensor) -> list[Tensor]:
        """RGB (B, 3, H, W) in [0, 1], sides multiples of 32 -> four maps (B, channels[i], H / 2^(i+2), W / 2^(i+2))."""
        x = F.relu6(self.stem((image * 255.0 - 127.0) / 128.0))
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in TAPS:
                features.append(x)
        return features

    def load_imagenet(self, state: Mapping[str, Tensor]) -> None:
        """Take the feature weights of a published EfficientNet-Lite classifier (keys `_conv_stem`, `_blocks.N...`).

        Raises KeyError or RuntimeError where the classifier is of another variant.
        """
        self.load_state_dict(imagenet_to_encoder(state, self.repeats))


def imagenet_to_encoder(state: Mapping[str, Tensor], repeats: list[int]) -> dict[str, Tensor]:
    """Rename the classifier's entries to the encoder's; `repeats` is the number of blocks of each stage."""
    converted = _convolution(state, "_conv_stem", "_bn0", "stem")
    block = 0
    for stage, count in enumerate(repeats):
        for index in range(count):
            old, new = f"_blocks.{block}.", f"stages.{stage}.{index}."
            if f"{old}_expand_conv.weight" in state:
                converted |= _convolution(state, f"{old}_expand_conv", f"{old}_bn0", f"{new}expand")
            converted |= _convolution(state, f"{old}_depthwise_conv", f"{old}_bn1", f"{new}depthwise")
            converted |= _convolution(state, f"{old}_project_conv", f"{old}_bn2", f"{new}project")
            block += 1
    return converted


def _convolution(state: Mapping[str, Tensor], conv: str, norm: str, name: str) -> dict[str, Tensor]:
    return {
        f"{name}.weight": state[f"{conv}.weight"],
        f"{name}.gamma": state[f"{norm}.weight"],
        f"{name}.beta": state[f"{norm}.bias"],
        f"{name}.mean": state[f"{norm}.running_mean"],
        f"{name}.variance": state[f"{norm}.running_var"],
    }
