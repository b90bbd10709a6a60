"""Cut-outs over HTTP (SODA 1.0)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from skydesk_portal.api.dependencies import FactoryDependency, Form, FormDependency, get_pool, require
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.factory import Factory
from skydesk_portal.models.datasets import CutoutRequest, parse_cutout
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.pipeline.pixels import NoOverlapError
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["router"]

PREFIX = "/api/cutout"
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]


@router.api_route(PREFIX + "/sync", methods=["GET", "POST"], summary="Cut out a part of an image")
async def cut_out(
    request: Request, factory: FactoryDependency, identity: Caller, form: FormDependency
) -> Response:
    asked = parse_cutout(list(form.items))

    def make() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cutout.fits"
            factory.create_soda_service().write_cutout(identity, asked, path)
            return path.read_bytes()

    try:
        content = await asyncio.get_running_loop().run_in_executor(get_pool(request), make)
    except NoOverlapError:
        # SODA 1.0, section 4: a valid request without data in it.
        return Response(status_code=204)
    return Response(content, media_type="application/fits", headers={"Content-Disposition": _name(asked)})


def _name(asked: CutoutRequest) -> str:
    return f'attachment; filename="cutout-{asked.dataset.release}-{asked.dataset.uuid}.fits"'


def _check(factory: Factory, identity: Identity, form: Form) -> None:
    parse_cutout(list(form.items))


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(factory: FactoryDependency, identity: Caller) -> Response:
    base = factory.settings.url + PREFIX
    standards = [(f"ivo://ivoa.net/std/SODA#{kind}-1.0", f"{base}/{kind}") for kind in ("sync", "async")]
    return Response(capabilities_xml(base, standards), media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")


# The platform whose clients come here calls its job list "jobs"; the standard leaves the name free.
router.include_router(create_uws_router(PREFIX + "/async", JobKind.CUTOUT, "read:image", _check))
router.include_router(create_uws_router(PREFIX + "/jobs", JobKind.CUTOUT, "read:image", _check))
