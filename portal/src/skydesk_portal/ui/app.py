"""Puts the gate, the routes and the pages together into one ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import panel as pn
import structlog
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from panel.io.fastapi import add_applications
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.services.identity import IdentityClient
from skydesk_portal.services.images import ImageService
from skydesk_portal.ui.gate import PREFIX, THEME_COOKIE, HubGate, OAuthSettings, refuse
from skydesk_portal.ui.lightcurve_routes import create_lightcurve_router
from skydesk_portal.ui.pages import catalogs, home, images, jobs, lightcurves
from skydesk_portal.ui.routes import create_router
from skydesk_portal.ui.shell import PageRequest, SkydeskDesign, frame, notice, read_request

if TYPE_CHECKING:
    from skydesk_portal.pipeline.releases import ReleaseStore
    from skydesk_portal.services.jobs import JobService
    from skydesk_portal.services.tap import TapService

__all__ = ["PortalServices", "create_app"]

log = structlog.get_logger(__name__)

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'self'; base-uri 'self'; object-src 'none'"
)


@dataclass(frozen=True)
class PortalServices:
    """What the pages work with.

    Parameters
    ----------
    releases, queries, jobs, images
        Releases, the query service, jobs and pixels.
    download_seconds
        Longest time that a query for a download may take.
    """

    releases: ReleaseStore
    queries: TapService
    jobs: JobService
    images: ImageService
    download_seconds: float = 60.0


type Page = Callable[[PortalServices, PageRequest], Viewable]

_PAGES: dict[str, tuple[str, str, Page, bool]] = {
    "/": ("home", "Portal", home.build, True),
    "/images": ("images", "Images", images.build, False),
    "/catalogs": ("catalogs", "Catalogs", catalogs.build, False),
    "/lightcurves": ("lightcurves", "Light curves", lightcurves.build, False),
    "/jobs": ("jobs", "Jobs", jobs.build, True),
}


def _make_page(
    services: PortalServices, key: str, title: str, build: Page, narrow: bool
) -> Callable[[], pn.Template]:
    def page() -> pn.Template:
        request = read_request()
        pn.config.theme = "dark" if request.dark else "default"
        try:
            content = build(services, request)
        except PortalError as error:
            # The page says what is missing; the others go on.
            log.warning("page unavailable", page=key, error=str(error), code=error.code)
            content = pn.Column(
                notice(f"This page is not available now: {error}", "error"), sizing_mode="stretch_width"
            )
        return frame(key, title, content, request, narrow)

    return page


class _Headers:
    """Adds the security headers to every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"same-origin"),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


@asynccontextmanager
async def _start_panel_timers(_app: FastAPI) -> AsyncIterator[None]:
    """Start Panel's clean-up of its busy counter on the server's loop, once.

    Panel does so at the first event of a session. There Bokeh's ASGI server calls it on a worker thread, whence it
    schedules itself anew without end (a core is busy for good). A test watches that an idle portal stays idle.
    """
    pn.state._schedule_busy_cleanup()
    yield


def create_app(
    services: PortalServices,
    identities: IdentityClient,
    oauth: OAuthSettings | None,
    public_url: str,
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    """Make the Portal's application.

    Parameters
    ----------
    services
        What the pages work with.
    identities
        Tells who a token belongs to.
    oauth
        How people sign in; without it only tokens are accepted.
    public_url
        Address that browsers use.

    Returns
    -------
    callable
        An ASGI application.
    """
    # Columns that wait for a message are empty on purpose.
    silence(EMPTY_LAYOUT)
    pn.extension(design=SkydeskDesign, notifications=False, loading_indicator=False)
    app = FastAPI(
        title="skydesk portal", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_start_panel_timers
    )

    @app.exception_handler(PortalError)
    async def render_error(_request: Request, error: PortalError) -> JSONResponse:
        return JSONResponse({"detail": str(error), "code": error.code}, status_code=error.status)

    @app.exception_handler(404)
    async def render_missing(request: Request, _error: Exception) -> Response:
        return refuse(request, 404, "the Portal has no such page")

    @app.get(f"{PREFIX}/health")
    async def read_health() -> dict[str, str]:
        return {"status": "healthy"}

    assets = files("skydesk_portal.ui") / "static"
    app.mount(f"{PREFIX}/assets", StaticFiles(directory=str(assets)))
    app.include_router(create_router(services))
    app.include_router(create_lightcurve_router(services))
    add_applications(
        {path: _make_page(services, *page) for path, page in _PAGES.items()},
        app=app,
        prefix=PREFIX,
        title={path: page[1] for path, page in _PAGES.items()},
        websocket_origin=[urlsplit(public_url).netloc],
        include_headers=["X-Skydesk-Identity"],
        include_cookies=[THEME_COOKIE],
        # Session tokens carry the identity: unsigned ones could be forged by anybody who is signed in.
        sign_sessions=True,
        secret_key=secrets.token_hex(32).encode(),
    )
    return HubGate(_Headers(app), identities, oauth)
