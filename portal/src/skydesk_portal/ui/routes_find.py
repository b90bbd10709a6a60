"""The search box: one request that leads to the page of what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.find import Place
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["address_of", "create_find_router"]


def address_of(place: Place) -> str:
    """Return the address of a page that the search has found."""
    return f"{PREFIX}/{place.page}?{urlencode(place.fields)}"


def create_find_router(services: PortalServices) -> APIRouter:
    """Make the route of the search box.

    Parameters
    ----------
    services
        What it works with.

    Returns
    -------
    APIRouter
        ``/portal/app/go``: leads straight to the one page that shows what was typed, otherwise to the list of pages.
    """
    router = APIRouter(prefix=PREFIX)

    @router.get("/go")
    async def go(request: Request, q: str = "", release: str = "") -> RedirectResponse:
        who: Identity = request.scope["state"]["identity"]
        target = f"{PREFIX}/find?{urlencode({'q': q, **({'release': release} if release else {})})}"
        if "read:tap" in who.scopes:
            try:
                found = await run_in_threadpool(services.find.find, who, q, release or None)
            except PortalError:
                found = None  # the page says what is wrong
            if found is not None and len(found.places) == 1:
                target = address_of(found.places[0])
        return RedirectResponse(target, 303)

    return router
