"""Training data: clear photographs, some with measured depth; haze drawn on the fly; real hazy photographs."""

import csv
import fnmatch
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from nedr.errors import UsageError
from nedr.inference.view import averaged
from nedr.pictures import images
from nedr.training.synthesis import (
    STANDARD,
    STANDARD_OUTDOORS,
    Array,
    HazeConfig,
    HazySample,
    Range,
    add_haze,
    aerial_veil,
    draw_airlight,
    labelled_depth,
    procedural_depth,
    shallow,
    synthesise,
    transmission,
)

SUFFIXES = {name for name, kind in images.SUFFIXES.items() if kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")}
DEPTH_SCALE = 2  # procedural depth is drawn at 1/2 of the view's resolution
ITS_BETA, ITS_AIRLIGHT = (0.6, 1.8), (0.7, 1.0)  # RESIDE's indoor training set (Li et al. 2019): uniform, A grey


@dataclass(frozen=True)
class DataConfig:
    """Which pictures a run sees, and how views are cut from them."""

    views: tuple[tuple[int, int], ...] = (
        (192, 256),
        (192, 256),
        (256, 192),
        (224, 224),
    )  # (height, width), one per batch
    strides: tuple[float, float] = (3.0, 8.0)  # of the lattice on which t is requested: drawn in each step
    batch: int = 16  # samples in a step, over all processes
    measured: float = 0.5  # share of samples with measured depth, if there is any
    labelled: float = 0.8  # share of labelled pictures (distance, sky) that use their labels, not drawn depth
    borrowed: float = 0.04  # share of samples with the measured depth of another scene
    whole: float = 0.5  # share of samples that show the whole picture instead of a crop
    crop: tuple[float, float] = (0.5, 1.0)  # sides of a crop, as fractions of the picture
    turned: float = 0.15  # share of pictures turned on their side
    holdout: int = 24  # every n-th clear picture is kept from training
    exclude: tuple[str, ...] = ()  # names, with wildcards, left out of the clear pictures
    workers: int = 1

    def __post_init__(self) -> None:
        for height, width in self.views:
            if height % 32 or width % 32 or min(height, width) < 64:
                raise ValueError(f"views need sides that are multiples of 32, 64 at least; found {height} x {width}")
        if self.batch < 1 or self.holdout < 2:
            raise ValueError(f"expected batch >= 1 and holdout >= 2, found {self.batch} and {self.holdout}")


def list_images(folder: str | Path, exclude: tuple[str, ...] = ()) -> list[Path]:
    """All pictures in `folder` and its subfolders, sorted. Raises UsageError when there are none."""
    root = Path(folder)
    found = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES)
    found = [p for p in found if not any(fnmatch.fnmatch(p.name, pattern) for pattern in exclude)]
    if not found:
        raise UsageError(f"no pictures in {root}: expected a folder with {', '.join(sorted(SUFFIXES))} files")
    return found


def held_out(path: Path, one_in: int) -> bool:
    """Whether a picture is kept from training, decided by a checksum of its name so that all runs agree."""
    return zlib.crc32(path.name.encode()) % one_in == 0


def depth_pairs(folder: str | Path) -> list[tuple[Path, Path]]:
    """(clear, depth) files of a folder with subfolders `clear/` and `depth/`, matched by stem."""
    root = Path(folder)
    depths = {p.stem: p for p in list_images(root / "depth")}
    pairs = [(p, depths[p.stem]) for p in list_images(root / "clear") if p.stem in depths]
    if not pairs:
        raise UsageError(f"no picture in {root}/clear has a depth map of the same name in {root}/depth")
    return pairs


