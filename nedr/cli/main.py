"""The command line: arguments only. Each verb is one function, which imports what it needs when it runs."""

import argparse
import dataclasses
import io
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nedr import __version__
from nedr.errors import MissingExtraError, NedrError, UsageError, missing_extra

if TYPE_CHECKING:
    from nedr.album.report import Progress
    from nedr.album.run import Outcome
    from nedr.album.session import Session
    from nedr.evaluation.paired import Pair
    from nedr.video.formats import Encoding

EPILOG = """\
`nedr PHOTO...` is `nedr dehaze PHOTO...`; a photograph that is called like a command goes as ./info.
Each command has its own help, as in `nedr dehaze --help`.

exit status: 0 all done, 1 something failed (the other photographs are done), 2 the call is wrong, 130 interrupted
"""


class Verb(NamedTuple):
    """One command: what it does, its arguments, and the function that does it and returns the exit status."""

    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Argparse itself leaves with SystemExit, after --help, --version and arguments that it cannot read.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not fit the terminal's encoding
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments = parser.parse_args(_with_verb(words))
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:  # nobody reads on, as in `nedr ... | head`: the interpreter must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except MemoryError:
        _complain("this needs more memory than there is")
        return 1
    except NedrError as error:
        _complain(str(error))
        return _status([error])
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nedr",
        usage="nedr [COMMAND] PHOTO... [options]",
        description="Removes haze from photographs: writes PHOTO.dehazed.jpg beside each PHOTO.jpg.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nedr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="nedr")
    for name, verb in VERBS.items():
        command = commands.add_parser(name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        verb.arguments(command)
        command.set_defaults(run=verb.run)
    return parser


def _with_verb(words: list[str]) -> list[str]:
    """The words with the command that they mean in front, if they name none."""
    first = words[0]
    if first in VERBS or first in ("-h", "--help", "--version"):
        return words
    if first.isalpha() and not Path(first).exists():
        import difflib

        if near := difflib.get_close_matches(first, VERBS, n=1):
            raise UsageError(f"no photograph and no command is called {first!r}; did you mean {near[0]!r}?")
    return ["dehaze", *words]


# Removing haze


def _dehaze_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="JPEG, PNG, TIFF, WebP, AVIF, HEIF, BMP, PPM; a video; a folder; - for a pipe",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE|FOLDER",
        help="where to write; a FILE's suffix names its format (beside PHOTO; a folder into FOLDER.dehazed)",
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, help="0 leaves every pixel, 1 removes the haze found, up to 1.5 (1)"
    )
    parser.add_argument("--map", action="store_true", help="also write the transmission, PHOTO.transmission.png")
    parser.add_argument("--compare", action="store_true", help="also write before | after in one picture")
    parser.add_argument(
        "--quality", type=_percentage, help="1..100 for JPEG, WebP and AVIF (as the photograph was compressed)"
    )
    _overwrite_argument(parser)
    _seeing_arguments(parser)
    _folder_arguments(parser.add_argument_group("many photographs, also in folders"))
    _video_arguments(parser.add_argument_group("videos: nedr CLIP.mp4 -o CLEAR.mp4"))
    pipe = parser.add_argument_group("pipes: nedr - < IN > OUT")
    pipe.add_argument("--format", help="jpeg, png, tiff, webp, avif, bmp or ppm (what comes in)")
    pipe.add_argument("--raw", metavar="WIDTHxHEIGHT", help="frames of 8 bit RGB in and out, as rgb24 of ffmpeg")


