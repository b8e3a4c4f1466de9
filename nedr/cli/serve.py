"""`nedr serve`: the page and the HTTP interface; `nedr web-app`: the page alone, which needs neither."""

import argparse
import os
from pathlib import Path

from nedr.cli import telling, words
from nedr.cli.verb import Verb


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this computer only)")
    parser.add_argument("--port", type=words.whole_number(0, 65535), default=8000, help="0 picks a free one (8000)")
    parser.add_argument("--token", help="what callers must send as `Authorization: Bearer TOKEN` (NEDR_TOKEN)")
    parser.add_argument(
        "--allow-origin", metavar="ORIGIN", action="append", default=[], help="whose pages may call it; repeat for more"
    )
    parser.add_argument(
        "--allow-host",
        metavar="NAME",
        action="append",
        default=[],
        help="another name of the server, as behind a proxy",
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")
    parser.add_argument("--no-jobs", action="store_true", help="no videos and no batches in the background")
    parser.add_argument("--max-megabytes", type=words.count, default=64, help="of one upload (64)")
    parser.add_argument("--max-megapixels", type=words.count, default=50, help="of one picture (50)")
    parser.add_argument("--workers", type=words.count, help="pictures worked on at once (one per core)")
    parser.add_argument("--queue", type=words.count, default=32, help="pictures that may wait (32)")
    parser.add_argument("--seconds", type=words.count, default=60, help="for one picture at most (60)")
    parser.add_argument("--weights", metavar="NAME|FILE", help="of `nedr weights list`, or an .onnx file (base)")


def _serve(arguments: argparse.Namespace) -> int:
    with telling.needs("nedr serve", "web"):
        from nedr.inference.dehazer import cores
        from nedr.web.limits import Limits
        from nedr.web.server import serve
    limits = Limits(
        body=arguments.max_megabytes * 1_000_000,
        pixels=arguments.max_megapixels * 1_000_000,
        workers=arguments.workers or cores(),
        queue=arguments.queue,
        seconds=arguments.seconds,
        jobs=0 if arguments.no_jobs else 1,
    )
    token = arguments.token or os.environ.get("NEDR_TOKEN") or None
    serve(
        host=arguments.host,
        port=arguments.port,
        token=token,
        limits=limits,
        origins=arguments.allow_origin,
        hosts=arguments.allow_host,
        open_browser=arguments.open,
        weights=arguments.weights,
    )
    return 0


def _app_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go: new, empty, or an earlier site")
    parser.add_argument(
        "--runtime",
        type=Path,
        metavar="FOLDER|FILE",
        help="the npm package onnxruntime-web, unpacked or as a .tgz (by default it is fetched once, 33 MB, and kept)",
    )
    parser.add_argument("--weights", metavar="NAME|FILE", help="of `nedr weights list`, or an .onnx file (base)")


def _app(arguments: argparse.Namespace) -> int:
    from nedr.web import site

    size = site.write(arguments.folder, source=arguments.runtime, weights=arguments.weights)
    print(f"{arguments.folder} ({size / 1e6:.1f} MB): any web server can hand it out, as in")
    print(f"    python -m http.server --directory {arguments.folder}")
    return 0


VERBS = {
    "serve": Verb("a page and an HTTP interface on this computer", _serve_arguments, _serve),
    "web-app": Verb("the page as static files: the browser itself dehazes, offline too", _app_arguments, _app),
}
