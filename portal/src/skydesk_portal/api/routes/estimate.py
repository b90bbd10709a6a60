"""What a query would cost, over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from skydesk_portal.api.dependencies import FactoryDependency, FormDependency, get_pool, require
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tap import parse_tap_request

__all__ = ["router"]

router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:tap"))]


class TableCost(BaseModel):
    """What a query reads of one table."""

    name: str
    rows: int | None
    scanned_rows: int | None
    scanned_bytes: int | None


class QueryCost(BaseModel):
    """What a query would cost; figures are rough unless ``exact``."""

    rows: int | None
    exact: bool
    overflow: bool | None
    result_bytes: int | None
    tables: list[TableCost]
    warnings: list[str]
    seconds: float | None


@router.api_route("/api/tap/estimate", methods=["GET", "POST"], summary="Estimate a query without running it")
async def estimate_query(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> QueryCost:
    asked = parse_tap_request(form.items)
    service = factory.create_estimate_service()
    found = await asyncio.get_running_loop().run_in_executor(
        get_pool(request), service.estimate, identity, asked, form.files
    )
    return QueryCost(**asdict(found))
