"""Links of datasets and their files over HTTP (DataLink 1.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote, urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

from skydesk_portal.api.dependencies import FactoryDependency, FormDependency, get_pool, require
from skydesk_portal.exceptions import ForbiddenError, NotFoundError, UsageError
from skydesk_portal.factory import Factory
from skydesk_portal.models.datasets import DatasetId
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.datalink import file_media_type
from skydesk_portal.services.userimages import owner_of_label
from skydesk_portal.vo.datalink import LINKS_STANDARD_ID, MEDIA_TYPE, links_votable
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["router"]

PREFIX = "/api/datalink"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]
_FORMATS = frozenset({"votable", "application/x-votable+xml", "text/xml"})


@router.api_route(PREFIX + "/links", methods=["GET", "POST"], summary="What belongs to a dataset")
async def get_links(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    wanted = form.find("RESPONSEFORMAT") or "votable"
    if wanted.split(";")[0].strip().lower() not in _FORMATS:
        raise UsageError(f"RESPONSEFORMAT={wanted[:40]} is not offered: links are a VOTable")
    ids = [text for text in form.values("ID") if text.strip()]
    service = factory.create_datalink_service()
    links, overflow = await asyncio.get_running_loop().run_in_executor(
        get_pool(request), service.list_links, identity, ids, form.find("TABLE")
    )
    document = links_votable(links, factory.settings.url, overflow=overflow)
    return Response(document, media_type=MEDIA_TYPE)


@router.api_route(PREFIX + "/timeseries", methods=["GET", "POST"], summary="Light curve of an object")
async def get_timeseries(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    text = form.find("ID")
    if not text:
        raise UsageError("parameter ID is missing")
    bands = [band.strip() for band in form.values("BAND") if band.strip()]
    service = factory.create_datalink_service()
    query = await asyncio.get_running_loop().run_in_executor(
        get_pool(request), service.make_timeseries_query, identity, text, bands, form.find("TABLE")
    )
    parameters = {"LANG": "ADQL", "QUERY": query}
    if form.find("RESPONSEFORMAT"):
        parameters["RESPONSEFORMAT"] = str(form.find("RESPONSEFORMAT"))
    return RedirectResponse(f"{factory.settings.url}/api/tap/sync?{urlencode(parameters)}", status_code=303)


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
    owner = owner_of_label(release)
    if owner is not None:
        if identity is not None and identity.name != owner:
            raise NotFoundError(f"there is no release {release[:40]!r}")
        return await _send_own(factory, owner, DatasetId(release, dataset_id))
    # A signed link was made for somebody who may read the release.
    reader = identity or Identity("", admin=True)
    facts = await asyncio.to_thread(
        factory.create_soda_service().get_facts, reader, DatasetId(release, dataset_id)
    )
    name = facts.path.rsplit("/", 1)[-1]
    return FileResponse(facts.path, media_type=file_media_type(facts.path), filename=name)


async def _send_own(factory: Factory, owner: str, dataset: DatasetId) -> Response:
    """Send a file of somebody's own repository from the file that was checked, whatever becomes of its name."""
    service = factory.create_user_image_service()
    stream, size, name = await asyncio.to_thread(service.open_file, owner, dataset)

    def parts() -> Iterator[bytes]:
        with stream:
            while part := stream.read(1 << 20):
                yield part

    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
    }
    return StreamingResponse(parts(), media_type=file_media_type(name), headers=headers)


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(factory: FactoryDependency, identity: Caller) -> Response:
    base = factory.settings.url + PREFIX
    document = capabilities_xml(base, [(LINKS_STANDARD_ID, f"{base}/links")])
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")
