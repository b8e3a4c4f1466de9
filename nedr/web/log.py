"""The server's log on standard error: readable in a terminal, a JSON object per line otherwise."""

import json
import logging
import sys
import warnings
from datetime import UTC, datetime


def start() -> None:
    """Start logging."""
    handler = logging.StreamHandler()
    handler.setFormatter(Words() if sys.stderr.isatty() else Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("nedr.web").setLevel(logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # callers who send or read nothing are not worth a line
    warnings.filterwarnings("ignore", module=r"PIL\.")  # oddities of a stranger's file concern only the stranger


class Lines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")}
        line |= {"level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "request", {}))


class Words(logging.Formatter):
    """A log record as a person reads it: `16:05:09  POST /v1/dehaze  200  0.41 s`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        request = getattr(record, "request", None)
        if request:
            return "{}  {method} {path}  {status}  {seconds:.2f} s".format(clock, **request)
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{clock}  {record.levelname.lower()}: {record.getMessage()}{trace}"
