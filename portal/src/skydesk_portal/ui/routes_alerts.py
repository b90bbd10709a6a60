"""Alert packets for the Alerts page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from skydesk_portal.exceptions import ForbiddenError
from skydesk_portal.models.alerts import parse_alert_id
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.alerts import AlertFormat
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["create_alerts_router"]


def create_alerts_router(services: PortalServices) -> APIRouter:
    """Make the route of packets.

    Parameters
    ----------
    services
        What it works with.

    Returns
    -------
    APIRouter
        ``/portal/app/alerts/packet/RELEASE/NUMBER.FORM`` with the form ``avro``, ``fits`` or ``json``.
    """
    router = APIRouter(prefix=f"{PREFIX}/alerts")

    @router.get("/packet/{release}/{number}.{form}")
    async def read_packet(request: Request, release: str, number: str, form: str) -> Response:
        who: Identity = request.scope["state"]["identity"]
        if "read:alertdb" not in who.scopes:
            raise ForbiddenError("your token does not have the scope read:alertdb")
        kind, alert_id = AlertFormat.parse(form), parse_alert_id(number)
        content = await run_in_threadpool(services.alerts.get_alert, who, alert_id, kind, release)
        headers = {"Content-Disposition": f'attachment; filename="alert-{alert_id}.{kind.extension}"'}
        return Response(content, media_type=kind.value, headers=headers)

    return router
