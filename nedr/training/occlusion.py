"""Things that cover real pictures and hide the haze behind: bars, frames, captions, dashboards, pillars, leaves.

Training samples carry such things at random, so that a black pixel is not taken for a place without haze. Each `Draw`
puts opaque pixels on a picture, uint8 (H, W, 3), and marks them in a mask: uint8 (H, W), 255 where covered.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float32]
Colour = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, ImageDraw.ImageDraw, tuple[int, int], np.random.Generator], None]

TEXTS = ("2026-03-14 07:41", "REC 00:12:45", "48 km/h", "CAM 2 NORTH", "N 47.3769 E 8.5417", "LIVE", "12:30:59", "Fog")


def occlude(image: Array, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """`image`, float32 (H, W, 3) in [0, 1], with one to three things on it, and where they are, bool (H, W)."""
    height, width = image.shape[:2]
    picture = Image.fromarray((image * 255.0 + 0.5).astype(np.uint8))
    covered = Image.new("L", (width, height))
    for _ in range(int(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1]))):
        draw = DRAWS[int(rng.choice(len(DRAWS), p=SHARES))]
        draw(ImageDraw.Draw(picture), ImageDraw.Draw(covered), (width, height), rng)
    mask = np.asarray(covered) > 0
    if rng.random() < 0.3:  # worn, lit or compressed: not one flat colour
        noise = rng.normal(0.0, rng.uniform(2.0, 12.0), (height, width, 3))
        changed = np.clip(np.asarray(picture, np.float32) + noise, 0.0, 255.0)
    else:
        changed = np.asarray(picture, np.float32)
    result = np.where(mask[..., None], changed / np.float32(255.0), image)
    return np.asarray(result, np.float32), mask


def any_colour(rng: np.random.Generator) -> Colour:
    """Mostly black or nearly black, often white, sometimes grey or coloured."""
    kind = rng.random()
    if kind < 0.55:
        value = int(rng.integers(0, 30))
        return (value, value, value)
    if kind < 0.75:
        value = int(rng.integers(225, 256))
        return (value, value, value)
    if kind < 0.88:
        value = int(rng.integers(30, 225))
        return (value, value, value)
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return (red, green, blue)


def _rectangle(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, box: tuple[float, ...], colour: Colour) -> None:
    x0, y0, x1, y1 = (round(v) for v in box)
    if x1 > x0 and y1 > y0:
        on.rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
        mask.rectangle((x0, y0, x1 - 1, y1 - 1), fill=255)


def _bars(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Letterbox or side bars, of one or two widths."""
    width, height = size
    first, second = rng.uniform(0.02, 0.2, 2)
    second = first if rng.random() < 0.7 else second * (rng.random() < 0.6)
    colour = any_colour(rng)
    if rng.random() < 0.6:
        _rectangle(on, mask, (0, 0, width, first * height), colour)
        _rectangle(on, mask, (0, height * (1.0 - second), width, height), colour)
    else:
        _rectangle(on, mask, (0, 0, first * width, height), colour)
        _rectangle(on, mask, (width * (1.0 - second), 0, width, height), colour)


