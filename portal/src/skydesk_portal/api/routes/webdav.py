"""The files of people over WebDAV."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, cast
from urllib.parse import quote, unquote, urlsplit

from a2wsgi import WSGIMiddleware
from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Message, Receive, Scope, Send

from skydesk_portal.api.content import ContentResponse
from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.files import SCOPE
from skydesk_portal.services.webdav import IDENTITY, make_webdav

__all__ = ["router"]

PREFIX = "/files"
_METHODS = ["COPY", "DELETE", "LOCK", "MKCOL", "MOVE", "OPTIONS", "PROPFIND", "PROPPATCH", "PUT", "UNLOCK"]
_DOCUMENT_BYTES = 1_000_000
_THREADS = 16
# Headers that only a proxy in front of us may set, or that change what other headers mean.
_DROPPED = (b"x-forwarded-", b"authorization", b"cookie", b"content-encoding")

router = APIRouter()
Caller = Annotated[Identity, Depends(require(SCOPE))]


class _DavResponse(Response):
    """Hands the request to the WebDAV application."""

    def __init__(
        self, app: WSGIMiddleware, request: Request, identity: Identity, destination: str | None
    ) -> None:
        super().__init__()
        self._app, self._request = app, request
        self._identity, self._destination = identity, destination

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # By the request and not by `receive`, which somebody may have read already. It fails if the sender goes
        # away: otherwise the part that arrived would pass for the whole.
        chunks = self._request.stream()

        async def read() -> Message:
            chunk = await anext(chunks, None)
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        headers = [(n, v) for n, v in scope["headers"] if not n.startswith(_DROPPED) and n != b"destination"]
        if self._destination is not None:
            headers.append((b"destination", quote(self._destination).encode()))
        inner: dict[str, Any] = {**scope, "root_path": PREFIX, "query_string": b"", "headers": headers}
        inner[IDENTITY] = self._identity
        await self._app(cast("Any", inner), cast("Any", read), cast("Any", send))


def _destination(request: Request, public: str) -> str | None:
    """Return the path of the header, which must name this platform."""
    given = request.headers.get("destination")
    if given is None:
        return None
    try:
        parts = urlsplit(given)
    except ValueError as error:  # an address that is none, such as "http://[x"
        raise UsageError("the destination is no address") from error
    known = {request.headers.get("host", "").lower(), urlsplit(public).netloc.lower()}
    if parts.netloc and parts.netloc.lower() not in known:
        raise UsageError("the destination lies on another server")
    return unquote(parts.path)


def _application(request: Request, factory: FactoryDependency) -> WSGIMiddleware:
    found: WSGIMiddleware | None = getattr(request.app.state, "webdav", None)
    if found is None:
        found = WSGIMiddleware(
            cast("Any", make_webdav(factory.create_files_service(), PREFIX, factory.create_lock_table())),
            workers=_THREADS,
        )
        request.app.state.webdav = found
    return found


@router.api_route(PREFIX, methods=_METHODS, include_in_schema=False)
@router.api_route(PREFIX + "/{path:path}", methods=_METHODS, include_in_schema=False)
async def serve_webdav(request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    length = request.headers.get("content-length", "0")
    if request.method != "PUT" and (not length.isdigit() or int(length) > _DOCUMENT_BYTES):
        raise TooLargeError("the document in the request is too large")
    destination = _destination(request, factory.settings.url)
    return _DavResponse(_application(request, factory), request, identity, destination)


@router.head(PREFIX + "/{path:path}", include_in_schema=False)
@router.get(PREFIX + "/{path:path}", summary="Fetch one of your files")
async def get_file(path: str, request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    content = await asyncio.to_thread(factory.create_files_service().open_for, identity, path)
    return ContentResponse(content, request)
