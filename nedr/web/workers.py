"""Processes that do the work, so that it can be ended and its memory freed; fair to all callers."""

import asyncio
import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from nedr.errors import NedrError
from nedr.inference.dehazer import Dehazer
from nedr.web.limits import Limits, Refusal

Task: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""A module's function and its arguments, which are preceded by the process's Dehazer in the call."""
Tick: TypeAlias = Callable[[int, int | None], None]

KEPT = 400 << 20
"""Bytes; a process that holds more after its work is replaced by a new one."""
GRACE = 2.0
"""Seconds that work may continue after its caller has gone: ending a process costs as much as a second of work."""
_CONTEXT = multiprocessing.get_context("spawn")


class Ended(Exception):
    """The process ended before it answered: it was killed, or its input crashed it."""


class Worker:
    """One process with a Dehazer of its own. `ask` blocks, so call it from a thread."""

    def __init__(self, weights: str | None, *, niceness: int = 0) -> None:
        self._here, there = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(there, weights, niceness), daemon=True)
        self._process.start()
        atexit.register(self._process.kill)  # multiprocessing would send SIGTERM and wait
        there.close()
        self.resident = 0

    @property
    def is_alive(self) -> bool:
        """Whether the process runs: the system may have ended it while it was idle."""
        return self._process.is_alive()

    def ask(self, task: Task, tick: Tick | None = None) -> Any:
        """The task's result. Raises what the task raised, and Ended when there will be no result."""
        try:
            self._here.send(task)
            while (found := self._here.recv())[0] == "tick":
                if tick:
                    tick(*found[1])
        except (EOFError, OSError) as error:
            raise Ended from error
        kind, value, self.resident = found
        if kind == "raised":
            raise value
        return value

    def kill(self) -> None:
        """End the process now, whatever it is doing."""
        self._process.kill()

    def close(self) -> None:
        """Let the process end on its own."""
        atexit.unregister(self._process.kill)
        self._here.close()


def _serve(connection: Connection, weights: str | None, niceness: int) -> None:
    """What a worker process does: take tasks, send results, until the other end closes."""
    for kind in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and systemd reach all processes; the server decides
        signal.signal(kind, signal.SIG_IGN)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    dehazer = Dehazer(weights, threads=1)
    with suppress(EOFError, OSError):
        while True:
            function, arguments = connection.recv()
            connection.send((*_done(function, dehazer, arguments, connection), _trimmed()))


def _done(
    function: Callable[..., Any], dehazer: Dehazer, arguments: tuple[Any, ...], connection: Connection
) -> tuple[str, Any]:
    try:
        if getattr(function, "ticks", False):
            arguments = (*arguments, lambda done, total: connection.send(("tick", (done, total))))
        return "done", function(dehazer, *arguments)
    except (NedrError, Refusal) as error:
        error.__cause__ = error.__context__ = None
        return "raised", error
    except Exception:
        return "raised", RuntimeError(traceback.format_exc())


