"""What surrounds every request: security headers, the token, metrics, and a line of log without picture content."""

import hmac
import logging
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
CLIENT_GONE = 499
"""The status that is logged and counted for a caller who hung up: nobody receives it."""


class Metrics:
    """Counts of one server, in a registry of its own; `pictures` tells how many are at work or waiting."""

    def __init__(self, pictures: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("nedr_requests", "Requests", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("nedr_request_seconds", "Time to the answer", ["path"], registry=self.registry)
        Gauge("nedr_pictures", "Pictures at work or waiting", registry=self.registry).set_function(pictures)
        ProcessCollector(registry=self.registry)


class Token:
    """The ASGI layer that lets only callers with the token at the pictures' interface and the metrics."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        await (self.app if self._admits(scope) else _REFUSED)(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            return True
        return hmac.compare_digest(Headers(scope=scope).get("authorization", "").encode(), self.expected)


_REFUSED = JSONResponse(
    {"error": "a token is needed: Authorization: Bearer TOKEN"}, 401, {"WWW-Authenticate": "Bearer"}
)


class Guard:
    """The outermost ASGI layer: nothing leaves without its headers, its line of log and its place in the metrics."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, paths: frozenset[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

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
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        line = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 4)}
        LOG.info("request", extra={"request": line})
