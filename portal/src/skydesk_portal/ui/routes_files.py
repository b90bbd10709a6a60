"""The files of a person over plain HTTP, for the Files page: bytes never pass through Panel's websocket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import FileSpaceError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.files import FileContent, FilesService
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_files_router"]

_BLOCK_BYTES = 1 << 18


def _read_blocks(content: FileContent) -> Iterator[bytes]:
    with content:
        while block := content.stream.read(_BLOCK_BYTES):
            yield block


def _disposition(name: str) -> str:
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def _size_of(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError("the size of a file is a number of bytes")
    return int(text[:19])


def create_files_router(services: PortalServices) -> APIRouter:
    """Make the routes of files.

    Parameters
    ----------
    services
        What they work with.

    Returns
    -------
    APIRouter
        ``/portal/app/files/room`` tells whether a file fits; ``/portal/app/files/content/PATH`` gives and takes one;
        paths lie in the caller's home folder.
    """
    router = APIRouter(prefix=f"{PREFIX}/files")
    files: FilesService = services.files

    def caller(request: Request) -> Identity:
        who: Identity = request.scope["state"]["identity"]
        files.check_scope(who)
        return who

    @router.get("/room")
    async def read_room(request: Request, path: str, size: str) -> JSONResponse:
        who = caller(request)

        def look() -> dict[str, object]:
            home, parts = files.locate(who, f"/{who.name}/{path}")
            try:
                files.begin_write(who, f"/{who.name}/{path}", _size_of(size)).discard()
            except FileSpaceError as error:
                return {"exists": False, "refusal": str(error)}
            return {"exists": home.find(parts) is not None, "refusal": None}

        return JSONResponse(await run_in_threadpool(look), headers={"Cache-Control": "no-store"})

    @router.get("/content/{path:path}")
    async def read_content(request: Request, path: str) -> StreamingResponse:
        who = caller(request)
        content = await run_in_threadpool(files.open_for, who, f"/{who.name}/{path}")
        headers = {
            "Content-Disposition": _disposition(content.name),
            "Content-Length": str(content.size_bytes),
            "Cache-Control": "private, no-store",
        }
        # Whatever it is, it is not shown as a page of this origin.
        return StreamingResponse(
            _read_blocks(content), media_type="application/octet-stream", headers=headers
        )

    @router.put("/content/{path:path}")
    async def write_content(request: Request, path: str) -> Response:
        who = caller(request)
        size = _size_of(request.headers.get("content-length"))
        pending = await run_in_threadpool(files.begin_write, who, f"/{who.name}/{path}", size)
        try:
            async for chunk in request.stream():
                if chunk:
                    await run_in_threadpool(pending.write, chunk)
            await run_in_threadpool(pending.commit)
        finally:
            pending.discard()
        return Response(status_code=201)

    return router
