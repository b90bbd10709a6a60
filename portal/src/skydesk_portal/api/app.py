"""The application of the api process."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI, Request, Response

from skydesk_portal.api.errors import install_error_handlers
from skydesk_portal.api.routes import ALL_ROUTERS
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.log import get_logger

__all__ = ["create_app"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_SWEEP_S = 60.0


def create_app(settings: PortalSettings, factory: Factory | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings
        What the process has to know.
    factory
        Replaces the usual services.

    Returns
    -------
    FastAPI
        The application under its full paths.
    """
    services = factory or create_factory(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.since = datetime.now(UTC)
        # The first query must not pay for opening catalogues and importing geometry.
        await asyncio.to_thread(services.warm)
        app.state.ready = True
        sweeper = asyncio.create_task(_sweep(services))
        # The middleware takes seconds to import: nobody should wait for that at the first cut-out.
        warming = asyncio.create_task(asyncio.to_thread(services.warm_pixels))
        yield
        app.state.ready = False
        sweeper.cancel()
        warming.cancel()
        app.state.pool.shutdown(wait=False, cancel_futures=True)
        await services.create_identity_client().close()
        services.close()

    app = FastAPI(
        title=f"{settings.portal.site_name} data services",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.factory = services
    app.state.ready = False
    app.state.pool = ThreadPoolExecutor(settings.portal.query_threads, thread_name_prefix="query")
    install_error_handlers(app)
    app.middleware("http")(_log_requests)
    for router in ALL_ROUTERS:
        app.include_router(router)
    return app


async def _sweep(services: Factory) -> None:
    while True:
        try:
            for sweep in (
                services.create_job_service().sweep,
                services.create_history_service().sweep,
                services.create_result_cache().sweep,
            ):
                await asyncio.to_thread(sweep)
        except Exception:  # noqa: BLE001 - a background loop must outlive one failure
            get_logger().exception("sweeping failed")
        await asyncio.sleep(_SWEEP_S)


async def _log_requests(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    given = request.headers.get("x-request-id", "")
    request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    begin = time.perf_counter()
    response = await call_next(request)
    response.headers["X-Request-ID"] = request_id
    if not request.url.path.endswith("/health"):
        # The path only: a query string may hold positions and names that are nobody else's business.
        get_logger().info(
            "request",
            method=request.method,
            path=request.url.path,
            status=response.status_code,
            ms=round(1000 * (time.perf_counter() - begin), 1),
            user=getattr(request.state, "user", None),
        )
    return response