def _frame(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A frame around the picture, thin or thick."""
    width, height = size
    side = max(1.0, rng.uniform(0.005, 0.08) * min(size))
    colour = any_colour(rng)
    for box in ((0, 0, width, side), (0, height - side, width, height), (0, 0, side, height), (width - side, 0, *size)):
        _rectangle(on, mask, box, colour)


def _line(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A line across the picture, such as a cable, a pole or a bar of a gauge."""
    width, height = size
    thick = max(1, round(rng.uniform(0.005, 0.04) * min(size)))
    if rng.random() < 0.5:
        start, end = (0.0, rng.uniform(0, height)), (float(width), rng.uniform(0, height))
        straight = (end[0], start[1])
    else:
        start, end = (rng.uniform(0, width), 0.0), (rng.uniform(0, width), float(height))
        straight = (start[0], end[1])
    ends = (start, straight if rng.random() < 0.4 else end)
    on.line(ends, fill=any_colour(rng), width=thick)
    mask.line(ends, fill=255, width=thick)


def _caption(
    on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator
) -> None:
    """A date, speed, place or channel, bare or on a box."""
    width, height = size
    text, font = str(rng.choice(TEXTS)), max(6.0, rng.uniform(0.05, 0.14) * height)
    x, y = rng.uniform(0.0, 0.6) * width, rng.choice([rng.uniform(0.0, 0.1), rng.uniform(0.8, 0.92)]) * height
    if rng.random() < 0.5:
        box = on.textbbox((x, y), text, font_size=font)
        grown = (box[0] - 2, box[1] - 2, min(width, box[2] + 2), min(height, box[3] + 2))
        _rectangle(on, mask, tuple(max(0.0, v) for v in grown), any_colour(rng))
    on.text((x, y), text, fill=any_colour(rng), font_size=font)
    mask.text((x, y), text, fill=255, font_size=font)


def _logo(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """A mark or a clock in a corner, round or square."""
    width, height = size
    side = rng.uniform(0.06, 0.25) * min(size)
    x = rng.choice([rng.uniform(0.0, 0.08) * width, width - side - rng.uniform(0.0, 0.08) * width])
    y = rng.choice([rng.uniform(0.0, 0.08) * height, height - side - rng.uniform(0.0, 0.08) * height])
    box, inner = (x, y, x + side, y + side), (x + side / 4, y + side / 4, x + 3 * side / 4, y + 3 * side / 4)
    round_ = rng.random() < 0.5
    for where, colour in ((box, any_colour(rng)), (inner, any_colour(rng))):
        (on.ellipse if round_ else on.rectangle)(where, fill=colour)
    (mask.ellipse if round_ else mask.rectangle)(box, fill=255)


def _dashboard(
    on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator
) -> None:
    """A dashboard or a bonnet along the lower edge, its upper outline straight or curved."""
    width, height = size
    top, bend = height * (1.0 - rng.uniform(0.06, 0.32)), height * rng.uniform(-0.08, 0.12)
    tilt = height * rng.uniform(-0.06, 0.06) if rng.random() < 0.3 else 0.0
    across = np.linspace(0.0, width, 12)
    rise = top + bend * (2.0 * across / width - 1.0) ** 2 + tilt * (across / width - 0.5)
    outline = [(0.0, float(height + 1)), *zip(across, rise, strict=True), (float(width), float(height + 1))]
    outline = [(float(x), float(y)) for x, y in outline]
    value = int(rng.integers(0, 70))
    on.polygon(outline, fill=(value, value, int(value * rng.uniform(0.8, 1.2))))
    mask.polygon(outline, fill=255)


def _pillar(
    on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator
) -> None:
    """A window pillar or a door frame, upright or leaning, at a side or across the picture."""
    width, height = size
    foot, lean, thick = rng.uniform(0, width), rng.uniform(-0.2, 0.2) * width, rng.uniform(0.03, 0.16) * width
    outline = [(foot, height + 1), (foot + thick, height + 1), (foot + lean + thick, -1), (foot + lean, -1)]
    on.polygon(outline, fill=any_colour(rng) if rng.random() < 0.4 else (int(rng.integers(0, 40)),) * 3)
    mask.polygon(outline, fill=255)


def _close(on: ImageDraw.ImageDraw, mask: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Something close by, a hand, a leaf, a head, a lens hood: a roughly round shape cut by an edge."""
    width, height = size
    angle = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    radius = rng.uniform(0.08, 0.35) * min(size) * (1.0 + 0.35 * rng.uniform(-1.0, 1.0, 16))
    edge = rng.uniform(0.0, 1.0)
    middle = ((edge, rng.choice([0.0, 1.0])), (rng.choice([0.0, 1.0]), edge))[int(rng.random() < 0.5)]
    x, y = middle[0] * width + radius * np.cos(angle), middle[1] * height + radius * np.sin(angle)
    outline = [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    dark = rng.uniform(0.0, 90.0, 3) * (1.0 if rng.random() < 0.7 else 2.5)
    on.polygon(outline, fill=(int(dark[0]), int(dark[1]), int(dark[2])))
    mask.polygon(outline, fill=255)


DRAWS: tuple[Draw, ...] = (_bars, _frame, _line, _caption, _logo, _dashboard, _pillar, _close)
SHARES = (0.24, 0.14, 0.1, 0.12, 0.1, 0.12, 0.09, 0.09)


def glow(image: Array, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """Lamps and headlights that shine through fog: float32 (H, W, 3), and where they outshine it, bool (H, W)."""
    height, width = image.shape[:2]
    light = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(1, 7))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0.3, 0.8) * height, rng.uniform(0.01, 0.04) * width
        spot = Image.new("L", (width, height))
        ImageDraw.Draw(spot).ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        halo = np.asarray(spot.filter(ImageFilter.GaussianBlur(radius * rng.uniform(1.0, 3.0))), np.float32)
        light = np.maximum(light, np.asarray(spot, np.float32) / 255.0 + rng.uniform(0.5, 2.0) * halo / 255.0)
    colour = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.5, 1.0)], np.float32)
    shining = image + (1.0 - image) * np.clip(light, 0.0, 1.0)[..., None] * colour
    return np.asarray(shining, np.float32), light > 0.25