def read_rgb(path: Path, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """A region of a picture (x0, y0, x1, y1 as fractions) resized to (height, width); float32 RGB in [0, 1]."""
    with Image.open(path) as image:
        pixels = image.convert("RGB").resize(
            size[::-1], Image.Resampling.BICUBIC, _scaled(box, image.size), reducing_gap=2.0
        )
    return np.asarray(pixels, np.float32) / np.float32(255.0)


def read_depth(path: Path, box: tuple[float, float, float, float], size: tuple[int, int]) -> Array:
    """A region of an 8-bit depth map, resized like its picture; float32 in [0, 1], 1 where the map holds 255."""
    with Image.open(path) as image:
        region = image.convert("L").resize(size[::-1], Image.Resampling.BILINEAR, _scaled(box, image.size))
    return np.asarray(region, np.float32) / np.float32(255.0)


def farthest_at_one(depth: Array) -> Array:
    """Depth in [0, 1] scaled so that the farthest point is 1, and kept above 0."""
    return (depth / max(float(depth.max()), 1.0 / 255.0)).clip(0.02, 1.0).astype(np.float32)


def _scaled(box: tuple[float, float, float, float], size: tuple[int, int]) -> tuple[float, float, float, float]:
    return (box[0] * size[0], box[1] * size[1], box[2] * size[0], box[3] * size[1])


def draw_box(config: DataConfig, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """The whole picture, or a random crop of about the same aspect ratio."""
    if rng.random() < config.whole:
        return (0.0, 0.0, 1.0, 1.0)
    side = rng.uniform(*config.crop)
    width, height = min(1.0, side * rng.uniform(0.9, 1.1)), min(1.0, side * rng.uniform(0.9, 1.1))
    x, y = rng.uniform(0.0, 1.0 - width), rng.uniform(0.0, 1.0 - height)
    return (x, y, x + width, y + height)


def resize_map(values: Array, size: tuple[int, int]) -> Array:
    """A float map resized bilinearly to (height, width)."""
    return np.array(Image.fromarray(values).resize(size[::-1], Image.Resampling.BILINEAR), np.float32)


def view_size(config: DataConfig, seed: int, index: int) -> tuple[int, int]:
    """(height, width) of sample `index`, the same for all samples of its batch."""
    choice = np.random.default_rng([seed, 1, index // config.batch]).integers(len(config.views))
    return config.views[int(choice)]


class SyntheticHaze(Dataset[dict[str, Tensor]]):
    """An endless, seeded stream of samples: number i is the same on every machine, in any process and order.

    A sample holds `hazy` and `clear` (3, H, W), `transmission`, `weight` and `depth` (1, H, W), the last measured,
    labelled or drawn, `airlight` (3,), `light` (3, H, W) and `density` (). Samples of one batch (consecutive numbers)
    share a view size. `labels` names a folder with `sky/` and `far/`, maps named as the clear pictures.
    """

    def __init__(
        self,
        clear: list[Path],
        measured: list[tuple[Path, Path]],
        data: DataConfig,
        haze: HazeConfig,
        *,
        seed: int,
        labels: Path | None = None,
    ) -> None:
        self.clear = [p for p in clear if not held_out(p, data.holdout)]
        self.labels = sky_and_distance(labels) if labels else {}
        self.measured = measured
        self.data, self.haze, self.seed = data, haze, seed
        if not self.clear and not measured:
            raise UsageError("expected clear pictures or pictures with measured depth, found neither")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`, any integer >= 0."""
        size = view_size(self.data, self.seed, index)
        rng = np.random.default_rng([self.seed, 0, index])
        standard = self.haze.standard > 0 and rng.random() < self.haze.standard
        haze = STANDARD if standard else self.haze
        turned = rng.random() < self.data.turned and not standard
        scene = self._scene(size[::-1] if turned else size, haze, rng)
        if turned:
            quarter = int(rng.choice([1, 3]))
            scene = scene.changed(lambda plane: np.rot90(plane, quarter))
        if rng.random() < 0.5:
            scene = scene.changed(lambda plane: plane[:, ::-1])
        if standard and not scene.measured:
            scene, haze = scene._replace(depth=shallow(scene.depth, rng)), STANDARD_OUTDOORS
        sample = synthesise(scene.clear, scene.depth, haze, rng, sky=scene.sky)
        if standard:
            sample = sample._replace(density=sample.density * float(scene.depth.max()))
        return to_tensors(sample) | {"depth": _planes(scene.depth[..., None])}

    def _scene(self, size: tuple[int, int], haze: HazeConfig, rng: np.random.Generator) -> "Scene":
        """A clear picture and its depth: measured, labelled, another scene's, or drawn.

        Measured depth under RESIDE's haze is in the map's own units, as there; else its farthest point is at 1.
        """
        box = draw_box(self.data, rng)
        if self.measured and (not self.clear or rng.random() < self.data.measured):
            picture, distances = self.measured[int(rng.integers(len(self.measured)))]
            depth = read_depth(distances, box, size)
            depth = depth.clip(0.02) if haze is STANDARD else farthest_at_one(depth)
            return Scene(read_rgb(picture, box, size), depth, None, measured=True)
        path = self.clear[int(rng.integers(len(self.clear)))]
        image, label = read_rgb(path, box, size), self.labels.get(path.stem)
        sky = read_depth(label.sky, box, size) if label else None
        if self.measured and rng.random() < self.data.borrowed and haze is not STANDARD:
            distances = self.measured[int(rng.integers(len(self.measured)))][1]
            depth = farthest_at_one(read_depth(distances, box, size))
        elif label and sky is not None and rng.random() < self.data.labelled * label.trust:
            depth = labelled_depth(image, read_depth(label.far, box, size), sky, rng)
        else:
            depth = drawn_depth(image, rng)
        image = aerial_veil(image, depth, rng) if rng.random() < haze.aerial else image
        return Scene(image, depth, sky)


def drawn_depth(image: Array, rng: np.random.Generator) -> Array:
    """A depth (H, W) in (0, 1] whose outlines follow those of a picture (H, W, 3)."""
    height, width = image.shape[:2]
    coarse = averaged(image, height // DEPTH_SCALE, width // DEPTH_SCALE)
    return resize_map(procedural_depth(coarse, rng), (height, width))


class Scene(NamedTuple):
    """A clear picture (H, W, 3), its depth (H, W) with the farthest point near 1, and its sky (H, W), if known."""

    clear: Array
    depth: Array
    sky: Array | None
    measured: bool = False  # its depth

    def changed(self, how: Callable[[Array], Array]) -> "Scene":
        """The scene with every plane turned or mirrored alike."""
        sky = None if self.sky is None else how(self.sky)
        return self._replace(clear=how(self.clear), depth=how(self.depth), sky=sky)


class Label(NamedTuple):
    """Files of a picture's sky mask and relative distance, and how far the latter can be trusted, in [0, 1]."""

    sky: Path
    far: Path
    trust: float


def sky_and_distance(folder: Path) -> dict[str, Label]:
    """Labels by the stem of the picture they belong to, from a folder with `sky/`, `far/` and, perhaps, `labels.csv`.

    The table's columns are `name` and `agreement`, how well the distance agrees with itself: below 0.3 it is not
    trusted at all, from 0.8 on fully.
    """
    table, agreement = folder / "labels.csv", {}
    if table.exists():
        with table.open(newline="") as lines:
            agreement = {row["name"]: float(row["agreement"]) for row in csv.DictReader(lines)}
    skies = {p.stem: p for p in list_images(folder / "sky")}
    return {
        p.stem: Label(skies[p.stem], p, float(np.clip((agreement.get(p.stem, 1.0) - 0.3) / 0.5, 0.0, 1.0)))
        for p in list_images(folder / "far")
        if p.stem in skies
    }


class HazyPhotographs(Dataset[dict[str, Tensor]]):
    """Sample number i: `real` (3, H, W), a view of a real hazy photograph, as large as `SyntheticHaze`'s sample i."""

    def __init__(self, pictures: list[Path], data: DataConfig, *, seed: int) -> None:
        self.pictures, self.data, self.seed = pictures, data, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`, any integer >= 0."""
        rng = np.random.default_rng([self.seed, 2, index])
        picture = self.pictures[int(rng.integers(len(self.pictures)))]
        view = read_rgb(picture, draw_box(self.data, rng), view_size(self.data, self.seed, index))
        return {"real": _planes(view[:, ::-1] if rng.random() < 0.5 else view)}


def add_its_haze(clear: Array, depth: Array, rng: np.random.Generator) -> Array:
    """A measured scene (H, W, 3), depth (H, W) in [0, 1], under haze drawn by the rule of RESIDE's indoor set."""
    t = transmission(depth, rng.uniform(*ITS_BETA))
    return add_haze(clear, t, np.full(3, rng.uniform(*ITS_AIRLIGHT), np.float32))


class RebuiltITS(Dataset[dict[str, Tensor]]):
    """RESIDE's indoor training set from scenes with measured depth, unpaired: `real` and `clear` (3, H, W).

    The first half of the scenes is hazy, t = exp(-beta d) with d the 8-bit map / 255, the second half clear; its
    `depth` (1, H, W) is for finding out what limits a run, never for the protocol itself. `drawn_depth` (1, H, W),
    if wanted, is drawn from the clear picture alone.
    """

    def __init__(self, scenes: list[tuple[Path, Path]], data: DataConfig, *, seed: int, drawn: bool = False) -> None:
        half, self.drawn = len(scenes) // 2, drawn
        self.hazy, self.clear, self.data, self.seed = scenes[:half], scenes[half:], data, seed
        if not half:
            raise UsageError("expected at least 2 pictures with measured depth, for a hazy and a clear half")

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`, any integer >= 0."""
        rng, size = np.random.default_rng([self.seed, 2, index]), view_size(self.data, self.seed, index)
        picture, distances = self.hazy[int(rng.integers(len(self.hazy)))]
        box = draw_box(self.data, rng)
        hazy = add_its_haze(read_rgb(picture, box, size), read_depth(distances, box, size), rng)
        picture, distances = self.clear[int(rng.integers(len(self.clear)))]
        box = draw_box(self.data, rng)
        clear, depth = read_rgb(picture, box, size), read_depth(distances, box, size)[..., None]
        turned = slice(None, None, -1 if rng.random() < 0.5 else 1)
        parts = {"real": hazy, "clear": clear, "depth": depth.clip(1.0 / 255.0)}
        if self.drawn:
            parts["drawn_depth"] = drawn_depth(clear, rng)[..., None]
        return {name: _planes(values[:, turned]) for name, values in parts.items()}


class DrawnHaze(Dataset[dict[str, Tensor]]):
    """Sample i: random numbers for rehazing.

    `drawn_density` () and `drawn_airlight` (3,); `drawn_luck` (), uniform in [0, 1), by which samples fall into shares;
    and `drawn_unevenness` (1, 6, 8), normal noise with a standard deviation that is itself uniform in [0, 1).
    """

    def __init__(self, density: Range, haze: HazeConfig, *, seed: int) -> None:
        self.density, self.haze, self.seed = density, haze, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`, any integer >= 0."""
        rng = np.random.default_rng([self.seed, 3, index])
        density = torch.tensor(rng.uniform(*self.density), dtype=torch.float32)
        airlight = torch.from_numpy(draw_airlight(self.haze, rng))
        luck = torch.tensor(rng.random(), dtype=torch.float32)
        noise = torch.from_numpy(rng.random() * rng.standard_normal((1, 6, 8))).float()
        return {"drawn_density": density, "drawn_airlight": airlight, "drawn_luck": luck, "drawn_unevenness": noise}


class Together(Dataset[dict[str, Tensor]]):
    """Sample number i of several datasets as one."""

    def __init__(self, *parts: Dataset[dict[str, Tensor]]) -> None:
        self.parts = parts

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample `index`, any integer >= 0."""
        return {name: value for part in self.parts for name, value in part[index].items()}


def to_tensors(sample: HazySample) -> dict[str, Tensor]:
    """A sample's arrays as tensors in (C, H, W) order."""
    return {
        "hazy": _planes(sample.hazy),
        "clear": _planes(sample.clear),
        "transmission": torch.from_numpy(np.ascontiguousarray(sample.transmission[None])),
        "airlight": torch.from_numpy(np.ascontiguousarray(sample.airlight)),
        "light": _planes(sample.light),
        "weight": torch.from_numpy(np.ascontiguousarray(sample.weight[None])),
        "density": torch.tensor(sample.density, dtype=torch.float32),
    }


def _planes(image: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
