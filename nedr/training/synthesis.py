"""Haze on clear photographs: the scattering model, procedural depth, and the recipe that draws one training sample.

Koschmieder: I(x) = J(x) t(x) + A (1 - t(x)), t(x) = exp(-beta d(x)). Images are float32 (H, W, 3) RGB in [0, 1], depth
is float32 (H, W) in (0, 1] with the farthest point at 1, so that beta alone determines how thick the haze is.
"""

import io
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nedr.inference.filters import guided_filter
from nedr.training import occlusion

Array = NDArray[np.float32]
Range = tuple[float, float]

GAMMA = np.float32(2.2)
RIDGE = 0.02  # squared colour difference of J and A below which pixels hardly determine t


@dataclass(frozen=True)
class HazeConfig:
    """What haze looks like; probabilities in [0, 1], ranges are uniform."""

    beta: Range = (0.3, 2.4)
    beta_light: Range = (0.03, 1.0)  # used instead, with probability `light`: most haze people meet is light
    light: float = 0.4
    airlight: Range = (0.65, 1.0)  # brightness of A
    airlight_dark: Range = (0.25, 0.7)  # dusk, smoke: used instead, with probability `dark`
    dark: float = 0.15
    tint_slight: float = 0.3  # probability of an A a few hundredths off grey
    tint_strong: float = 0.15  # probability of dusk blue or dust orange
    standard: float = 0.0  # probability of the haze of RESIDE's drawn sets instead of all that follows (`STANDARD`)
    plain: float = 0.3  # probability of none of the next five: even haze of one colour, as outdoors by day
    patchy: float = 0.25  # probability that the haze itself is uneven
    ambient: float = 0.35  # probability that A is the scene's own light instead, as in rooms, woods and under cloud
    cast: float = 0.15  # probability of lamps or dusk that colour scene and airlight alike; this stays
    lit: float = 0.35  # probability that A varies over the picture: lit from a side, from above, by a lamp, or unevenly
    linear: float = 0.4  # probability that scene and airlight mix as light does, before the camera's gamma
    occluded: float = 0.33  # probability that something covers the picture: bars, captions, a dashboard (`occlusion`)
    sky: float = 1.0  # weight of an open sky in the losses, where it is known
    burnt: float = 0.12  # probability of a sky that outshines the haze in front of it, where it is known
    horizon: float = 0.0  # probability that A is about as bright as the open sky at least, where it is known
    fog: float = 0.04  # probability of dense fog in front of a dark scene, with lamps in it
    aerial: float = 0.5  # probability that an unmeasured clear picture keeps some natural veil, as most outdoor ones do
    clear: float = 0.08  # probability of no haze at all, t = 1
    noise: float = 0.3  # probability of sensor noise, sigma up to 0.02
    jpeg: float = 0.35  # probability of JPEG artefacts, quality 40 to 95
    exposure: float = 0.3  # probability of another gain, gamma and white balance for the clear picture


RELIEF = (0.05, 0.7)  # of RESIDE's outdoor depth, 1 - nearest / farthest: a street is hardly nearer than its sky
LEAST_SKY = 0.02  # of the picture, so that its brightness says something of the airlight

# Haze as RESIDE draws it (Li et al. 2019): even, grey and bright, on the picture as it is, and nothing on top of it.
STANDARD = HazeConfig(
    beta=(0.5, 1.9),
    light=0.0,
    airlight=(0.7, 1.0),
    dark=0.0,
    tint_slight=0.0,
    tint_strong=0.0,
    plain=1.0,
    occluded=0.0,
    aerial=0.0,
    clear=0.0,
    noise=0.0,
    jpeg=0.2,
    exposure=0.0,
)
STANDARD_OUTDOORS = replace(STANDARD, beta=(0.15, 1.3), airlight=(0.8, 1.0))


class HazySample(NamedTuple):
    """One supervised sample.

    I and J (H, W, 3); t (H, W); A (3,), the mean of A(x); A(x) as `light` (H, W, 3); beta a scalar; and the
    weight of each pixel (H, W): 0 where something covers the picture, less in the sky.
    """

    hazy: Array
    clear: Array
    transmission: Array
    airlight: Array
    light: Array
    density: float
    weight: Array


def transmission(depth: Array, density: float) -> Array:
    """t = exp(-beta d)."""
    return np.asarray(np.exp(-density * depth), np.float32)


