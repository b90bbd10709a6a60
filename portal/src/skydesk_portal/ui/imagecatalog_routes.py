"""Plain HTTP behind the catalogs that people lay over images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import TooLargeError
from skydesk_portal.services.imagecatalogs import CatalogPart, ImageCatalogs
from skydesk_portal.ui.gate import require_scopes
from skydesk_portal.ui.tables import format_cell

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["add_image_catalog_routes"]

_FRESH = {"Cache-Control": "private, no-cache"}


def add_image_catalog_routes(router: APIRouter, services: PortalServices) -> None:
    """Add the routes under ``imagecatalogs``.

    Parameters
    ----------
    router
        Where they are added.
    services
        What they work with.
    """
    catalogs = ImageCatalogs(services.images, services.results)
    limit = services.config.upload_bytes

    @router.get("/imagecatalogs")
    async def list_results(request: Request) -> list[dict[str, Any]]:
        return await run_in_threadpool(
            catalogs.list_results, require_scopes(request, "read:image", "read:tap")
        )

    @router.post("/imagecatalogs")
    async def receive_table(request: Request, name: str = "table") -> JSONResponse:
        who = require_scopes(request, "read:image", "read:tap")
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > limit:
                raise TooLargeError(f"the table is larger than {limit / 1e6:g} MB")
        return JSONResponse(await run_in_threadpool(catalogs.receive, who, name, bytes(content)))

    @router.get("/imagecatalogs/{result_id}")
    async def describe(request: Request, result_id: str) -> JSONResponse:
        who = require_scopes(request, "read:image", "read:tap")
        return JSONResponse(await run_in_threadpool(catalogs.describe, who, result_id), headers=_FRESH)

    @router.get("/imagecatalogs/{result_id}/rows/{number}")
    async def read_row(request: Request, result_id: str, number: int) -> dict[str, Any]:
        who = require_scopes(request, "read:image", "read:tap")
        columns, row = await run_in_threadpool(catalogs.get_row, who, result_id, number)
        cells = [
            {"name": c.name, "unit": c.unit or "", "value": format_cell(row[c.name], c.datatype) or ""}
            for c in columns
        ]
        return {"columns": cells}

    @router.get("/imagecatalogs/{result_id}/{release}/{dataset_id}")
    async def read_points(
        request: Request,
        result_id: str,
        release: str,
        dataset_id: str,
        placing: str,
        first: str,
        second: str,
        where: list[str] = Query([]),  # noqa: B008 - FastAPI's way to say that a parameter may be repeated
        subset: str = "",
        label: str = "",
    ) -> Response:
        who = require_scopes(request, "read:image", "read:tap")
        part = CatalogPart(result_id, placing, first, second, tuple(where), subset)
        if label:
            words = await run_in_threadpool(catalogs.list_labels, who, release, dataset_id, part, label)
            return JSONResponse(words, headers=_FRESH)
        content = await run_in_threadpool(catalogs.pack, who, release, dataset_id, part)
        return Response(content, media_type="application/octet-stream", headers=_FRESH)