def _video_arguments(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument("--start", metavar="TIME", help="leave out what comes before, as 90, 1:30 or 0:01:30.5")
    parser.add_argument("--end", metavar="TIME", help="leave out what comes from there on")
    parser.add_argument("--codec", help="h264, hevc, vp9, av1, prores or ffv1 (h264; hevc for more than 8 bits)")
    parser.add_argument("--crf", type=_crf, help="constant quality, smaller is better and larger (18 for h264)")


def _folder_arguments(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only such names or paths")
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="no such names, paths, folders")
    parser.add_argument("--limit", type=_count, help="do at most so many this time")
    parser.add_argument("--workers", type=_count, help="how many at once (one per thread, at most 8)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--report", type=Path, metavar="FILE", help=".json or .csv: what became of each photograph")
    parser.add_argument("--watch", action="store_true", help="afterwards wait for more to arrive, until Ctrl-C")


def _dehaze(arguments: argparse.Namespace) -> int:
    from nedr.album import report
    from nedr.inference.field import check_strength

    check_strength(arguments.strength)
    if "-" in arguments.photos or arguments.raw or arguments.format:
        return _pipe(arguments)
    if arguments.report:
        report.check(arguments.report)
    session = _session(arguments)
    if arguments.dry_run:
        for task in session.dry():
            print(f"{task.job.photo} -> {task.error or ', '.join(map(str, task.job.targets))}")
        return 0
    with _terminated_as_interrupted():
        if arguments.watch:
            with _needs("--watch", "watch"):
                session.watch()
        outcomes = session.once()
    failures = [outcome.error for outcome in outcomes if outcome.error]
    return 1 if failures and len(failures) < len(outcomes) else _status(failures)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Take SIGTERM, by which services and clusters end what they run, as Ctrl-C: nothing half made stays behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _session(arguments: argparse.Namespace) -> "Session":
    from nedr.album import plan
    from nedr.album import run as album
    from nedr.album.session import Session

    same = ("output", "map", "compare", "weights", "method", "device", "threads", "workers", "limit", "report")
    return Session(
        arguments.photos,
        tell=lambda outcome, progress: _tell(outcome, progress, arguments.json),
        say=_complain,
        selection=plan.Selection(tuple(arguments.include), tuple(arguments.exclude)),
        options=album.Options(
            arguments.strength, arguments.quality, arguments.overwrite, encoding=_encoding(arguments)
        ),
        **{name: getattr(arguments, name) for name in same},
    )


def _encoding(arguments: argparse.Namespace) -> "Encoding":
    from nedr.video import formats

    start, end = (text and formats.seconds(text) for text in (arguments.start, arguments.end))
    return formats.Encoding(start, end, arguments.codec, arguments.crf)


def _tell(outcome: "Outcome", progress: "Progress", as_json: bool) -> None:
    """What became of one photograph, on stdout and stderr, above the bar."""
    job = outcome.task.job
    found: dict[str, Any] = {"photo": str(job.photo), "outcome": outcome.state}
    progress.clear()
    if outcome.error:
        found["error"] = _failure(str(job.photo), outcome.error)
        _complain(found["error"])
    else:
        written = {"dehazed": job.result, "map": job.map, "compare": job.compare}
        found |= {name: path and str(path) for name, path in written.items()} | outcome.haze
    for note in outcome.haze.get("notes", ()) if outcome.state == "done" else ():
        _complain(f"{job.photo}: {note}")
    if as_json:
        print(json.dumps(found), flush=True)
    elif outcome.state == "done" and not (progress.total > 1 and progress.is_drawn and sys.stdout.isatty()):
        print(f"{job.photo} -> {', '.join(map(str, job.targets))}", flush=True)
    if outcome.state != "skipped":
        progress.count(outcome)


def _pipe(arguments: argparse.Namespace) -> int:
    """One picture, or raw frames, from standard input to standard output; nothing else is written there."""
    from nedr.album import one, pipes
    from nedr.inference.dehazer import Dehazer

    unfit = ("map", "compare", "json", "watch", "report", "dry_run")
    if arguments.photos != ["-"] or any(getattr(arguments, name) for name in unfit) or sys.stdin is None:
        raise UsageError("a pipe takes one picture or --raw frames and gives just that: nedr - < IN > OUT")
    size = pipes.frame_size(arguments.raw) if arguments.raw else None
    kind = one.format_of(f"standard output.{arguments.format}") if arguments.format else None
    if size and kind:
        raise UsageError("--raw frames have no --format: they come out as they come in, 8 bit RGB")
    if arguments.output not in (None, "-") or sys.stdout.isatty():
        raise UsageError("a pipe writes to standard output: nedr - < IN > OUT")
    how = {"method": arguments.method, "threads": arguments.threads, "device": arguments.device}
    dehazer, streams = Dehazer(arguments.weights, **how), (sys.stdin.buffer, sys.stdout.buffer)
    if size:
        pipes.frames(*streams, dehazer, size, strength=arguments.strength)
        return 0
    notes = pipes.picture(*streams, dehazer, strength=arguments.strength, format=kind, quality=arguments.quality)
    for note in notes:
        _complain(note)
    return 0


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    _seeing_arguments(parser)


def _info(arguments: argparse.Namespace) -> int:
    from nedr.album import one
    from nedr.inference.dehazer import Dehazer
    from nedr.pictures import images

    dehazer = Dehazer(arguments.weights, method=arguments.method, threads=arguments.threads, device=arguments.device)

    def work(photo: str) -> dict[str, Any]:
        picture = images.read(photo)
        return dataclasses.asdict(one.describe(picture, dehazer.field(picture)))

    def lines(photo: str, found: dict[str, Any]) -> str:
        airlight = " ".join(f"{value:.3f}" for value in found["airlight"])
        return (
            f"{photo}\n  size          {found['width']} x {found['height']}\n  airlight      {airlight} (sRGB)\n"
            f"  density       {found['density']:.3f}\n  transmission  {found['transmission']:.3f} on average"
        )

    return _each(arguments.photos, work, lines, arguments.json)


def _haze_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="CLEAR", help="clear photographs, or folders of them")
    parser.add_argument("-o", "--output", metavar="FILE|FOLDER", help="where to write (CLEAR.hazy.jpg beside each)")
    parser.add_argument("--beta", type=float, default=1.2, help="scattering coefficient: 0.5 light, 2 dense (1.2)")
    parser.add_argument("--airlight", type=_airlight, metavar="auto|GREY|R,G,B", help="0..1 (auto: the brightest)")
    parser.add_argument("--physical", action="store_true", help="the scattering model alone, not what R learnt beside")
    parser.add_argument("--quality", type=_percentage, help="1..100 for JPEG, WebP and AVIF")
    parser.add_argument("--weights", metavar="NAME|FILE.onnx", help="networks that make haze (those that ship)")
    parser.add_argument("--threads", type=_count, help="the most that are used (one per core)")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each photograph, failed ones too")
    _overwrite_argument(parser)


