"""What one server accepts, and the gate that holds work to it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from nedr.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """The most that is accepted: bytes of a body, pixels of a picture, pictures at work and waiting, seconds each."""

    body: int = 64_000_000
    pixels: int = 50_000_000
    workers: int = 2
    queue: int = 32
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if min(self.body, self.pixels, self.workers) < 1 or self.queue < 0 or not self.seconds > 0:
            raise UsageError("limits must be above 0 (the queue may be 0)")


class Refusal(Exception):
    """A request that is answered with `status` and one sentence."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Gate:
    """Runs work on `limits.workers` threads and refuses what would wait behind `limits.queue` others."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.admitted = 0
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="nedr")

    def enter(self) -> None:
        """Take a place, before the body is read. Raises Refusal 429 when all are taken."""
        if self.admitted >= self.limits.workers + self.limits.queue:
            raise Refusal(429, "too many pictures are waiting; try again shortly", **{"Retry-After": "2"})
        self.admitted += 1

    def leave(self) -> None:
        """Give the place back."""
        self.admitted -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """The result of `work`. Raises Refusal 503 when it takes too long; cancelled work that waits never starts."""
        task = self._pool.submit(work)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(task), self.limits.seconds)
        except TimeoutError:
            raise Refusal(503, f"not done within {self.limits.seconds:g} s", **{"Retry-After": "5"}) from None
