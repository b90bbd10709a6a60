"""Tables that people keep: our own addresses, and those of CADC's youcat that pyvo's clients use."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from skydesk_portal.api.dependencies import FactoryDependency, Form, check_names, require
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.api.table_documents import (
    ColumnDocument,
    IndexRequest,
    NewTable,
    Shares,
    TableChange,
    TableDocument,
    TableList,
    describe_table,
)
from skydesk_portal.exceptions import ForbiddenError, TooLargeError, UsageError
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.user_tables import UserTable, schema_of
from skydesk_portal.services.tables import Rows
from skydesk_portal.vo.tables import read_vosi_table

__all__ = ["router"]

PREFIX = "/api/tables"
TAP = "/api/tap"
router = APIRouter()
Reader = Annotated[Identity, Depends(require("read:tap"))]
Writer = Annotated[Identity, Depends(require("write:files"))]
ColumnName = Annotated[str | None, Query(max_length=128)]

_CONTENT = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (
                "application/x-votable+xml",
                "text/csv",
                "text/tab-separated-values",
                "application/vnd.apache.parquet",
                "application/fits",
            )
        },
    }
}


async def _read_body(request: Request, factory: Factory) -> bytes:
    limit = factory.settings.portal.upload_bytes
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise TooLargeError(f"a table that is sent has at most {limit} bytes: append the rest to it")
    return bytes(content)


def _position(ra: str | None, dec: str | None) -> tuple[str, str] | None:
    if (ra is None) != (dec is None):
        raise UsageError("give both ra and dec, or neither")
    return (ra, dec) if ra is not None and dec is not None else None


@router.get(PREFIX, summary="List your tables, those shared with you, and those you can restore")
async def list_tables(factory: FactoryDependency, identity: Reader) -> TableList:
    service = factory.create_table_service()

    def look() -> TableList:
        used, limit = service.usage_of(identity)
        return TableList(
            schema_name=schema_of(identity.name),
            used_bytes=used,
            limit_bytes=limit,
            tables=[describe_table(table, identity) for table in service.list_tables(identity)],
            dropped=[describe_table(table, identity) for table in service.list_dropped(identity)],
        )

    return await asyncio.to_thread(look)


@router.post(
    PREFIX, summary="Make a table from a query, a result, a file or a list of columns", status_code=201
)
async def create_table(factory: FactoryDependency, identity: Writer, wanted: NewTable) -> TableDocument:
    service = factory.create_table_service()
    if sum(part is not None for part in (wanted.query, wanted.source, wanted.columns)) != 1:
        raise UsageError("give exactly one of query, source and columns")
    if wanted.query is not None:
        _check_reader(identity)

    def make() -> UserTable:
        rows: Rows
        if wanted.query is not None:
            seconds = factory.settings.portal.sync_seconds
            rows = service.run_query(identity, wanted.query, timeout_s=seconds)
        elif wanted.source is not None:
            rows = service.read_address(identity, wanted.source)
        else:
            rows = tuple(_column(column) for column in wanted.columns or ()), ()
        place = (wanted.position.ra, wanted.position.dec) if wanted.position else None
        return service.create_table(
            identity,
            wanted.name,
            rows,
            description=wanted.description,
            position=place,
            replace_old=wanted.replace,
        )

    return describe_table(await asyncio.to_thread(make), identity)


def _check_reader(identity: Identity) -> None:
    if "read:tap" not in identity.scopes:
        raise ForbiddenError("a query needs a token with the scope read:tap")


def _check_job(factory: Factory, identity: Identity, form: Form) -> None:
    if form.find("QUERY"):
        _check_reader(identity)


def _column(given: ColumnDocument) -> ColumnInfo:
    size = "*" if given.datatype == "char" else None
    words = (given.unit, given.ucd, given.utype, given.description)
    return ColumnInfo(given.name, given.datatype, size, "", *words)


@router.get(PREFIX + "/{name}", summary="Describe a table")
async def get_table(name: str, factory: FactoryDependency, identity: Reader) -> TableDocument:
    table = await asyncio.to_thread(factory.create_table_service().get_table, identity, name)
    return describe_table(table, identity)


@router.put(
    PREFIX + "/{name}",
    summary="Make a table from a VOTable, CSV, TSV, parquet or FITS file, in the place of one of that name",
    openapi_extra=_CONTENT,
)
async def put_table(
    name: str,
    request: Request,
    factory: FactoryDependency,
    identity: Writer,
    ra: ColumnName = None,
    dec: ColumnName = None,
    description: Annotated[str, Query(max_length=4000)] = "",
) -> TableDocument:
    content = await _read_body(request, factory)
    service = factory.create_table_service()

    def make() -> UserTable:
        return service.create_table(
            identity,
            name,
            service.read_content("the table", content),
            description=description,
            position=_position(ra, dec),
            replace_old=True,
        )

    return describe_table(await asyncio.to_thread(make), identity)


@router.patch(PREFIX + "/{name}", summary="Change what is said about a table and its columns")
async def change_table(
    name: str, factory: FactoryDependency, identity: Writer, change: TableChange
) -> TableDocument:
    words = {key: column.model_dump(exclude_none=True) for key, column in change.columns.items()}
    place = (change.position.ra, change.position.dec) if change.position else None
    table = await asyncio.to_thread(
        factory.create_table_service().describe_table,
        identity,
        name,
        description=change.description,
        columns=words,
        position=place,
    )
    return describe_table(table, identity)


@router.post(PREFIX + "/{name}/rows", summary="Append the rows of a file", openapi_extra=_CONTENT)
async def append_rows(
    name: str, request: Request, factory: FactoryDependency, identity: Writer
) -> TableDocument:
    content = await _read_body(request, factory)
    return describe_table(await asyncio.to_thread(_append, factory, identity, name, content), identity)


def _append(factory: Factory, identity: Identity, name: str, content: bytes) -> UserTable:
    service = factory.create_table_service()
    # Whose table it is comes first: nothing is read for somebody who may not write it.
    table = service.get_table(identity, name)
    return service.append_rows(identity, name, service.read_content("the rows", content, table))


@router.put(PREFIX + "/{name}/shares", summary="Say which users and groups may read a table")
async def share_table(
    name: str, request: Request, factory: FactoryDependency, identity: Writer, shares: Shares
) -> TableDocument:
    service = factory.create_table_service()
    now = await asyncio.to_thread(service.get_table, identity, name)
    await check_names(request, set(shares.users) - set(now.users), set(shares.groups) - set(now.groups))
    table = await asyncio.to_thread(service.share_table, identity, name, shares.users, shares.groups)
    return describe_table(table, identity)


@router.post(PREFIX + "/{name}/index", summary="Sort a table by a column or by place on the sky")
async def index_table(
    name: str, factory: FactoryDependency, identity: Writer, wanted: IndexRequest
) -> TableDocument:
    table = await asyncio.to_thread(
        factory.create_table_service().index_column, identity, name, wanted.column, unique=wanted.unique
    )
    return describe_table(table, identity)


@router.post(PREFIX + "/{name}/restore", summary="Bring back a table that was dropped")
async def restore_table(name: str, factory: FactoryDependency, identity: Writer) -> TableDocument:
    table = await asyncio.to_thread(factory.create_table_service().restore_table, identity, name)
    return describe_table(table, identity)


@router.delete(PREFIX + "/{name}", summary="Drop a table; it can be restored for some days", status_code=204)
async def drop_table(
    name: str,
    factory: FactoryDependency,
    identity: Writer,
    for_good: Annotated[
        bool, Query(description="without a way back; also for a table dropped before")
    ] = False,  # a parameter of the address
) -> Response:
    await asyncio.to_thread(factory.create_table_service().drop_table, identity, name, for_good=for_good)
    return Response(status_code=204)


# CADC's conventions


@router.put(TAP + "/tables/{name}", summary="Make a table (youcat)", status_code=201)
async def put_tap_table(
    name: str, request: Request, factory: FactoryDependency, identity: Writer
) -> Response:
    content = await _read_body(request, factory)
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    service = factory.create_table_service()

    def make() -> UserTable:
        if kind in {"text/xml", "application/xml"}:
            columns, text = read_vosi_table(content)
            return service.create_table(identity, name, (columns, ()), description=text)
        return service.create_table(identity, name, service.read_content("the table", content))

    table = await asyncio.to_thread(make)
    location = f"{factory.settings.url}{TAP}/tables/{table.full_name}"
    return Response(status_code=201, headers={"Location": location})


@router.delete(TAP + "/tables/{name}", summary="Drop a table (youcat)")
async def delete_tap_table(name: str, factory: FactoryDependency, identity: Writer) -> Response:
    await asyncio.to_thread(factory.create_table_service().drop_table, identity, name)
    return Response(status_code=200)


@router.post(TAP + "/load/{name}", summary="Append the rows of a file (youcat)", openapi_extra=_CONTENT)
async def load_tap_table(
    name: str, request: Request, factory: FactoryDependency, identity: Writer
) -> Response:
    content = await _read_body(request, factory)
    await asyncio.to_thread(_append, factory, identity, name, content)
    return Response(status_code=200)


router.include_router(create_uws_router(TAP + "/table-update", JobKind.TABLE, "write:files", _check_job))