def _trimmed() -> int:
    """Free memory that the allocator has cached, and return how many bytes the process holds; 0 if unknown."""
    if not sys.platform.startswith("linux"):
        return 0
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ticking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a task that takes a callback as its last argument, to be called with the work done and the total."""
    function.ticks = True  # type: ignore[attr-defined]
    return function


@dataclass(eq=False)
class _Place:
    """One caller's turn: `come` is done when its work may start."""

    caller: str
    come: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pool:
    """At most `workers` tasks running, one more for callers who have none running, and a fair queue for the others.

    The caller with the fewest running tasks comes first. When the queue is full, whoever fills most of it gives way.
    """

    def __init__(self, limits: Limits, weights: str | None, *, workers: int, niceness: int = 0) -> None:
        self._limits, self._new, self._most = limits, partial(Worker, weights, niceness=niceness), workers
        self._waiting: list[_Place] = []
        self._working: Counter[str] = Counter()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._kept_ready = 0
        self._threads = self._executor()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def admitted(self) -> int:
        """How many tasks are running or waiting."""
        return self._working.total() + len(self._waiting)

    def warm(self) -> None:
        """Start as many processes as can be at work, and from now on replace those that end.

        This takes a processor a second or more, which is long while work occupies all of them.
        """
        self._kept_ready = self._most + 1
        self._refill()

    def _refill(self) -> None:
        while len(self._all) < self._kept_ready:
            self._idle.append(self._started())

    def close(self) -> None:
        """End every process; later tasks start new ones."""
        self._kept_ready = 0
        for worker in self._all:
            worker.kill()
        for worker in self._idle:
            worker.close()
        self._all.clear()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = self._executor()

    def check(self, caller: str) -> None:
        """Raise Refusal 429 if there is no place for this caller; take none."""
        if self._is_full and not self._greedy(caller):
            raise _full()

    async def run(self, caller: str, task: Task, *, seconds: float | None = None, tick: Tick | None = None) -> Any:
        """The task's result, within `seconds` (None for the limit). Raises what the task raises.

        Raises Refusal 429 when the queue is full, and 503 after that time, when the task's process ends, or when none
        can be started. A waiting task that is cancelled never starts; a running one is ended soon.
        """
        seconds = seconds or self._limits.seconds
        due = asyncio.get_running_loop().time() + seconds
        place = self._place(caller)
        try:
            async with asyncio.timeout_at(due):
                await place.come
        except BaseException as error:
            self._give_up(place)
            raise _late(seconds) if isinstance(error, TimeoutError) else error from None
        worker, asked = self._begun(place, task, tick)
        try:
            async with asyncio.timeout_at(due):
                return await asyncio.shield(asked)
        except TimeoutError:
            worker.kill()
            raise _late(seconds) from None
        except Ended:
            raise Refusal(503, "the work on this file ended unexpectedly; another file may work", "ended") from None
        finally:
            if asked.done():
                self._free(place, worker, asked)
            else:
                self._ending.add(ending := asyncio.create_task(self._end(place, worker, asked)))
                ending.add_done_callback(self._ending.discard)

    def _begun(self, place: _Place, task: Task, tick: Tick | None) -> tuple[Worker, "asyncio.Future[Any]"]:
        """The process that starts a task whose turn has come, and its future result."""
        worker = None
        try:
            worker = self._ready()
            return worker, asyncio.get_running_loop().run_in_executor(self._threads, worker.ask, task, tick)
        except (OSError, RuntimeError) as error:  # out of memory, descriptors or threads
            if worker:
                self._let_go(worker)
            self._leave(place)
            raise Refusal(503, f"cannot start a process now ({error})", "busy", Retry_After="5") from error

    def _ready(self) -> Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            self._let_go(worker)
        return self._started()

    @property
    def _is_full(self) -> bool:
        return self.admitted >= self._most + self._limits.queue

    def _place(self, caller: str) -> _Place:
        if self._is_full:
            greedy = self._greedy(caller)
            if not greedy:
                raise _full()
            self._waiting.remove(greedy)
            greedy.come.set_exception(_full())
        place = _Place(caller)
        self._waiting.append(place)
        self._let_in()
        return place

    def _greedy(self, caller: str) -> _Place | None:
        """The last waiting place of the caller with most places, if at least two more than this caller's."""
        places = Counter(place.caller for place in self._waiting) + self._working
        waiting = [place for place in reversed(self._in_line()) if places[place.caller] >= places[caller] + 2]
        return max(waiting, key=lambda place: places[place.caller], default=None)

    def _in_line(self) -> list[_Place]:
        """The waiting places, without those whose caller has just hung up and that are about to leave."""
        return [place for place in self._waiting if not place.come.done()]

    def _let_in(self) -> None:
        """Give each free process to the next in line."""
        while line := self._in_line():
            place = min(line, key=lambda place: self._working[place.caller])
            extra = 0 if self._working[place.caller] else 1
            if self._working.total() >= self._most + extra:
                return
            self._waiting.remove(place)
            self._working[place.caller] += 1
            place.come.set_result(None)

    def _give_up(self, place: _Place) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        elif place.come.done() and not place.come.cancelled() and not place.come.exception():
            self._leave(place)

    def _leave(self, place: _Place) -> None:
        self._working -= Counter([place.caller])
        self._let_in()

    async def _end(self, place: _Place, worker: Worker, asked: "asyncio.Future[Any]") -> None:
        """End a process whose answer nobody is waiting for, unless it comes soon."""
        await asyncio.wait([asked], timeout=GRACE)
        if not asked.done():
            worker.kill()
            await asyncio.wait([asked])
        self._free(place, worker, asked)

    def _free(self, place: _Place, worker: Worker, asked: "asyncio.Future[Any]") -> None:
        """Keep a process for the next task, or let it go, then pass the turn on."""
        if isinstance(asked.exception(), Ended) or worker.resident > KEPT or len(self._idle) > self._most:
            self._let_go(worker)
        else:
            self._idle.append(worker)
        self._leave(place)

    def _let_go(self, worker: Worker) -> None:
        self._all.discard(worker)
        worker.close()
        with suppress(OSError, RuntimeError):  # no resources to start one; whoever needs one is told
            self._refill()

    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._most + 8, thread_name_prefix="nedr-worker")

    def _started(self) -> Worker:
        worker = self._new()
        self._all.add(worker)
        return worker


def _full() -> Refusal:
    return Refusal(429, "too many pictures are waiting; try again shortly", "busy", Retry_After="2")


def _late(seconds: float) -> Refusal:
    return Refusal(503, f"not done within {seconds:g} s", "late", Retry_After="5")
