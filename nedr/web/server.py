"""The running server: one uvicorn process on one address, with a limited number of connections."""

import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import uvicorn

from nedr.errors import UsageError
from nedr.inference.dehazer import Dehazer
from nedr.web import log
from nedr.web.app import application
from nedr.web.connections import Census, Connection
from nedr.web.guard import check_token
from nedr.web.limits import Limits

LOOPBACK = ("127.0.0.1", "::1", "localhost")
ANYWHERE = ("0.0.0.0", "::")
SPARE = 64
"""File descriptors kept free for files, processes and pipes, whatever callers do."""


def serve(
    *,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    origins: Sequence[str] = (),
    hosts: Sequence[str] = (),
    weights: str | None = None,
    open_browser: bool = False,
) -> None:
    """Serve until interrupted, then finish running requests. Prints the address, and a warning if anyone may call.

    port: 0 for any free one;  hosts, origins: see `nedr.web.app.application`;  open_browser: show the page

    Raises UsageError for an unavailable address, a token that cannot be sent, or missing weights.
    """
    if token is not None:
        check_token(token)
    Dehazer(weights)  # reports bad weights before any process needs them
    with listener(host, port) as bound:
        names = [*hosts, host, socket.gethostname(), f"{socket.gethostname()}.local"]
        app = application(limits=limits, token=token, origins=origins, hosts=names, weights=weights)
        address = _address(host, bound.getsockname()[1])
        _announce(host, address, has_token=token is not None)
        log.start()
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        uvicorn.Server(_config(app, limits)).run(sockets=[bound])


def _config(app: object, limits: Limits) -> uvicorn.Config:
    census = Census(_within_descriptors(limits))
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=partial(Connection, census=census),  # type: ignore[arg-type]
        ws="none",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )


def _within_descriptors(limits: Limits) -> Limits:
    """The limits, with no more connections than the system allows this process, after raising its limit if possible."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return limits
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + SPARE
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = wanted if hard == resource.RLIM_INFINITY else min(hard, max(soft, wanted))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = max(8, min(limits.connections, soft - SPARE))
    return replace(limits, connections=most, per_address=min(limits.per_address, most))


def _announce(host: str, address: str, *, has_token: bool) -> None:
    if host not in LOOPBACK and not has_token:
        print(f"nedr: warning: anyone who can reach {host} can use this server; set a --token", file=sys.stderr)
    print(address, flush=True)
    if host in ANYWHERE and sys.stderr.isatty():
        import segno

        print("for a phone on the same network:", file=sys.stderr)
        segno.make(address).terminal(out=sys.stderr, compact=True)


def _address(host: str, port: int) -> str:
    """The page's address: for a server on all addresses, the one that others on the network can open."""
    if host in ANYWHERE:
        host = _outward(socket.AF_INET6 if ":" in host else socket.AF_INET) or host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _outward(family: socket.AddressFamily) -> str | None:
    """This computer's address on its network; finding it sends nothing."""
    target = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # addresses reserved for documentation
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:  # no network
            return None
        return str(probe.getsockname()[0])


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address. Raises UsageError if it is taken or not this computer's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error
