"""The published benchmarks: where their pictures are, which belong together, how many there are, how they are scored.

    >>> found = find("sots-indoor", "SOTS/indoor")
    >>> scores = score(found.pairs, methods=load_methods(["input", "nedr"]))

Nothing is downloaded: you provide the pictures, unpacked as published or repacked into one of the folders listed here.
"""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from nedr.errors import UsageError
from nedr.evaluation.paired import Pair
from nedr.pictures import images

Folders = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Benchmark:
    """What one benchmark should contain.

    source: who published it.
    counts: how many pairs a complete copy has, the usual number first; empty if unknown.
    folders: (hazy, clear) below the root, tried in this order.
    hazy, clear: regular expressions for the whole file names without suffix. Group 1 is the scene; pictures of one
        scene belong together, unless a clear picture has the same name as the hazy one.
    crop: pixels to cut from each side of a clear picture that is larger than its hazy one by exactly these.
    example: one pair's files. note: what to know before comparing with published numbers.
    """

    title: str
    source: str
    counts: tuple[int, ...]
    folders: Folders
    hazy: str
    clear: str
    example: str
    note: str
    crop: int = 0


@dataclass(frozen=True)
class Found:
    """A benchmark found on disk: its pairs, in order of their names, and what to say with their scores.

    notes: protocol and provenance, one sentence each. missing: what differs from the published set; empty if complete.
    """

    pairs: list[Pair]
    notes: list[str]
    missing: list[str]


def _below(prefixes: tuple[str, ...], *names: tuple[str, str]) -> Folders:
    """Each pair of folder names below each prefix."""
    return tuple((f"{prefix}/{hazy}", f"{prefix}/{clear}") for prefix in prefixes for hazy, clear in names)


_PACKED = (("hazy", "gt"), ("hazy", "GT"), ("hazy", "clear"), ("haze", "clear"))
_RESIDE = "Li et al., Benchmarking Single-Image Dehazing and Beyond, TIP 2019"
_LAST_FIVE = "Challenge papers often score only the last five pairs, which gives other numbers."

BENCHMARKS = {
    "sots-indoor": Benchmark(
        title="RESIDE SOTS indoor",
        source=_RESIDE,
        counts=(500,),
        folders=_below(
            (".", "nyuhaze500", "indoor", "indoor/nyuhaze500", "SOTS/indoor", "SOTS/indoor/nyuhaze500", "test"),
            *_PACKED,
        ),
        hazy=r"(14\d\d)_\d+",
        clear=r"(14\d\d)(?:_\d+)?",
        example="hazy/1400_1.png with gt/1400.png",
        note="50 scenes of NYU Depth v2, ten densities each; hazy pictures 620 x 460, clear ones 640 x 480.",
        crop=10,
    ),
    "sots-outdoor": Benchmark(
        title="RESIDE SOTS outdoor",
        source=_RESIDE,
        counts=(500,),
        folders=_below((".", "outdoor", "SOTS/outdoor", "test"), *_PACKED),
        hazy=r"(\d{4})_[\d.]+_[\d.]+",
        clear=r"(\d{4})(?:_[\d.]+_[\d.]+)?",
        example="hazy/0001_0.8_0.2.jpg with gt/0001.png",
        note="492 clear pictures, eight with two hazy ones each; some clear pictures contain natural haze.",
    ),
    "hsts": Benchmark(
        title="RESIDE HSTS, synthetic part",
        source=_RESIDE,
        counts=(10,),
        folders=_below((".", "synthetic", "HSTS/synthetic"), ("synthetic", "original"), *_PACKED),
        hazy=r"(.+)",
        clear=r"(.+)",
        example="synthetic/synthetic/0586.jpg with synthetic/original/0586.jpg",
        note="The ten real-world pictures have no truth: for them, use `nedr eval HSTS/real-world`.",
    ),
    "i-haze": Benchmark(
        title="I-HAZE",
        source="Ancuti et al., I-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Indoor Images, ACIVS 2018",
        counts=(30, 35),
        folders=_below((".", "# I-HAZY NTIRE 2018", "I-HAZE/# I-HAZY NTIRE 2018", "I-HAZE"), *_PACKED),
        hazy=r"(\d+)(?:_indoor)?(?:_hazy)?",
        clear=r"(\d+)(?:_indoor)?(?:_GT)?",
        example="hazy/01_indoor_hazy.jpg with GT/01_indoor_GT.jpg",
        note=f"The paper describes 35 pairs, the public archive holds 30. {_LAST_FIVE}",
    ),
    "o-haze": Benchmark(
        title="O-HAZE",
        source="Ancuti et al., O-HAZE: A Dehazing Benchmark with Real Hazy and Haze-Free Outdoor Images, CVPRW 2018",
        counts=(45,),
        folders=_below((".", "# O-HAZY NTIRE 2018", "O-HAZE/# O-HAZY NTIRE 2018", "O-HAZE"), *_PACKED),
        hazy=r"(\d+)(?:_outdoor)?(?:_hazy)?",
        clear=r"(\d+)(?:_outdoor)?(?:_GT)?",
        example="hazy/01_outdoor_hazy.jpg with GT/01_outdoor_GT.jpg",
        note=_LAST_FIVE,
    ),
    "nh-haze": Benchmark(
        title="NH-HAZE",
        source="Ancuti et al., NH-HAZE: An Image Dehazing Benchmark with Non-Homogeneous Hazy Images, CVPRW 2020",
        counts=(55,),
        folders=_below((".", "NH-HAZE", "NH-HAZE/NH-HAZE"), *_PACKED, (".", ".")),
        hazy=r"(\d+)(?:_hazy)?",
        clear=r"(\d+)(?:_GT)?",
        example="01_hazy.png with 01_GT.png in one folder",
        note=_LAST_FIVE,
    ),
    "dense-haze": Benchmark(
        title="Dense-Haze",
        source="Ancuti et al., Dense-Haze: A Benchmark for Image Dehazing with Dense-Haze and Haze-Free Images, "
        "ICIP 2019",
        counts=(55, 33),
        folders=_below((".", "Dense_Haze_NTIRE19", "Dense-Haze"), *_PACKED),
        hazy=r"(\d+)(?:_hazy)?",
        clear=r"(\d+)(?:_GT)?",
        example="hazy/01_hazy.png with GT/01_GT.png",
        note=f"The paper describes 33 pairs, the public archive holds 55. {_LAST_FIVE}",
    ),
    "phonehazy": Benchmark(
        title="PhoneHazy",
        source="named in Fan et al., arXiv 2511.13110, 2025",
        counts=(),
        folders=_below((".", "PhoneHazy"), *_PACKED),
        hazy=r"(.+)",
        clear=r"(.+)",
        example="hazy/NAME.jpg with gt/NAME.jpg",
        note="No published description of its layout or size is known: pictures of the same name are taken as a pair.",
    ),
}


