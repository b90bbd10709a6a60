"""Whether the process can be used; needs no credentials."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

router = APIRouter()


@router.get("/api/health", summary="Whether the process can be used")
async def get_health(request: Request) -> JSONResponse:  # noqa: D103
    ready = bool(request.app.state.ready)
    return JSONResponse({"status": "healthy" if ready else "starting"}, 200 if ready else 503)
