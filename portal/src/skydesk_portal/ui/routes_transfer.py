"""Files that the pages send away: images, one by one or as an archive, and archives in another form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import ForbiddenError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.download_archives import ARCHIVES, stream_archive, stream_members_of_tar
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_transfer_router"]

_PRIVATE = {"Cache-Control": "private, no-store"}


def create_transfer_router(services: PortalServices) -> APIRouter:
    """Make the routes of files that are sent away.

    Parameters
    ----------
    services
        What they work with.

    Returns
    -------
    APIRouter
        Routes under ``/portal/app/transfer``.
    """
    router = APIRouter(prefix=f"{PREFIX}/transfer")

    @router.get("/images")
    async def send_images(
        request: Request,
        release: str,
        ids: Annotated[list[str], Query(alias="id")],
        form: str = "",
    ) -> Response:
        who: Identity = request.scope["state"]["identity"]
        if "read:image" not in who.scopes:
            raise ForbiddenError("your token does not have the scope read:image")
        found = await run_in_threadpool(services.image_files.find_files, who, release, ids)
        if not form and len(found) == 1:
            return FileResponse(
                found[0].path, media_type="application/fits", filename=found[0].name, headers=_PRIVATE
            )
        parts = services.image_files.stream(found, form or "zip")
        headers = {"Content-Disposition": f'attachment; filename="images.{form or "zip"}"', **_PRIVATE}
        return StreamingResponse(parts, media_type=ARCHIVES[form or "zip"], headers=headers)

    @router.get("/zip/{job_id}/{name}")
    async def send_as_zip(request: Request, job_id: str, name: str) -> Response:
        who: Identity = request.scope["state"]["identity"]
        path, media_type = await run_in_threadpool(services.jobs.result_path, who, job_id, name)
        if media_type != ARCHIVES["tar"]:
            raise UsageError(f"the result {name[:40]!r} is no tar archive")
        parts = stream_archive(stream_members_of_tar(path), "zip")
        headers = {"Content-Disposition": f'attachment; filename="{path.stem}.zip"', **_PRIVATE}
        return StreamingResponse(parts, media_type=ARCHIVES["zip"], headers=headers)

    return router
