"""The files of HiPS for the sky map: those of the service, for whoever is signed in."""

from __future__ import annotations

import zlib

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.services.hips import HipsService, make_empty_tile
from skydesk_portal.ui.gate import PREFIX, require_scopes

__all__ = ["create_skymap_router"]


def create_skymap_router(hips: HipsService) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    hips
        Finds the files.
    """
    router = APIRouter(prefix=f"{PREFIX}/hips")

    @router.get("/{release}/{path:path}")
    async def read_file(request: Request, release: str, path: str) -> Response:
        who = require_scopes(request, "read:image")
        file = await run_in_threadpool(hips.find_file, who, release, path)
        headers = {"ETag": file.etag, "Cache-Control": "private, max-age=3600"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        try:
            content = await run_in_threadpool(file.read)
        except NotFoundError:
            # A tile without data does not exist. Most of the sky has none, and a browser calls each 404 an error.
            if not path.endswith(".fits"):
                return Response(status_code=204, headers=headers)
            content = await run_in_threadpool(make_empty_tile)
        if path.endswith(".fits") and "gzip" in request.headers.get("accept-encoding", ""):
            content = await run_in_threadpool(zlib.compress, content, 1, 31)
            headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(content, media_type=file.media_type, headers=headers)

    return router
