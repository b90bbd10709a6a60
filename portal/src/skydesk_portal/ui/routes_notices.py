"""Notices and downloads under way, for the bell on every page."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from skydesk_portal.models.identity import Identity
from skydesk_portal.services.transfers import Transfer
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_notices_router"]

_SHOWN = 30
_FRESH = {"Cache-Control": "no-store"}


class _Reading(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ids: list[int] | None = None
    read: bool = True


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid")

    wanted: bool


def _caller(request: Request) -> Identity:
    found: Identity = request.scope["state"]["identity"]
    return found


def _describe(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "name": transfer.name,
        "total_bytes": transfer.total_bytes,
        "sent_bytes": transfer.sent_bytes,
        "bytes_per_s": transfer.bytes_per_s,
        "left_s": transfer.left_s,
        "state": transfer.state,
        "wanted": transfer.wanted,
    }


def create_notices_router(services: PortalServices) -> APIRouter:
    """Make the routes of notices and downloads.

    Parameters
    ----------
    services
        What they work with.

    Returns
    -------
    APIRouter
        ``/portal/app/notices`` and ``/portal/app/transfers``.
    """
    router = APIRouter(prefix=PREFIX)
    notices, transfers = services.notices, services.transfers

    @router.get("/notices")
    async def list_notices(request: Request) -> JSONResponse:
        who = _caller(request)
        found = await run_in_threadpool(notices.list_notices, who, _SHOWN)
        unread = await run_in_threadpool(notices.count_unread, who)
        return JSONResponse({"unread": unread, "notices": [asdict(n) for n in found]}, headers=_FRESH)

    @router.post("/notices/read")
    async def mark_read(request: Request, reading: _Reading) -> Response:
        await run_in_threadpool(notices.mark_read, _caller(request), reading.ids, is_read=reading.read)
        return Response(status_code=204)

    @router.delete("/notices")
    async def forget_all(request: Request) -> Response:
        await run_in_threadpool(notices.remove, _caller(request))
        return Response(status_code=204)

    @router.get("/transfers")
    async def list_transfers(request: Request) -> JSONResponse:
        found = transfers.list_running(_caller(request))
        return JSONResponse({"transfers": [_describe(t) for t in found]}, headers=_FRESH)

    @router.get("/transfers/{transfer_id}")
    async def get_transfer(request: Request, transfer_id: str) -> JSONResponse:
        return JSONResponse(_describe(transfers.get(_caller(request), transfer_id)), headers=_FRESH)

    @router.post("/transfers/{transfer_id}/notice")
    async def want_notice(request: Request, transfer_id: str, wish: _Wanted) -> JSONResponse:
        found = transfers.want(_caller(request), transfer_id, wanted=wish.wanted)
        return JSONResponse(_describe(found), headers=_FRESH)

    return router