def _airlight(text: str) -> float | tuple[float, ...] | None:
    if text == "auto":
        return None
    values = tuple(map(float, text.split(",")))
    return values[0] if len(values) == 1 else values


def _haze(arguments: argparse.Namespace) -> int:
    from nedr.album import hazy
    from nedr.inference import hazer

    how = {"beta": arguments.beta, "airlight": arguments.airlight, "physical": arguments.physical}
    hazer.check(arguments.beta, arguments.airlight)
    tasks = {str(task.job.photo): task for task in hazy.plan(arguments.photos, arguments.output)}
    maker = hazer.Hazer(arguments.weights, threads=arguments.threads)

    def work(photo: str) -> dict[str, Any]:
        task = tasks[photo]
        if task.error:
            raise task.error
        hazy.write(task.job, maker, quality=arguments.quality, overwrite=arguments.overwrite, **how)
        return {"hazy": str(task.job.result)}

    return _each(tasks, work, lambda photo, found: f"{photo} -> {found['hazy']}", arguments.json)


def _seeing_arguments(parser: argparse.ArgumentParser) -> None:
    """How haze is seen, and told: the same for every verb on photographs."""
    parser.add_argument(
        "--method", default="nedr", help="nedr, the network, or to compare dcp or cap, the classical priors (nedr)"
    )
    _network_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each photograph, failed ones too")