def add_haze(clear: Array, transmission: Array, airlight: Array) -> Array:
    """I = J t + A (1 - t): (H, W, 3), (H, W), (3,) or (H, W, 3) -> (H, W, 3)."""
    t = transmission[..., None]
    return np.asarray(clear * t + airlight * (1.0 - t), np.float32)


def add_linear_haze(clear: Array, transmission: Array, airlight: Array) -> Array:
    """`add_haze` on linear light: pixel values are decoded by a gamma of 2.2, mixed, and encoded again."""
    mixed = add_haze(clear**GAMMA, transmission, airlight**GAMMA)
    return np.asarray(mixed ** (1.0 / GAMMA), np.float32)


def apparent_transmission(hazy: Array, clear: Array, airlight: Array, transmission: Array) -> Array:
    """The t (H, W) in (0, 1] with which J t + A (1 - t) best explains pixel values; the given t where J is near A."""
    off, seen = clear - airlight, hazy - airlight
    fitted = ((off * seen).sum(-1) + RIDGE * transmission) / (np.square(off).sum(-1) + RIDGE)
    return np.asarray(fitted.clip(0.01, 1.0), np.float32)


def smooth_noise(height: int, width: int, rng: np.random.Generator, *, cells: int) -> Array:
    """A smooth random field (H, W) in [0, 1]: a few random cells, interpolated bicubically."""
    coarse = rng.random((cells, cells), dtype=np.float32)
    field = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray(np.clip(field, 0.0, 1.0), np.float32)


def octave_noise(height: int, width: int, rng: np.random.Generator) -> Array:
    """Uneven like real smoke and fog banks: a sum of four octaves of smooth noise, (H, W) in [0, 1]."""
    cells, persistence = int(rng.integers(2, 5)), rng.uniform(0.35, 0.7)
    octaves = [smooth_noise(height, width, rng, cells=cells * 2**i) * persistence**i for i in range(4)]
    total = np.asarray(np.sum(octaves, axis=0), np.float32)
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def uneven_light(airlight: Array, height: int, width: int, rng: np.random.Generator) -> Array:
    """A(x) (H, W, 3) around A (3,): lit from one side, from above, by a lamp, or unevenly; sometimes of two colours."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = 2.0 * (y + 0.5) / height - 1.0, 2.0 * (x + 0.5) / width - 1.0
    kind, reach = rng.random(), rng.uniform(0.1, 0.45)
    if kind < 0.35:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        shape = np.cos(angle) * x + np.sin(angle) * y
    elif kind < 0.6:
        shape = -y * (1.0 if rng.random() < 0.75 else -1.0) + 0.3 * rng.uniform(-1.0, 1.0) * x
    elif kind < 0.85:
        away = np.hypot(x - rng.uniform(-1.2, 1.2), (y - rng.uniform(-1.2, 0.8)) * height / width)
        shape = 2.0 * np.exp(-np.square(away / rng.uniform(0.6, 1.6))) - 0.7
    else:
        shape = 2.0 * smooth_noise(height, width, rng, cells=int(rng.integers(2, 5))) - 1.0
    shape = shape - shape.mean()
    tint = rng.normal(0.0, 0.25, 3) if rng.random() < 0.4 else np.zeros(3)
    light = airlight * (1.0 + reach * shape[..., None] * (1.0 + tint))
    return np.asarray(np.clip(light, 0.02, 1.0), np.float32)


def labelled_depth(image: Array, far: Array, sky: Array, rng: np.random.Generator) -> Array:
    """Depth (H, W) in (0, 1] of an outdoor picture from its relative distance and sky, both (H, W) in [0, 1].

    d = near / (1 - (1 - near) 0.92 far), guided by the picture (He & Sun 2013). `near` is the distance of the nearest
    thing relative to the farthest: small in a street, large from a hill. The sky is at 1, or nearer the higher it is,
    since haze on the ground thins upwards.
    """
    near = rng.uniform(0.06, 0.25) if rng.random() < 0.75 else rng.uniform(0.25, 0.8)
    depth = near / (1.0 - (1.0 - near) * 0.92 * far)
    depth = guided(image.mean(axis=-1), depth.astype(np.float32), max(2, image.shape[1] // 32))
    skyline = float(depth[sky < 0.5].max(initial=1e-3))  # the farthest that is not sky
    reach = rng.uniform(0.6, 1.0) / skyline if (sky < 0.5).any() else 1.0
    shallow = rng.uniform(0.0, 0.8) if rng.random() < 0.6 else 0.0
    above = 1.0 - shallow * heights(sky)
    return np.asarray(np.where(sky >= 0.5, above, depth * reach).clip(0.02, 1.0), np.float32)


def heights(sky: Array) -> Array:
    """How high each row is above the lowest sky (H, 1): 0 there and below, 1 at the upper edge; sky (H, W)."""
    rows = np.flatnonzero((sky >= 0.5).any(axis=1))
    lowest = int(rows[-1]) + 1 if rows.size else 1
    return (1.0 - np.arange(len(sky), dtype=np.float32) / np.float32(lowest)).clip(0.0, 1.0)[:, None]


def guided(guide: Array, values: Array, radius: int) -> Array:
    """Guided filter (He & Sun 2013) of `values` (H, W) by `guide` (H, W), both in [0, 1]."""
    from scipy.ndimage import uniform_filter

    def mean(plane: Array) -> Array:
        return np.asarray(uniform_filter(plane, 2 * radius + 1, mode="nearest"), np.float32)

    return guided_filter(guide, values, mean, 1e-3)


def segments(image: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Regions (H, W) whose edges follow the picture (Felzenszwalb & Huttenlocher 2004), of a random coarseness."""
    from skimage.segmentation import felzenszwalb

    scale = float(np.exp(rng.uniform(np.log(40.0), np.log(400.0))))
    labels: NDArray[np.int64] = felzenszwalb(
        image, scale=scale, sigma=0.6, min_size=image.shape[0] * image.shape[1] // 250
    )
    return labels


