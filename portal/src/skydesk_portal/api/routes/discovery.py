"""Service discovery over HTTP; public, as clients read it before they send a token."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from skydesk_portal.api.dependencies import FactoryDependency
from skydesk_portal.services.identity import find_token

__all__ = ["router"]

router = APIRouter()


@router.get("/repertoire/discovery", summary="Services and releases of this platform")
async def get_discovery(request: Request, factory: FactoryDependency) -> JSONResponse:
    # Whoever says who it is learns also of what is not for everybody.
    token = find_token(request.headers)
    identity = await factory.create_identity_client().get_identity(token) if token else None
    document = await asyncio.to_thread(factory.create_discovery_service().describe, identity)
    headers = {"Access-Control-Allow-Origin": "*", "Vary": "Authorization"}
    return JSONResponse(document, headers=headers)
