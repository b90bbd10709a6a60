"""Bulk cut-outs over HTTP: UWS jobs that make one archive from a table of positions."""

from __future__ import annotations

from fastapi import APIRouter

from skydesk_portal.api.dependencies import Form
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.factory import Factory
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind

__all__ = ["router"]


def _check(factory: Factory, identity: Identity, form: Form) -> None:
    factory.create_bulk_service().check(identity, form.items, form.files)


router: APIRouter = create_uws_router("/api/cutout/bulk", JobKind.BULK, "read:image", _check)