def sky(image: Array) -> NDArray[np.bool_]:
    """Where a picture shows open sky: bright, smooth, not warm, and connected to the upper border; (H, W) bool."""
    from scipy import ndimage

    brightness = image.mean(axis=-1)
    rough = ndimage.maximum_filter(ndimage.gaussian_gradient_magnitude(brightness, 1.0), 3)
    candidate = (rough < 0.02) & (brightness > 0.45) & (image[..., 2] >= image[..., 0] - 0.03)
    labels, _ = ndimage.label(candidate)
    reached = np.unique(labels[0])
    found: NDArray[np.bool_] = ndimage.binary_dilation(np.isin(labels, reached[reached > 0]), iterations=2)
    return np.asarray(found & (brightness > 0.4), np.bool_)


def layout_depth(height: int, width: int, rng: np.random.Generator) -> Array:
    """The scene's large-scale depth (H, W) in (0, 1]: a ground plane to a horizon, a corridor, or a tilted plane."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    kind = rng.random()
    if kind < 0.65:
        below = np.maximum(y - rng.uniform(0.05, 0.55), 0.0)
        nearness = rng.uniform(0.03, 0.4)
        plane = nearness / (below + nearness)
    elif kind < 0.8:
        centre_x, centre_y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)
        radius = np.maximum(np.abs(x - centre_x), np.abs(y - centre_y)) / rng.uniform(0.5, 1.0)
        plane = rng.uniform(0.05, 0.5) / (radius + rng.uniform(0.05, 0.5))
    else:
        angle = rng.uniform(0.0, 2.0 * np.pi)
        plane = 1.5 + np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return np.asarray(plane / plane.max(), np.float32)


def procedural_depth(image: Array, rng: np.random.Generator) -> Array:
    """Draw a plausible depth (H, W) in (0, 1] for a picture without measured depth.

    Regions of the picture stand on the layout's ground (depth of their lowest row), lie on it, or float anywhere;
    sky is farthest. In half the pictures nothing is near, as from a hill or through a long lens.
    """
    height, width = image.shape[:2]
    plane = layout_depth(height, width, rng)
    labels = segments(image, rng)
    count = int(labels.max()) + 1
    rows = np.broadcast_to(np.arange(height)[:, None], labels.shape)
    columns = np.broadcast_to(np.arange(width)[None, :], labels.shape)
    base, middle = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.maximum.at(base, labels, rows)
    np.maximum.at(middle, labels, columns)
    standing = plane[base, middle]
    kind = rng.random(count)
    anywhere = rng.uniform(0.15, 1.0, count).astype(np.float32)
    constant = np.where(kind < rng.uniform(0.4, 1.0), standing, anywhere)[labels]
    lying = (rng.random(count) < rng.uniform(0.1, 0.6))[labels]
    tilt = 1.0 + 0.25 * (smooth_noise(height, width, rng, cells=int(rng.integers(3, 7))) - 0.5)
    depth = np.where(lying, plane, constant) * tilt
    depth = np.where(sky(image), depth.max() * rng.uniform(0.9, 1.3), depth)
    nearest = max(0.0, rng.uniform(-0.6, 0.6))
    return np.asarray((1.0 - (1.0 - nearest) * (1.0 - depth / depth.max())).clip(0.02, 1.0), np.float32)


def draw_airlight(config: HazeConfig, rng: np.random.Generator) -> Array:
    """Draw A (3,), RGB in [0, 1], from grey to dusk blue and dust orange."""
    brightness = rng.uniform(*(config.airlight_dark if rng.random() < config.dark else config.airlight))
    tint = np.zeros(3)
    choice = rng.random()
    if choice < config.tint_strong:
        tint = rng.uniform(0.05, 0.35) * rng.choice([-1.0, 1.0]) * np.array([1.0, rng.uniform(-0.2, 0.5), -1.0])
    elif choice < config.tint_strong + config.tint_slight:
        tint = rng.normal(0.0, 0.03, 3)
    colour = brightness * (1.0 + tint - tint.max() * (brightness > 0.8))
    return np.asarray(np.clip(colour, 0.0, 1.0), np.float32)


def ambient_airlight(clear: Array, rng: np.random.Generator) -> Array:
    """A (3,) of haze that scatters the scene's own light: its mean colour, brighter, greyer or a little stronger.

    Such haze is often darker than white things in it, and then a pale wall is not a sign of haze.
    """
    mean = clear.mean(axis=(0, 1))
    grey = mean.mean()
    colour = grey + (mean - grey) * rng.uniform(0.3, 1.2)
    return np.asarray(np.clip(colour * rng.uniform(0.95, 1.9), 0.1, 1.0), np.float32)


def under_sky(airlight: Array, clear: Array, sky: Array, rng: np.random.Generator) -> Array:
    """A (3,), brightened to about the brightness of the open sky, where there is any: by day haze is not darker.

    clear (H, W, 3); sky (H, W) in [0, 1]. What outshines the haze, the sun or a sky that burns out, is `burnt`.
    """
    if sky.mean() < LEAST_SKY:
        return airlight
    brightness = float((clear.mean(axis=-1) * sky).sum() / sky.sum()) * rng.uniform(0.85, 1.05)
    gain = max(1.0, brightness / max(float(airlight.mean()), 0.05))
    return np.asarray(np.clip(airlight * gain, 0.0, 1.0), np.float32)


def shallow(depth: Array, rng: np.random.Generator) -> Array:
    """Depth (H, W) in (0, 1] with the little relief that RESIDE's outdoor depth has."""
    return np.asarray(1.0 - rng.uniform(*RELIEF) * (1.0 - depth), np.float32)


