"""What the caller may use of the services, and how much of it is used."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from skydesk_portal.api.dependencies import FactoryDependency, require
from skydesk_portal.models.identity import Identity

__all__ = ["router"]

router = APIRouter()


class QuotaAnswer(BaseModel):
    """Figures of the caller; 0 means no limit."""

    version: int = 1
    api: dict[str, int]
    """Requests per minute by service, `default` for those not named."""
    concurrent: dict[str, int]
    """Queries, cut-outs or runs at the same time by service."""
    jobs: dict[str, int]
    """Jobs of one service under way, jobs that are kept, size of all results."""
    used: dict[str, int]
    """The same of all jobs at the moment."""


@router.get("/api/quota", summary="What you may use, and how much of it is used")
async def get_quota(
    factory: FactoryDependency, identity: Annotated[Identity, Depends(require("read:tap"))]
) -> QuotaAnswer:
    quota = factory.create_limit_service().quota_for(identity)
    used = await asyncio.to_thread(factory.create_job_service().store.measure, identity.name)
    return QuotaAnswer(
        api=dict(quota.requests_per_minute),
        concurrent=dict(quota.concurrent),
        jobs={"active": quota.active_jobs, "kept": quota.kept_jobs, "result_bytes": quota.result_bytes},
        used={"active": used.active, "kept": used.jobs, "result_bytes": used.result_bytes},
    )
