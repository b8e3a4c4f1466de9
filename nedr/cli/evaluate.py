"""`nedr eval`: methods scored on pairs, on published benchmarks, or on photographs without truth."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nedr.cli import telling, words
from nedr.cli.verb import Verb
from nedr.errors import UsageError

if TYPE_CHECKING:
    from nedr.evaluation.paired import Pair


def _eval_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pairs",
        metavar="PAIRS.csv|NAME|FOLDER",
        help="a file with the columns set,hazy,clear, paths relative to it; a benchmark with --root: sots-indoor, "
        "sots-outdoor, hsts, i-haze, o-haze, nh-haze, dense-haze, phonehazy; a folder of photographs without truth",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="where the benchmark NAME lies, unpacked")
    parser.add_argument(
        "--method",
        action="append",
        help="nedr, dcp, cap, or input, which leaves the picture alone; again for more, side by side (input and nedr)",
    )
    parser.add_argument("--limit", type=words.count, help="only the first LIMIT pairs of each set")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write one line per picture and method")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table that is printed")
    parser.add_argument(
        "--sheet", type=Path, metavar="DIR", help="also draw the worst, median and best of each set, SET-METHOD.png"
    )
    parser.add_argument("--view", type=words.count, help="long side in pixels of the network's view (the weights' own)")
    parser.add_argument(
        "--quality",
        choices=words.QUALITIES,
        default="balanced",
        help="how well the network finds the haze (balanced)",
    )
    words.add_overwrite(parser)
    words.add_network(parser)


def _eval(arguments: argparse.Namespace) -> int:
    from nedr.evaluation import paired
    from nedr.pictures import atomic

    if arguments.root is None and Path(arguments.pairs).is_dir():
        return _eval_blind(arguments)
    methods = paired.load_methods(arguments.method or ["input", "nedr"], **_network_options(arguments))
    pairs, notes = _pairs(arguments)
    sheets = _sheets(arguments.sheet, {pair.set for pair in pairs}, methods) if arguments.sheet else {}
    tables = [path for path in (arguments.csv, arguments.markdown) if path]
    atomic.refuse_existing([*tables, *sheets.values()], overwrite=arguments.overwrite)
    scores = paired.score(pairs, methods=methods, progress=_progress())
    print(paired.markdown_table(scores, notes), end="", flush=True)
    where = {"csv_path": arguments.csv, "markdown_path": arguments.markdown}
    paired.write_tables(scores, notes=notes, overwrite=arguments.overwrite, **where)
    for (name, method), path in sheets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = paired.figure_sheet(scores, methods[method], name=method, set=name)
        paired.write_sheet(path, sheet, overwrite=arguments.overwrite)
    return 0


def _pairs(arguments: argparse.Namespace) -> "tuple[list[Pair], list[str]]":
    """The pairs to score, of a benchmark on disk or of a file, and what to say with their scores."""
    from nedr.evaluation import benchmarks, paired

    name, limit = arguments.pairs, arguments.limit
    if arguments.root is None:
        if name in benchmarks.BENCHMARKS and not Path(name).exists():
            raise UsageError(f"{name} is a benchmark; say with --root DIR where its pictures lie")
        return paired.read_pairs(name, limit=limit), []
    found = benchmarks.find(name, arguments.root)
    for text in found.missing:
        telling.complain(f"{name}: {text}")
    if limit is not None and limit < len(found.pairs):
        found.missing.append(f"Only the first {limit} of {len(found.pairs)} pairs were scored.")
    return found.pairs[:limit], [*found.notes, *found.missing]


def _eval_blind(arguments: argparse.Namespace) -> int:
    """What the methods do to photographs whose truth nobody knows."""
    from nedr.evaluation import no_reference, paired
    from nedr.pictures import atomic

    if arguments.sheet:
        raise UsageError("--sheet ranks pictures by their truth; for a folder without truth leave it out")
    tables = {arguments.csv: no_reference.csv_table, arguments.markdown: no_reference.markdown_table}
    tables.pop(None, None)
    atomic.refuse_existing(tables, overwrite=arguments.overwrite)
    methods = paired.load_methods(arguments.method or ["nedr"], **_network_options(arguments))
    scores = no_reference.describe(
        no_reference.photographs(arguments.pairs)[: arguments.limit], methods=methods, progress=_progress()
    )
    print(no_reference.markdown_table(scores), end="", flush=True)
    for path, table in tables.items():
        atomic.write(path, table(scores).encode(), overwrite=arguments.overwrite)
    return 0


def _network_options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("weights", "view", "quality", "threads", "device")}


def _sheets(folder: Path, sets: Iterable[str], methods: Iterable[str]) -> dict[tuple[str, str], Path]:
    """The file of figures for each set and method; a picture left alone needs none."""
    drawn = ((name, method) for name in sorted(sets) for method in methods if method != "input")
    return {key: folder / ("-".join(re.sub(r"[^\w.-]+", "-", part) for part in key) + ".png") for key in drawn}


def _progress() -> Callable[..., None] | None:
    """A counter on the terminal; None where nobody watches."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, *_: object) -> None:
        print(f"\r{done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show


VERBS = {
    "eval": Verb("score methods on pairs, on a published benchmark, or without truth", _eval_arguments, _eval),
}
