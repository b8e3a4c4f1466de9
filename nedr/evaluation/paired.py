"""Scores of dehazing methods over pairs of hazy and clear pictures, with the protocol stated beside every number.

    >>> methods = load_methods(["input", "dcp", "nedr"])
    >>> scores = evaluate("pairs.csv", methods=methods)
    >>> print(markdown_table(scores))

`pairs.csv` has the columns set, hazy and clear; its paths are relative to its own folder. Nothing is random or
depends on time, so the same pictures and weights give the same tables.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nedr.errors import ImageError, NedrError, UsageError
from nedr.evaluation import metrics
from nedr.evaluation.tables import as_csv, as_markdown
from nedr.inference.dehazer import Dehazer, Quality
from nedr.inference.field import HazeField
from nedr.inference.onnx import Network
from nedr.inference.weights import resolve
from nedr.pictures import images
from nedr.pictures.arrays import eight_bits

Picture8 = NDArray[np.uint8]

METHODS = ("nedr", "dcp", "cap", "input")
COLUMNS = ("set", "hazy", "clear")
MEASURES = ("psnr", "ssim", "ciede2000")

PROTOCOL = (
    f"{metrics.PROTOCOL} Values as stored in the files, 16 bit rounded to 8, transparency ignored. "
    "A set's score is the mean over its pictures."
)

# The sheet of figures: width of one picture and height of its caption, in pixels.
CELL_WIDTH = 360
CAPTION_HEIGHT = 24


class Method(Protocol):
    """Anything that dehazes a picture: uint8 (H, W, 3) RGB in, the same out; `Dehazer` is one."""

    def dehaze(self, x: Picture8, /) -> Picture8:
        """The picture without its haze."""
        ...

    def field(self, x: Picture8, /) -> HazeField:
        """The haze the method saw."""
        ...


class Identity:
    """The method `input`: returns the picture unchanged, the score that every other method must beat."""

    def dehaze(self, x: Picture8, /) -> Picture8:
        """The picture itself."""
        return x

    def field(self, x: Picture8, /) -> HazeField:
        """No haze: transmission 1 everywhere."""
        white = np.ones(3, np.float32)
        return HazeField(lattice=np.ones((1, 1), np.float32), guide=None, airlight=white, density=1.0)


@dataclass(frozen=True)
class Pair:
    """One row of pairs.csv: `hazy` and `clear` as written there, `folder` what they are relative to.

    crop: pixels to cut from each side of a clear picture that is larger than the hazy one by exactly these.
    """

    set: str
    hazy: str
    clear: str
    folder: Path
    crop: int = 0


@dataclass(frozen=True)
class Score:
    """One method on one pair; units and window sizes in `PROTOCOL`."""

    pair: Pair
    method: str
    psnr: float
    ssim: float
    ciede2000: float


@dataclass(frozen=True)
class SetMean:
    """One method over one set: the means of its pictures' scores, and how many there are."""

    set: str
    method: str
    count: int
    psnr: float
    ssim: float
    ciede2000: float


def load_methods(
    names: Iterable[str],
    *,
    weights: str | PathLike[str] | None = None,
    view: int | None = None,
    quality: Quality = "balanced",
    threads: int | None = None,
    device: str = "cpu",
) -> dict[str, Method]:
    """The methods of these names, in this order, for `evaluate`; the options are those of `Dehazer`, for the network.

    The network itself runs on one thread, so its sums, and the scores, are the same with any number of `threads`.

    Raises UsageError for a name that is not in `METHODS` or no name at all, and what `Dehazer` raises.
    """
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        found = f"found {', '.join(unknown)}" if unknown else "found none"
        raise UsageError(f"expected methods among {', '.join(METHODS)}, {found}")
    builders: dict[str, Callable[[], Method]] = {
        "nedr": lambda: Dehazer(Network(resolve(weights), 1, device), view=view, quality=quality, threads=threads),
        "dcp": lambda: Dehazer(method="dcp", threads=threads),
        "cap": lambda: Dehazer(method="cap", threads=threads),
        "input": Identity,
    }
    return {name: builders[name]() for name in names}


def read_pairs(pairs_csv: str | PathLike[str], *, limit: int | None = None) -> list[Pair]:
    """The rows of a pairs.csv; with `limit`, at most that many of each set, the first ones.

    Raises UsageError when the file is missing or `limit` is below 1, NedrError when a column is missing, a field is
    empty, there are no rows, or a picture they name does not exist.
    """
    path = Path(pairs_csv)
    if limit is not None and limit < 1:
        raise UsageError(f"expected a limit of at least 1 pair per set, found {limit}")
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected a CSV with the columns {', '.join(COLUMNS)}")
    pairs = _first_of_each_set(_parse(path), limit)
    absent = [pair.folder / name for pair in pairs for name in (pair.hazy, pair.clear)]
    absent = [name for name in absent if not name.is_file()]
    if absent:
        raise NedrError(f"{path}: {len(absent)} of its pictures are missing, the first is {absent[0]}")
    return pairs


