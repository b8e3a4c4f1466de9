"""Hostile pictures and videos, dehazed on this computer or sent to a server: outcomes, slowest, memory.

    python benchmarks/fuzz.py --files 20000 [--seed 0]
    python benchmarks/fuzz.py --videos 2000 [--seed 0]
    python benchmarks/fuzz.py [--bodies 5000] [--seed 0]

Files and videos: each is processed as by `nedr FILE`, with a classical prior in place of the network. It ends with
status 1 after an exception that is not nedr's own, an unreadable result, a file left over, a file that takes ten
seconds of processor time or hangs (all threads are then printed), or more than 32 MB of growth over the second half.
malloc's pools fill over the first 500 videos, so fewer than 1,000 say nothing about memory.

Bodies: every fourth is sent as a form, every tenth in a request that HTTP does not allow; only such a connection may be
closed without an answer (0). It ends with status 1 after a status of 500 or above, a connection that ends without an
answer or takes ten seconds, or more than 64 MB of growth after the first tenth.
"""

import argparse
import faulthandler
import http.client
import os
import socket
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import local

import av
from serving import Server

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import hostile

from nedr.album import one
from nedr.errors import MissingExtraError, NedrError
from nedr.inference.dehazer import Dehazer
from nedr.pictures import animation, images
from nedr.pictures.job import Job
from nedr.video import pipeline

CALLS = ("/v1/field", "/v1/pictures", "/v1/field?format=png", "/v1/dehaze", "/v1/dehaze?map=depth")
FORMATS = ("jpeg", "png", "tiff", "webp", "avif", "bmp", "ppm")
GROWTH = 64e6
GROWTH_OF_HALF = 32e6  # over the second half, of files and videos
PATIENCE = 10.0
HANG = 300.0  # seconds by the clock on one file, however busy the computer
NO_ANSWER = 599
held = local()


