"""What a person prefers, changed by the pages' own scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import TooLargeError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_account_router"]

_LONGEST_BYTES = 10_000


def create_account_router(services: PortalServices) -> APIRouter:
    """Make the route of preferences.

    Parameters
    ----------
    services
        What it works with.

    Returns
    -------
    APIRouter
        ``PUT /portal/app/preferences`` with a JSON object of the preferences to change.
    """
    router = APIRouter(prefix=PREFIX)

    @router.put("/preferences")
    async def change(request: Request) -> JSONResponse:
        who: Identity = request.scope["state"]["identity"]
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LONGEST_BYTES:
                raise TooLargeError("preferences are a short JSON object")
        try:
            changes = json.loads(body)
        except ValueError as error:
            raise UsageError("preferences are a JSON object") from error
        if not isinstance(changes, dict):
            raise UsageError("preferences are a JSON object")
        now = await run_in_threadpool(lambda: services.preferences.change(who, **changes))
        return JSONResponse(
            {"theme": now.theme, "text_percent": now.text_percent}, headers={"Cache-Control": "no-store"}
        )

    return router
