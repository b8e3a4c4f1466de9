"""The layers around every request: who may call, security headers, metrics, and a log line without picture content."""

import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nedr.errors import UsageError

LOG = logging.getLogger("nedr.web")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
GUARDED = ("/v1/", "/metrics")
FREE = "/v1/files/"
"""Links that contain their own secret, so that a browser can save them as files."""
SAFE = ("GET", "HEAD", "OPTIONS")
CLIENT_GONE = 499
"""The status logged and counted for a caller who hung up; nobody receives it."""


class Metrics:
    """Counts of one server, in its own registry; `pictures` returns how many are being processed or waiting."""

    def __init__(self, pictures: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("nedr_requests", "Requests", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("nedr_request_seconds", "Time to the answer", ["path"], registry=self.registry)
        Gauge("nedr_pictures", "Pictures being processed or waiting", registry=self.registry).set_function(pictures)
        ProcessCollector(registry=self.registry)


class Visitors:
    """The ASGI layer that answers only under this server's own names, and lets foreign pages change nothing.

    Another server's page can make a browser call this one: through a name of its own that resolves to this computer
    (the Host is then foreign, 421), or by a cross-origin request (403).

    names: hosts besides this computer's own and IP addresses;  origins: of pages that may call
    """

    def __init__(self, app: ASGIApp, *, names: Iterable[str], origins: Iterable[str]) -> None:
        self.app = app
        self.names, self.origins = frozenset(map(str.lower, names)), frozenset(map(str.lower, origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if not self._is_own(host):
            return _refused(421, "this is not a name of this server; start it with --allow-host NAME", "host")
        origin = headers.get("origin", "").lower()
        foreign = origin and origin not in self.origins and urlsplit(origin).netloc != host
        crossing = not origin and headers.get("sec-fetch-site") == "cross-site"
        if scope["method"] not in SAFE and (foreign or crossing):
            text = "pages of other servers must not call this; --allow-origin names those that may"
            return _refused(403, text, "page")
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self.names or name == "localhost" or name.endswith(".localhost"):
                return True
            ipaddress.ip_address(name)  # no name was resolved, so nobody can have forged the answer
        except ValueError:
            return False
        return True


class Token:
    """The ASGI layer that requires the token for the pictures' interface and the metrics.

    Raises UsageError for a token that an HTTP header cannot hold.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        check_token(token)
        self.app, self.expected = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        path = scope["path"]
        if not path.startswith(GUARDED) or path.startswith(FREE):
            return None
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return _refused(401, "a token is required: Authorization: Bearer TOKEN", "token_missing", bearer="Bearer")
        if hmac.compare_digest(given.strip().encode(), self.expected):
            return None
        return _refused(401, "this is not this server's token", "token_wrong", bearer='Bearer error="invalid_token"')


def check_token(token: str) -> None:
    """Raise UsageError for a token that is empty or that not every HTTP client can send."""
    if not token or not all("!" <= character <= "~" for character in token):
        raise UsageError("expected a token of visible ASCII characters without spaces; choose another")


def _refused(status: int, text: str, code: str, *, bearer: str | None = None) -> ASGIApp:
    headers = {"WWW-Authenticate": bearer} if bearer else {"Connection": "close"}
    return JSONResponse({"error": text, "code": code}, status, headers)


class Heads:
    """The ASGI layer that answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET", "nedr.head": True}, receive, sending)


class Guard:
    """The outermost ASGI layer: adds headers to every answer, logs it and counts it in the metrics.

    paths: those that log and metrics may name, in full or as prefixes that end in a slash
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: Iterable[str]) -> None:
        self.app, self.metrics = app, metrics
        self.paths = frozenset(paths)
        self.beginnings = tuple(path for path in self.paths if path.endswith("/") and path != "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), CLIENT_GONE

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = self._known(scope["path"])
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        line = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 4)}
        LOG.info("request", extra={"request": line})

    def _known(self, path: str) -> str:
        if path in self.paths:
            return path
        return next((f"{begin}*" for begin in self.beginnings if path.startswith(begin)), "other")
