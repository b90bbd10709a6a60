"""Table Access Protocol 1.1 over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated
from xml.sax.saxutils import escape

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from skydesk_portal.api.dependencies import FactoryDependency, Form, FormDependency, get_pool, require
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.api.streams import open_table, stream_table
from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.models.tap import parse_tap_request
from skydesk_portal.services.tap_stream import TableStream
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml, table_xml, tables_xml, tap_capability

__all__ = ["router"]

PREFIX = "/api/tap"
_FORGETFUL = re.compile(r"pyvo|python-requests|lsst", re.IGNORECASE)
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:tap"))]


@router.api_route(PREFIX + "/sync", methods=["GET", "POST"], summary="Run a query and wait for its result")
async def run_sync(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    if (form.find("REQUEST") or "").lower() == "getcapabilities":
        return await get_capabilities(factory, identity)
    asked = parse_tap_request(form.items)
    pool = get_pool(request)
    service = factory.create_tap_service()

    wishes = request.headers.get("cache-control", "").lower()

    def begin(on_start: Callable[[Callable[[], None]], None]) -> TableStream:
        return service.answer(
            identity,
            asked,
            timeout_s=factory.settings.portal.sync_seconds,
            files=form.files,
            on_start=on_start,
            fresh="no-cache" in wishes or "no-store" in wishes,
        )

    stream = await open_table(request, pool, begin)
    return await stream_table(request, stream, pool)


@router.get(PREFIX + "/tables", summary="Describe all tables (VOSI); detail=min leaves out the columns")
async def get_tables(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    catalog = await asyncio.to_thread(factory.create_tap_service().catalog_for, identity)
    brief = (form.find("detail") or "max").lower() == "min"
    # pyvo always asks for the short form and then fetches each table without its token; VOSI 1.1 leaves it to the
    # service to tell more than was asked.
    told = request.headers.get("user-agent", "")
    return Response(tables_xml(catalog, brief=brief and not _FORGETFUL.search(told)), media_type="text/xml")


@router.get(PREFIX + "/tables/{name}", summary="Describe one table (VOSI)")
async def get_table(name: str, factory: FactoryDependency, identity: Caller) -> Response:
    catalog = await asyncio.to_thread(factory.create_tap_service().catalog_for, identity)
    table = catalog.find_table(name)
    if table is None:
        raise NotFoundError(f"there is no table {name[:60]!r}")
    return Response(table_xml(table), media_type="text/xml")


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(factory: FactoryDependency, identity: Caller) -> Response:
    base = factory.settings.url + PREFIX
    document = capabilities_xml(base, more=tap_capability(base, factory.settings.portal))
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/examples", summary="Queries to begin with (DALI)")
async def get_examples(factory: FactoryDependency, identity: Caller) -> Response:
    catalog = await asyncio.to_thread(factory.create_tap_service().catalog_for, identity)
    centers = {
        release.name: release.manifest.center_deg
        for release in factory.create_release_store().list_visible(identity)
    }
    parts = []
    for schema in catalog.schemas:
        table = next((t for t in schema.tables if t.name == "Object"), None)
        center = centers.get(schema.name)
        if table is None or center is None:
            continue
        name = next((c.name for c in table.columns if c.ucd.startswith("meta.id")), table.columns[0].name)
        query = (
            f"SELECT TOP 10 {name}, {table.ra_column}, {table.dec_column} FROM {table.full_name}"
            f" WHERE CONTAINS(POINT('ICRS', {table.ra_column}, {table.dec_column}),"
            f" CIRCLE('ICRS', {center[0]:.4f}, {center[1]:.4f}, 0.01)) = 1"
        )
        parts.append(
            _example(
                f"cone-{schema.name}", f"Objects of {schema.name} around a position", query, table.full_name
            )
        )
    images = "SELECT TOP 10 obs_id, dataproduct_subtype, t_min, access_url FROM ivoa.ObsCore"
    if catalog.find_table("ivoa.ObsCore"):
        parts.append(_example("images", "Some images", images, "ivoa.ObsCore"))
    tables = "SELECT table_name, description FROM tap_schema.tables"
    parts.append(_example("tables", "All tables", tables, "tap_schema.tables"))
    body = "\n".join(parts)
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml">\n'
        '<head><title>Queries to begin with</title></head>\n<body vocab="http://www.ivoa.net/rdf/examples#">\n'
        f"<h1>Queries to begin with</h1>\n{body}\n</body></html>\n"
    )
    return Response(document, media_type="application/xhtml+xml")


def _example(name: str, title: str, query: str, table: str) -> str:
    return (
        f'<div typeof="example" id="{name}" resource="#{name}">\n<h2 property="name">{escape(title)}</h2>\n'
        f'<p>Asks <em property="table">{escape(table)}</em>:</p>\n<pre property="query">{escape(query)}</pre>\n</div>'
    )


@router.post(PREFIX + "/async/{job_id}/rerun", summary="Run what a job was made for again, in a new job")
async def rerun_job(job_id: str, factory: FactoryDependency, identity: Caller) -> Response:
    old = await asyncio.to_thread(factory.create_job_service().get_job, identity, job_id, JobKind.TAP)
    factory.create_upload_service().check(identity, old.parameters)
    job = await asyncio.to_thread(factory.create_history_service().rerun_job, identity, job_id)
    return RedirectResponse(f"{factory.settings.url}{PREFIX}/async/{job.id}", status_code=303)


def _check_uploads(factory: Factory, identity: Identity, form: Form) -> None:
    factory.create_upload_service().check(identity, form.items)


router.include_router(create_uws_router(PREFIX + "/async", JobKind.TAP, "read:tap", _check_uploads))