def main() -> None:
    """Dehaze the files or send the bodies, and exit with 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=5000)
    parser.add_argument("--files", type=int, help="dehaze this many files instead, without a server")
    parser.add_argument("--videos", type=int, help="the same for videos")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count = options.files or options.videos or options.bodies
    numbers = range(options.seed, options.seed + count)
    if options.files or options.videos:
        sys.exit(of_files(numbers, film if options.videos else photograph))
    sys.exit(of_server(numbers))


def of_files(numbers: range, attempt: Callable[[Path, int, Dehazer], Path]) -> bool:
    """Dehaze the files, print the outcomes; return whether anything went wrong."""
    outcomes, slowest, before = Counter[str](), (0.0, 0), 0
    dehazer = Dehazer(method="dcp", threads=1)
    warnings.filterwarnings("ignore", module="PIL")
    with TemporaryDirectory() as folder:
        for place, number in enumerate(numbers):
            faulthandler.dump_traceback_later(HANG, exit=True)
            start = time.process_time()
            outcomes[dehazed(attempt, Path(folder), number, dehazer)] += 1
            slowest = max(slowest, (time.process_time() - start, number))
            if place == len(numbers) // 2:
                before = memory()
        faulthandler.cancel_dump_traceback_later()
    growth = memory() - before
    print(f"{len(numbers)} files: {', '.join(f'{n} {outcome}' for outcome, n in sorted(outcomes.items()))}")
    print(
        f"slowest {slowest[0]:.2f} s (file {slowest[1]}); memory {before / 1e6:.0f} MB, growth {growth / 1e6:+.0f} MB"
    )
    return bool(outcomes["wrong"]) or slowest[0] > PATIENCE or growth > GROWTH_OF_HALF


def photograph(folder: Path, number: int, dehazer: Dehazer) -> Path:
    """Dehaze a hostile picture, and read the result."""
    photo, result = folder / "photo.jpg", folder / "result.jpg"
    photo.write_bytes(hostile.body(number))
    one.dehaze_file(Job(photo, result), dehazer)
    with suppress(MissingExtraError):
        if animation.read(result.read_bytes()) is None:
            images.read(result)
    return result


def film(folder: Path, number: int, dehazer: Dehazer) -> Path:
    """Dehaze a hostile video, and read the result."""
    clip, result = folder / "clip.mp4", folder / "result.mkv"
    clip.write_bytes(hostile.video(number))
    pipeline.dehaze(Job(clip, result), dehazer)
    with av.open(str(result)) as container:
        assert list(container.decode(video=0)), "no frame in the result"
    return result


def dehazed(attempt: Callable[[Path, int, Dehazer], Path], folder: Path, number: int, dehazer: Dehazer) -> str:
    """The outcome of a hostile file: "dehazed", "refused" with a one-line message, or "wrong", which is printed."""
    result, outcome = None, "dehazed"
    try:
        result = attempt(folder, number, dehazer)
    except NedrError as error:
        outcome = "refused" if "\n" not in str(error) else f"file {number}: {error!r}"
    except Exception as error:
        outcome = f"file {number}: {error!r}"
    left = {path for path in folder.iterdir() if path.stem not in ("photo", "clip")} - {result}
    if left:
        outcome = f"file {number}: {left} left over"
    for path in folder.iterdir():
        path.unlink()
    if outcome not in ("dehazed", "refused"):
        print(outcome, flush=True)
        return "wrong"
    return outcome


def memory() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def of_server(numbers: range) -> bool:
    """Send the bodies, print the answers; return whether the server did anything wrong."""
    tenth = len(numbers) // 10
    with Server("--max-megapixels", "4", "--max-megabytes", "2") as server:
        answers = list(posted(server, numbers[:tenth]))
        before = server.memory()
        answers += posted(server, numbers[tenth:])
        growth, peak = server.memory() - before, server.peak()
    statuses = Counter(status for status, _ in answers)
    slowest = max(seconds for _, seconds in answers)
    print(f"{len(answers)} bodies; answers: {', '.join(f'{n} x {status}' for status, n in sorted(statuses.items()))}")
    print(f"slowest {slowest:.2f} s; memory {before / 1e6:.0f} MB after a tenth, growth {growth / 1e6:+.0f} MB")
    print(f"peak {peak / 1e6:.0f} MB")
    return any(status >= 500 for status in statuses) or slowest > PATIENCE or growth > GROWTH


def posted(server: Server, numbers: range) -> Iterator[tuple[int, float]]:
    """Status and seconds of each body, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(lambda number: timed(server.port, number), numbers)


def timed(port: int, number: int) -> tuple[int, float]:
    """Send one body; the connection is kept for this thread's next one."""
    if number % 10 == 9:
        return raw(port, hostile.request(number))
    kind, data = hostile.form(number) if number % 4 == 0 else ("application/octet-stream", hostile.body(number))
    call = (*CALLS, f"/v1/dehaze?format={FORMATS[number % len(FORMATS)]}")[number % (len(CALLS) + 1)]
    start = time.perf_counter()
    status = answered(port, call, kind, data)
    if status >= 500:
        print(f"status {status} for body {number} on {call}")
    return status, time.perf_counter() - start


def raw(port: int, data: bytes) -> tuple[int, float]:
    """Send only these bytes; return the status, 0 if the server just closes the connection."""
    start, answer = time.perf_counter(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        with suppress(OSError):  # refused before all was sent
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        try:
            answer = connection.recv(16)
        except TimeoutError:
            return NO_ANSWER, time.perf_counter() - start
        except ConnectionError:
            pass
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else 0, time.perf_counter() - start


def answered(port: int, call: str, kind: str, data: bytes) -> int:
    """The answer's status, 599 if there is none; a refusal may close the connection, so there is one retry."""
    for fresh in (False, True):
        if fresh or not hasattr(held, "connection"):
            held.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            held.connection.request("POST", call, data, {"Content-Type": kind})
            answer = held.connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            held.connection.close()
            if fresh:
                print(f"{call}: {error!r}")
        else:
            return answer.status
    return NO_ANSWER


if __name__ == "__main__":
    main()
