"""Samples drawn batchwise on the training device: views, haze, what covers pictures, noise, JPEG artefacts.

The recipe is that of `data` and `synthesis`, with the same configuration and, as tests check, the same distributions,
but other random numbers. Step i of a seed always gives the same batch on the same kind of device.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nedr.training import occlusion
from nedr.training.data import DataConfig, view_size
from nedr.training.jpeg import compressed
from nedr.training.packed import Pack
from nedr.training.synthesis import GAMMA, LEAST_SKY, RELIEF, RIDGE, STANDARD, STANDARD_OUTDOORS, HazeConfig

FINER = 2  # views are sampled at this multiple of their size and averaged
OVERLAYS = 256  # of each size, drawn by every process when it starts


class Dice:
    """Random numbers for a batch: every method returns one per sample, (B, 1, 1, 1) unless stated otherwise."""

    def __init__(self, seed: list[int], batch: int, device: torch.device) -> None:
        self.batch, self.device = batch, device
        number = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1))
        self.generator = torch.Generator(device).manual_seed(number)
        self.host = np.random.default_rng(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape), between the bounds."""
        size = (self.batch, *(shape or (1, 1, 1)))
        return low + (high - low) * torch.rand(size, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), with standard deviation 1."""
        return torch.randn((self.batch, *shape), generator=self.generator, device=self.device)

    def chance(self, probability: float | Tensor) -> Tensor:
        """Whether something happens: (B, 1, 1, 1) bool."""
        return self.uniform(0.0, 1.0) < probability

    def index(self, count: int) -> Tensor:
        """(B,), from 0 to count - 1."""
        return torch.randint(count, (self.batch,), generator=self.generator, device=self.device)

    def number(self, count: int) -> int:
        """One number for the whole batch, from 0 to count - 1: no waiting for the device, unlike `index`."""
        return int(self.host.integers(count))


@dataclass(frozen=True)
class Overlays:
    """Covers for pictures, and lamps, as `occlusion` draws them: colours (N, 3, H, W) uint8, masks (N, 1, H, W)."""

    things: Tensor
    covered: Tensor
    lamps: Tensor
    shining: Tensor

    @classmethod
    def drawn(cls, size: tuple[int, int], seed: int, device: torch.device, count: int = OVERLAYS) -> "Overlays":
        """Draw `count` of one size (H, W)."""
        rng, black = np.random.default_rng([seed, 5, *size]), np.zeros((*size, 3), np.float32)
        things, covered = zip(*(occlusion.occlude(black, rng) for _ in range(count)), strict=True)
        lamps, shining = zip(*(occlusion.glow(black, rng) for _ in range(count)), strict=True)
        pictures = (_planes((255.0 * np.stack(images) + 0.5).astype(np.uint8)) for images in (things, lamps))
        masks = (_planes(np.stack(images)[..., None]) for images in (covered, shining))
        (thing, lamp), (cover, shine) = pictures, masks
        return cls(*(plane.to(device) for plane in (thing, cover, lamp, shine)))


def _planes(images: NDArray[Any]) -> Tensor:
    """(N, H, W, C) -> (N, C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


class DeviceHaze:
    """Batches of the warm-up by step, with the keys, shapes and ranges of `data.SyntheticHaze`'s samples."""

    def __init__(self, pack: Pack, data: DataConfig, haze: HazeConfig, *, seed: int) -> None:
        self.pack, self.data, self.haze, self.seed = pack, data, haze, seed
        self.device = pack.pictures.device
        self.measured, self.clear = (flag.nonzero()[:, 0] for flag in (pack.measured, ~pack.measured))
        self.overlays: dict[tuple[int, int], Overlays] = {}

    def batches(self, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
        """The batches of steps `start` to `stop`."""
        for step in range(start, stop):
            yield self.batch(step)

    @torch.no_grad()
    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of one step: a share of the samples under RESIDE's haze first, then the others."""
        standard = round(self.haze.standard * self.data.batch)
        share = self.data.measured if len(self.clear) else 1.0
        indoors = round(share * standard) if len(self.measured) else 0
        kinds = (indoors, 7, STANDARD), (standard - indoors, 9, STANDARD_OUTDOORS)
        counted = (*kinds, (self.data.batch - standard, 6, self.haze))
        parts = [self._part(step, count, kind, haze) for count, kind, haze in counted if count]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _part(self, step: int, count: int, kind: int, haze: HazeConfig) -> dict[str, Tensor]:
        """`count` samples of a step's batch under one recipe's haze: RESIDE's indoors is on measured scenes alone."""
        size = view_size(self.data, self.seed, step * self.data.batch)
        dice = Dice([self.seed, kind, step], count, self.device)
        if size not in self.overlays:
            self.overlays[size] = Overlays.drawn(size, self.seed, self.device)
        clear, depth, sky = self.scenes(size, haze, dice)
        samples = synthesised(clear, depth, sky, haze, dice, self.overlays[size]) | {"depth": depth}
        if haze is STANDARD or haze is STANDARD_OUTDOORS:
            samples["density"] = samples["density"] * depth.amax(dim=(1, 2, 3))
        return samples

    def scenes(self, size: tuple[int, int], haze: HazeConfig, dice: Dice) -> tuple[Tensor, Tensor, Tensor]:
        """Clear pictures (B, 3, H, W), their depth (B, 1, H, W), and their sky, 0 to 1, or -1 where unknown."""
        pack, data = self.pack, self.data
        if haze is STANDARD or haze is STANDARD_OUTDOORS:
            data = replace(data, turned=0.0, borrowed=0.0, measured=float(haze is STANDARD))
        measured = dice.chance(data.measured if len(self.measured) else 0.0) | (len(self.clear) == 0)
        index = torch.where(measured.flatten(), self._any(self.measured, dice), self._any(self.clear, dice))
        grid = view_grid(size, data, dice)
        clear = _seen(pack.pictures, index, grid)
        borrowed = dice.chance(data.borrowed if len(self.measured) else 0.0) & ~measured
        source = torch.where(borrowed.flatten(), self._any(self.measured, dice), index)
        depth = _seen(pack.depths, source, grid)
        depth = torch.where(measured & (haze is STANDARD), depth.clamp_min(0.02), farthest_at_one(depth))
        trust = pack.trust[index].view(-1, 1, 1, 1)
        sky = torch.where(trust >= 0, _seen(pack.skies, index, grid), -1.0)
        labelled = dice.chance(data.labelled * trust) & (trust >= 0) & ~borrowed
        distance = labelled_depth(clear, _seen(pack.fars, index, grid), sky, dice)
        depth = torch.where(labelled, distance, depth)
        if haze is STANDARD_OUTDOORS:
            depth = 1.0 - dice.uniform(*RELIEF) * (1.0 - depth)
        veiled = dice.chance(haze.aerial) & ~measured
        return torch.where(veiled, aerial_veil(clear, depth, dice), clear), depth, sky

    def _any(self, members: Tensor, dice: Dice) -> Tensor:
        return members[dice.index(len(members))] if len(members) else torch.zeros_like(dice.index(1))


def view_grid(size: tuple[int, int], data: DataConfig, dice: Dice) -> Tensor:
    """Where a view's points lie in its picture, as `grid_sample` takes them: (B, H', W', 2), finer than the view.

    The whole picture or a part of it, upright, turned to either side, or mirrored.
    """
    height, width = size[0] * FINER, size[1] * FINER
    down = ((torch.arange(height, device=dice.device) + 0.5) / height)[None, :, None, None]
    across = ((torch.arange(width, device=dice.device) + 0.5) / width)[None, None, :, None]
    across = torch.where(dice.chance(0.5), 1.0 - across, across)
    turned, left = dice.chance(data.turned), dice.chance(0.5)
    x = torch.where(turned, torch.where(left, 1.0 - down, down).expand_as(down + across), across)
    y = torch.where(turned, torch.where(left, across, 1.0 - across).expand_as(down + across), down)
    whole, side = dice.chance(data.whole), dice.uniform(*data.crop)
    extents = [torch.where(whole, 1.0, (side * dice.uniform(0.9, 1.1)).clamp_max(1.0)) for _ in range(2)]
    starts = [dice.uniform(0.0, 1.0) * (1.0 - extent) for extent in extents]
    places = [start + extent * axis for start, extent, axis in zip(starts, extents, (x, y), strict=True)]
    shape = torch.broadcast_shapes(*(place.shape for place in places))  # type: ignore[no-untyped-call]
    return 2.0 * torch.cat([place.expand(shape) for place in places], dim=-1) - 1.0


def _seen(planes: Tensor, index: Tensor, grid: Tensor) -> Tensor:
    """Views of planes (N, C, S, S) uint8: (B, C, H, W) in [0, 1]."""
    chosen = planes[index].float() / 255.0
    fine = F.grid_sample(chosen, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(fine, FINER)


def farthest_at_one(depth: Tensor) -> Tensor:
    """`data.farthest_at_one` on a batch (B, 1, H, W)."""
    return (depth / depth.amax(dim=(2, 3), keepdim=True).clamp_min(1 / 255)).clamp(0.02, 1.0)


def labelled_depth(image: Tensor, far: Tensor, sky: Tensor, dice: Dice) -> Tensor:
    """`synthesis.labelled_depth` on a batch: (B, 3, H, W) and (B, 1, H, W) -> (B, 1, H, W)."""
    near = torch.where(dice.chance(0.75), dice.uniform(0.06, 0.25), dice.uniform(0.25, 0.8))
    depth = near / (1.0 - (1.0 - near) * 0.92 * far)
    depth = guided(image.mean(dim=1, keepdim=True), depth, max(2, image.shape[-1] // 32))
    outside = sky < 0.5
    skyline = torch.where(outside, depth, 1e-3).amax(dim=(2, 3), keepdim=True).clamp_min(1e-3)
    reach = dice.uniform(0.6, 1.0) / skyline
    shallow = torch.where(dice.chance(0.6), dice.uniform(0.0, 0.8), 0.0)
    return torch.where(outside, depth * reach, 1.0 - shallow * heights(~outside)).clamp(0.02, 1.0)


def heights(sky: Tensor) -> Tensor:
    """`synthesis.heights` on a batch: sky (B, 1, H, W) bool -> (B, 1, H, 1)."""
    rows = torch.arange(sky.shape[-2], device=sky.device, dtype=torch.float32)
    lowest = torch.where(sky.any(dim=-1), rows + 1.0, 1.0).amax(dim=-1)[..., None, None]
    return (1.0 - rows[:, None] / lowest).clamp(0.0, 1.0)


def guided(guide: Tensor, values: Tensor, radius: int) -> Tensor:
    """`synthesis.guided` on a batch (B, 1, H, W)."""

    def mean(planes: Tensor) -> Tensor:
        padded = F.pad(planes, (radius,) * 4, mode="replicate")
        return F.avg_pool2d(padded, 2 * radius + 1, stride=1)

    guide_mean, values_mean = mean(guide), mean(values)
    slope = (mean(guide * values) - guide_mean * values_mean) / (mean(guide * guide) - guide_mean.square() + 1e-3)
    return mean(slope) * guide + mean(values_mean - slope * guide_mean)


def aerial_veil(clear: Tensor, depth: Tensor, dice: Dice) -> Tensor:
    """`synthesis.aerial_veil` on a batch."""
    veil = torch.exp(-dice.uniform(0.0, 0.25) * (0.5 + 0.5 * depth))
    return clear * veil + dice.uniform(0.6, 1.0) * (1.0 - veil)


def synthesised(
    clear: Tensor, depth: Tensor, sky: Tensor, config: HazeConfig, dice: Dice, overlays: Overlays
) -> dict[str, Tensor]:
    """`synthesis.synthesise` on a batch of scenes, as `DeviceHaze.scenes` gives them."""
    uneven = ~dice.chance(config.plain)
    fog = dice.chance(config.fog) & uneven
    clear = torch.where(dice.chance(config.exposure), varied_exposure(clear, dice), clear)
    cast = torch.where(dice.chance(config.cast) & uneven, draw_cast(dice), 1.0)
    clear = clear * cast * torch.where(fog, dice.uniform(0.3, 0.7), 1.0)
    density, t = draw_haze(depth, config, dice, fog=fog, uneven=uneven)
    ambient = dice.chance(config.ambient) & uneven & ~fog
    drawn = draw_airlight(config, dice) * cast
    drawn = torch.where(dice.chance(config.horizon), under_sky(drawn, clear, sky, dice), drawn)
    airlight = torch.where(ambient, ambient_airlight(clear, dice), drawn)
    lit = dice.chance(config.lit) & uneven
    light = torch.where(lit, uneven_light(airlight, clear.shape[-2], clear.shape[-1], dice), airlight)
    light = light.expand_as(clear)
    hazy, t = mixed(clear, t, light, linear=dice.chance(config.linear) & uneven)
    hazy, weight = put_on_top(hazy, sky, config, dice, overlays, fog=fog, uneven=uneven)
    return {
        "hazy": degraded(hazy, config, dice),
        "clear": torch.where(weight > 0, clear, hazy),
        "transmission": t,
        "airlight": light.mean(dim=(2, 3)),
        "light": light,
        "weight": weight,
        "density": density.flatten(),
    }


def varied_exposure(image: Tensor, dice: Dice) -> Tensor:
    """`synthesis.vary_exposure` on a batch."""
    gain = dice.uniform(0.75, 1.25) * dice.uniform(0.92, 1.08, 3, 1, 1)
    return (image * gain).clamp(0.0, 1.0) ** dice.uniform(0.75, 1.25)


def draw_cast(dice: Dice) -> Tensor:
    """`synthesis.draw_cast` for a batch: (B, 3, 1, 1)."""
    strength, green = dice.uniform(0.1, 0.8), dice.uniform(0.3, 0.6)
    light = 1.0 - strength * torch.cat([torch.zeros_like(green), green, torch.ones_like(green)], dim=1)
    return torch.where(dice.chance(0.7), light, 1.0 - 0.6 * (1.0 - light.flip(1)))


def draw_haze(depth: Tensor, config: HazeConfig, dice: Dice, *, fog: Tensor, uneven: Tensor) -> tuple[Tensor, Tensor]:
    """beta (B, 1, 1, 1) and t (B, 1, H, W) of haze that is light, dense or fog, even or patchy, or absent."""
    usual = torch.where(dice.chance(config.light), dice.uniform(*config.beta_light), dice.uniform(*config.beta))
    density = torch.where(fog, dice.uniform(1.5, 5.0), usual)
    optical = density * depth
    octaves, patchy = dice.chance(0.6), dice.chance(config.patchy) & uneven
    thick = torch.where(octaves, octave_noise(depth, dice), smooth_noise(depth, dice, dice.number(6) + 3))
    added = dice.uniform(0.0, 1.0) * torch.where(octaves, 1.2, 0.6)
    optical = torch.where(patchy, optical * (0.3 + 1.4 * thick) + added * thick, optical)
    none = dice.chance(config.clear)
    return torch.where(none, 0.0, density), torch.where(none, 1.0, torch.exp(-optical))


def smooth_noise(like: Tensor, dice: Dice, cells: int) -> Tensor:
    """`synthesis.smooth_noise` on a batch, as large as `like`: (B, 1, H, W)."""
    coarse = dice.uniform(0.0, 1.0, 1, cells, cells)
    fine = F.interpolate(coarse, like.shape[-2:], mode="bicubic", align_corners=False, antialias=True)
    return fine.clamp(0.0, 1.0)


def octave_noise(like: Tensor, dice: Dice) -> Tensor:
    """`synthesis.octave_noise` on a batch."""
    cells, persistence = dice.number(3) + 2, dice.uniform(0.35, 0.7)
    total = torch.stack([smooth_noise(like, dice, cells * 2**i) * persistence**i for i in range(4)]).sum(0)
    low, high = (extreme(total, dim=(2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
    return (total - low) / (high - low).clamp_min(1e-6)


def draw_airlight(config: HazeConfig, dice: Dice) -> Tensor:
    """`synthesis.draw_airlight` for a batch: (B, 3, 1, 1)."""
    dark = dice.chance(config.dark)
    brightness = torch.where(dark, dice.uniform(*config.airlight_dark), dice.uniform(*config.airlight))
    sign = torch.where(dice.chance(0.5), 1.0, -1.0)
    one = torch.ones_like(sign)
    strong = dice.uniform(0.05, 0.35) * sign * torch.cat([one, dice.uniform(-0.2, 0.5), -one], dim=1)
    choice = dice.uniform(0.0, 1.0)
    slight = torch.where(choice < config.tint_strong + config.tint_slight, 0.03 * dice.normal(3, 1, 1), 0.0)
    tint = torch.where(choice < config.tint_strong, strong, slight)
    highest = tint.amax(dim=1, keepdim=True) * (brightness > 0.8)
    return (brightness * (1.0 + tint - highest)).clamp(0.0, 1.0)


def ambient_airlight(clear: Tensor, dice: Dice) -> Tensor:
    """`synthesis.ambient_airlight` for a batch: (B, 3, 1, 1)."""
    mean = clear.mean(dim=(2, 3), keepdim=True)
    grey = mean.mean(dim=1, keepdim=True)
    colour = grey + (mean - grey) * dice.uniform(0.3, 1.2)
    return (colour * dice.uniform(0.95, 1.9)).clamp(0.1, 1.0)


def under_sky(airlight: Tensor, clear: Tensor, sky: Tensor, dice: Dice) -> Tensor:
    """`synthesis.under_sky` for a batch: A (B, 3, 1, 1), sky (B, 1, H, W), -1 where unknown."""
    known = sky.clamp_min(0.0)
    area = known.mean(dim=(2, 3), keepdim=True)
    lit = (clear.mean(dim=1, keepdim=True) * known).mean(dim=(2, 3), keepdim=True)
    brightness = lit / area.clamp_min(LEAST_SKY) * dice.uniform(0.85, 1.05)
    gain = (brightness / airlight.mean(dim=1, keepdim=True).clamp_min(0.05)).clamp_min(1.0)
    return torch.where(area < LEAST_SKY, airlight, (airlight * gain).clamp(0.0, 1.0))


def uneven_light(airlight: Tensor, height: int, width: int, dice: Dice) -> Tensor:
    """`synthesis.uneven_light` on a batch: A (B, 3, 1, 1) -> A(x) (B, 3, H, W)."""
    y = (2.0 * (torch.arange(height, device=dice.device) + 0.5) / height - 1.0).view(1, 1, -1, 1)
    x = (2.0 * (torch.arange(width, device=dice.device) + 0.5) / width - 1.0).view(1, 1, 1, -1)
    kind, reach, angle = dice.uniform(0.0, 1.0), dice.uniform(0.1, 0.45), dice.uniform(0.0, 2.0 * np.pi)
    side = angle.cos() * x + angle.sin() * y
    above = -y * torch.where(dice.chance(0.75), 1.0, -1.0) + 0.3 * dice.uniform(-1.0, 1.0) * x
    away = torch.hypot(x - dice.uniform(-1.2, 1.2), (y - dice.uniform(-1.2, 0.8)) * height / width)
    lamp = 2.0 * torch.exp(-(away / dice.uniform(0.6, 1.6)).square()) - 0.7
    uneven = 2.0 * smooth_noise(side, dice, dice.number(3) + 2) - 1.0
    shape = torch.where(kind < 0.35, side, torch.where(kind < 0.6, above, torch.where(kind < 0.85, lamp, uneven)))
    shape = shape - shape.mean(dim=(2, 3), keepdim=True)
    tint = torch.where(dice.chance(0.4), 0.25 * dice.normal(3, 1, 1), 0.0)
    return (airlight * (1.0 + reach * shape * (1.0 + tint))).clamp(0.02, 1.0)


def mixed(clear: Tensor, t: Tensor, light: Tensor, *, linear: Tensor) -> tuple[Tensor, Tensor]:
    """I (B, 3, H, W), mixed as pixel values or, where `linear`, as light, and the t that explains it best."""
    gamma, plain = float(GAMMA), clear * t + light * (1.0 - t)
    hazy = (clear.clamp_min(0) ** gamma * t + light**gamma * (1.0 - t)) ** (1.0 / gamma)
    off, seen = clear - light, hazy - light
    fitted = ((off * seen).sum(1, keepdim=True) + RIDGE * t) / (off.square().sum(1, keepdim=True) + RIDGE)
    return torch.where(linear, hazy, plain), torch.where(linear, fitted.clamp(0.01, 1.0), t)


def put_on_top(
    hazy: Tensor, sky: Tensor, config: HazeConfig, dice: Dice, overlays: Overlays, *, fog: Tensor, uneven: Tensor
) -> tuple[Tensor, Tensor]:
    """`synthesis.put_on_top` on a batch: what outshines or covers haze, and the remaining weight (B, 1, H, W)."""
    known = sky.clamp_min(0.0)
    weight, share = 1.0 - (1.0 - config.sky) * known, known * dice.uniform(0.6, 1.0)
    one = torch.ones_like(dice.uniform(0.0, 1.0))
    tones = torch.cat([one, dice.uniform(0.97, 1.0), dice.uniform(0.93, 1.0)], dim=1)
    burnt = dice.chance(config.burnt) & uneven & (sky >= 0)
    hazy = torch.where(burnt, hazy * (1.0 - share) + dice.uniform(0.9, 1.0) * tones * share, hazy)
    weight = weight * ~(burnt & (sky >= 0.02))
    lamps, which = dice.chance(0.7) & fog, dice.index(len(overlays.lamps))
    hazy = torch.where(lamps, hazy + (1.0 - hazy) * overlays.lamps[which].float() / 255.0, hazy)
    weight = weight * ~(lamps & overlays.shining[which])
    which = dice.index(len(overlays.things))
    covered = dice.chance(config.occluded) & overlays.covered[which]
    return torch.where(covered, overlays.things[which].float() / 255.0, hazy), weight * ~covered


def degraded(image: Tensor, config: HazeConfig, dice: Dice) -> Tensor:
    """`synthesis.degrade` on a batch."""
    noise = dice.uniform(0.002, 0.02) * dice.normal(*image.shape[1:])
    image = torch.where(dice.chance(config.noise), image + noise, image).clamp(0.0, 1.0)
    quality = dice.uniform(40.0, 96.0).floor().flatten()
    return torch.where(dice.chance(config.jpeg), compressed(image, quality), image)
