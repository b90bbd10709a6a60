"""HiPS tiles and coverage maps over HTTP."""

from __future__ import annotations

import asyncio
import zlib
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.api.vosi import add_vosi
from skydesk_portal.models.identity import Identity

__all__ = ["router"]

PREFIX = "/api/hips"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]

# A release may be replaced by another of its name, so a tile is asked for again after an hour, mostly for a 304.
_CACHE = "private, max-age=3600"
_GZIP_FROM_BYTES = 4_000_000


@router.get(PREFIX + "/list", summary="List the HiPS of all releases")
async def list_all(factory: FactoryDependency, identity: Caller) -> PlainTextResponse:
    return PlainTextResponse(await asyncio.to_thread(factory.create_hips_service().list_sets, identity))


@router.get(PREFIX + "/v2/{release}/list", summary="List the HiPS of a release")
async def list_sets(release: str, factory: FactoryDependency, identity: Caller) -> PlainTextResponse:
    return PlainTextResponse(
        await asyncio.to_thread(factory.create_hips_service().list_sets, identity, release)
    )


for _prefix in (PREFIX, PREFIX + "/v2/{release}"):
    add_vosi(router, _prefix, require("read:image"), [("ivo://ivoa.net/std/hips#hipslist-1.0", "/list")])


@router.api_route(
    PREFIX + "/v2/{release}/{path:path}",
    methods=["GET", "HEAD"],
    summary="Fetch a tile, the properties or the coverage of a HiPS",
)
async def get_file(
    release: str, path: str, request: Request, factory: FactoryDependency, identity: Caller
) -> Response:
    file = await asyncio.to_thread(factory.create_hips_service().find_file, identity, release, path)
    headers = {"ETag": file.etag, "Cache-Control": _CACHE, "Vary": "Authorization, Accept-Encoding"}
    if file.etag in _given_tags(request):
        return Response(status_code=304, headers=headers)
    content = await asyncio.to_thread(file.read)
    if len(content) > _GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        # The preview of the whole sky is nearly all NaN for a survey of a small part of it.
        content = await asyncio.to_thread(zlib.compress, content, 1, 31)
        headers |= {"Content-Encoding": "gzip", "ETag": f"W/{file.etag}"}
    return Response(content, media_type=file.media_type, headers=headers)


def _given_tags(request: Request) -> set[str]:
    given = request.headers.get("if-none-match", "")
    return {tag.strip().removeprefix("W/") for tag in given.split(",")}
