"""The notices of the caller over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.models.identity import Identity

__all__ = ["Reading", "Want", "router"]

PREFIX = "/api/notices"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("exec:portal"))]


class Reading(BaseModel):
    """Which notices count as read, or as unread."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    ids: list[int] | None = None
    """Their numbers; without them all."""

    read: bool = True
    """Whether they count as read."""


class Want(BaseModel):
    """What to be told about."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    subject: str
    """`job/NUMBER` for the end of a job."""

    wanted: bool = True
    """Whether to be told."""


@router.get(PREFIX, summary="List your notices, the newest first")
async def list_notices(
    factory: FactoryDependency,
    identity: Caller,
    last: Annotated[int, Query(alias="LAST", ge=0, le=100)] = 50,
) -> JSONResponse:
    service = factory.create_notice_service()
    found = await asyncio.to_thread(service.list_notices, identity, last)
    unread = await asyncio.to_thread(service.count_unread, identity)
    return JSONResponse({"version": 1, "unread": unread, "notices": [asdict(one) for one in found]})


@router.post(PREFIX + "/read", status_code=204, summary="Let notices count as read")
async def mark_read(reading: Reading, factory: FactoryDependency, identity: Caller) -> Response:
    service = factory.create_notice_service()
    await asyncio.to_thread(service.mark_read, identity, reading.ids, is_read=reading.read)
    return Response(status_code=204)


@router.post(PREFIX + "/wanted", status_code=204, summary="Be told when a job ends")
async def want_notice(want: Want, factory: FactoryDependency, identity: Caller) -> Response:
    service = factory.create_notice_service()
    await asyncio.to_thread(service.want, identity, want.subject, wanted=want.wanted)
    return Response(status_code=204)


@router.delete(PREFIX, status_code=204, summary="Forget all your notices")
async def forget_all(factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_notice_service().remove, identity)
    return Response(status_code=204)


@router.delete(PREFIX + "/{notice_id}", status_code=204, summary="Forget one of your notices")
async def forget_notice(notice_id: int, factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_notice_service().remove, identity, notice_id)
    return Response(status_code=204)
