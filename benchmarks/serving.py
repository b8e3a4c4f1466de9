"""A local nedr server for the benchmarks, and the memory of its processes."""

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Server:
    """`nedr serve` on a free port of 127.0.0.1, stopped at the end of a `with`; its log is discarded."""

    def __init__(self, *options: str) -> None:
        call = [sys.executable, "-m", "nedr", "serve", "--port", "0", *options]
        self._process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline().strip("/\n").rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(60)

    def memory(self) -> int:
        """Bytes that the server and its workers hold now."""
        return sum(_status(pid, "VmRSS") for pid in self._processes())

    def peak(self) -> int:
        """The sum of the most bytes that each has held at any time."""
        return sum(_status(pid, "VmHWM") for pid in self._processes())

    def processor_time(self) -> float:
        """Processor seconds of all threads of the server and its workers, including ended ones."""
        spent = 0
        for pid in self._processes():
            with suppress(FileNotFoundError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                spent += sum(map(int, fields[11:13])) + (int(fields[13]) + int(fields[14])) * (pid == self._process.pid)
        return spent / 100

    def _processes(self) -> list[int]:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]


def _status(pid: int, name: str) -> int:
    with suppress(FileNotFoundError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0