def read_pair(pair: Pair) -> tuple[Picture8, Picture8]:
    """The hazy and the clear picture of a pair, uint8 (H, W, 3); ImageError if unreadable or of different sizes."""
    hazy, clear = (rgb8(images.read(pair.folder / name).pixels) for name in (pair.hazy, pair.clear))
    edge = pair.crop
    if edge and clear.shape[:2] == (hazy.shape[0] + 2 * edge, hazy.shape[1] + 2 * edge):
        clear = clear[edge:-edge, edge:-edge]
    if hazy.shape != clear.shape:
        sizes = [f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (hazy, clear)]
        raise ImageError(
            f"{pair.folder / pair.hazy} is {sizes[0]}, but its clear picture {pair.clear} is {sizes[1]}: "
            "both must have the same size"
        )
    return hazy, clear


def evaluate(
    pairs_csv: str | PathLike[str],
    *,
    methods: Mapping[str, Method],
    limit: int | None = None,
    progress: Callable[[int, int, Score], None] | None = None,
) -> list[Score]:
    """Score every method on every pair of a pairs.csv; `limit` keeps only the first LIMIT pairs of each set.

    Raises what `read_pairs` and `score` raise.
    """
    return score(read_pairs(pairs_csv, limit=limit), methods=methods, progress=progress)


def score(
    pairs: Sequence[Pair],
    *,
    methods: Mapping[str, Method],
    progress: Callable[[int, int, Score], None] | None = None,
) -> list[Score]:
    """Score every method on every pair, pair by pair, with one pair in memory at a time.

    `progress(done, total, score)` is called after each score. Raises ImageError when a picture cannot be read or the
    sizes of a pair, or of a result, differ; MissingExtraError without scikit-image.
    """
    scores: list[Score] = []
    for pair in pairs:
        hazy, clear = read_pair(pair)
        for name, method in methods.items():
            scores.append(_score(pair, name, method.dehaze(hazy), clear))
            if progress is not None:
                progress(len(scores), len(pairs) * len(methods), scores[-1])
    return scores


def means(scores: Sequence[Score]) -> list[SetMean]:
    """The mean of each measure for each set and method, in the order of the scores."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.pair.set, score.method), []).append(score)
    return [
        SetMean(name, method, len(group), *(fmean(getattr(score, measure) for score in group) for measure in MEASURES))
        for (name, method), group in groups.items()
    ]


def csv_table(scores: Sequence[Score]) -> str:
    """One line per picture and method: set, hazy, clear, method, psnr, ssim, ciede2000."""
    rows = []
    for score in scores:
        numbers = [f"{getattr(score, measure):.6f}" for measure in MEASURES]
        rows.append([score.pair.set, score.pair.hazy, score.pair.clear, score.method, *numbers])
    return as_csv([*COLUMNS, "method", *MEASURES], rows)


def markdown_table(scores: Sequence[Score], notes: Sequence[str] = ()) -> str:
    """One row per set, the methods side by side, then the protocol and the notes, a paragraph each."""
    sets: dict[str, dict[str, SetMean]] = {}
    for mean in means(scores):
        sets.setdefault(mean.set, {})[mean.method] = mean
    methods = list(dict.fromkeys(score.method for score in scores))
    rows = [
        [name, str(max(mean.count for mean in row.values())), *(_cell(row.get(method)) for method in methods)]
        for name, row in sets.items()
    ]
    below = ["Each cell: PSNR / SSIM / CIEDE2000. " + PROTOCOL, *notes]
    return as_markdown(["set", "pairs", *methods], rows, below, marks=["---", "---:", *["---"] * len(methods)])


def write_tables(
    scores: Sequence[Score],
    *,
    csv_path: str | PathLike[str] | None = None,
    markdown_path: str | PathLike[str] | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write `csv_table` and `markdown_table`, each in full or not at all; raises what `images.write` raises."""
    if csv_path is not None:
        images.write(csv_path, csv_table(scores).encode(), overwrite=overwrite)
    if markdown_path is not None:
        images.write(markdown_path, markdown_table(scores, notes).encode(), overwrite=overwrite)


