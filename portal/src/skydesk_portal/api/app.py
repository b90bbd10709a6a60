"""The application of the api process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from fastapi import FastAPI

from skydesk_portal.api.access import AccessMiddleware
from skydesk_portal.api.errors import install_error_handlers
from skydesk_portal.api.metrics import Metrics
from skydesk_portal.api.openapi import describe
from skydesk_portal.api.routes import ALL_ROUTERS
from skydesk_portal.api.turns import Turns
from skydesk_portal.config import PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.log import get_logger

__all__ = ["create_app"]

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
    app.state.turns = Turns(settings.portal.long_answers)
    install_error_handlers(app)
    app.state.metrics = Metrics(lambda: services.create_job_service().store.count_phases())
    app.add_middleware(
        AccessMiddleware,
        limits=services.create_limit_service,
        metrics=app.state.metrics,
        request_bytes=settings.portal.request_bytes,
    )
    for router in ALL_ROUTERS:
        app.include_router(router)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app


async def _sweep(services: Factory) -> None:
    while True:
        try:
            for sweep in (
                services.create_job_service().sweep,
                services.create_limit_service().sweep,
                services.create_history_service().sweep,
                services.create_result_cache().sweep,
                services.create_tap_service().sweep,
                services.create_result_set_service().sweep,
                services.create_table_service().sweep,
                services.create_alert_subscription_service().sweep,
                services.create_notice_service().sweep,
            ):
                await asyncio.to_thread(sweep)
        except Exception:  # noqa: BLE001 - a background loop must outlive one failure
            get_logger().exception("sweeping failed")
        await asyncio.sleep(_SWEEP_S)
