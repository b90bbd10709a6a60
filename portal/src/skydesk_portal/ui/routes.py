"""Plain HTTP behind the pages: tiles, pixels, catalogue overlays, previews and downloads."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.resultsets import ResultView
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.images import ID_COLUMNS, ImageService
from skydesk_portal.services.previews import make_preview
from skydesk_portal.ui.gate import PREFIX, require_scopes
from skydesk_portal.ui.image_routes import add_image_sheet_routes
from skydesk_portal.ui.imagecatalog_routes import add_image_catalog_routes
from skydesk_portal.ui.tables import format_cell
from skydesk_portal.ui.viewstate_routes import add_viewstate_routes

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_router"]

_PRIVATE = "private, max-age=86400"


def _number(value: float) -> float | str | None:
    """JSON form of a float: numbers as they are, the others by name, so that nothing turns into a zero."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _read_object(text: str) -> dict[str, Any]:
    """Read a JSON object of an address."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError("view is no JSON") from error
    if not isinstance(found, dict):
        raise UsageError("view is no JSON object")
    return found


def create_router(services: PortalServices) -> APIRouter:
    """Make all routes that are not pages.

    Parameters
    ----------
    services
        What they work with.

    Returns
    -------
    APIRouter
        Routes under ``/portal/app``.
    """
    router = APIRouter(prefix=PREFIX)
    add_image_sheet_routes(router, services.images)
    add_image_catalog_routes(router, services)
    add_viewstate_routes(router, services.viewstates)
    _add_image_routes(router, services.images)
    _add_result_routes(router, services)
    return router


def _add_image_routes(router: APIRouter, images: ImageService) -> None:
    @router.get("/tiles/{release}/{dataset_id}/meta")
    async def read_meta(request: Request, release: str, dataset_id: str) -> JSONResponse:
        who = require_scopes(request, "read:image")
        found = await run_in_threadpool(images.describe, who, release, dataset_id)
        return JSONResponse(found, headers={"Cache-Control": "private, no-cache"})

    @router.get("/tiles/{release}/{dataset_id}/pixel")
    async def read_pixel(request: Request, release: str, dataset_id: str, x: int, y: int) -> JSONResponse:
        who = require_scopes(request, "read:image")
        value, variance, mask = await run_in_threadpool(images.get_pixel, who, release, dataset_id, x, y)
        body = {"x": x, "y": y, "value": _number(value), "variance": _number(variance), "mask": mask}
        return JSONResponse(body, headers={"Cache-Control": _PRIVATE})

    @router.get("/tiles/{release}/{dataset_id}/{plane}/{z}/{x}/{y}")
    async def read_tile(
        request: Request, release: str, dataset_id: str, plane: str, z: int, x: int, y: int
    ) -> Response:
        who = require_scopes(request, "read:image")
        accept = request.headers.get("accept-encoding", "")
        tile = await run_in_threadpool(images.get_tile, who, release, dataset_id, plane, (z, x, y), accept)
        headers = {"ETag": tile.etag, "Cache-Control": _PRIVATE, "Vary": "Accept-Encoding"}
        if tile.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if tile.encoding:
            headers["Content-Encoding"] = tile.encoding
        return Response(tile.content, media_type="application/octet-stream", headers=headers)

    @router.get("/sources/{release}/{dataset_id}/{table}")
    async def read_sources(request: Request, release: str, dataset_id: str, table: str) -> Response:
        who = require_scopes(request, "read:tap")
        content = await run_in_threadpool(images.pack_sources, who, release, dataset_id, table)
        return Response(
            content, media_type="application/octet-stream", headers={"Cache-Control": "private, no-cache"}
        )

    @router.get("/rows/{release}/{table}/{row_id}")
    async def read_row(request: Request, release: str, table: str, row_id: int) -> dict[str, Any]:
        who = require_scopes(request, "read:tap")
        cells = await run_in_threadpool(images.get_row, who, release, table, row_id)
        shown = [c for c in cells if c["principal"]] or cells
        return {
            "columns": [
                {"name": c["name"], "unit": c["unit"], "value": format_cell(c["value"], c["datatype"]) or ""}
                for c in shown
            ],
            "lightcurve": _light_curve_link(release, table, {c["name"]: c["value"] for c in cells}),
        }


def _add_result_routes(router: APIRouter, services: PortalServices) -> None:
    @router.get("/preview/{release}.png")
    async def read_preview(request: Request, release: str) -> Response:
        who = require_scopes(request, "read:image")
        content = await run_in_threadpool(make_preview, services.images, who, release)
        return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    @router.get("/download")
    async def download(request: Request, query: str, format: str = "csv") -> Response:  # noqa: A002 - name in the address
        who = require_scopes(request, "read:tap")
        wanted = TapRequest(query, None, format)
        stream = await run_in_threadpool(
            services.queries.open_stream, who, wanted, timeout_s=services.download_seconds
        )
        ending = {"votable": "vot"}.get(format, format)
        headers = {
            "Content-Disposition": f'attachment; filename="result.{ending}"',
            "Cache-Control": "private, no-store",
        }
        return StreamingResponse(stream.chunks(), media_type=stream.media_type, headers=headers)

    @router.get("/resultsets/{result_id}/download")
    async def download_shown(
        request: Request,
        result_id: str,
        view: str = "{}",
        format: str = "csv",  # noqa: A002 - name in the address
    ) -> Response:
        who = require_scopes(request, "read:tap")
        shown = ResultView.from_dict(_read_object(view))
        media_type, ending, parts = await run_in_threadpool(
            services.results.write, who, result_id, shown, format
        )
        headers = {
            "Content-Disposition": f'attachment; filename="result.{ending}"',
            "Cache-Control": "private, no-store",
        }
        return StreamingResponse(parts, media_type=media_type, headers=headers)

    @router.get("/results/{job_id}/{name}")
    async def read_result(request: Request, job_id: str, name: str) -> Response:
        who = require_scopes(request, "exec:portal")
        path, media_type = await run_in_threadpool(services.jobs.result_path, who, job_id, name)
        return FileResponse(path, media_type=media_type, filename=path.name)


def _light_curve_link(release: str, table: str, row: dict[str, Any]) -> str | None:
    """Address of the light curve of what was clicked, by identifier where there is one."""
    base = f"{PREFIX}/lightcurves?release={release}"
    if table == "Object":
        return f"{base}&object={row[ID_COLUMNS['Object']]}"
    if row.get("diaObjectId"):
        return f"{base}&diaobject={row['diaObjectId']}"
    ra, dec = row.get("coord_ra", row.get("ra")), row.get("coord_dec", row.get("dec"))
    return f"{base}&ra={ra:.7f}&dec={dec:.7f}" if ra is not None and dec is not None else None
