"""nedr: removes haze from photographs with an implicit neural degradation representation.

    >>> import nedr
    >>> clear = nedr.dehaze(hazy)                    # path, bytes, PIL image, array or tensor: same type out
    >>> field = nedr.Dehazer().field(hazy)           # airlight, density, transmission at any resolution

Importing the package loads neither numpy nor onnxruntime: names are resolved at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nedr.dehazer import Dehazer, dehaze
    from nedr.errors import ImageError, NedrError
    from nedr.field import HazeField
    from nedr.temporal import VideoDehazer

__version__ = "0.1.0"

__all__ = ["Dehazer", "HazeField", "Hazer", "ImageError", "NedrError", "VideoDehazer", "__version__", "dehaze"]

_HOMES = {
    "Dehazer": "nedr.dehazer",
    "dehaze": "nedr.dehazer",
    "HazeField": "nedr.field",
    "Hazer": "nedr.hazer",
    "ImageError": "nedr.errors",
    "NedrError": "nedr.errors",
    "VideoDehazer": "nedr.temporal",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nedr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
