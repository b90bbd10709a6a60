"""The remote Butler server: the middleware's own server behind our authorisation and our signed links.

Start it with ``python -m skydesk_portal.butler``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse
from starlette.requests import Request
from starlette.responses import Response

from skydesk_portal.config import PortalSettings, load_config
from skydesk_portal.exceptions import (
    AuthenticationError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    PortalError,
)
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.log import configure_logging, get_logger
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.identity import find_token

__all__ = ["RepositoryIndex", "create_butler_app"]

PREFIX = "/api/butler"
SCOPE = "read:image"

_CALLER: ContextVar[Identity] = ContextVar("caller")

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class RepositoryIndex:
    """Which repositories are served: one per release, one per user who has one.

    Parameters
    ----------
    factory
        The services of the process.
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self._sharing = factory.create_sharing_service()
        self._lock = threading.Lock()
        self._known: dict[str, Path] = {}
        self._butlers: Any = None

    def butlers(self) -> Any:
        """Return the middleware's factory of Butlers for the repositories there are now."""
        from lsst.daf.butler import LabeledButlerFactory

        roots = self._sharing.list_roots()
        with self._lock:
            if self._butlers is None or roots != self._known:
                # Running requests keep the old one alive until they end.
                self._butlers = LabeledButlerFactory({label: str(root) for label, root in roots.items()})
                self._known = roots
            return self._butlers

    def sign(self, path: str, seconds: float) -> str:
        """Return a link that lets whoever has it fetch a file for a while.

        Raises
        ------
        NotFoundError
            If the file belongs to no repository that the caller may read: the
            repository of a person refers to files of releases.
        """
        real = Path(path).resolve()
        for label, root in self._sharing.list_roots().items():
            if real.is_relative_to(root.resolve()):
                self._sharing.check(_CALLER.get(Identity("")), label)
                relative = urllib.parse.quote(str(real.relative_to(root.resolve())))
                route = f"{PREFIX}/file/{label}/{relative}"
                signature = self._factory.create_link_signer().sign(route, seconds)
                return f"{self._factory.settings.url}{route}?{signature}"
        raise NotFoundError("the file of a dataset lies outside every repository")

    def find_file(self, label: str, relative: str) -> Path | None:
        """Return a file of a dataset below the root of a repository, `None` for anything else."""
        root = self._sharing.list_roots().get(label)
        if root is None:
            return None
        path = (root / relative).resolve()
        # The registry and the configuration are no datasets.
        if path.parent == root.resolve() and (path.name == "butler.yaml" or ".sqlite3" in path.name):
            return None
        # Links and ".." must not lead out of the repository.
        return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def _patch_signing(index: RepositoryIndex, seconds: int) -> None:
    from datetime import timedelta

    from lsst.resources.file import FileResourcePath

    def presign(resource: Any, *, expiration_time_seconds: int | timedelta) -> str:
        # The server asks for an hour; ours are as short as all our links.
        try:
            return index.sign(resource.ospath, seconds)
        except PortalError as error:
            # The server knows no errors of ours.
            raise HTTPException(error.status, str(error)) from error

    # Local files have no signed addresses of their own, and the server has no other hook.
    FileResourcePath.generate_presigned_get_url = presign  # type: ignore[method-assign, assignment]


def _make_server(index: RepositoryIndex) -> FastAPI:
    # The server reads these when it is imported; who may read what is decided before it sees a request.
    os.environ["DAF_BUTLER_SERVER_REPOSITORIES"] = "{}"
    os.environ["DAF_BUTLER_SERVER_GAFAELFAWR_URL"] = "DISABLED"
    os.environ["DAF_BUTLER_SERVER_AUTHENTICATION"] = "rubin_science_platform"
    from lsst.daf.butler.remote_butler.server import create_app
    from lsst.daf.butler.remote_butler.server._dependencies import butler_factory_dependency

    app: FastAPI = create_app()
    app.dependency_overrides[butler_factory_dependency] = index.butlers
    return app


