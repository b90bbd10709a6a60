"""What happens around every request: its identifier, the size of its body, the log line, the counters, the caller's place."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skydesk_portal.api.errors import render_error
from skydesk_portal.api.metrics import Metrics
from skydesk_portal.exceptions import TooLargeError
from skydesk_portal.log import get_logger
from skydesk_portal.services.limits import LimitService

__all__ = ["AccessMiddleware"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
# Bodies of these go straight to disk, with a quota of their own.
_STREAMED = ("/files/", "/api/files/content/")
_LONGEST_AGENT = 200
_JSON_BYTES = 8_000_000


class AccessMiddleware:
    """The outermost layer of the application.

    Parameters
    ----------
    app
        What answers.
    limits
        Gives back the places of requests that have ended; made at the first request.
    metrics
        The counters.
    request_bytes
        Largest body.
    """

    def __init__(
        self, app: ASGIApp, limits: Callable[[], LimitService], metrics: Metrics, request_bytes: int
    ) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._request_bytes = request_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        exchange = _Exchange(scope, given if _REQUEST_ID.match(given) else secrets.token_hex(8), send)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        state = scope.setdefault("state", {})
        bounded = not scope["path"].startswith(_STREAMED)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        # What is read as JSON becomes objects of many times its size.
        limit = min(self._request_bytes, _JSON_BYTES) if kind.endswith("json") else self._request_bytes
        try:
            if bounded and _announced(headers) > limit:
                refusal = _too_large(limit)
                answer = render_error(
                    scope["path"],
                    status=refusal.status,
                    code=refusal.code,
                    vo_error=refusal.vo_error,
                    message=str(refusal),
                )
                await answer(scope, receive, exchange.send)
                return
            await self._app(scope, _bounded(receive, limit) if bounded else receive, exchange.send)
        finally:
            if (ticket := state.get("ticket")) is not None:
                self._limits().leave(ticket)
            self._record(exchange, headers)

    def _record(self, exchange: _Exchange, headers: Headers) -> None:
        seconds = time.perf_counter() - exchange.begin
        scope = exchange.scope
        # The template, not the path: a path may hold names of files, a query string positions and signatures.
        route = getattr(scope.get("route"), "path", None) or "-"
        self._metrics.count(scope["method"], route, exchange.status, seconds, exchange.bytes)
        if route.endswith("/health") and exchange.status < 400:
            return
        facts: dict[str, Any] = {
            "method": scope["method"],
            "route": route,
            "status": exchange.status,
            "bytes": exchange.bytes,
            "ms": round(1000 * seconds, 1),
            "user": scope["state"].get("user"),
            "agent": headers.get("user-agent", "")[:_LONGEST_AGENT],
        }
        if not exchange.complete:
            facts["complete"] = False
        if job := scope.get("path_params", {}).get("job_id"):
            facts["job"] = str(job)[:40]
        get_logger().info("request", **facts)


class _Exchange:
    """One request and what has been sent in answer to it."""

    def __init__(self, scope: Scope, request_id: str, send: Send) -> None:
        self.scope = scope
        self.request_id = request_id
        self.begin = time.perf_counter()
        self.status = 500
        self.bytes = 0
        self.complete = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in self.scope["state"].get("limit_headers", {}).items():
                headers[name] = value
        elif message["type"] == "http.response.body":
            self.bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the request is larger than the {limit} bytes that one may have")


def _bounded(receive: Receive, limit: int) -> Receive:
    total = 0

    async def read() -> Message:
        # What is sent in chunks announces no size: it is counted while it comes.
        nonlocal total
        message = await receive()
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            if total > limit:
                raise _too_large(limit)
        return message

    return read


def _announced(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else 0
