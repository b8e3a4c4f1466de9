"""`nedr dehaze`: photographs, videos, folders and pipes without their haze."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nedr.cli import telling, words
from nedr.cli.verb import Verb
from nedr.errors import UsageError

if TYPE_CHECKING:
    from nedr.album.report import Progress
    from nedr.album.run import Outcome
    from nedr.album.session import Session
    from nedr.pictures.raw import Development
    from nedr.video.formats import Encoding


# Options that say nothing of one picture without a name; --every is left, which has a value of its own.
_UNFIT_FOR_PIPES = (
    *("map", "compare", "json", "watch", "report", "dry_run", "include", "exclude", "limit", "keep_time"),
    *("start", "end", "codec", "crf", "chroma", "deinterlace", "drop_stream"),
)


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
        "--strength",
        type=words.number,
        default=1.0,
        help="0 leaves every pixel, 1 removes the haze found, up to 1.5 (1)",
    )
    parser.add_argument("--map", action="store_true", help="also write the transmission, PHOTO.transmission.png")
    parser.add_argument("--compare", action="store_true", help="also write before | after in one picture")
    parser.add_argument(
        "--quality",
        action=_Quality,
        metavar="fast|balanced|best|1..100",
        help="how well the haze is found (balanced); a number is for JPEG, WebP and AVIF (as they were compressed)",
    )
    parser.add_argument("--salvage", action="store_true", help="dehaze what a truncated JPEG or raw file still holds")
    parser.add_argument("--keep-time", action="store_true", help="give results the photograph's modification time")
    parser.set_defaults(detail="balanced")
    words.add_overwrite(parser)
    words.add_seeing(parser)
    _folder_arguments(parser.add_argument_group("many photographs, also in folders"))
    _raw_arguments(parser.add_argument_group("camera raw files"))
    _video_arguments(parser.add_argument_group("videos: nedr CLIP.mp4 -o CLEAR.mp4"))
    pipe = parser.add_argument_group("pipes: nedr - < IN > OUT")
    pipe.add_argument("--format", help="jpeg, png, tiff, webp, avif, bmp or ppm (what comes in)")
    pipe.add_argument("--raw", metavar="WIDTHxHEIGHT", help="frames of 8 bit RGB in and out, as rgb24 of ffmpeg")


class _Quality(argparse.Action):
    """Two qualities in one option, which may be given twice: a word for the haze, a number for the file."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        if values in words.QUALITIES:
            namespace.detail = values
            return
        try:
            namespace.quality = words.percentage(values)
        except argparse.ArgumentTypeError:
            expected = f"{', '.join(words.QUALITIES)} or a whole number from 1 to 100"
            raise argparse.ArgumentError(self, f"expected {expected}, found {values!r}") from None


