"""onnxruntime for browsers: one release of the npm package onnxruntime-web, downloaded once, verified and cached."""

import hashlib
import os
import sys
import tarfile
import urllib.request
from io import BytesIO
from pathlib import Path

from nedr.errors import NedrError, UsageError
from nedr.pictures import atomic

RELEASE = "onnxruntime-web-1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/{RELEASE}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = {
    "wasm.js": "dist/ort.wasm.bundle.min.mjs",
    "wasm.wasm": "dist/ort-wasm-simd-threaded.wasm",
    "webgpu.js": "dist/ort.webgpu.bundle.min.mjs",
    "webgpu.wasm": "dist/ort-wasm-simd-threaded.asyncify.wasm",
}
"""The files that the page needs, by its names: script and machine code, for the processor and for WebGPU."""
SECONDS = 60


def files(source: Path | None = None) -> dict[str, bytes]:
    """The files of FILES, by name.

    source: the npm package, as a folder or as npm packs it (.tgz); None for the cached release, or a download

    Raises UsageError if there is no such source, NedrError for one that lacks a file, for a network failure and for a
    download with the wrong hash.
    """
    if source is None:
        return _unpacked(fetched().read_bytes(), URL)
    if source.is_file():
        return _unpacked(source.read_bytes(), str(source))
    if not source.is_dir():
        raise UsageError(f"no package onnxruntime-web at {source}; expected its folder, or what `npm pack` makes")
    return {name: _read(source, path) for name, path in FILES.items()}


def kept() -> Path:
    """Where the release is kept after the download: in the user's cache folder."""
    windows, linux = os.environ.get("LOCALAPPDATA"), os.environ.get("XDG_CACHE_HOME")
    caches = Path(windows or linux or (Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")))
    return caches / "nedr" / f"{RELEASE}.tgz"


def fetched() -> Path:
    """The release's file, from the cache or the npm registry. Raises NedrError."""
    path = kept()
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    data = _downloaded()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise NedrError(f"{URL} is not what it should be: expected sha256 {SHA256}, found {found}; try again")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, data, overwrite=True)
    return path


def _downloaded() -> bytes:
    try:
        with urllib.request.urlopen(URL, timeout=SECONDS) as answer:
            data: bytes = answer.read()
    except OSError as error:
        raise NedrError(
            f"{URL} cannot be downloaded ({error}); get it where there is a network and pass it with --runtime FILE"
        ) from error
    return data


def _unpacked(data: bytes, name: str) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=BytesIO(data)) as archive:
            held = {path: archive.extractfile(f"package/{path}") for path in FILES.values()}
            return {name: file.read() for name, path in FILES.items() if (file := held[path])}
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise NedrError(f"{name} is not the onnxruntime-web package: {error}") from error


def _read(folder: Path, path: str) -> bytes:
    try:
        return (folder / path).read_bytes()
    except OSError as error:
        raise NedrError(
            f"{folder} lacks {path}: expected the unpacked npm package onnxruntime-web ({error})"
        ) from error
