"""All routes of the api process."""

from fastapi import APIRouter

from skydesk_portal.api.routes import (
    batch,
    cutout,
    datalink,
    discovery,
    health,
    hips,
    history,
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
    sia.router,
    cutout.router,
    datalink.router,
    hips.router,
    discovery.router,
    batch.router,
    vospace.router,
    webdav.router,
)
