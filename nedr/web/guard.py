"""What surrounds every request: security headers, the token, metrics, and one line of log without picture content."""

import hmac
import json
import logging
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
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


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("nedr_requests", "Requests", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("nedr_request_seconds", "Time to the answer", ["path"], registry=self.registry)


class Guard:
    """The ASGI layer outside the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, token: str | None, paths: frozenset[str]) -> None:
        self.app, self.metrics, self.token, self.paths = app, metrics, token, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, answer = time.perf_counter(), {"status": 499}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            await self._admitted(scope)(scope, receive, sending)
        finally:
            self._record(scope, answer["status"], time.perf_counter() - start)

    def _admitted(self, scope: Scope) -> ASGIApp:
        if self.token is None or not scope["path"].startswith(GUARDED):
            return self.app
        given = Headers(scope=scope).get("authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return self.app
        headers = {"WWW-Authenticate": "Bearer"}
        return JSONResponse({"error": "a token is needed: Authorization: Bearer ..."}, 401, headers)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in self.paths else "other"
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        line: dict[str, Any] = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 4)}
        LOG.info(json.dumps(line))
