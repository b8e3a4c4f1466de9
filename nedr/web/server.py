"""The running server: one process of uvicorn on one address."""

import json
import logging
import socket
import sys
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime

import uvicorn

from nedr.errors import UsageError
from nedr.inference.dehazer import Dehazer
from nedr.web.app import application
from nedr.web.limits import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    *, host: str, port: int, token: str | None, limits: Limits, origins: Sequence[str] = (), weights: str | None = None
) -> None:
    """Serve until interrupted, then finish running requests. Prints the address, and a warning when all may come.

    port: 0 for any that is free. Raises UsageError for an address that cannot be had.
    """
    app = application(limits=limits, token=token, origins=origins, dehazer=Dehazer(weights, threads=1))
    with listener(host, port) as bound:
        if host not in LOOPBACK and token is None:
            print(
                f"nedr: warning: anybody who reaches {host} may use this server; --token asks for one", file=sys.stderr
            )
        print(f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}/", flush=True)
        log_lines()
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
        uvicorn.Server(config).run(sockets=[bound])


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address. Raises UsageError when it is taken or not of this computer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error


def log_lines() -> None:
    """Everything that is logged goes to standard error, a JSON object per line."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("nedr.web").setLevel(logging.INFO)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is odd about a stranger's file is for the stranger


class Lines(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")}
        line |= {"level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "request", {}))