def _each(
    photos: Iterable[str],
    work: Callable[[str], dict[str, Any]],
    told: Callable[[str, dict[str, Any]], str],
    as_json: bool,
) -> int:
    """Do the work on every photograph, whatever becomes of the others; returns the exit status."""
    done, failures = 0, []
    for photo in photos:
        try:
            found = work(photo)
        except (NedrError, MemoryError) as error:
            failures.append(error)
            text = _failure(photo, error)
            _complain(text)
            found = {"error": text}
        else:
            done += 1
            for note in found.get("notes", ()):
                _complain(f"{photo}: {note}")
        if as_json or "error" not in found:
            print(json.dumps({"photo": photo} | found) if as_json else told(photo, found), flush=True)
    return 1 if failures and done else _status(failures)


def _failure(photo: str, error: NedrError | MemoryError) -> str:
    """What went wrong with a photograph, by name."""
    text = str(error) if isinstance(error, NedrError) else "needs more memory than there is"
    return text if photo in text else f"{photo}: {text}"


# Training, export, evaluation


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML, as in configs/")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="checkpoint, weights, log; resumes there"
    )
    parser.add_argument("--clear", type=Path, metavar="DIR", help="clear photographs")
    parser.add_argument("--hazy", type=Path, metavar="DIR", help="real hazy photographs, for the unpaired stage")
    parser.add_argument("--depth", type=Path, metavar="DIR", help="clear photographs with measured depth")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="sky/ and far/ of the clear photographs, and labels.csv"
    )
    parser.add_argument(
        "--val", type=Path, metavar="PAIRS.csv", help="pairs to validate on, with columns set,hazy,clear"
    )
    parser.add_argument("--init", type=Path, metavar="WEIGHTS", help="weights to start from")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="in place of the file's, as optim.steps=500"
    )
    parser.add_argument("--threads", type=_count, help="the most that one process computes with (one per core)")
    parser.add_argument("--accelerator", choices=["auto", "cpu", "cuda"], default="auto", help="train on what (auto)")
    parser.add_argument("--devices", type=_count, default=1, help="how many to train on (1)")
    parser.add_argument("--nodes", type=_count, default=1, help="how many machines take part (1)")
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true", help="of the network (32-true)"
    )


def _train(arguments: argparse.Namespace) -> int:
    with _needs("nedr train", "train"):
        import torch
        from lightning_fabric import Fabric

        from nedr.training import config, loop

        run = config.load(config.TrainConfig, arguments.config, dict(map(config.parse_override, arguments.set)))
        paths = config.Paths(
            out=arguments.out,
            clear=arguments.clear,
            depth=arguments.depth,
            labels=arguments.labels,
            validation=arguments.val,
            init=arguments.init,
            hazy=arguments.hazy,
        )
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        fabric = Fabric(
            accelerator=arguments.accelerator,
            devices=arguments.devices,
            num_nodes=arguments.nodes,
            precision=arguments.precision,
        )
        if arguments.devices * arguments.nodes > 1:
            fabric.launch()
        weights = loop.fit(run, paths, fabric=fabric)
    if fabric.is_global_zero:
        print(weights)
    return 0


def _ablate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML, as in configs/")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="runs and tables; goes on there")
    parser.add_argument("--val", required=True, type=Path, metavar="PAIRS.csv", help="pairs, columns set,hazy,clear")
    parser.add_argument("--clear", type=Path, metavar="DIR", help="clear photographs")
    parser.add_argument("--depth", type=Path, metavar="DIR", help="clear photographs with measured depth")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="sky/ and far/ of the clear photographs, and labels.csv"
    )
    parser.add_argument("--steps", required=True, type=_count, help="of every run")
    parser.add_argument("--seeds", type=_count, default=3, help="runs of each variant (3)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="in place of the file's, as data.batch=4"
    )
    parser.add_argument("--threads", type=_count, help="the most that are used (one per core)")


