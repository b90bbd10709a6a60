"""Links of datasets and their files over HTTP (DataLink 1.1)."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse

from skydesk_portal.api.dependencies import FactoryDependency, FormDependency, require
from skydesk_portal.exceptions import ForbiddenError, UsageError
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.vo.datalink import MEDIA_TYPE, links_votable
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["router"]

PREFIX = "/api/datalink"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]


@router.api_route(PREFIX + "/links", methods=["GET", "POST"], summary="What belongs to a dataset")
async def get_links(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    ids = form.values("ID")
    if not ids:
        raise UsageError("parameter ID is missing")
    links = await asyncio.to_thread(factory.create_datalink_service().list_links, identity, ids)
    rows = [
        {"ID": link.id, **{key: value for key, value in asdict(link).items() if key != "id"}}
        for link in links
    ]
    return Response(links_votable(rows, factory.settings.url), media_type=MEDIA_TYPE)


async def _reader(
    request: Request, factory: FactoryDependency, e: int | None = None, s: str | None = None
) -> Identity | None:
    """Let in whoever has a good link; anybody else needs a token."""
    if e is None and s is None:
        return await require("read:image")(request)
    if e is None or s is None or not factory.create_datalink_service().check_link(request.url.path, e, s):
        raise ForbiddenError("the link has expired or is not ours: ask /api/datalink/links for a fresh one")
    return None


@router.api_route(
    PREFIX + "/file/{release}/{dataset_id}", methods=["GET", "HEAD"], summary="Fetch the file of a dataset"
)
async def get_file(
    release: str,
    dataset_id: UUID,
    factory: FactoryDependency,
    identity: Annotated[Identity | None, Depends(_reader)],
) -> Response:
    # A signed link was made for somebody who may read the release.
    reader = identity or Identity("", admin=True)
    facts = await asyncio.to_thread(
        factory.create_soda_service().get_facts, reader, DatasetId(release, dataset_id)
    )
    return FileResponse(facts.path, media_type="application/fits", filename=facts.path.rsplit("/", 1)[-1])


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(factory: FactoryDependency, identity: Caller) -> Response:
    base = factory.settings.url + PREFIX
    document = capabilities_xml(base, [("ivo://ivoa.net/std/DataLink#links-1.1", f"{base}/links")])
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")
