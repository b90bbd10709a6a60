"""Service discovery over HTTP; public, as clients read it before they send a token."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from skydesk_portal.api.dependencies import FactoryDependency

__all__ = ["router"]

router = APIRouter()


@router.get("/repertoire/discovery", summary="Services and releases of this platform")
async def get_discovery(factory: FactoryDependency) -> JSONResponse:
    return JSONResponse(await asyncio.to_thread(factory.create_discovery_service().describe))
