"""What a person's Portal session holds, for the person's programs: open pages and the queries asked so far."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from skydesk_portal.exceptions import AuthenticationError, ForbiddenError
from skydesk_portal.models.history import PastQuery
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.identity import find_token
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_session_router"]

_MOST = 1000


def _describe(past: PastQuery, is_kept: bool) -> dict[str, Any]:
    return {
        "id": str(past.id),
        "time": past.begun.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "mode": past.mode,
        "query": next((value for name, value in past.parameters if name == "QUERY"), ""),
        "status": past.status,
        "rows": past.rows,
        "error": past.error,
        "job": past.job,
        "result": f"{PREFIX}/catalogs?result={past.result}" if is_kept else None,
    }


def create_session_router(services: PortalServices) -> APIRouter:
    """Make the routes.

    Parameters
    ----------
    services
        What the pages work with.

    Returns
    -------
    APIRouter
        Route ``/portal/app/sessions/{user}``; only a token in the ``Authorization`` header of that user opens it.
    """
    router = APIRouter()

    def read_queries(who: Identity, last: int) -> list[dict[str, Any]]:
        found = services.history.list_queries(who, max(0, min(last, _MOST)))
        return [
            _describe(past, past.result is not None and services.results.find(who, past.result) is not None)
            for past in found
        ]

    @router.get(f"{PREFIX}/sessions/{{user}}")
    async def read_session(request: Request, user: str, last: int = 100) -> dict[str, Any]:
        if find_token(request.headers) is None:
            raise AuthenticationError("programs read a session with a token in the Authorization header")
        who: Identity = request.scope["state"]["identity"]
        if user != who.name:
            raise ForbiddenError("a session is shown to nobody but the person whose it is")
        if "read:tap" not in who.scopes:
            raise ForbiddenError("your token does not have the scope read:tap, which past queries take")
        return {
            "version": 1,
            "user": who.name,
            "views": [view.describe() for view in services.views.list_views(who)],
            "queries": await asyncio.to_thread(read_queries, who, last),
        }

    return router
