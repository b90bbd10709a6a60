"""All routes of the api process."""

from fastapi import APIRouter

from skydesk_portal.api.routes import (
    batch,
    bulk,
    cutout,
    datalink,
    discovery,
    health,
    hips,
    history,
    sharing,
    sia,
    tap,
    vospace,
    webdav,
)

__all__ = ["ALL_ROUTERS"]

ALL_ROUTERS: tuple[APIRouter, ...] = (
    health.router,
    tap.router,
    history.router,
    sharing.router,
    sia.router,
    bulk.router,
    cutout.router,
    datalink.router,
    hips.router,
    discovery.router,
    batch.router,
    vospace.router,
    webdav.router,
)
