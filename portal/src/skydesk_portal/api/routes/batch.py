"""User batch over HTTP: UWS jobs that run pipelines."""

from __future__ import annotations

from fastapi import APIRouter

from skydesk_portal.api.dependencies import Form
from skydesk_portal.api.routes.uws import create_uws_router
from skydesk_portal.factory import Factory
from skydesk_portal.models.batch import parse_batch
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.jobs import JobKind

__all__ = ["router"]


def _check(factory: Factory, identity: Identity, form: Form) -> None:
    request = parse_batch(form.without("PHASE", "RUNID", "EXECUTIONDURATION", "DESTRUCTION", "WAIT"))
    factory.create_batch_service().check(identity, request)


router: APIRouter = create_uws_router("/api/batch", JobKind.BATCH, "exec:batch", _check)
