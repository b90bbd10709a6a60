"""Puts the gate, the routes and the pages together into one ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from html import escape
from importlib import resources
from typing import Any
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
from skydesk_portal.ui.gate import PREFIX, THEME_COOKIE, HubGate, OAuthSettings, refuse
from skydesk_portal.ui.library_files import LibraryFiles
from skydesk_portal.ui.lightcurve_routes import create_lightcurve_router
from skydesk_portal.ui.orbit_routes import create_orbit_router
from skydesk_portal.ui.page_view import PageView
from skydesk_portal.ui.pages import (
    account,
    alerts,
    catalogs,
    files,
    find,
    home,
    image_search,
    images,
    jobs,
    lightcurves,
    skymap,
)
from skydesk_portal.ui.routes import create_router
from skydesk_portal.ui.routes_account import create_account_router
from skydesk_portal.ui.routes_alerts import create_alerts_router
from skydesk_portal.ui.routes_files import create_files_router
from skydesk_portal.ui.routes_find import create_find_router
from skydesk_portal.ui.routes_notices import create_notices_router
from skydesk_portal.ui.routes_session import create_session_router
from skydesk_portal.ui.routes_transfer import create_transfer_router
from skydesk_portal.ui.services import PortalServices
from skydesk_portal.ui.sessions import (
    OpenSessions,
    PageSessions,
    create_closing_router,
    session_settings,
)
from skydesk_portal.ui.shell import PageRequest, SkydeskDesign, frame, notice, read_request
from skydesk_portal.ui.skymap_routes import create_skymap_router
from skydesk_portal.ui.transfers import TransferWatch
from skydesk_portal.ui.view_routes import create_view_router

__all__ = ["create_app"]

log = structlog.get_logger(__name__)

# Aladin Lite carries its WebAssembly within itself, at an address that begins with data:.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'self'; base-uri 'self'; object-src 'none'"
)

type Page = Callable[[PortalServices, PageRequest], Viewable]

_PAGES: dict[str, tuple[str, str, Page, bool]] = {
    "/": ("home", "Portal", home.build, True),
    "/images": ("images", "Images", images.build, False),
    "/skymap": ("skymap", "Sky map", skymap.build, False),
    "/catalogs": ("catalogs", "Catalogs", catalogs.build, False),
    "/lightcurves": ("lightcurves", "Light curves", lightcurves.build, False),
    "/jobs": ("jobs", "Jobs", jobs.build, True),
    "/account": ("account", "Account", account.build, True),
    "/imagesearch": ("imagesearch", "Image search", image_search.build, True),
    "/alerts": ("alerts", "Alerts", alerts.build, True),
    "/files": ("files", "Files", files.build, True),
    "/find": ("find", "Find", find.build, True),
}


def _make_page(
    services: PortalServices, key: str, title: str, build: Page, narrow: bool
) -> Callable[[], pn.Template]:
    def page() -> pn.Template:
        request = read_request(services.preferences)
        request = replace(request, view=PageView(services.views, services.queries, request.identity, key))
        pn.config.theme = "dark" if request.dark else "default"
        try:
            content = build(services, request)
        except PortalError as error:
            # The page says what is missing; the others go on.
            log.warning("page unavailable", page=key, error=str(error), code=error.code)
            content = _sorry(f"This page is not available now: {error}.")
        except Exception:
            log.exception("page failed", page=key)
            content = _sorry(
                "This page is not available now: something failed that was not expected, and was logged. "
                "The other pages go on; try this one again in a moment."
            )
        return frame(key, title, content, request, narrow)

    return page


def _sorry(text: str) -> pn.Column:
    return pn.Column(notice(escape(text), "error"), sizing_mode="stretch_width")


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

    assets = resources.files("skydesk_portal.ui") / "static"
    app.mount(f"{PREFIX}/assets", StaticFiles(directory=str(assets)))
    app.include_router(create_router(services))
    app.include_router(create_skymap_router(services.hips))
    app.include_router(create_find_router(services))
    app.include_router(create_files_router(services))
    app.include_router(create_alerts_router(services))
    app.include_router(create_account_router(services))
    app.include_router(create_notices_router(services))
    app.include_router(create_transfer_router(services))
    app.include_router(create_view_router(services.views))
    app.include_router(create_session_router(services))
    app.include_router(create_lightcurve_router(services))
    app.include_router(create_orbit_router(services.images))
    served = add_applications(
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
        **session_settings(services.config.page_seconds),
    )
    sessions = PageSessions(served.core)
    app.include_router(create_closing_router(sessions))
    opened = OpenSessions(LibraryFiles(app), sessions)
    return HubGate(TransferWatch(_Headers(opened), services.transfers), identities, oauth)
