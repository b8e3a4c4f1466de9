"""How long an honest caller waits next to hostile ones.

    python benchmarks/callers.py [--seconds 20] [ATTACK ...]

Each attack, or each one named, comes from 127.0.0.1 for this many seconds, while a caller at 127.0.0.2 keeps sending a
picture of 1 megapixel; the table has its 50th and 95th percentile, its failures, and the longest time that /healthz
took. Ends with status 1 if a 95th percentile is above 2 s or an honest request fails.
"""

import argparse
import contextlib
import http.client
import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import SIZES, machine
from load import jpeg
from serving import Server

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import hostile

GOAL = 2.0
HEAD = b"POST /v1/dehaze%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
Attack = Callable[[int, threading.Event], None]


def main() -> None:
    """Run all attacks, print the table, and exit with 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", default=list(ATTACKS), help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    print(f"{machine()}\n| caller next to | p50 s | p95 s | asked | failed | /healthz at most s |\n|" + "---|" * 6)
    good = [beside(name, ATTACKS[name], options.seconds) for name in options.attacks]
    sys.exit(not all(good))


def beside(name: str, attack: Attack | None, seconds: float) -> bool:
    """Print one row of the table, and return whether it meets the goal."""
    with Server() as server:
        asked(server.port, jpeg(0, *SIZES["1 MP"]))  # the first one waits for the weights
        stop, health = threading.Event(), [0.0]
        threads = [threading.Thread(target=attack, args=(server.port, stop)) for _ in range(4 if attack else 0)]
        threads.append(threading.Thread(target=watched, args=(server.port, stop, health)))
        for thread in threads:
            thread.start()
        times, failed = honest(server.port, seconds)
        stop.set()
        for thread in threads:
            thread.join()
    middle, late = statistics.median(times), sorted(times)[int(0.95 * len(times))]
    print(f"| {name} | {middle:.2f} | {late:.2f} | {len(times)} | {failed} | {health[0]:.2f} |", flush=True)
    return late < GOAL and not failed


def honest(port: int, seconds: float) -> tuple[list[float], int]:
    """Seconds that each request of an honest caller took, and how many failed."""
    file, times, failed, end = jpeg(0, *SIZES["1 MP"]), [], 0, time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 5:
        start = time.monotonic()
        failed += asked(port, file, address="127.0.0.2") != 200
        times.append(time.monotonic() - start)
        time.sleep(0.2)
    return times, failed


def watched(port: int, stop: threading.Event, health: list[float]) -> None:
    """Ask for the server's health until stopped, and keep the longest wait."""
    while not stop.wait(0.2):
        start = time.monotonic()
        if asked(port, b"", "/healthz", address="127.0.0.3") != 200:
            health[0] = float("inf")
        health[0] = max(health[0], time.monotonic() - start)


def asked(port: int, file: bytes, call: str = "/v1/dehaze", address: str = "127.0.0.1", **headers: str) -> int:
    """The status of one request, 0 if the connection is lost."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120, source_address=(address, 0))
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("POST" if file else "GET", call, file or None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    return 0


@contextlib.contextmanager
def crowd(port: int, words: bytes, count: int) -> Iterator[list[socket.socket]]:
    """Open connections that have sent some bytes."""
    with contextlib.ExitStack() as stack:
        callers = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                callers.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)))
                callers[-1].sendall(words)
        yield callers


def trickling(words: bytes, drop: bytes, count: int = 75) -> Attack:
    """Connections that send some bytes and then a few more every half second; those cut off reconnect."""

    def attack(port: int, stop: threading.Event) -> None:
        while not stop.is_set():
            with crowd(port, words, count) as callers:
                for _ in range(6):
                    if stop.wait(0.5):
                        return
                    for caller in callers:
                        with contextlib.suppress(OSError):
                            caller.sendall(drop)

    return attack


def repeating(call: str, bodies: Callable[[int], bytes], **headers: str) -> Attack:
    """Whole requests, one after the other."""

    def attack(port: int, stop: threading.Event) -> None:
        number = random.randrange(1000)
        while not stop.is_set():
            number += 1
            asked(port, bodies(number), call, **headers)

    return attack


def _large() -> bytes:
    if not _KEPT:
        _KEPT.append(jpeg(0, *SIZES["24 MP"]))
    return _KEPT[0]


_KEPT: list[bytes] = []
ATTACKS: dict[str, Attack | None] = {
    "nobody": None,
    "endless headers": trickling(b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "endless bodies": trickling(HEAD % (b"", 1_000_000) + b"\r\n" + bytes(100), b"x"),
    "silence": trickling(b"", b""),
    "a rebound name": repeating("/v1/dehaze", lambda _: _large(), Host="evil.example"),
    "a foreign page": repeating("/v1/dehaze", lambda _: _large(), Origin="https://evil.example"),
    "24 megapixels as AVIF": repeating("/v1/dehaze?format=avif", lambda _: _large()),
    "bombs and broken files": repeating("/v1/dehaze", hostile.body),
}


if __name__ == "__main__":
    main()
