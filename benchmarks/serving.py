"""A server of nedr's own on this computer for the benchmarks, and what its process holds in memory."""

import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class Server:
    """`nedr serve` on a free port of 127.0.0.1, stopped at the end of a `with`; its log goes nowhere."""

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
        """Bytes that the process holds now."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most bytes that it has held."""
        return self._status("VmHWM")

    def processor_time(self) -> float:
        """Processor seconds of all its threads."""
        user, system = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / 100

    def _status(self, name: str) -> int:
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", text)
        assert found
        return int(found[1]) * 1024