def draw_cast(rng: np.random.Generator) -> Array:
    """The colour of a scene's light (3,), its strongest channel at 1: mostly warm lamps, otherwise a blue dusk."""
    warm = rng.random() < 0.7
    light = 1.0 - rng.uniform(0.1, 0.8) * np.array([0.0, rng.uniform(0.3, 0.6), 1.0])
    return np.asarray(light if warm else 1.0 - 0.6 * (1.0 - light[::-1]), np.float32)


def vary_exposure(image: Array, rng: np.random.Generator) -> Array:
    """Another camera's rendering of the same scene: gain, gamma and white balance."""
    balance = rng.uniform(0.92, 1.08, 3)
    varied = np.clip(image * (rng.uniform(0.75, 1.25) * balance), 0.0, 1.0) ** rng.uniform(0.75, 1.25)
    return np.asarray(varied, np.float32)


def aerial_veil(clear: Array, depth: Array, rng: np.random.Generator) -> Array:
    """A clear picture with the little natural haze of real photographs, which nobody would want removed."""
    veil = np.exp(-rng.uniform(0.0, 0.25) * (0.5 + 0.5 * depth)).astype(np.float32)
    return add_haze(clear, veil, np.full(3, rng.uniform(0.6, 1.0), np.float32))


def degrade(image: Array, config: HazeConfig, rng: np.random.Generator) -> Array:
    """What a camera adds after the haze: sensor noise and JPEG artefacts, each sometimes."""
    if rng.random() < config.noise:
        image = image + rng.normal(0.0, rng.uniform(0.002, 0.02), image.shape).astype(np.float32)
    image = np.clip(image, 0.0, 1.0)
    if rng.random() >= config.jpeg:
        return image
    buffer = io.BytesIO()
    Image.fromarray((image * 255.0 + 0.5).astype(np.uint8)).save(buffer, "JPEG", quality=int(rng.integers(40, 96)))
    return np.asarray(Image.open(buffer), np.float32) / np.float32(255.0)


