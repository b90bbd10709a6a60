"""The queries of the caller over HTTP: list, forget, run again."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.models.history import PastQuery
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import Job
from skydesk_portal.vo.uws import format_instant

__all__ = ["router"]

PREFIX = "/api/tap/history"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:tap"))]


class QueryRecord(BaseModel):
    """One query of the caller."""

    id: str
    time: str
    mode: str
    query: str
    parameters: list[tuple[str, str]]
    status: str
    rows: int
    overflow: bool
    seconds: float
    cached: bool
    error: str | None = None
    job: str | None = None
    result: str | None = None


class QueryList(BaseModel):
    """Queries of the caller, newest first; ``next`` is the BEFORE of the next page."""

    queries: list[QueryRecord]
    next: str | None = None


def _record(past: PastQuery, base: str) -> QueryRecord:
    return QueryRecord(
        id=str(past.id),
        time=format_instant(past.begun),
        mode=past.mode,
        query=next((value for name, value in past.parameters if name == "QUERY"), ""),
        parameters=list(past.parameters),
        status=past.status,
        rows=past.rows,
        overflow=past.overflow,
        seconds=past.seconds,
        cached=past.cached,
        error=past.error,
        job=f"{base}/api/tap/async/{past.job}" if past.job else None,
        result=f"{base}/portal/app/catalogs?result={past.result}" if past.result else None,
    )


@router.get(PREFIX, summary="List your queries, newest first")
async def list_queries(
    factory: FactoryDependency,
    identity: Caller,
    last: Annotated[int, Query(alias="LAST", ge=0, le=10_000)] = 100,
    before: Annotated[int | None, Query(alias="BEFORE", ge=0, lt=1 << 53)] = None,
) -> QueryList:
    found = await asyncio.to_thread(factory.create_history_service().list_queries, identity, last, before)
    further = str(found[-1].id) if found and len(found) == last else None
    return QueryList(queries=[_record(past, factory.settings.url) for past in found], next=further)


@router.delete(PREFIX, status_code=204, summary="Forget all your queries")
async def forget_all(factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_history_service().forget, identity)
    return Response(status_code=204)


@router.get(PREFIX + "/{name}", summary="Show one of your queries")
async def get_query(name: str, factory: FactoryDependency, identity: Caller) -> QueryRecord:
    found = await asyncio.to_thread(factory.create_history_service().get_query, identity, name)
    return _record(found, factory.settings.url)


@router.delete(PREFIX + "/{name}", status_code=204, summary="Forget one of your queries")
async def forget_query(name: str, factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_history_service().forget, identity, name)
    return Response(status_code=204)


@router.post(PREFIX + "/{name}/rerun", summary="Run one of your queries again, as a job")
async def rerun_query(name: str, factory: FactoryDependency, identity: Caller) -> Response:
    history, uploads = factory.create_history_service(), factory.create_upload_service()

    def rerun() -> Job:
        # This token may be for less than the one that asked first.
        uploads.check(identity, history.get_query(identity, name).parameters)
        return history.rerun(identity, name)

    job = await asyncio.to_thread(rerun)
    return RedirectResponse(f"{factory.settings.url}/api/tap/async/{job.id}", status_code=303)