class _Gate:
    """Lets in whoever has a token that may read the repository, or a good link to a file."""

    def __init__(self, app: FastAPI, factory: Factory, index: RepositoryIndex) -> None:
        self.app = app
        self.factory = factory
        self.index = index

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        structlog.contextvars.clear_contextvars()
        try:
            response = await self._answer(request)
        except PortalError as error:
            headers = {"WWW-Authenticate": 'Bearer realm="skydesk"'} if error.status == 401 else {}
            response = JSONResponse({"code": error.code, "detail": str(error)}, error.status, headers)
        if response is not None:
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """Return the answer, `None` if the middleware's server shall give it."""
        path = request.url.path
        if path == f"{PREFIX}/health":
            return JSONResponse({"status": "healthy"})
        if path.startswith(f"{PREFIX}/file/"):
            return self._file(request)
        parts = path.removeprefix(f"{PREFIX}/repo/").split("/", 1)
        if not path.startswith(f"{PREFIX}/repo/") or len(parts) != 2:
            raise NotFoundError("there is nothing at this address")
        if parts[1] in {"butler.yaml", "butler.json"}:
            # The client reads it before it sends a token; it names this server and nothing else.
            return None
        token = find_token(request.headers) or request.headers.get("x-butler-token")
        if token is None:
            raise AuthenticationError("sign in first: the request carries no token")
        identity = await self.factory.create_identity_client().get_identity(token)
        if SCOPE not in identity.scopes:
            raise ForbiddenError(f"the token does not have the scope {SCOPE}")
        await asyncio.to_thread(self.factory.create_sharing_service().check, identity, parts[0])
        _CALLER.set(identity)
        get_logger().info("butler request", method=request.method, path=path, user=identity.name)
        return None

    def _file(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            raise ForbiddenError("files can only be read")
        expires, signature = request.query_params.get("e", ""), request.query_params.get("s", "")
        route = urllib.parse.quote(request.url.path) if "%" not in request.url.path else request.url.path
        signer = self.factory.create_link_signer()
        if not re.fullmatch(r"[0-9]{1,18}", expires) or not signer.check(route, int(expires), signature):
            raise ForbiddenError("the link has expired or is not ours")
        label, _, relative = (
            urllib.parse.unquote(request.url.path).removeprefix(f"{PREFIX}/file/").partition("/")
        )
        found = self.index.find_file(label, relative)
        if found is None:
            raise NotFoundError("the file is not there any more")
        # What people put into their repositories can be HTML: it must not run with the rights of this address.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(found, media_type="application/octet-stream", headers=headers)


def create_butler_app(
    settings: PortalSettings, factory: Factory | None = None
) -> Callable[..., Awaitable[None]]:
    """Make the application of the butler process.

    Parameters
    ----------
    settings
        What the process has to know.
    factory
        Replaces the usual services.

    Returns
    -------
    callable
        An ASGI application under its full paths.
    """
    services = factory or create_factory(settings)
    index = RepositoryIndex(services)
    _patch_signing(index, settings.portal.link_seconds)
    return _Gate(_make_server(index), services, index)


def main() -> int:
    """Serve until the process is told to end.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skydesk_portal.butler", description="The remote Butler server."
    )
    parser.add_argument(
        "--port", type=int, help="listen on 127.0.0.1 at this port instead of the unix socket"
    )
    arguments = parser.parse_args()
    try:
        settings = load_config()
        app = create_butler_app(settings)
    except ConfigError as error:
        sys.stderr.write(f"skydesk: {error} [{error.code}]\n")
        return 2
    # After the server's import, which configures logging its own way.
    configure_logging("butler")
    listen: dict[str, Any] = {"uds": str(settings.run / "butler.sock")}
    if arguments.port:
        listen = {"host": "127.0.0.1", "port": arguments.port}
    uvicorn.run(app, log_config=None, access_log=False, timeout_graceful_shutdown=2, **listen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