def find(name: str, root: str | PathLike[str]) -> Found:
    """The pairs of the benchmark `name` below the folder `root`, and what is missing there.

    Raises UsageError for an unknown name, a root that is not a folder, and one without a known layout.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark is called {name}; expected one of {', '.join(BENCHMARKS)}")
    if not Path(root).is_dir():
        raise UsageError(f"{root} is not a folder; expected the unpacked pictures of {BENCHMARKS[name].title}")
    benchmark = BENCHMARKS[name]
    for hazy_folder, clear_folder in benchmark.folders:
        hazy, clear = Path(root, hazy_folder), Path(root, clear_folder)
        named = _scenes(hazy, benchmark.hazy)
        if named and clear.is_dir():
            pairs, alone = _paired(name, benchmark, named, clear)
            if pairs:
                return Found(pairs, _notes(benchmark, hazy, clear), _missing(benchmark, pairs, alone))
    tried = ", ".join(f"{Path(hazy)} + {Path(clear)}" for hazy, clear in benchmark.folders)
    raise UsageError(f"{root} holds no pairs of {benchmark.title}: expected {benchmark.example}; looked in {tried}")


def _scenes(folder: Path, names: str) -> dict[Path, str]:
    """The scene of each picture in a folder that is named as expected, sorted by name."""
    if not folder.is_dir():
        return {}
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in images.SUFFIXES)
    matches = [(file, re.fullmatch(names, file.stem)) for file in files]
    return {file: match[1].lstrip("0") for file, match in matches if match}


def _paired(name: str, benchmark: Benchmark, hazy: dict[Path, str], folder: Path) -> tuple[list[Pair], list[Path]]:
    """Each hazy picture with its clear one, and the hazy pictures that have none."""
    scenes = _scenes(folder, benchmark.clear)
    of_name = {file.stem: file for file in scenes}
    of_scene = {scene: file for file, scene in scenes.items()}
    pairs, alone = [], []
    for file, scene in hazy.items():
        same = of_name.get(file.stem)
        clear = of_scene.get(scene) if same in (None, file) else same
        if clear is None:
            alone.append(file)
        else:
            pairs.append(Pair(name, str(file), str(clear), Path(), benchmark.crop))
    return pairs, alone


def _notes(benchmark: Benchmark, hazy: Path, clear: Path) -> list[str]:
    notes = [f"{benchmark.title} ({benchmark.source}), from {hazy} and {clear}. {benchmark.note}"]
    if benchmark.crop:
        notes.append(
            f"Clear pictures larger than the hazy ones lose {benchmark.crop} pixels on each side; "
            "nothing else is cropped."
        )
    return notes


def _missing(benchmark: Benchmark, pairs: list[Pair], alone: list[Path]) -> list[str]:
    missing = []
    if alone:
        names = ", ".join(file.name for file in alone[:5]) + (", ..." if len(alone) > 5 else "")
        missing.append(f"{len(alone)} hazy pictures have no clear one and are left out: {names}.")
    if benchmark.counts and len(pairs) not in benchmark.counts:
        expected = " or ".join(map(str, benchmark.counts))
        missing.append(
            f"{len(pairs)} pairs found, {expected} expected: these scores cannot be compared with published ones."
        )
    return missing