def synthesise(
    clear: Array, depth: Array, config: HazeConfig, rng: np.random.Generator, *, sky: Array | None = None
) -> HazySample:
    """Draw haze for a clear picture of known or drawn depth, both (H, W, ...), and return exactly what was drawn.

    `sky` (H, W) in [0, 1] is where the picture shows open sky, if known.
    """
    if rng.random() < config.plain:
        config = replace(config, patchy=0.0, ambient=0.0, cast=0.0, lit=0.0, linear=0.0, burnt=0.0, fog=0.0)
    if rng.random() < config.exposure:
        clear = vary_exposure(clear, rng)
    cast = draw_cast(rng) if rng.random() < config.cast else np.ones(3, np.float32)
    fog = rng.random() < config.fog
    clear = clear * (cast * np.float32(rng.uniform(0.3, 0.7) if fog else 1.0))
    density = draw_density(config, rng, fog=fog)
    t = draw_transmission(depth, density, config, rng)
    ambient = rng.random() < config.ambient and not fog
    airlight = ambient_airlight(clear, rng) if ambient else draw_airlight(config, rng) * cast
    if sky is not None and rng.random() < config.horizon and not ambient:
        airlight = under_sky(airlight, clear, sky, rng)
    if rng.random() < config.clear:
        t, density = np.ones_like(t), 0.0
    light = np.broadcast_to(airlight, clear.shape)
    if rng.random() < config.lit:
        light = uneven_light(airlight, depth.shape[0], depth.shape[1], rng)
        airlight = light.mean(axis=(0, 1))
    if rng.random() < config.linear:
        hazy = add_linear_haze(clear, t, light)
        t = apparent_transmission(hazy, clear, light, t)
    else:
        hazy = add_haze(clear, t, light)
    hazy, weight = put_on_top(hazy, sky, config, rng, lamps=fog and rng.random() < 0.7)
    clear = np.where(weight[..., None] > 0, clear, hazy)
    return HazySample(degrade(hazy, config, rng), clear, t, airlight, light, density, weight)


def draw_density(config: HazeConfig, rng: np.random.Generator, *, fog: bool) -> float:
    """Draw beta: light, as most haze is, or dense, or a fog that leaves little to see."""
    if fog:
        return float(rng.uniform(1.5, 5.0))
    return float(rng.uniform(*(config.beta_light if rng.random() < config.light else config.beta)))


def draw_transmission(depth: Array, density: float, config: HazeConfig, rng: np.random.Generator) -> Array:
    """t (H, W) of haze that is even, or patchy: thicker in some places, or in front of the scene whatever its depth."""
    optical = density * depth
    if rng.random() < config.patchy:
        height, width = depth.shape
        octaves = rng.random() < 0.6
        cells = int(rng.integers(3, 9))
        thick = octave_noise(height, width, rng) if octaves else smooth_noise(height, width, rng, cells=cells)
        optical = optical * (0.3 + 1.4 * thick) + rng.uniform(0.0, 1.2 if octaves else 0.6) * thick
    return np.asarray(np.exp(-optical), np.float32)


def put_on_top(
    hazy: Array, sky: Array | None, config: HazeConfig, rng: np.random.Generator, *, lamps: bool
) -> tuple[Array, Array]:
    """Add what outshines or covers the haze; also return the remaining weight of each pixel (H, W)."""
    weight = np.ones(hazy.shape[:2], np.float32) if sky is None else (1.0 - (1.0 - config.sky) * sky).astype(np.float32)
    if sky is not None and rng.random() < config.burnt:
        white = rng.uniform(0.9, 1.0) * np.array([1.0, rng.uniform(0.97, 1.0), rng.uniform(0.93, 1.0)])
        share = sky[..., None] * rng.uniform(0.6, 1.0)
        hazy, weight = np.asarray(hazy * (1 - share) + white * share, np.float32), weight * (sky < 0.02)
    if lamps:
        hazy, shining = occlusion.glow(hazy, rng)
        weight = weight * ~shining
    if rng.random() < config.occluded:
        hazy, covered = occlusion.occlude(hazy.clip(0.0, 1.0), rng)
        weight = weight * ~covered
    return hazy, np.asarray(weight, np.float32)
