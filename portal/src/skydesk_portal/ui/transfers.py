"""Follows the downloads of the pages while their bytes pass by."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qs, unquote

from skydesk_portal.services.transfers import TransferMonitor, TransferState

__all__ = ["TransferWatch"]

_ENCODED = re.compile(r"filename\*=UTF-8''([^;]+)", re.IGNORECASE)
_PLAIN = re.compile(r'filename="?([^";]+)', re.IGNORECASE)
_GOOD = 200


def _name_of(disposition: str) -> str:
    if found := _ENCODED.search(disposition):
        return unquote(found[1])
    found = _PLAIN.search(disposition)
    return found[1] if found else "file"


class TransferWatch:
    """Counts the bytes of answers to requests whose address has ``transfer=IDENTIFIER``.

    Parameters
    ----------
    app
        What answers.
    monitor
        Is told.
    """

    def __init__(self, app: Any, monitor: TransferMonitor) -> None:
        self._app, self._monitor = app, monitor

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle a request."""
        query = scope.get("query_string", b"")
        if scope["type"] != "http" or scope["method"] != "GET" or b"transfer=" not in query:
            await self._app(scope, receive, send)
            return
        given = parse_qs(query.decode("latin-1")).get("transfer", [""])[-1]
        owner = scope["state"]["identity"].name
        state: TransferState | None = None

        async def count(message: MutableMapping[str, Any]) -> None:
            nonlocal state
            if message["type"] == "http.response.start" and message["status"] == _GOOD:
                headers = {k.decode().lower(): v.decode("latin-1") for k, v in message["headers"]}
                size = headers.get("content-length", "")
                name = _name_of(headers.get("content-disposition", ""))
                if self._monitor.begin(owner, given, name, int(size) if size.isdigit() else None):
                    state = TransferState.RUNNING
            await send(message)
            if state is TransferState.RUNNING and message["type"] == "http.response.body":
                self._monitor.count(owner, given, len(message.get("body", b"")))
                if not message.get("more_body", False):
                    state = TransferState.COMPLETE

        try:
            await self._app(scope, receive, count)
        finally:
            if state is not None:
                complete = state is TransferState.COMPLETE
                self._monitor.end(owner, given, state if complete else TransferState.BROKEN)
