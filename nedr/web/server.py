"""The running server: one process of uvicorn on one address."""

import logging
import sys

import uvicorn

from nedr.dehazer import Dehazer
from nedr.web.app import application
from nedr.web.limits import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(*, host: str, port: int, token: str | None, limits: Limits, weights: str | None = None) -> None:
    """Serve until interrupted, then finish running requests. Prints the address, and a warning when all may come."""
    if host not in LOOPBACK and token is None:
        print(f"nedr: warning: anybody who reaches {host} may use this server; --token asks for one", file=sys.stderr)
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/", flush=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    app = application(limits=limits, token=token, dehazer=Dehazer(weights, threads=1))
    grace = int(limits.seconds) + 1
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=grace)
