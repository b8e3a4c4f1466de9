"""Photographs by the million: a Ray Data pipeline over any storage that fsspec reaches (needs the extra [ray]).

>>> ds = nedr.ray.photographs("s3://trip/raw")
>>> rows = nedr.ray.dehaze_files(ds, "s3://trip/clear", root="s3://trip/raw")
>>> rows.write_parquet("s3://trip/report")        # now the work is done
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from nedr.album import journal
from nedr.album import one as batch
from nedr.album import run as album
from nedr.album.journal import Record
from nedr.album.one import Haze
from nedr.album.run import Options
from nedr.album.sources import is_hidden
from nedr.errors import ImageError, NedrError, UsageError, missing_extra
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import check_strength
from nedr.inference.weights import resolve, sha256
from nedr.pictures import images
from nedr.pictures.job import Job

try:
    import ray
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem
except ImportError as _error:
    raise missing_extra("nedr.ray", "ray") from _error

if TYPE_CHECKING:
    from ray.data import Dataset

T = TypeVar("T")

COLUMNS = ("path", "result", "outcome", "density", "transmission", "seconds", "error")
"""Of the rows that `dehaze_files` gives; what does not apply is empty or NaN."""

_STAMPS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "created")


PAUSES = (0.5, 2.0, 8.0)
"""Seconds after which a storage that failed is asked again."""

_ANSWERS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def patiently(call: Callable[..., T], *words: Any, **options: Any) -> T:
    """What a call to a storage gives; one that fails now and then is asked again, after each of PAUSES.

    Raises OSError when it goes on failing, and at once where that is the answer, such as FileNotFoundError.
    """
    for pause in PAUSES:
        try:
            return call(*words, **options)
        except _ANSWERS:
            raise
        except OSError:
            time.sleep(pause)
    return call(*words, **options)


def photographs(root: str) -> "Dataset":
    """A dataset with the column `path`: every photograph below a folder, by its suffix; hidden names are left out.

    Raises UsageError where there is none.
    """
    fs, top = url_to_fs(root)
    found = [path for path in sorted(fs.find(top)) if _is_photograph(path.removeprefix(top))]
    if not found:
        raise UsageError(f"no photographs in {root}; expected a folder of them, as any URL that fsspec knows")
    return ray.data.from_items([{"path": fs.unstrip_protocol(path)} for path in found])


def dehaze_files(
    ds: "Dataset",
    output: str,
    *,
    root: str,
    strength: float = 1.0,
    quality: int | None = None,
    weights: str | None = None,
    method: str = "nedr",
    overwrite: bool = False,
    actors: int | tuple[int, int] = 2,
    cpus: int = 1,
    batch_size: int = 64,
) -> "Dataset":
    """The photographs of a dataset without their haze, as files below `output`; a row for each, with COLUMNS.

    Nothing is done before the rows are asked for. A photograph that fails is a row with its error. Photographs that
    the manifest in `output` says are finished, with the same contents and settings, become rows "skipped", so calling
    this again carries on where a run ended, however it did. The manifest is that of `nedr FOLDER -o OUTPUT`.

    ds: with the column `path`, of any location fsspec knows, all below `root`; `photographs` makes such a dataset
    output: a folder; results lie there as their photographs below `root`, HEIF as NAME.heic.jpg, raw as NAME.dng.tif
    strength, quality, weights, method, overwrite: as for `nedr.album.one.dehaze_file` and `nedr.Dehazer`; weights must
        be a name, or a file that every machine has
    actors: how many Dehazers, or the fewest and the most;  cpus: of each;  batch_size: photographs that share a line of
        the manifest's bookkeeping: a run that is killed does at most those of each actor again

    Raises UsageError for invalid options.
    """
    check_strength(strength)
    network = sha256(resolve(weights)) if method == "nedr" else method
    fewest, most = actors if isinstance(actors, tuple) else (actors, actors)
    plan = _Plan(
        _url(root), _url(output), Options(strength, quality, overwrite, network=network), weights, method, cpus
    )
    return ds.map_batches(
        _Actor,
        fn_constructor_kwargs={"plan": plan, "known": ray.put(_known(output))},
        compute=ray.data.ActorPoolStrategy(min_size=fewest, max_size=most),
        num_cpus=cpus,
        batch_size=batch_size,
        batch_format="numpy",
    )


@dataclass(frozen=True)
class _Plan:
    """The settings of every actor; root and output are complete URLs without a trailing slash."""

    root: str
    output: str
    options: Options
    weights: str | None
    method: Any
    cpus: int

    def job(self, path: str) -> Job:
        """The job of a photograph: its URL, and the result's path relative to the output."""
        if not path.startswith(f"{self.root}/"):
            raise UsageError(f"{path} does not lie below {self.root}")
        result = PurePosixPath(path.removeprefix(f"{self.root}/"))
        suffix, kind = images.result_for(result.suffix)
        name = f"{result.name}{suffix}" if kind else result.name
        return Job(Path(path), Path(result.with_name(name)), kind)


@dataclass(frozen=True)
class _Done:
    """A row, and what the manifest is to say about it, if anything."""

    row: dict[str, Any]
    record: Record | None = None


