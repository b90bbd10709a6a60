"""Alerts over HTTP: packets, cut-outs, schema, links, search."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from skydesk_portal.api.dependencies import FactoryDependency, Form, FormDependency, require
from skydesk_portal.api.vosi import add_vosi
from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.alerts import parse_alert_id, parse_alert_query
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.alerts import AlertFormat
from skydesk_portal.vo.datalink import MEDIA_TYPE, links_votable

__all__ = ["router"]

PREFIX = "/api/alerts"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:alertdb"))]


def _check_names(form: Form, *known: str) -> None:
    unknown = [key for key, _ in form.items if key.upper() not in known]
    if unknown:
        raise UsageError(f"parameter {unknown[0][:40]!r} is not known; there are {', '.join(known)}")


def _one_id(form: Form) -> int:
    given = form.values("ID")
    if len(given) != 1:
        raise UsageError("one parameter ID is needed" if given else "parameter ID is missing")
    return parse_alert_id(given[0])


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


@router.get(PREFIX, summary="Fetch an alert as Avro, FITS or JSON")
async def get_alert(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    _check_names(form, "ID", "RELEASE", "RESPONSEFORMAT")
    alert_id, kind = _one_id(form), AlertFormat.parse(form.find("RESPONSEFORMAT"))
    service = factory.create_alert_service()
    content = await asyncio.to_thread(service.get_alert, identity, alert_id, kind, form.find("RELEASE"))
    headers = {} if kind is AlertFormat.JSON else _attachment(f"alert-{alert_id}.{kind.extension}")
    return Response(content, media_type=kind.value, headers=headers)


@router.get(PREFIX + "/cutouts", summary="Fetch the cut-outs of an alert")
async def get_cutouts(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    _check_names(form, "ID", "RELEASE")
    alert_id = _one_id(form)
    service = factory.create_alert_service()
    content = await asyncio.to_thread(service.get_cutouts, identity, alert_id, form.find("RELEASE"))
    return Response(
        content, media_type=AlertFormat.FITS.value, headers=_attachment(f"cutouts-{alert_id}.fits")
    )


@router.get(PREFIX + "/schema", summary="The Avro schema of an alert")
async def get_schema(factory: FactoryDependency, identity: Caller, form: FormDependency) -> JSONResponse:
    _check_names(form, "ID", "RELEASE")
    alert_id = _one_id(form)
    service = factory.create_alert_service()
    return JSONResponse(await asyncio.to_thread(service.get_schema, identity, alert_id, form.find("RELEASE")))


@router.get(PREFIX + "/links", summary="What belongs to an alert (DataLink)")
async def get_links(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    _check_names(form, "ID", "RELEASE")
    ids = form.values("ID")
    if not ids:
        raise UsageError("parameter ID is missing")
    service = factory.create_alert_service()
    links = await asyncio.to_thread(service.list_links, identity, ids, form.find("RELEASE"))
    return Response(links_votable(links, factory.settings.url), media_type=MEDIA_TYPE)


@router.get(PREFIX + "/search", summary="Search alerts by place, time, band, object and brightness")
async def search_alerts(factory: FactoryDependency, identity: Caller, form: FormDependency) -> JSONResponse:
    query = parse_alert_query(form.items)
    service = factory.create_alert_service()
    return JSONResponse(
        await asyncio.to_thread(service.search, identity, query, list(form.items), form.find("RELEASE"))
    )


add_vosi(
    router,
    PREFIX,
    require("read:alertdb"),
    [
        ("ivo://ivoa.net/std/DataLink#links-1.1", "/links"),
        ("ivo://skydesk/alerts#packet-1.0", ""),
        ("ivo://skydesk/alerts#search-1.0", "/search"),
    ],
)
