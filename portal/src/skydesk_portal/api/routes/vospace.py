"""The files of people over VOSpace 2.1."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from skydesk_portal.api.content import ContentResponse
from skydesk_portal.api.dependencies import FactoryDependency, read_form, require
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.exceptions import DigestError, ForbiddenError, NotFoundError, TooLargeError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.models.vospace import Transfer
from skydesk_portal.services.files import SCOPE
from skydesk_portal.services.vospace import CONTENT, KNOWN_PROPERTIES, read_parameters, transfer_parameters
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml
from skydesk_portal.vo.vospace import (
    node_xml,
    properties_xml,
    protocols_xml,
    read_node,
    read_transfer,
    transfer_xml,
    views_xml,
)

__all__ = ["router"]

PREFIX = "/api/files"
_NODES, _SYNC, _ASYNC = f"{PREFIX}/nodes", f"{PREFIX}/synctrans", f"{PREFIX}/transfers"
_DOCUMENT_BYTES = 1_000_000
_STANDARDS = [
    ("ivo://ivoa.net/std/VOSpace/v2.0#nodes", _NODES),
    ("ivo://ivoa.net/std/VOSpace#sync-2.1", _SYNC),
    ("ivo://ivoa.net/std/VOSpace/v2.0#sync", _SYNC),
    ("ivo://ivoa.net/std/VOSpace/v2.0#transfers", _ASYNC),
    ("ivo://ivoa.net/std/VOSpace/v2.0#protocols", f"{PREFIX}/protocols"),
    ("ivo://ivoa.net/std/VOSpace/v2.0#views", f"{PREFIX}/views"),
    ("ivo://ivoa.net/std/VOSpace/v2.0#properties", f"{PREFIX}/properties"),
    # What the vos package calls the plain address of a node's bytes.
    ("ivo://ivoa.net/std/VOSpace#files-proto", CONTENT),
]

router = APIRouter()
Caller = Annotated[Identity, Depends(require(SCOPE))]


def _xml(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="text/xml")


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _DOCUMENT_BYTES:
            raise TooLargeError("the document in the request is too large")
    return body


def _limit(request: Request) -> int | None:
    text = request.query_params.get("limit")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError("limit is a number of nodes")
    return int(text[:9])


@router.get(_NODES, summary="Show the node above the home folders")
@router.get(_NODES + "/{path:path}", summary="Show a node and what it holds")
async def get_node(
    request: Request, factory: FactoryDependency, identity: Caller, path: str = ""
) -> Response:
    query = request.query_params
    if query.get("view") == "data":
        return RedirectResponse(
            f"{factory.settings.url}{CONTENT}{request.url.path.removeprefix(_NODES)}", 303
        )
    node = await asyncio.to_thread(
        factory.create_vospace_service().get_node,
        identity,
        path,
        limit=_limit(request),
        first=query.get("uri"),
        detail=query.get("detail", "max") != "min",
    )
    return _xml(node_xml(node))


@router.put(_NODES + "/{path:path}", summary="Make a node", status_code=201)
async def create_node(path: str, request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    wanted = read_node(await _read_body(request))
    node = await asyncio.to_thread(factory.create_vospace_service().create_node, identity, path, wanted)
    return _xml(node_xml(node), 201)


@router.post(_NODES + "/{path:path}", summary="Change the properties of a node")
async def set_node(path: str, request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    wanted = read_node(await _read_body(request))
    node = await asyncio.to_thread(factory.create_vospace_service().set_node, identity, path, wanted)
    return _xml(node_xml(node))


@router.delete(_NODES + "/{path:path}", summary="Remove a node with all that it holds", status_code=204)
async def delete_node(path: str, factory: FactoryDependency, identity: Caller) -> Response:
    await asyncio.to_thread(factory.create_vospace_service().delete_node, identity, path)
    return Response(status_code=204)


async def _read_transfer(request: Request) -> Transfer:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in {"text/xml", "application/xml"}:
        return read_transfer(await _read_body(request))
    return read_parameters(list((await read_form(request)).items))


@router.post(_SYNC, summary="Agree on an address for the bytes of a node")
async def create_sync(request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    transfer = await _read_transfer(request)
    endpoints = await asyncio.to_thread(factory.create_vospace_service().negotiate, identity, transfer)
    if request.query_params.get("REQUEST") == "redirect":
        return RedirectResponse(endpoints[0].url, 303)
    # The address itself says what was asked, so that nothing has to be kept.
    told = json.dumps(transfer_parameters(transfer), separators=(",", ":")).encode().hex()
    return RedirectResponse(f"{factory.settings.url}{_SYNC}/{told}/results/transferDetails", 303)


def _agreed(told: str) -> Transfer:
    try:
        return read_parameters([(str(name), str(value)) for name, value in json.loads(bytes.fromhex(told))])
    except (ValueError, TypeError, RecursionError) as error:
        raise NotFoundError("there is no such transfer") from error


@router.get(
    _SYNC + "/{told}/results/transferDetails", summary="Where the bytes of a node are fetched or sent"
)
async def get_details(told: str, factory: FactoryDependency, identity: Caller) -> Response:
    transfer = _agreed(told)
    endpoints = await asyncio.to_thread(factory.create_vospace_service().negotiate, identity, transfer)
    return _xml(transfer_xml(transfer, endpoints))


@router.get(_SYNC + "/{told}/phase", summary="The phase of an agreement: it is complete at once")
async def get_phase(told: str, factory: FactoryDependency, identity: Caller) -> Response:
    _agreed(told)
    return PlainTextResponse("COMPLETED")


@router.post(_ASYNC, summary="Move or copy a node, or fetch a result into one, as a job")
async def create_transfer(request: Request, factory: FactoryDependency, identity: Caller) -> Response:
    transfer = await _read_transfer(request)
    run = request.query_params.get("PHASE", "").upper() == "RUN"

    def create() -> str:
        return factory.create_job_service().create_job(
            identity, kind=JobKind.TRANSFER, parameters=transfer_parameters(transfer), run=run
        ).id  # fmt: skip

    return RedirectResponse(f"{factory.settings.url}{_ASYNC}/{await asyncio.to_thread(create)}", 303)


async def _sender(request: Request, path: str, factory: FactoryDependency) -> Identity:
    """Let in whoever has a signed address for this; anybody else needs a token."""
    expires, signature = request.query_params.get("e"), request.query_params.get("s")
    if expires is None and signature is None:
        return await require(SCOPE)(request)
    found = factory.create_vospace_service().find_signed(request.method, path, expires or "", signature or "")
    if found is None:
        raise ForbiddenError("the address has expired, or is not good for this")
    request.state.user = found.name
    return found


Sender = Annotated[Identity, Depends(_sender)]


@router.head(CONTENT + "/{path:path}", include_in_schema=False)
@router.get(CONTENT + "/{path:path}", summary="Fetch the bytes of a node")
async def get_content(path: str, request: Request, factory: FactoryDependency, identity: Sender) -> Response:
    content = await asyncio.to_thread(factory.create_files_service().open_for, identity, path)
    return ContentResponse(content, request)


@router.put(CONTENT + "/{path:path}", summary="Send the bytes of a node", status_code=201)
async def put_content(path: str, request: Request, factory: FactoryDependency, identity: Sender) -> Response:
    files, length = factory.create_files_service(), request.headers.get("content-length", "")
    size = int(length) if length.isdigit() else None
    # For checking what arrived against what the sender told; not for security.
    digest = hashlib.md5(usedforsecurity=False)
    pending = await asyncio.to_thread(files.begin_write, identity, path, size)
    try:
        async for chunk in request.stream():
            if chunk:
                digest.update(chunk)
                await asyncio.to_thread(pending.write, chunk)
        _check_digest(request.headers.get("digest"), digest.digest())
        await asyncio.to_thread(pending.commit)
    finally:
        pending.discard()
    return Response(
        status_code=201, headers={"Digest": "md5=" + base64.b64encode(digest.digest()).decode("ascii")}
    )


def _check_digest(told: str | None, found: bytes) -> None:
    kind, _, value = (told or "").partition("=")
    if kind.lower() != "md5":
        return
    try:
        given = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise UsageError("the header Digest is not base64") from error
    if given != found:
        raise DigestError("what arrived is not what was sent: the digests differ")


@router.get(PREFIX + "/protocols", summary="How data are moved")
async def get_protocols(identity: Caller) -> Response:
    return _xml(protocols_xml())


@router.get(PREFIX + "/views", summary="In which form data are moved")
async def get_views(identity: Caller) -> Response:
    return _xml(views_xml())


@router.get(PREFIX + "/properties", summary="What nodes tell about themselves")
async def get_properties(identity: Caller) -> Response:
    return _xml(properties_xml(KNOWN_PROPERTIES))


@router.get(PREFIX + "/capabilities", include_in_schema=False)
async def get_capabilities(factory: FactoryDependency) -> Response:
    # Public: clients read it to find out how to sign in.
    url = factory.settings.url
    return _xml(capabilities_xml(url + PREFIX, [(standard, url + path) for standard, path in _STANDARDS]))


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    return _xml(availability_xml(available=bool(request.app.state.ready), since=request.app.state.since))


@router.get("/reg/resource-caps", include_in_schema=False)
async def get_registry(factory: FactoryDependency) -> Response:
    # The file in which the vos package looks services up; with VOSPACE_WEBSERVICE it asks this host for it.
    return PlainTextResponse(f"ivo://skydesk/files = {factory.settings.url}{PREFIX}/capabilities\n")


router.include_router(create_uws_router(_ASYNC, JobKind.TRANSFER, SCOPE))
