"""Cut-outs over HTTP (SODA 1.0), PSFs at a position, previews."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from skydesk_portal.api.dependencies import FactoryDependency, Form, FormDependency, require
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.exceptions import ForbiddenError, UsageError
from skydesk_portal.factory import Factory
from skydesk_portal.models.cutouts import describe_unknown, find_number, parse_cutout, parse_cutouts
from skydesk_portal.models.datasets import DatasetId, parse_dataset_id
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.models.regions import parse_region
from skydesk_portal.pipeline.imagefile import NoOverlapError
from skydesk_portal.services.pictures import PREVIEW_SIZES_PX
from skydesk_portal.vo.soda import examples_xhtml
from skydesk_portal.vo.vosi import availability_xml, capabilities_xml

__all__ = ["router"]

PREFIX = "/api/cutout"
# Not the threads of queries: a cut-out of some milliseconds never waits behind a query of a minute.
_POOL = ThreadPoolExecutor(4, thread_name_prefix="cutout")
router = APIRouter()
Caller = Annotated[Identity, Depends(require("read:image"))]


async def _run(make: Callable[[], bytes]) -> bytes | None:
    """Do something in a thread; `None` means that there is nothing to send."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_POOL, make)
    except NoOverlapError:
        # SODA 1.0, section 4: a valid request without data in it.
        return None


@router.api_route(PREFIX + "/sync", methods=["GET", "POST"], summary="Cut out a part of an image")
async def cut_out(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    asked = parse_cutout(form.items)
    content = await _run(lambda: factory.create_soda_service().make_cutout(identity, asked))
    warning = describe_unknown(form.items)
    headers = {"Warning": f'299 skydesk "{warning}"'} if warning else {}
    if content is None:
        return Response(status_code=204, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{asked.name}"'
    return Response(content, media_type=asked.form.media_type, headers=headers)


def _position(form: Form) -> tuple[float, float]:
    ra, dec = form.find("RA"), form.find("DEC")
    if ra is not None and dec is not None:
        position = find_number("RA", ra), find_number("DEC", dec)
    elif (text := form.find("POS") or form.find("CIRCLE")) is not None:
        words = text if form.find("POS") else f"CIRCLE {text}"
        position = parse_region(words).center
    else:
        raise UsageError("give the position as RA and DEC, or as POS=CIRCLE ra dec radius")
    if not (-360 <= position[0] <= 720 and abs(position[1]) <= 90 and math.isfinite(sum(position))):
        raise UsageError("RA and DEC are not a position on the sky in degrees")
    return position


@router.api_route(PREFIX + "/psf", methods=["GET", "POST"], summary="The PSF of an image at a position")
async def draw_psf(factory: FactoryDependency, identity: Caller, form: FormDependency) -> Response:
    text = form.find("ID")
    if text is None:
        raise UsageError("parameter ID is missing")
    dataset, (ra_deg, dec_deg) = parse_dataset_id(text), _position(form)
    content = await _run(lambda: factory.create_soda_service().draw_psf(identity, dataset, ra_deg, dec_deg))
    if content is None:
        raise UsageError("the position lies off the image, or where it has no PSF")
    headers = {"Content-Disposition": f'attachment; filename="psf-{dataset.release}-{dataset.uuid}.fits"'}
    return Response(content, media_type="application/fits", headers=headers)


async def _viewer(
    request: Request, factory: FactoryDependency, e: int | None = None, s: str | None = None
) -> Identity:
    """Let in whoever has a good link; anybody else needs a token."""
    if e is None and s is None:
        return await require("read:image")(request)
    if e is None or s is None or not factory.create_link_signer().check(request.url.path, e, s):
        raise ForbiddenError("the link has expired or is not ours: ask /api/datalink/links for a fresh one")
    # A signed link was made for somebody who may read the release.
    return Identity("", admin=True)


@router.get(PREFIX + "/preview/{release}/{dataset_id}", summary="A small picture of an image (PNG)")
async def get_preview(
    release: str,
    dataset_id: UUID,
    request: Request,
    factory: FactoryDependency,
    identity: Annotated[Identity, Depends(_viewer)],
    form: FormDependency,
) -> Response:
    text = form.find("SIZE") or "256"
    size = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    side = next((s for s in PREVIEW_SIZES_PX if s >= size), 0) if size > 0 else 0
    if not side:
        raise UsageError(f"SIZE={text[:20]} is not a number of pixels up to {PREVIEW_SIZES_PX[-1]}")
    service, dataset = factory.create_preview_service(), DatasetId(release, dataset_id)
    content = await _run(lambda: service.get_preview(identity, dataset, side))
    etag = service.make_etag(dataset, side)
    headers = {"ETag": etag, "Cache-Control": "private, max-age=86400"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/png", headers=headers)


def _check(factory: Factory, identity: Identity, form: Form) -> None:
    parse_cutouts(form.items)


@router.get(PREFIX + "/capabilities", summary="What the service can do (VOSI)")
async def get_capabilities(factory: FactoryDependency, identity: Caller) -> Response:
    base = factory.settings.url + PREFIX
    standards = [(f"ivo://ivoa.net/std/SODA#{kind}-1.0", f"{base}/{kind}") for kind in ("sync", "async")]
    standards.append(("ivo://ivoa.net/std/DALI#examples", f"{base}/examples"))
    return Response(capabilities_xml(base, standards), media_type="text/xml")


@router.get(PREFIX + "/availability", summary="Whether the service can be used (VOSI)")
async def get_availability(request: Request) -> Response:
    document = availability_xml(available=bool(request.app.state.ready), since=request.app.state.since)
    return Response(document, media_type="text/xml")


@router.get(PREFIX + "/examples", summary="Cut-outs to begin with (DALI)")
async def get_examples(factory: FactoryDependency, identity: Caller) -> Response:
    found = await asyncio.to_thread(factory.create_soda_service().list_examples, identity)
    return Response(examples_xhtml(factory.settings.url + PREFIX, found), media_type="application/xhtml+xml")


# The platform whose clients come here calls its job list "jobs"; the standard leaves the name free.
router.include_router(create_uws_router(PREFIX + "/async", JobKind.CUTOUT, "read:image", _check))
router.include_router(create_uws_router(PREFIX + "/jobs", JobKind.CUTOUT, "read:image", _check))
