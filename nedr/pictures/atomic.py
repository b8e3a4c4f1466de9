"""Files that are there whole or not at all."""

import hashlib
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nedr.errors import NedrError, UsageError

PARTS = ".nedr-*.part"
"""What files are called that are not finished yet."""


def write(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = False) -> None:
    """Write a whole file or nothing: nobody sees a part of it, and what was there is never lost by accident.

    Args:
        path: the file; its folder must exist.
        data: the contents.
        overwrite: replace an existing file (behind a link, the file it points to; permissions stay). Without it an
            existing file stays as it is, even one made in the meantime.

    Raises:
        UsageError: the file exists, or is a folder, or its folder does not exist or may not be written.
        NedrError: the disk is full or failed.
    """
    with part(path, overwrite=overwrite) as file:
        _fill(file, data)


@contextmanager
def part(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A name in the folder of `path` for a file yet to be made, which becomes `path` at the end, if all goes well.

    The arguments and errors are those of `write`. Whatever happens inside, nothing else stays behind.
    """
    with _explained(path):
        target = Path(os.path.realpath(path)) if overwrite else Path(path)
        if target.is_dir():
            raise UsageError(f"{path} is a folder; expected a file name to write")
        if not overwrite and os.path.lexists(target):
            raise FileExistsError
        file = target.with_name(f".nedr-{_machine()}-{os.getpid()}-{secrets.token_hex(6)}.part")
        try:
            yield file
            _keep(file)
            if overwrite and target.exists():
                shutil.copymode(target, file)
            _publish(file, target, overwrite)
        finally:
            with suppress(OSError):
                file.unlink(missing_ok=True)
        _sync_folder(target.parent)


def refuse_existing(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Raises UsageError if one of the paths exists and may not be replaced; for use before work whose end is far."""
    for path in paths:
        if not overwrite and os.path.lexists(path):
            raise UsageError(f"{path} exists and is left as it is; --overwrite replaces it")


def is_abandoned(part: Path) -> bool:
    """Whether nobody is at work any more on a file called as in PARTS: its process is gone, or it is a day old."""
    try:
        if time.time() - part.stat().st_mtime > 86400:
            return True
    except OSError:
        return False
    _, machine, process, *_ = f"{part.stem}---".split("-")
    return machine == _machine() and process.isdecimal() and not _is_alive(int(process))


def _machine() -> str:
    """Eight letters for this machine, the same in all its processes."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":  # asking there would end it; what is open there cannot be removed anyway
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _explained(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except NedrError:
        raise
    except FileExistsError:
        raise UsageError(f"{path} exists and is left as it is; choose another name or allow overwriting") from None
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: its folder does not exist; make it first") from None
    except PermissionError as error:
        raise UsageError(f"{path} may not be written ({error.strerror}); choose another folder") from error
    except (OSError, ValueError) as error:
        raise NedrError(f"{path} could not be written: {getattr(error, 'strerror', None) or error}") from error


def _fill(file: Path, data: bytes) -> None:
    with file.open("xb") as opened:
        opened.write(data)


def _keep(file: Path) -> None:
    """Have the file's contents on the disk before its name."""
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def _publish(part: Path, target: Path, overwrite: bool) -> None:
    """Give the finished file its name in one step."""
    if overwrite:
        part.replace(target)
        return
    try:
        os.link(part, target)  # fails if the name is taken, which a rename does not
    except FileExistsError:
        raise
    except OSError:  # FAT and some network folders know no links: take the name with an empty file, then replace that
        target.open("xb").close()
        try:
            part.replace(target)
        except OSError:
            target.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where folders can be synchronised (not on Windows)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
