"""nedr: removes haze from photographs with an implicit neural degradation representation.

    >>> import nedr
    >>> clear = nedr.dehaze(hazy)                    # path, bytes, PIL image, array or tensor: same type out
    >>> field = nedr.Dehazer().field(hazy)           # airlight, density, transmission at any resolution

Importing the package loads neither numpy nor onnxruntime: names are resolved at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nedr.album import ray as ray
    from nedr.errors import ImageError, NedrError
    from nedr.inference.dehazer import Dehazer, dehaze
    from nedr.inference.field import HazeField
    from nedr.inference.hazer import Hazer
    from nedr.raster.run import dehaze_raster
    from nedr.training import tensors as torch  # noqa: F401
    from nedr.video.temporal import VideoDehazer

__version__ = "0.2.0"

__all__ = [
    "Dehazer",
    "HazeField",
    "Hazer",
    "ImageError",
    "NedrError",
    "VideoDehazer",
    "__version__",
    "dehaze",
    "dehaze_raster",
]

_HOMES = {
    "Dehazer": "nedr.inference.dehazer",
    "dehaze": "nedr.inference.dehazer",
    "HazeField": "nedr.inference.field",
    "Hazer": "nedr.inference.hazer",
    "dehaze_raster": "nedr.raster.run",
    "ImageError": "nedr.errors",
    "NedrError": "nedr.errors",
    "VideoDehazer": "nedr.video.temporal",
}


def __dir__() -> list[str]:
    return sorted([*__all__, "ray", "torch"])


def __getattr__(name: str) -> Any:
    if name == "ray":  # modules that need Ray, or torch, so they are no part of `from nedr import *`
        return import_module("nedr.album.ray")
    if name == "torch":
        return import_module("nedr.training.tensors")
    if name not in _HOMES:
        raise AttributeError(f"module 'nedr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
