"""All routes of the api process."""

from fastapi import APIRouter

from skydesk_portal.api.routes import (
    alert_subscriptions,
    alerts,
    batch,
    bulk,
    cutout,
    datalink,
    discovery,
    estimate,
    health,
    hips,
    history,
    notices,
    quota,
    saved_queries,
    sharing,
    sia,
    tables,
    tap,
    vospace,
    webdav,
)

__all__ = ["ALL_ROUTERS"]

ALL_ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    tap.router,
    tables.router,
    history.router,
    saved_queries.router,
    estimate.router,
    quota.router,
    sharing.router,
    sia.router,
    bulk.router,
    cutout.router,
    datalink.router,
    hips.router,
    alerts.router,
    alert_subscriptions.router,
    notices.router,
    discovery.router,
    batch.router,
    vospace.router,
    webdav.router,
)
