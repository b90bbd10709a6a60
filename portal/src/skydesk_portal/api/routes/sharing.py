"""Sharing one's own Butler repository over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from skydesk_portal.api.dependencies import FactoryDependency, check_names, require
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.sharing import check_reader_names

__all__ = ["Readers", "router"]

PREFIX = "/api/sharing"
router = APIRouter()
Reader = Annotated[Identity, Depends(require("read:image"))]
Writer = Annotated[Identity, Depends(require("write:files"))]


class Readers(BaseModel):
    """Whom a repository is shared with.

    Parameters
    ----------
    users, groups
        Names; whoever is not named has no access any more.
    """

    model_config = ConfigDict(extra="forbid")

    users: list[str] = []
    groups: list[str] = []


@router.get(PREFIX, summary="List the Butler repositories that you may read")
async def list_repositories(factory: FactoryDependency, identity: Reader) -> JSONResponse:
    labels = await asyncio.to_thread(factory.create_sharing_service().list_labels, identity)
    base = f"{factory.settings.url}/api/butler/repo"
    return JSONResponse(
        {"version": 1, "repositories": {label: f"{base}/{label}/butler.yaml" for label in labels}}
    )


@router.get(PREFIX + "/{label}", summary="Whom you share your repository with")
async def get_readers(label: str, factory: FactoryDependency, identity: Reader) -> JSONResponse:
    found = await asyncio.to_thread(factory.create_sharing_service().get_readers, identity, label)
    return JSONResponse(asdict(found))


@router.put(PREFIX + "/{label}", summary="Share your repository with these users and groups, and nobody else")
async def set_readers(
    label: str, readers: Readers, request: Request, factory: FactoryDependency, identity: Writer
) -> JSONResponse:
    sharing = factory.create_sharing_service()
    now = await asyncio.to_thread(sharing.get_readers, identity, label)
    check_reader_names(readers.users, readers.groups)
    await check_names(request, set(readers.users) - set(now.users), set(readers.groups) - set(now.groups))
    found = await asyncio.to_thread(sharing.set_readers, identity, label, readers.users, readers.groups)
    return JSONResponse(asdict(found))


@router.delete(PREFIX + "/{label}", summary="Share your repository with nobody")
async def remove_readers(label: str, factory: FactoryDependency, identity: Writer) -> JSONResponse:
    found = await asyncio.to_thread(factory.create_sharing_service().set_readers, identity, label, (), ())
    return JSONResponse(asdict(found))