def figure_sheet(scores: Sequence[Score], method: Method, *, name: str, set: str) -> Image.Image:
    """The worst, the median and the best picture of a set, by the PSNR of the method called `name`.

    One row each: input, result, truth and transmission map, scaled to one width, with captions. `method` must be the
    one behind the scores of that name: it runs again on the chosen pictures. Raises UsageError when `scores` has none
    of that set and method.
    """
    ranked = [score for score in scores if (score.pair.set, score.method) == (set, name)]
    if not ranked:
        raise UsageError(f"no scores of the method {name} on the set {set} to choose pictures from")
    ranked.sort(key=lambda score: (score.psnr, score.pair.hazy))
    last = len(ranked) - 1
    chosen = {0: "worst", last // 2: "median", last: "best"} if last > 1 else {0: "worst", last: "best"}
    return stack([_figure_row(rank, ranked[index], method) for index, rank in chosen.items()])


def write_sheet(path: str | PathLike[str], sheet: Image.Image, *, overwrite: bool = False) -> None:
    """Write a sheet as PNG, in full or not at all; raises what `images.write` raises."""
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    images.write(path, data.getvalue(), overwrite=overwrite)


def _parse(path: Path) -> list[Pair]:
    try:
        # "utf-8-sig" drops the byte-order mark that spreadsheets write at the start.
        reader = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline=""), restval="")
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise NedrError(f"{path}: not a CSV in UTF-8: {error}") from error
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise NedrError(f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    if not rows:
        raise NedrError(f"{path}: no pairs below the header")
    for line, row in rows:
        if not all(row[column] for column in COLUMNS):
            raise NedrError(f"{path}: line {line} lacks one of {', '.join(COLUMNS)}")
    return [Pair(row["set"], row["hazy"], row["clear"], path.parent) for _, row in rows]


def _first_of_each_set(pairs: list[Pair], limit: int | None) -> list[Pair]:
    taken: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        taken[pair.set] += 1
        if limit is None or taken[pair.set] <= limit:
            kept.append(pair)
    return kept


def rgb8(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Picture8:
    """Grey to RGB, 16 bit rounded to 8: uint8 (H, W, 3)."""
    rounded = eight_bits(pixels)
    return rounded if rounded.ndim == 3 else np.repeat(rounded[..., None], 3, axis=2)


def _score(pair: Pair, name: str, result: Picture8, clear: Picture8) -> Score:
    try:
        values = [measure(result, clear) for measure in (metrics.psnr, metrics.ssim, metrics.ciede2000)]
    except ImageError as error:
        raise ImageError(f"{pair.folder / pair.hazy}, method {name}: {error}") from error
    return Score(pair, name, *values)


def _cell(mean: SetMean | None) -> str:
    return "" if mean is None else f"{mean.psnr:.2f} / {mean.ssim:.3f} / {mean.ciede2000:.2f}"


def _figure_row(rank: str, score: Score, method: Method) -> Image.Image:
    hazy, clear = read_pair(score.pair)
    map_height = max(1, round(CELL_WIDTH * hazy.shape[0] / hazy.shape[1]))
    field = method.field(hazy)
    transmission = field.transmission(map_height, CELL_WIDTH)
    numbers = f"{score.psnr:.2f} dB, SSIM {score.ssim:.3f}, dE {score.ciede2000:.1f}"
    cells = [
        (hazy, f"{rank}: {Path(score.pair.hazy).name}"),
        (method.dehaze(hazy), f"{score.method}: {numbers}"),
        (clear, "truth"),
        (field.preview(map_height, CELL_WIDTH), f"t {transmission.min():.2f} to {transmission.max():.2f}"),
    ]
    return sheet_row(cells, map_height)


def sheet_row(cells: Sequence[tuple[Picture8, str]], height: int) -> Image.Image:
    """Pictures with their captions side by side, each cell `height` high."""
    row = Image.new("RGB", (CELL_WIDTH * len(cells), height + CAPTION_HEIGHT), "white")
    for column, (pixels, caption) in enumerate(cells):
        row.paste(captioned(pixels, caption, height), (column * CELL_WIDTH, 0))
    return row


def captioned(pixels: Picture8, caption: str, height: int) -> Image.Image:
    """A picture (H, W, 3) scaled to a sheet's cell of this height, with a caption below."""
    cell = Image.new("RGB", (CELL_WIDTH, height + CAPTION_HEIGHT), "white")
    cell.paste(Image.fromarray(pixels).resize((CELL_WIDTH, height), Image.Resampling.LANCZOS), (0, 0))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(cell).text((4, height + 3), caption, fill="black", font=font)
    return cell


def stack(rows: Sequence[Image.Image]) -> Image.Image:
    """Rows of equal width, stacked vertically."""
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
