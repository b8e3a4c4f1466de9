"""`nedr haze`: clear photographs made hazy."""

import argparse
from typing import Any

from nedr.cli import telling, words
from nedr.cli.verb import Verb


def _haze_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="CLEAR", help="clear photographs, or folders of them")
    parser.add_argument("-o", "--output", metavar="FILE|FOLDER", help="where to write (CLEAR.hazy.jpg beside each)")
    parser.add_argument(
        "--beta", type=words.number, default=1.2, help="scattering coefficient: 0.5 light, 2 dense (1.2)"
    )
    parser.add_argument("--airlight", type=_airlight, metavar="auto|GREY|R,G,B", help="0..1 (auto: the brightest)")
    parser.add_argument(
        "--physical", action="store_true", help="the scattering model alone, without what the network R learnt"
    )
    parser.add_argument("--quality", type=words.percentage, help="1..100 for JPEG, WebP and AVIF")
    parser.add_argument("--weights", metavar="NAME|FILE.onnx", help="networks that make haze (those that ship)")
    parser.add_argument("--threads", type=words.count, help="how many to use at most (one per core)")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each photograph, failed ones too")
    words.add_overwrite(parser)


def _airlight(text: str) -> float | tuple[float, ...] | None:
    if text == "auto":
        return None
    try:
        values = tuple(map(float, text.split(",")))
    except ValueError:
        expected = "expected auto, a grey such as 0.9 or a colour such as 0.8,0.8,0.9"
        raise argparse.ArgumentTypeError(f"{expected}, found {text!r}") from None
    return values[0] if len(values) == 1 else values


def _haze(arguments: argparse.Namespace) -> int:
    from nedr.album import hazy
    from nedr.album.sources import expand_sources
    from nedr.inference import hazer

    how = {"beta": arguments.beta, "airlight": arguments.airlight, "physical": arguments.physical}
    hazer.check(arguments.beta, arguments.airlight)
    sources = expand_sources(arguments.photos, {"hazy"}).paths
    tasks = {str(task.job.photo): task for task in hazy.plan_hazy(sources, arguments.output)}
    maker = hazer.Hazer(arguments.weights, threads=arguments.threads)

    def work(photo: str) -> dict[str, Any]:
        task = tasks[photo]
        if task.error:
            raise task.error
        hazy.write_hazy(task.job, maker, quality=arguments.quality, overwrite=arguments.overwrite, **how)
        return {"hazy": str(task.job.result)}

    return telling.each(tasks, work, lambda photo, found: f"{photo} -> {found['hazy']}", arguments.json)


VERBS = {
    "haze": Verb("add haze to clear photographs", _haze_arguments, _haze),
}
