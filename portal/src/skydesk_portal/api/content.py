"""Sending files of people: whole or in part, by descriptor, never by a path that could change."""

from __future__ import annotations

import os
from email.utils import formatdate, parsedate_to_datetime

from fastapi import Request
from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send

from skydesk_portal.services.files import FileContent

__all__ = ["ContentResponse"]


class ContentResponse(FileResponse):
    """An open file as an answer: ranges, validators, closed in the end.

    Parameters
    ----------
    content
        The open file.
    request
        The request, for its conditions.
    """

    def __init__(self, content: FileContent, request: Request) -> None:
        self._content = content
        etag, modified = f'"{content.facts.etag}"', formatdate(content.facts.modified_s, usegmt=True)
        # What people keep can be HTML: it must not run with the rights of this address.
        headers = {"etag": etag, "last-modified": modified, "x-content-type-options": "nosniff",
                   "content-security-policy": "sandbox", "cache-control": "private, no-cache"}  # fmt: skip
        self._unchanged = _is_unchanged(request, etag, content.facts.modified_s)
        super().__init__(
            f"/proc/self/fd/{content.stream.fileno()}",
            headers=headers,
            media_type=content.media_type,
            stat_result=os.fstat(content.stream.fileno()),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, or that it has not changed."""
        with self._content:
            if self._unchanged:
                kept = {b"etag", b"last-modified", b"cache-control"}
                headers = [(name, value) for name, value in self.raw_headers if name in kept]
                await send({"type": "http.response.start", "status": 304, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            await super().__call__(scope, receive, send)


def _is_unchanged(request: Request, etag: str, modified_s: float) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        return known.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        return int(modified_s) <= parsedate_to_datetime(since).timestamp()
    except (TypeError, ValueError):
        return False