def _video_arguments(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument("--start", metavar="TIME", help="leave out what comes before, as 90, 1:30 or 0:01:30.5")
    parser.add_argument("--end", metavar="TIME", help="leave out what comes from there on")
    parser.add_argument("--codec", help="h264, hevc, vp9, av1, prores or ffv1 (h264; hevc for more than 8 bits)")
    parser.add_argument(
        "--crf", type=words.whole_number(0), help="constant quality, smaller is better and larger (18 for h264)"
    )
    parser.add_argument("--chroma", help="420, 422 or 444 (as it is; 420 for RGB and odd sizes, which all play)")
    parser.add_argument("--deinterlace", action="store_true", help="make whole frames of interlaced ones")
    parser.add_argument(
        "--drop-stream",
        action="append",
        default=[],
        metavar="KIND|NUMBER",
        help="leave out audio, subtitle, data, attachment, video (but the main one), or a stream by its number",
    )
    parser.add_argument(
        "--every",
        type=words.whole_number(1),
        default=4,
        metavar="N",
        help="look for haze in every Nth frame while little changes (4)",
    )


def _folder_arguments(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only such names or paths")
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="leave out such names, paths, folders"
    )
    parser.add_argument("--limit", type=words.count, help="do at most LIMIT this time")
    parser.add_argument("--workers", type=words.count, help="how many at once (one per thread, at most 8)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--report", type=Path, metavar="FILE", help=".json or .csv: what became of each photograph")
    parser.add_argument("--watch", action="store_true", help="then wait for more to arrive, until Ctrl-C")


def _raw_arguments(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument(
        "--white-balance",
        type=_white_balance,
        default="camera",
        metavar="NAME|R,G,B",
        help="camera, as it was set; auto; daylight; or factors such as 2,1,1.5 (camera)",
    )
    parser.add_argument("--exposure", type=words.number, default=0.0, metavar="STOPS", help="-2 to 3 (0)")
    parser.add_argument(
        "--prefer", default="both", help="in folders, of a raw file and the JPEG of its name: raw, jpeg or both (both)"
    )


def _white_balance(text: str) -> str | tuple[float, ...]:
    """A name as it is, and the numbers in place of several with commas between."""
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        return text


def _dehaze(arguments: argparse.Namespace) -> int:
    from nedr.album import report
    from nedr.album.sources import expand_sources, is_pipe
    from nedr.inference.field import check_strength

    check_strength(arguments.strength)
    if arguments.raw or arguments.format or any(photo == "-" or is_pipe(photo) for photo in arguments.photos):
        return _pipe(arguments)
    if arguments.report:
        report.check(arguments.report)
    sources = expand_sources(arguments.photos)
    if sources.results:
        telling.complain(f"left out, since they are results: {', '.join(sources.results)}")
    session = _session(sources.paths, arguments)
    if arguments.dry_run:
        return _dry(session)
    with _terminated_as_interrupted():
        if arguments.watch:
            with telling.needs("--watch", "watch"):
                session.watch()
        outcomes = session.once()
    failures = [outcome.error for outcome in outcomes if outcome.state == "failed" and outcome.error]
    return 1 if failures and len(failures) < len(outcomes) else telling.status(failures)


def _dry(session: "Session") -> int:
    """Say what would be done."""
    tasks = session.dry()
    for task in tasks:
        print(f"{task.job.photo} -> {task.error or ', '.join(map(str, task.job.targets))}")
    if not tasks:
        telling.complain("nothing to do: all photographs are finished")
    return 0


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


def _session(sources: list[str], arguments: argparse.Namespace) -> "Session":
    from nedr.album import plan
    from nedr.album import run as album
    from nedr.album.session import Session

    same = (
        "output",
        "map",
        "compare",
        "weights",
        "method",
        "device",
        "detail",
        "threads",
        "workers",
        "limit",
        "report",
    )
    return Session(
        sources,
        tell=lambda outcome, progress: _tell(outcome, progress, arguments.json),
        say=telling.complain,
        selection=plan.Selection(tuple(arguments.include), tuple(arguments.exclude), arguments.prefer),
        options=album.Options(
            arguments.strength,
            arguments.quality,
            arguments.overwrite,
            arguments.keep_time,
            arguments.salvage,
            encoding=_encoding(arguments),
            development=_development(arguments),
        ),
        **{name: getattr(arguments, name) for name in same},
    )


def _development(arguments: argparse.Namespace) -> "Development":
    from nedr.pictures.raw import Development

    return Development(arguments.white_balance, arguments.exposure)


def _encoding(arguments: argparse.Namespace) -> "Encoding":
    from nedr.video import formats

    start, end = (text and formats.seconds(text) for text in (arguments.start, arguments.end))
    drop = tuple(arguments.drop_stream)
    how = {"chroma": arguments.chroma, "deinterlace": arguments.deinterlace, "drop": drop, "every": arguments.every}
    return formats.Encoding(start, end, arguments.codec, arguments.crf, **how)


def _tell(outcome: "Outcome", progress: "Progress", as_json: bool) -> None:
    """What became of one photograph, on stdout and stderr, above the bar."""
    photo, quiet = outcome.task.job.photo, progress.total > 1 and progress.is_drawn and sys.stdout.isatty()
    with progress.hidden():
        if outcome.state == "failed":
            telling.complain(_found(outcome)["error"])
        for note in outcome.haze.get("notes", ()) if outcome.state == "done" else ():
            telling.complain(f"{photo}: {note}")
        if as_json:
            print(json.dumps(_found(outcome)), flush=True)
        elif outcome.state == "done" and not quiet:
            print(f"{photo} -> {_targets(outcome)}", flush=True)
        elif outcome.state == "skipped" and outcome.task.root is None:
            print(f"{photo} -> {_targets(outcome)} (done before)", flush=True)
        if outcome.state != "skipped":
            progress.count(outcome)


def _targets(outcome: "Outcome") -> str:
    return ", ".join(map(str, outcome.task.job.targets))


def _found(outcome: "Outcome") -> dict[str, Any]:
    """An outcome as --json prints it."""
    job = outcome.task.job
    found = {"photo": str(job.photo), "outcome": outcome.state}
    if outcome.error:
        return found | {"error": telling.failure(str(job.photo), outcome.error)}
    written = {"dehazed": job.result, "map": job.map, "compare": job.compare}
    return found | {name: path and str(path) for name, path in written.items()} | outcome.haze


def _pipe(arguments: argparse.Namespace) -> int:
    """One picture, or raw frames, read to the end of a pipe, to standard output or into a file."""
    from nedr.album import pipes
    from nedr.album.sources import is_pipe
    from nedr.inference.dehazer import Dehazer

    one = len(arguments.photos) == 1 and (arguments.photos[0] == "-" or is_pipe(arguments.photos[0]))
    unfit = [f"--{name.replace('_', '-')}" for name in _UNFIT_FOR_PIPES if getattr(arguments, name)]
    if not one or unfit:
        advice = f" (leave out {', '.join(unfit)})" if unfit else ""
        raise UsageError(f"a pipe takes one picture or --raw frames and gives just that: nedr - < IN > OUT{advice}")
    output = None if arguments.output == "-" else arguments.output
    if output is None and sys.stdout.isatty():
        raise UsageError("a picture is not written to a terminal: say where with > OUT or -o FILE")
    how = {name: getattr(arguments, name) for name in ("method", "threads", "device")}
    form = pipes.Form(arguments.format, arguments.raw, arguments.quality, arguments.salvage, _development(arguments))
    dehazer = Dehazer(arguments.weights, quality=arguments.detail, **how)
    with pipes.open_source(arguments.photos[0]) as source:
        target = sys.stdout.buffer if output is None else Path(output)
        notes = pipes.send_through(
            source, target, dehazer, form, strength=arguments.strength, overwrite=arguments.overwrite
        )
    for note in notes:
        telling.complain(note)
    return 0


VERBS = {
    "dehaze": Verb("remove the haze from photographs", _dehaze_arguments, _dehaze),
}
