"""A server under load on this computer, compared with the library without HTTP in the same run.

    python benchmarks/load.py [--requests 200] [--concurrency 16] [--workers 2]

Pictures of 1 megapixel. The library and the server take turns, so other jobs disturb both alike; the ratios are
medians over the turns. Ends with status 1 if an answer is lost or differs from the library's, if the server is slower
than 0.9 of the library both by the clock and by processor seconds, if its memory exceeds the idle figure by 300 MB, or
if callers who hung up leave half of their work behind.
"""

import argparse
import http.client
import socket
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from bench import SIZES, machine, photograph
from PIL import Image
from serving import Server

from nedr.inference.dehazer import Dehazer

ROUNDS = 8
KEPT = 300e6
LEFT = 8


def main() -> None:
    """Run all three parts, print them, and exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{machine()}\n{options.requests} requests, {options.concurrency} at once, {options.workers} workers")
    dehazer = Dehazer(threads=1)
    files = [jpeg(k, *SIZES["1 MP"]) for k in range(8)]
    expected = [dehazer.dehaze(file) for file in files]
    with Server("--workers", str(options.workers), "--queue", "64") as server:
        settled(server)
        idle = server.memory()
        good = throughput(server, dehazer, files, expected, options)
        extra = server.peak() - idle
        print(f"memory: idle {idle / 1e6:.0f} MB, peak {extra / 1e6:+.0f} MB (goal +300)")
        good = good and extra < KEPT and hang_ups(server, jpeg(0, *SIZES["24 MP"]))
    sys.exit(not good)


def throughput(
    server: Server, dehazer: Dehazer, files: list[bytes], expected: list[bytes], options: argparse.Namespace
) -> bool:
    """Whether nothing is lost or wrong, and the server keeps up with the library by one of two measures."""
    clocks, processors, wrong = np.zeros((2, ROUNDS)), np.zeros((2, ROUNDS)), 0
    for turn, part in enumerate(np.array_split(np.arange(options.requests) % len(files), ROUNDS)):
        chosen = [int(k) for k in part]
        before = time.process_time()
        clocks[0, turn], _ = crowd(options.workers, lambda k: dehazer.dehaze(files[k]), chosen)
        processors[0, turn] = time.process_time() - before
        before = server.processor_time()
        clocks[1, turn], answers = crowd(options.concurrency, lambda k: asked(server.port, files[k]), chosen)
        processors[1, turn] = server.processor_time() - before
        wrong += sum(answer != expected[k] for k, answer in zip(chosen, answers, strict=True))
    for name, clock, processor in zip(("library", "server"), clocks.sum(1), processors.sum(1), strict=True):
        rate = options.requests / clock
        print(f"{name}: {rate:.2f} pictures/s, {1e3 * processor / options.requests:.0f} ms of processor each")
    ratios = [float(np.median(spent[0] / spent[1])) for spent in (clocks, processors)]
    print(f"server against library: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by processor seconds (goal 0.9)")
    print(f"lost or wrong: {wrong} of {options.requests}")
    return wrong == 0 and max(ratios) >= 0.9


def crowd(threads: int, work: Callable[[int], bytes], numbers: Sequence[int]) -> tuple[float, list[bytes]]:
    """Seconds for all of `numbers` on this many threads, and the results."""
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, numbers))
    return time.perf_counter() - start, results


def asked(port: int, file: bytes, call: str = "/v1/dehaze") -> bytes:
    """The answer's body, empty when the status is not 200 or the connection is lost."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST" if file else "GET", call, file or None)
        answer = connection.getresponse()
        body = answer.read()
        return body if answer.status == 200 else b""
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()


def hang_ups(server: Server, large: bytes) -> bool:
    """Whether a crowd of callers who send a large picture and hang up leaves no work behind."""
    start = server.processor_time()
    asked(server.port, large)
    one, start = server.processor_time() - start, server.processor_time()
    for _ in range(16):
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            head = b"POST /v1/dehaze HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
            caller.sendall(head % len(large) + large)
    since = time.perf_counter()
    settled(server)
    waited, spent = time.perf_counter() - since, server.processor_time() - start
    print(
        f"16 callers hung up on 24 megapixels: places free after {waited:.2f} s, {spent / one:.1f} pictures worked on"
    )
    return spent < LEFT * one


def settled(server: Server) -> None:
    """Wait until no picture is being processed or waiting, and the threads are idle."""
    rest = -1.0
    while b"nedr_pictures 0.0" not in asked(server.port, b"", "/metrics") or server.processor_time() - rest > 0.1:
        rest = server.processor_time()
        time.sleep(0.5)


def jpeg(shift: int, height: int, width: int) -> bytes:
    """A hazy photograph's file, different for each shift."""
    file = BytesIO()
    Image.fromarray(np.roll(photograph(height, width), 50 * shift, 1)).save(file, "JPEG", quality=92)
    return file.getvalue()


if __name__ == "__main__":
    main()
