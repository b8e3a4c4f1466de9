"""`nedr info` and `nedr weights`: what is known of photographs and of the weights that ship; nothing is written."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from nedr.cli import telling, words
from nedr.cli.verb import Verb
from nedr.errors import NedrError


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    words.add_seeing(parser)


def _info(arguments: argparse.Namespace) -> int:
    from nedr.album import one
    from nedr.album.sources import expand_sources
    from nedr.inference.dehazer import Dehazer
    from nedr.pictures import images

    dehazer = Dehazer(arguments.weights, method=arguments.method, threads=arguments.threads, device=arguments.device)

    def work(photo: str) -> dict[str, Any]:
        picture = images.read(photo)
        return dataclasses.asdict(one.describe(picture, dehazer.field(picture)))

    def lines(photo: str, found: dict[str, Any]) -> str:
        airlight = " ".join(f"{value:.3f}" for value in found["airlight"])
        borders = ", ".join(f"{side} {width}" for side, width in found["borders"].items())
        return (
            f"{photo}\n  size          {found['width']} x {found['height']}\n  airlight      {airlight} (sRGB)\n"
            f"  density       {found['density']:.3f}\n  transmission  {found['transmission']:.3f} on average"
            + (f"\n  borders       {borders} pixels, left as they are" if borders else "")
        )

    return telling.each(expand_sources(arguments.photos, ()).paths, work, lines, arguments.json)


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
        file, row = weights.path(name), weights.available()[name]
        print(f"{name}  {file.stat().st_size / 1e6:.1f} MB  {row.licence}  {row.description}{_views(file)}")
    return 0


def _views(file: Path) -> str:
    """What the weights in a file have learnt from; nothing for those that do not say or cannot be read."""
    from nedr.inference import weights

    try:
        views = weights.views(file)
    except NedrError:
        return ""
    return "; views: " + ", ".join(f"{count:,} {stage}" for stage, count in views.items()) if views else ""


def _weights_verify(names: list[str]) -> int:
    from nedr.inference import weights

    failures = []
    for name in names or list(weights.available()) or [weights.DEFAULT]:
        try:
            file = weights.verify(name)
        except NedrError as error:
            failures.append(error)
            telling.complain(str(error))
        else:
            print(f"{name}  ok  {file}  sha256 {weights.available()[name].sha256}")
    return telling.status(failures)


def _weights_path(names: list[str]) -> int:
    from nedr.inference import weights

    for name in names or [weights.DEFAULT]:
        print(weights.path(name))
    return 0


WEIGHTS_ACTIONS = {"list": _weights_list, "verify": _weights_verify, "path": _weights_path}
WEIGHTS_HELP = ("list: what ships", "verify: check the files' sha256", "path: where the file is")

VERBS = {
    "info": Verb("print a photograph's airlight, haze density, mean transmission and size", _info_arguments, _info),
    "weights": Verb("list, verify or locate the weights that ship", _weights_arguments, _weights),
}
