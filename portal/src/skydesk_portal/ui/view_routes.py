"""Routes under ``/portal/app/views``: programs list a person's open pages, steer them and read their selections.

Only a token in the ``Authorization`` header opens them, never the cookie of a browser: no other site and no link can make
a signed-in browser use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from skydesk_portal.exceptions import AuthenticationError, ForbiddenError, TooLargeError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.views import MAX_COMMAND_BYTES, Selection, parse_command
from skydesk_portal.services.identity import find_token
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.vo.votable import VOTableWriter

if TYPE_CHECKING:
    from skydesk_portal.services.views import ViewRegistry

__all__ = ["create_view_router"]

_BATCH_ROWS = 10_000


def _program(request: Request) -> Identity:
    """Return who asks; the gate has checked the token and its scope ``exec:portal``."""
    if find_token(request.headers) is None:
        raise AuthenticationError("programs steer pages with a token in the Authorization header")
    identity: Identity = request.scope["state"]["identity"]
    return identity


async def _read_body(request: Request) -> bytes:
    """Read the body of a request as long as it is not too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_COMMAND_BYTES:
            raise TooLargeError(f"a command has at most {MAX_COMMAND_BYTES:,} bytes")
    return bytes(body)


def _votable(selection: Selection) -> Iterator[bytes]:
    infos = {"SELECTION": str(selection.serial), "CAPTION": selection.caption}
    writer = VOTableWriter(selection.columns, infos=infos, table_name="selection")
    yield writer.begin()
    for batch in selection.table.to_batches(max_chunksize=_BATCH_ROWS):
        yield writer.rows(batch)
    yield writer.end(overflow=selection.total > selection.table.num_rows)


def create_view_router(views: ViewRegistry) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    views
        The open pages of everybody.

    Returns
    -------
    APIRouter
        Routes under ``/portal/app/views``.
    """
    router = APIRouter(prefix=f"{PREFIX}/views")

    @router.get("")
    async def list_views(request: Request) -> dict[str, Any]:
        who = _program(request)
        return {"version": 1, "views": [view.describe() for view in views.list_views(who)]}

    @router.get("/{name}")
    async def get_view(request: Request, name: str) -> dict[str, Any]:
        return views.get_view(_program(request), name).describe()

    @router.post("/{name}/commands")
    async def send_command(request: Request, name: str) -> dict[str, Any]:
        who = _program(request)
        views.get_view(who, name)
        command = parse_command(await _read_body(request))
        return (await views.send(who, name, command)).describe()

    @router.get("/{name}/selection")
    async def read_selection(request: Request, name: str, after: int = 0, wait_s: float = 0.0) -> Response:
        who = _program(request)
        if "read:tap" not in who.scopes:
            raise ForbiddenError("your token does not have the scope read:tap")
        found = await views.wait_selection(who, name, after, wait_s)
        headers = {"Cache-Control": "private, no-store"}
        if found is None:
            return Response(status_code=204, headers=headers)
        headers |= {"X-Selection-Serial": str(found.serial), "X-Selection-Rows": str(found.total)}
        kind = "application/x-votable+xml;serialization=binary2"
        return StreamingResponse(_votable(found), media_type=kind, headers=headers)

    return router
