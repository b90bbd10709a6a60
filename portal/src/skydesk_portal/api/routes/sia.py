"""Simple Image Access 2.0 over HTTP, one service per release."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from skydesk_portal.api.dependencies import FactoryDependency, FormDependency, get_pool, require
from skydesk_portal.api.streams import stream_table
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.sia import parse_sia
from skydesk_portal.vo.sia import SIA_STANDARD_ID
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["router"]

PREFIX = "/api/sia/{release}"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]


@router.api_route(PREFIX + "/query", methods=["GET", "POST"], summary="Find images")
async def search_images(
    release: str, request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    service = factory.create_sia_service()
    limit = factory.settings.portal.sync_seconds
    pool = get_pool(request)
    loop = asyncio.get_running_loop()
    search = parse_sia([*form.items, *((name, "") for name in form.files)])
    if service.wants_description(search):
        document = await loop.run_in_executor(pool, service.describe, identity, release, search)
        return Response(document, media_type="application/x-votable+xml")
    stream = await loop.run_in_executor(
        pool, lambda: service.open_stream(identity, release, search, timeout_s=limit)
    )
    return await stream_table(request, stream, pool)


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(release: str, factory: FactoryDependency, identity: Caller) -> Response:
    base = f"{factory.settings.url}/api/sia/{release}"
    document = capabilities_xml(base, [(SIA_STANDARD_ID, f"{base}/query")])
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(release: str, request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")
