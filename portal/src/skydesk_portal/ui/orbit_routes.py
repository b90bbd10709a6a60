"""Plain HTTP behind the image view: the tracks of known moving objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.services.orbits import EVERY, OrbitService
from skydesk_portal.ui.gate import PREFIX, require_scopes

if TYPE_CHECKING:
    from skydesk_portal.services.images import ImageService

__all__ = ["create_orbit_router"]


def create_orbit_router(images: ImageService) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    images
        Knows the images.
    """
    router = APIRouter(prefix=f"{PREFIX}/tiles")
    orbits = OrbitService(images)

    @router.get("/{release}/{dataset_id}/orbits")
    async def read_orbits(
        request: Request, release: str, dataset_id: str, moving: str = EVERY
    ) -> JSONResponse:
        who = require_scopes(request, "read:image", "read:tap")
        found = await run_in_threadpool(orbits.list_tracks, who, release, dataset_id, moving)
        # Neither images nor orbits of a release change.
        return JSONResponse(found, headers={"Cache-Control": "private, max-age=86400"})

    return router
