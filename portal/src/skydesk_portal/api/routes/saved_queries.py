"""Saved queries over HTTP: save, list, open, share, remove."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict

from skydesk_portal.api.dependencies import FactoryDependency, check_names, require
from skydesk_portal.api.routes.sharing import Readers
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.saved_queries import QueryDefinition, SavedQuery
from skydesk_portal.services.sharing import check_reader_names
from skydesk_portal.vo.uws import format_instant

__all__ = ["router"]

PREFIX = "/api/queries"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:tap"))]


class Definition(BaseModel):
    """The definition of a query, as its file has it; ``uploads`` are tables in base64 by name."""

    model_config = ConfigDict(extra="forbid")

    name: str
    query: str
    description: str = ""
    uploads: dict[str, str] = {}
    format: str = "skydesk-query"
    version: int = 1


def _summary(saved: SavedQuery, base: str, is_owner: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": saved.id,
        "owner": saved.owner,
        "name": saved.definition.name,
        "description": saved.definition.description,
        "query": saved.definition.query,
        "changed": format_instant(saved.changed),
        "page": f"{base}/portal/app/catalogs?saved={saved.id}",
    }
    return found | ({"users": saved.users, "groups": saved.groups} if is_owner else {})


@router.get(PREFIX, summary="List your saved queries and those that others share with you")
async def list_saved(factory: FactoryDependency, identity: Caller) -> dict[str, Any]:
    found = await asyncio.to_thread(factory.create_saved_query_service().list_queries, identity)
    base = factory.settings.url
    return {"version": 1, "queries": [_summary(q, base, q.owner == identity.name) for q in found]}


@router.post(PREFIX, status_code=201, summary="Save a query; one of the same name is replaced")
async def save_query(definition: Definition, factory: FactoryDependency, identity: Caller) -> dict[str, Any]:
    given = QueryDefinition.from_document(definition.model_dump())
    saved = await asyncio.to_thread(factory.create_saved_query_service().save, identity, given)
    return _summary(saved, factory.settings.url, True)


@router.get(PREFIX + "/{name}", summary="The definition of a saved query, as a file")
async def get_saved(name: str, factory: FactoryDependency, identity: Caller) -> Response:
    found = await asyncio.to_thread(factory.create_saved_query_service().get, identity, name)
    return Response(found.definition.write(), media_type="application/json")


@router.put(
    PREFIX + "/{name}/readers", summary="Share your saved query with these users and groups, and nobody else"
)
async def set_readers(
    name: str, readers: Readers, request: Request, factory: FactoryDependency, identity: Caller
) -> dict[str, Any]:
    service = factory.create_saved_query_service()
    now = await asyncio.to_thread(service.get, identity, name)
    check_reader_names(readers.users, readers.groups)
    await check_names(request, set(readers.users) - set(now.users), set(readers.groups) - set(now.groups))
    found = await asyncio.to_thread(service.share, identity, name, readers.users, readers.groups)
    return _summary(found, factory.settings.url, True)


@router.delete(PREFIX + "/{name}", status_code=204, summary="Remove your saved query")
async def remove_saved(name: str, factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_saved_query_service().remove, identity, name)
    return Response(status_code=204)
