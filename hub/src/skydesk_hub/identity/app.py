"""The identity service: one FastAPI application on a unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from skydesk_hub.errors import ServiceError
from skydesk_hub.identity import front, groups_api, signin, tokens
from skydesk_hub.identity.hub_api import HubApi
from skydesk_hub.identity.oidc import Provider, user_claims
from skydesk_hub.identity.oidc import Request as OidcRequest
from skydesk_hub.identity.pages import Pages
from skydesk_hub.identity.store import Store
from skydesk_hub.supervisor.table import Platform

__all__ = ["make_app"]


def make_app(platform: Platform) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    platform
        What the supervisor knows.
    """
    store = Store(platform.layout.identity_db)
    pages = Pages(platform)
    sessions = signin.Sessions(platform, store)
    app = FastAPI(title="skydesk identity", docs_url=None, redoc_url=None, openapi_url="/auth/openapi.json")
    app.mount("/auth/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.include_router(signin.make_router(store, sessions, pages))
    gate = tokens.Gate(store, sessions, HubApi(platform))
    app.include_router(tokens.make_router(platform, gate, pages))
    app.include_router(groups_api.make_router(platform, gate))
    app.include_router(front.make_router(platform, pages))
    add_provider(app, Provider(platform, store), sessions)

    @app.exception_handler(HTTPException)
    async def show_error(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/auth/api/") or "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        title = "Page not found" if error.status_code == 404 else "That did not work"
        return pages.render("message.html", error.status_code, title=title, text=str(error.detail))

    @app.exception_handler(ServiceError)
    async def show_outage(request: Request, error: ServiceError) -> Response:
        return JSONResponse({"detail": [{"msg": str(error), "type": error.code}]}, 503, {"Retry-After": "3"})

    return app


def add_provider(app: FastAPI, provider: Provider, sessions: signin.Sessions) -> None:
    """Add the OpenID Connect routes.

    Parameters
    ----------
    app
        The application.
    provider
        The provider.
    sessions
        Who is signed in.
    """

    async def read(request: Request) -> OidcRequest:
        form = (
            {key: str(value) for key, value in (await request.form()).items()}
            if request.method == "POST"
            else {}
        )
        data = {**dict(request.query_params), **form}
        headers = {key.title(): value for key, value in request.headers.items()}
        return OidcRequest(request.method, str(request.url), data, headers)

    @app.get("/auth/oidc/.well-known/openid-configuration", include_in_schema=False)
    def describe() -> dict[str, object]:
        return provider.describe()

    @app.get("/auth/oidc/jwks", include_in_schema=False)
    def keys() -> dict[str, object]:
        return {"keys": [provider.key.as_dict(private=False)]}

    @app.get("/auth/oidc/authorize", include_in_schema=False)
    async def authorize(request: Request) -> Response:
        user = sessions.find_user(request)
        if user is None:
            return RedirectResponse(signin.login_address(request), 303)
        return await asyncio.to_thread(provider.authorize, await read(request), user)

    @app.post("/auth/oidc/token", include_in_schema=False)
    async def token(request: Request) -> Response:
        return await asyncio.to_thread(provider.create_token_response, await read(request))

    @app.get("/auth/oidc/userinfo", include_in_schema=False)
    def userinfo(request: Request) -> Response:
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        found = provider.store.find_secret("access", secret) if kind.lower() in ("bearer", "token") else None
        if found is None:
            return JSONResponse(
                {"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return JSONResponse(user_claims(found[0], found[1]["scope"]))
