"""Plain HTTP behind the image view besides tiles: sheets, PSFs, cut-outs, and people's own FITS files."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import PortalError
from skydesk_portal.services.images import ImageService
from skydesk_portal.services.imagesheets import ImageSheets
from skydesk_portal.ui.gate import require_scopes

__all__ = ["add_image_sheet_routes"]

_PRIVATE = "private, max-age=86400"


def _kept(content: Any) -> JSONResponse:
    """Make an answer that stays true, because releases never change."""
    return JSONResponse(content, headers={"Cache-Control": _PRIVATE})


def add_image_sheet_routes(router: APIRouter, images: ImageService) -> None:
    """Add the routes.

    Parameters
    ----------
    router
        Where they are added.
    images
        Knows the images.
    """
    sheets = ImageSheets(images)
    _add_sheets(router, sheets)
    _add_files(router, images)

    @router.get("/tiles/{release}/{dataset_id}/sky")
    async def read_sky(request: Request, release: str, dataset_id: str, x: float, y: float) -> JSONResponse:
        who = require_scopes(request, "read:image")
        sky = await run_in_threadpool(images.find_sky, who, release, dataset_id, x, y)
        return _kept({"sky": sky})


def _add_sheets(router: APIRouter, sheets: ImageSheets) -> None:
    @router.get("/tiles/{release}/{dataset_id}/header")
    async def read_header(request: Request, release: str, dataset_id: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.get_header, who, release, dataset_id))

    @router.get("/tiles/{release}/{dataset_id}/provenance")
    async def read_provenance(request: Request, release: str, dataset_id: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.get_provenance, who, release, dataset_id))

    @router.get("/tiles/{release}/{dataset_id}/readouts")
    async def read_readouts(request: Request, release: str, dataset_id: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.get_readouts, who, release, dataset_id))

    @router.get("/tiles/{release}/{dataset_id}/psf")
    async def read_psf(request: Request, release: str, dataset_id: str, x: float, y: float) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.draw_psf, who, release, dataset_id, x, y))

    @router.get("/tiles/{release}/{dataset_id}/cutout.fits")
    async def read_cutout(
        request: Request, release: str, dataset_id: str, x0: int, y0: int, x1: int, y1: int
    ) -> Response:
        who = require_scopes(request, "read:image")
        content = await run_in_threadpool(sheets.cut, who, release, dataset_id, (x0, y0, x1, y1))
        headers = {
            "Cache-Control": _PRIVATE,
            "Content-Disposition": f'attachment; filename="cutout-{dataset_id[:40]}.fits"',
        }
        return Response(content, media_type="application/fits", headers=headers)

    @router.get("/tiles/{release}/{dataset_id}/cutout")
    async def find_cutout(
        request: Request, release: str, dataset_id: str, ra: float, dec: float, side: float
    ) -> JSONResponse:
        who = require_scopes(request, "read:image")
        found = await run_in_threadpool(sheets.find_cutout, who, release, dataset_id, (ra, dec), side)
        return _kept({"id": found})

    @router.get("/epochs/{release}")
    async def list_epochs(request: Request, release: str, kind: str, ra: float, dec: float) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.list_epochs, who, release, kind, ra, dec))

    @router.get("/overlapping/{release}")
    async def list_overlapping(request: Request, release: str, ra: float, dec: float) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return _kept(await run_in_threadpool(sheets.list_overlapping, who, release, ra, dec))


def _tell(first: dict[str, Any], steps: Generator[dict[str, Any]]) -> Iterator[str]:
    """Write the steps of a download, one JSON object a line."""
    try:
        yield json.dumps(first) + "\n"
        for step in steps:
            yield json.dumps(step) + "\n"
    except PortalError as error:
        yield json.dumps({"error": str(error)}) + "\n"
    finally:
        steps.close()


def _add_files(router: APIRouter, images: ImageService) -> None:
    files = images.files

    @router.post("/fitsfiles")
    async def receive_file(request: Request, name: str = "image.fits") -> JSONResponse:
        who = require_scopes(request, "read:image")
        length = request.headers.get("content-length", "")
        if length.isdigit():
            files.check_size(int(length))
        return JSONResponse(await files.receive(who, name, request.stream()))

    @router.post("/fitsfiles/fetch")
    async def fetch_file(request: Request, url: str) -> StreamingResponse:
        who = require_scopes(request, "read:image")
        steps = files.fetch(who, url)
        # What is wrong with the address is an error of the request; what happens later stands in the answer.
        first = await run_in_threadpool(next, steps)
        return StreamingResponse(
            _tell(first, steps), media_type="application/x-ndjson", headers={"Cache-Control": "no-store"}
        )

    @router.get("/fitsfiles/open")
    async def open_own(request: Request, path: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return JSONResponse(await run_in_threadpool(files.open_own, who, path))

    @router.get("/fitsfiles/{key}")
    async def describe_file(request: Request, key: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        return JSONResponse(await run_in_threadpool(files.describe, who, key))