class _Actor:
    """One Dehazer; it reads, clears and writes two photographs at once, so that the storage is not waited for."""

    def __init__(self, plan: _Plan, known: Any) -> None:
        self._plan = plan
        self._known: Mapping[bytes, bytes] = ray.get(known)
        self._fs, self._top = url_to_fs(plan.output)
        self._dehazer = Dehazer(plan.weights, method=plan.method, threads=plan.cpus)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        paths = [str(path) for path in batch["path"]]
        done = list(album.at_once(self._attempt, paths, 2))
        self._note([each.record for each in done if each.record])
        return {column: [each.row[column] for each in done] for column in COLUMNS}

    def _attempt(self, path: str) -> _Done:
        started = time.perf_counter()
        row = dict.fromkeys(COLUMNS, "") | {"path": path, "density": float("nan"), "transmission": float("nan")}
        try:
            outcome, result, record, haze = self._do(_url(path))
        except (NedrError, OSError, MemoryError) as error:
            row |= {"outcome": "failed", "error": str(error) or type(error).__name__}
            record = None
        except Exception as error:  # one file must not end a million
            row |= {"outcome": "failed", "error": album.fault(error)}
            record = None
        else:
            row |= {"outcome": outcome, "result": f"{self._plan.output}/{result}"}
            row |= {"density": haze.density, "transmission": haze.transmission} if haze else {}
        return _Done(row | {"seconds": time.perf_counter() - started}, record)

    def _do(self, path: str) -> tuple[str, str, Record | None, Haze | None]:
        job, options = self._plan.job(path), self._plan.options
        fs, source = url_to_fs(path)
        name, target = job.result.as_posix(), f"{self._top}/{job.result.as_posix()}"
        size, stamp = _stamp(fs, source)
        settings, known = options.settings(job), self._known.get(_key(name))
        exists = patiently(self._fs.exists, target)
        if exists and known == _key(settings, size, stamp):
            return "skipped", name, None, None
        data = patiently(fs.cat_file, source)
        strength, quality = options.strength, options.quality
        files, haze = batch.render(job, data, self._dehazer, strength=strength, quality=quality, name=path)
        made = files[job.result]
        if exists and known is None and not options.overwrite and patiently(self._fs.cat_file, target) != made:
            raise UsageError(f"{self._plan.output}/{name} exists and is left as it is; overwrite=True replaces it")
        self._write(target, made)
        contents, files_made = journal.digest(data), {name: journal.digest(made)}
        return "done", name, Record(name, path, size, stamp, contents, settings, files_made, asdict(haze)), haze

    def _write(self, target: str, data: bytes) -> None:
        if isinstance(self._fs, LocalFileSystem):
            batch.write(Path(target), data, overwrite=True)
        else:  # object stores show a file whole or not at all
            patiently(self._fs.makedirs, target.rpartition("/")[0], exist_ok=True)
            patiently(self._fs.pipe_file, target, data)

    def _note(self, records: list[Record]) -> None:
        if not records:
            return
        text = "".join(journal.line(record) + self._written(record) for record in records)
        self._write(f"{self._top}/{journal.FOLDER}/ray-{uuid.uuid4().hex}.jsonl", text.encode())

    def _written(self, record: Record) -> str:
        files = {name: _stamp(self._fs, f"{self._top}/{name}") for name in record.files}
        return journal.written_line(record, files)


def _known(output: str) -> dict[bytes, bytes]:
    """Of every photograph that the journals say was written: key of its result -> key of what it was made of."""
    fs, top = url_to_fs(output)
    folder = f"{top}/{journal.FOLDER}"
    paths = fs.find(folder) if fs.exists(folder) else []
    entries = [entry for path in paths for entry in _entries(fs, path)]
    newest = sorted((record for record, written in entries if written is not None), key=lambda record: record.at)
    return {_key(record.result): _key(record.settings, record.size, record.stamp) for record in newest}


def _entries(fs: Any, path: str) -> list[journal.Written]:
    """What a file beside the results knows of them."""
    if path.endswith(".jsonl"):
        return list(journal.read_lines(fs.cat_file(path).decode("utf-8", "replace")))
    if not path.endswith(f"/{journal.DATABASE}"):
        return []
    with TemporaryDirectory() as copied:
        copy = Path(copied) / journal.FOLDER / journal.DATABASE
        copy.parent.mkdir()
        fs.get_file(path, str(copy))
        with journal.open_album(Path(copied), writing=False) as known:
            return known.records()


def _key(*parts: Any) -> bytes:
    """Sixteen bytes for a text of any length: a million photographs must fit an actor's memory."""
    return hashlib.blake2b("\n".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stamp(fs: Any, path: str) -> tuple[int, str]:
    """Size in bytes and what tells versions apart. Raises ImageError where there is no file."""
    try:
        if isinstance(fs, LocalFileSystem):
            return journal.stamp(Path(path))
        info = patiently(fs.info, path)
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; expected a picture file") from None
    return info["size"], str(next((info[name] for name in _STAMPS if info.get(name)), ""))


def _url(path: str) -> str:
    """One text for a location: with its protocol, without a slash at the end."""
    fs, plain = url_to_fs(path)
    return str(fs.unstrip_protocol(plain)).rstrip("/")


def _is_photograph(path: str) -> bool:
    parts = PurePosixPath(path.lstrip("/"))
    return parts.suffix.lower() in images.SUFFIXES and not any(map(is_hidden, parts.parts))