def _ablate(arguments: argparse.Namespace) -> int:
    with _needs("nedr ablate", "train"):
        import torch

        from nedr.training import ablate, config

        recipe = config.load(config.TrainConfig, arguments.config, dict(map(config.parse_override, arguments.set)))
        paths = config.Paths(
            arguments.out,
            clear=arguments.clear,
            depth=arguments.depth,
            labels=arguments.labels,
            validation=arguments.val,
        )
        if arguments.threads:
            torch.set_num_threads(arguments.threads)

        def told(result: ablate.Result, done: int, total: int) -> None:
            text = f"{done} of {total}: {result.variant}, seed {result.seed}: {result.all:.2f} dB"
            print(text, file=sys.stderr, flush=True)

        results = ablate.ablate(recipe, paths, steps=arguments.steps, seeds=arguments.seeds, progress=told)
        print(ablate.markdown_table(results, recipe.model), end="", flush=True)
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument("--view", type=_count, default=256, help="long side in pixels of the view to run on (256)")
    _overwrite_argument(parser)


def _export(arguments: argparse.Namespace) -> int:
    _refuse_existing([arguments.target], arguments.overwrite)
    with _needs("nedr export", "train"):
        from nedr.training.export import export

        rows = export(arguments.source, arguments.target, view=arguments.view, overwrite=arguments.overwrite)
    print(arguments.target)
    for height, width, difference in rows:
        print(f"  {height} x {width}: within {difference:.1e} of torch")
    return 0


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
    parser.add_argument("--limit", type=_count, help="the first so many pairs of each set")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="also write one line per picture and method")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table that is printed")
    parser.add_argument(
        "--sheet", type=Path, metavar="DIR", help="also draw the worst, median and best of each set, SET-METHOD.png"
    )
    parser.add_argument("--view", type=_count, help="long side in pixels of the network's view (the weights' own)")
    _overwrite_argument(parser)
    _network_arguments(parser)


def _eval(arguments: argparse.Namespace) -> int:
    from nedr.evaluation import paired

    if arguments.root is None and Path(arguments.pairs).is_dir():
        return _eval_blind(arguments)
    methods = paired.load_methods(arguments.method or ["input", "nedr"], **_network_options(arguments))
    pairs, notes = _pairs(arguments)
    sheets = _sheets(arguments.sheet, {pair.set for pair in pairs}, methods) if arguments.sheet else {}
    tables = [path for path in (arguments.csv, arguments.markdown) if path]
    _refuse_existing([*tables, *sheets.values()], arguments.overwrite)
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
        _complain(f"{name}: {text}")
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
    _refuse_existing(tables, arguments.overwrite)
    methods = paired.load_methods(arguments.method or ["nedr"], **_network_options(arguments))
    scores = no_reference.describe(
        no_reference.photographs(arguments.pairs)[: arguments.limit], methods=methods, progress=_progress()
    )
    print(no_reference.markdown_table(scores), end="", flush=True)
    for path, table in tables.items():
        atomic.write(path, table(scores).encode(), overwrite=arguments.overwrite)
    return 0


def _network_options(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in ("weights", "view", "threads", "device")}


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


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this computer only)")
    parser.add_argument("--port", type=_port, default=8000, help="0 for any that is free (8000)")
    parser.add_argument("--token", help="what callers must send as `Authorization: Bearer TOKEN` (NEDR_TOKEN)")
    parser.add_argument(
        "--allow-origin", metavar="ORIGIN", action="append", default=[], help="whose pages may call it, again for more"
    )
    parser.add_argument("--max-megabytes", type=_count, default=64, help="of one upload (64)")
    parser.add_argument("--max-megapixels", type=_count, default=50, help="of one picture (50)")
    parser.add_argument("--workers", type=_count, help="pictures at work at once (one per core)")
    parser.add_argument("--queue", type=_count, default=32, help="pictures that may wait (32)")
    parser.add_argument("--seconds", type=_count, default=60, help="the most that one picture may take (60)")
    parser.add_argument("--weights", metavar="NAME|FILE", help="of `nedr weights list`, or an .onnx file (base)")


