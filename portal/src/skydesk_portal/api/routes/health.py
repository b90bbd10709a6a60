"""Whether the process can be used, and what it has counted."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from skydesk_portal.api.dependencies import require_admin
from skydesk_portal.models.identity import Identity

__all__ = ["router"]

router = APIRouter()


@router.get("/api/health", summary="Whether the process can be used")
async def get_health(request: Request) -> JSONResponse:
    ready = bool(request.app.state.ready)
    return JSONResponse({"status": "healthy" if ready else "starting"}, 200 if ready else 503)


@router.get("/api/metrics", summary="Counters for Prometheus (administrators)")
async def get_metrics(request: Request, identity: Annotated[Identity, Depends(require_admin)]) -> Response:
    text = await asyncio.to_thread(request.app.state.metrics.render)
    return Response(text, media_type="text/plain; version=0.0.4")
