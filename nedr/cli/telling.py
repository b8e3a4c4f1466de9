"""What every verb does about failures: one line for each, and the exit status that follows."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nedr.errors import MissingExtraError, NedrError, UsageError, missing_extra


def each(
    photos: Iterable[str],
    work: Callable[[str], dict[str, Any]],
    told: Callable[[str, dict[str, Any]], str],
    as_json: bool,
) -> int:
    """Do the work on every photograph, whatever becomes of the others; returns the exit status."""
    done, failures = 0, []
    for photo in photos:
        try:
            found = work(photo)
        except (NedrError, MemoryError) as error:
            failures.append(error)
            text = failure(photo, error)
            complain(text)
            found = {"error": text}
        else:
            done += 1
            for note in found.get("notes", ()):
                complain(f"{photo}: {note}")
        if as_json or "error" not in found:
            print(json.dumps({"photo": photo} | found) if as_json else told(photo, found), flush=True)
    return 1 if failures and done else status(failures)


def failure(photo: str, error: NedrError | MemoryError) -> str:
    """What went wrong with a photograph, by name."""
    text = str(error) if isinstance(error, NedrError) else "needs more memory than there is"
    return text if photo in text else f"{photo}: {text}"


def complain(text: str) -> None:
    """One line on stderr."""
    print("nedr:", " ".join(text.splitlines()), file=sys.stderr, flush=True)


def status(failures: Sequence[BaseException]) -> int:
    """0 without failures, 2 when the call was wrong each time, else 1."""
    if not failures:
        return 0
    return 2 if all(isinstance(error, UsageError) for error in failures) else 1


@contextmanager
def needs(feature: str, extra: str) -> Iterator[None]:
    """Say which extra brings a package that turns out to be missing."""
    try:
        yield
    except MissingExtraError:
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "nedr":
            raise
        raise missing_extra(f"{feature} (found no {error.name})" if error.name else feature, extra) from error
