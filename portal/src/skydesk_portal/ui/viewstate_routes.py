"""Plain HTTP behind addresses of views that would be too long: their documents, left and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import TooLargeError
from skydesk_portal.services.viewstates import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.viewstates import ViewStateService

__all__ = ["add_viewstate_routes"]


def _identity(request: Request) -> Identity:
    """Return who asks; the gate has checked that they may use the Portal."""
    identity: Identity = request.scope["state"]["identity"]
    return identity


def add_viewstate_routes(router: APIRouter, states: ViewStateService) -> None:
    """Add the routes under ``viewstates``.

    Parameters
    ----------
    router
        Where they are added.
    states
        Keeps the documents.
    """

    @router.post("/viewstates")
    async def leave(request: Request) -> dict[str, str]:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > MAX_DOCUMENT_BYTES:
                raise TooLargeError(f"a view keeps at most {MAX_DOCUMENT_BYTES / 1e6:g} MB")
        document = content.decode("ascii", errors="replace")
        return {"key": await run_in_threadpool(states.keep, _identity(request), document)}

    @router.get("/viewstates/{key}")
    async def read(request: Request, key: str) -> Response:
        found = await run_in_threadpool(states.get, _identity(request), key)
        return Response(found, media_type="text/plain", headers={"Cache-Control": "private, max-age=86400"})
