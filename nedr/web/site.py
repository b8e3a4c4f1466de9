"""The page without a server: a folder of static files with which the browser itself does the work.

The page is that of `nedr serve`, file for file, except for `server.js`: `offline/` replaces it with one that answers
the same requests itself. The constants that the computation needs are written into it from the library's own.
"""

import gzip
import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nedr import __version__
from nedr.errors import UsageError
from nedr.inference import borders, colourmap, onnx, view
from nedr.inference.field import Rendering
from nedr.inference.weights import resolve
from nedr.pictures import atomic
from nedr.pictures.arrays import LUMA
from nedr.pictures.encoders import QUALITY
from nedr.web import runtime

STATIC, OFFLINE = (Path(__file__).parent / name for name in ("static", "offline"))
NETWORK = "network.ort"
HEAD = '<meta charset="utf-8">'
FIRST = '<script type="module" async src="engine.js"></script>'
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
CHANGES = {
    HEAD: f'{HEAD}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n{FIRST}',
    'href="data:,">': 'href="icon.svg">\n<link rel="manifest" href="manifest.webmanifest">\n'
    '<script type="module" src="install.js"></script>',
    'data-t="privacy"': 'data-t="privacyHere"',
    'data-t="dropHere"': 'data-t="dropPictures"',
    'accept="image/*,video/*,.heic,.heif,.tif,.tiff,.ppm,.pgm,.mkv"': 'accept="image/*"',
}
"""Changes to the served page's index.html."""


def write(folder: Path, *, source: Path | None = None, weights: str | Path | None = None) -> int:
    """Write the site into a folder that is new, empty or holds an earlier site; return its size in bytes.

    source: onnxruntime for browsers, see `nedr.web.runtime.files`;  weights: a name or a file, None for the bundled

    Raises UsageError if the folder holds something else or the weights are unknown, NedrError for a failed download.
    """
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or (folder / "sw.js").is_file())):
        raise UsageError(f"expected an empty folder or an earlier site, found {folder} with other contents")
    files = contents(runtime.files(source), resolve(weights))
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, data, overwrite=True)
    return sum(map(len, files.values()))


def contents(engine: dict[str, bytes], weights: Path) -> dict[str, bytes]:
    """Every file of the site, by its path; `sw.js`, which tells browsers of a new version, comes last."""
    files = {path: data for room in (STATIC, OFFLINE) for path, data in _below(room)}
    files["constants.js"] = _module(_constants(weights))
    files[NETWORK] = weights.read_bytes()
    files["index.html"] = _preloading(_changed(files["index.html"].decode()), files).encode()
    for name, data in engine.items():
        packed = name.endswith(".wasm")
        files[f"runtime/{name}{'.packed' if packed else ''}"] = gzip.compress(data, 6, mtime=0) if packed else data
    files["files.js"] = _listed(files)
    files[NETWORK] = _prepared(weights)  # after the list, as its bytes lie in another order each time
    return dict(sorted(files.items(), key=lambda item: item[0] == "sw.js"))


def _below(room: Path) -> list[tuple[str, bytes]]:
    return [(path.relative_to(room).as_posix(), path.read_bytes()) for path in sorted(room.rglob("*.*"))]


def _changed(page: str) -> str:
    """The served page's index.html, changed for the site. Raises ValueError if a change no longer fits."""
    for old, new in CHANGES.items():
        if page.count(old) != 1:
            raise ValueError(f"expected {old} once in index.html, found it {page.count(old)} times")
        page = page.replace(old, new)
    return page


def _preloading(page: str, files: dict[str, bytes]) -> str:
    """The page, asking at once for all modules that its scripts import: else each is asked for by the one before."""
    wanted = re.findall(r'<script type="module" src="([^"]+)"', page)
    for name in wanted:  # grows
        imports = re.findall(r'^import [^"]*"\./([^"]+)"', files[name].decode(), re.MULTILINE)
        wanted += [other for other in imports if other not in wanted]
    return page.replace(FIRST, "\n".join([FIRST, *(f'<link rel="modulepreload" href="{name}">' for name in wanted)]))


def _prepared(weights: Path) -> bytes:
    """The network in the runtime's own format, which a browser reads sooner: without what can be left out of a graph,
    but with the weights in half precision as they are."""
    engine = onnx.runtime()
    with tempfile.TemporaryDirectory() as folder:
        options = engine.SessionOptions()
        options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / NETWORK)
        options.add_session_config_entry("session.save_model_format", "ORT")
        engine.InferenceSession(
            str(weights), options, ["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )
        return (Path(folder) / NETWORK).read_bytes()


def _module(constants: dict[str, Any]) -> bytes:
    lines = [f"export const {name} = {json.dumps(value)};\n" for name, value in constants.items()]
    return "".join(["// From the library's constants, by nedr/web/site.py.\n", *lines]).encode()


def _constants(weights: Path) -> dict[str, Any]:
    network, rendering = onnx.Network(weights, threads=1), Rendering()
    size = {"long": network.view, "least": view.MIN_SIDE, "step": view.STEP}
    table = colourmap.colour(np.linspace(0, 1, 256)[None])[0]
    return {
        "MODEL": {
            "file": NETWORK,
            "stride": network.stride,
            "least": view.MIN_SIDE,
            "quality": QUALITY,
            "check": _answer(network),
        },
        "VIEW": size,
        "LUMA": LUMA,
        "RENDERING": {
            "radius": rendering.radius,
            "epsilon": rendering.epsilon,
            "floor": rendering.floor,
            "floorLimit": rendering.floor_limit,
            "noiseLimit": rendering.noise_limit,
            "colourVeil": rendering.colour_veil,
            "brighten": rendering.brighten,
        },
        "BORDERS": {
            "nested": borders.NESTED,
            "leastInside": borders.LEAST_INSIDE,
            "widest": borders.WIDEST,
            "pieces": borders.PIECES,
            "pixels": borders.PIXELS,
            "tolerance": borders.TOLERANCE,
            "even": borders.EVEN,
            "evenAlone": borders.EVEN_ALONE,
            "dark": borders.DARK,
            "straight": borders.STRAIGHT,
            "first": borders.FIRST,
            "seen": borders.SEEN,
            "outermost": borders.OUTERMOST,
            "whole": borders.WHOLE,
        },
        "COLOURS": table.tolist(),
    }


def _answer(network: onnx.Network) -> list[float]:
    """Mean transmission, airlight and density of a pattern that `network.js` also draws."""
    steps = np.arange(view.MIN_SIDE**2).reshape(view.MIN_SIDE, view.MIN_SIDE)
    pattern = np.stack([steps * (c + 3) % 251 / 250 for c in range(3)], axis=2).astype(np.float32)
    found = network(pattern, (8, 8))
    return [float(found.transmission.mean()), *map(float, found.airlight), found.density]


def _listed(files: dict[str, bytes]) -> bytes:
    """For the service worker: the files, those that only some browsers need, and a name that changes with any file."""
    digest = hashlib.sha256(b"".join(name.encode() + hashlib.sha256(data).digest() for name, data in files.items()))
    later = [name for name in files if name.startswith("runtime/webgpu")]
    once = ["./", *(name for name in files if name not in (*later, "sw.js"))]
    version = f"nedr-{__version__}-{digest.hexdigest()[:16]}"
    known = {"VERSION": version, "FILES": once, "LATER": later}
    return "".join(f"const {name} = {json.dumps(value)};\n" for name, value in known.items()).encode()
