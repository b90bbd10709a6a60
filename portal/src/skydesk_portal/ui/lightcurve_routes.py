"""Plain HTTP behind the Light curves page: stamps of epochs as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from skydesk_portal.services.lightcurve_stamps import draw_stamp
from skydesk_portal.ui.gate import PREFIX, require_scopes

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_lightcurve_router", "stamp_address"]


def stamp_address(
    release: str,
    dataset_id: str,
    position: tuple[float, float],
    size_arcsec: float,
    like: tuple[str, tuple[float, float]] | None = None,
) -> str:
    """Return the address of a stamp (ICRS degrees, width in arcsec), as bright as that of another image at a position."""
    ra_deg, dec_deg = position
    address = (
        f"{PREFIX}/lightcurve/stamp/{release}/{dataset_id}.png"
        f"?ra={ra_deg:.7f}&amp;dec={dec_deg:.7f}&amp;size={size_arcsec:g}"
    )
    if like is None:
        return address
    other, place = like
    elsewhere = f"&amp;like_ra={place[0]:.7f}&amp;like_dec={place[1]:.7f}" if place != position else ""
    return f"{address}&amp;like={other}{elsewhere}"


def create_lightcurve_router(services: PortalServices) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    services
        What they work with.
    """
    router = APIRouter(prefix=f"{PREFIX}/lightcurve")

    @router.get("/stamp/{release}/{dataset_id}.png")
    async def read_stamp(
        request: Request,
        release: str,
        dataset_id: str,
        ra: float,
        dec: float,
        size: float = 20.0,
        like: str | None = None,
        like_ra: float | None = None,
        like_dec: float | None = None,
    ) -> Response:
        who = require_scopes(request, "read:image")
        elsewhere = None if like_ra is None or like_dec is None else (like_ra, like_dec)
        content = await run_in_threadpool(
            draw_stamp, services.soda, who, release, dataset_id, (ra, dec), size, like, elsewhere
        )
        # Images of a release never change.
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})

    return router