def _serve(arguments: argparse.Namespace) -> int:
    with _needs("nedr serve", "web"):
        from nedr.inference.dehazer import cores
        from nedr.web.limits import Limits
        from nedr.web.server import serve
    limits = Limits(
        body=arguments.max_megabytes * 1_000_000,
        pixels=arguments.max_megapixels * 1_000_000,
        workers=arguments.workers or cores(),
        queue=arguments.queue,
        seconds=arguments.seconds,
    )
    token = arguments.token or os.environ.get("NEDR_TOKEN") or None
    serve(
        host=arguments.host,
        port=arguments.port,
        token=token,
        limits=limits,
        origins=arguments.allow_origin,
        weights=arguments.weights,
    )
    return 0


# Weights


def _weights_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=WEIGHTS_ACTIONS, help="; ".join(WEIGHTS_HELP))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of `list`; without, all of them, or the default's path"
    )


def _weights(arguments: argparse.Namespace) -> int:
    return WEIGHTS_ACTIONS[arguments.action](arguments.names)


def _weights_list(names: list[str]) -> int:
    from nedr.inference import weights

    for name in names or weights.available():
        size = weights.path(name).stat().st_size / 1e6
        row = weights.available()[name]
        print(f"{name}  {size:.1f} MB  {row.licence}  {row.description}")
    return 0


def _weights_verify(names: list[str]) -> int:
    from nedr.inference import weights

    failures = []
    for name in names or list(weights.available()) or [weights.DEFAULT]:
        try:
            file = weights.verify(name)
        except NedrError as error:
            failures.append(error)
            _complain(str(error))
        else:
            print(f"{name}  ok  {file}  sha256 {weights.available()[name].sha256}")
    return _status(failures)


def _weights_path(names: list[str]) -> int:
    from nedr.inference import weights

    for name in names or [weights.DEFAULT]:
        print(weights.path(name))
    return 0


# What verbs share


def _network_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", metavar="NAME|FILE", help="of `nedr weights list`, or an .onnx file (base)")
    parser.add_argument("--threads", type=_count, help="the most that are used (one per core)")
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda, coreml, directml or openvino, with its onnxruntime (cpu)"
    )


def _overwrite_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, found {text!r}")
    return int(text)


def _percentage(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 100, found {text!r}")
    return int(text)


def _crf(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, found {text!r}")
    return int(text)


def _refuse_existing(paths: Iterable[Path], overwrite: bool) -> None:
    for path in paths:
        if not overwrite and os.path.lexists(path):
            raise UsageError(f"{path} exists and is left as it is; --overwrite replaces it")


@contextmanager
def _needs(feature: str, extra: str) -> Iterator[None]:
    """Say which extra brings a package that turns out to be missing."""
    try:
        yield
    except MissingExtraError:
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "nedr":
            raise
        raise missing_extra(f"{feature} (found no {error.name})" if error.name else feature, extra) from error


def _complain(text: str) -> None:
    print("nedr:", " ".join(text.splitlines()), file=sys.stderr, flush=True)


def _status(failures: Sequence[BaseException]) -> int:
    """0 without failures, 2 when the call was wrong each time, else 1."""
    if not failures:
        return 0
    return 2 if all(isinstance(error, UsageError) for error in failures) else 1


WEIGHTS_ACTIONS = {"list": _weights_list, "verify": _weights_verify, "path": _weights_path}
WEIGHTS_HELP = ("list: what ships", "verify: check the files' sha256", "path: where the file is")

VERBS = {
    "dehaze": Verb("remove the haze from photographs", _dehaze_arguments, _dehaze),
    "info": Verb("print a photograph's airlight, haze density, mean transmission and size", _info_arguments, _info),
    "serve": Verb("a page and an HTTP interface on this computer", _serve_arguments, _serve),
    "haze": Verb("put haze on clear photographs", _haze_arguments, _haze),
    "train": Verb("train a network", _train_arguments, _train),
    "ablate": Verb("train without KAN-CID, IDRM and DREM in turn, and compare", _ablate_arguments, _ablate),
    "export": Verb("convert trained weights to ONNX, checked against torch", _export_arguments, _export),
    "eval": Verb("score methods on pairs, on a published benchmark, or without truth", _eval_arguments, _eval),
    "weights": Verb("list, verify or locate the weights that ship", _weights_arguments, _weights),
}
