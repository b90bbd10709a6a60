"""The gate in front of every page, tile and websocket: OAuth against the hub, or a bearer token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import httpx
import structlog
from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from skydesk_portal.exceptions import AuthenticationError, ForbiddenError, PortalError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.identity import IdentityClient, find_token

__all__ = ["PREFIX", "HubGate", "OAuthSettings", "read_identity", "refuse", "require_scopes"]

type Scope = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
type Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
type App = Callable[[Scope, Receive, Send], Awaitable[None]]

PREFIX = "/portal/app"
"""Where the proxy sends the Portal's paths."""

IDENTITY_HEADER = b"x-skydesk-identity"
THEME_COOKIE = "skydesk-theme"
SESSION_COOKIE = "skydesk-portal"
STATE_COOKIE = "skydesk-portal-login"
_SESSION_S = 24 * 3600
_LOGIN_S = 600

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class OAuthSettings:
    """How this service signs people in at the hub.

    Parameters
    ----------
    client_id, client_secret
        The service's registration at the hub.
    public_url
        Address that browsers use, no slash at the end.
    hub_api
        Address of the hub's REST interface for this process; ``http+unix://``
        names a socket.
    """

    client_id: str
    client_secret: str
    public_url: str
    hub_api: str

    @property
    def redirect_uri(self) -> str:
        """Where the hub sends the browser back to."""
        return f"{self.public_url}{PREFIX}/oauth_callback"

    @property
    def authorize_url(self) -> str:
        """Where the browser signs in."""
        return f"{self.public_url}{urlsplit(self.hub_api).path}/oauth2/authorize"


def read_identity(header: str | bytes | None) -> Identity:
    """Read the identity that the gate put into a request.

    Parameters
    ----------
    header
        The value of ``X-Skydesk-Identity``.

    Returns
    -------
    Identity
        Who makes the request.

    Raises
    ------
    AuthenticationError
        If the header is missing: the request did not pass the gate.
    """
    if not header:
        raise AuthenticationError("nobody is signed in")
    found = json.loads(header)
    return Identity(
        found["name"], frozenset(found["scopes"]), frozenset(found["groups"]), bool(found["admin"])
    )


def require_scopes(connection: HTTPConnection, *scopes: str) -> Identity:
    """Return who makes a request that passed the gate.

    Parameters
    ----------
    connection
        The request.
    scopes
        What the token in hand has to allow.

    Raises
    ------
    ForbiddenError
        If it does not allow one of them.
    """
    identity: Identity = connection.scope["state"]["identity"]
    for scope in scopes:
        if scope not in identity.scopes:
            raise ForbiddenError(f"your token does not have the scope {scope}")
    return identity


def _write_identity(identity: Identity) -> bytes:
    content = {
        "name": identity.name,
        "scopes": sorted(identity.scopes),
        "groups": sorted(identity.groups),
        "admin": identity.admin,
    }
    return json.dumps(content).encode("ascii")


class HubGate:
    """ASGI middleware that lets nobody pass who may not use the Portal.

    It guards http and websocket alike; a dependency of the web framework would
    not see Panel's websocket.

    Parameters
    ----------
    app
        What lies behind the gate.
    identities
        Tells who a token belongs to.
    oauth
        How to sign in; without it only tokens are accepted.
    """

    def __init__(self, app: App, identities: IdentityClient, oauth: OAuthSettings | None) -> None:
        self.app = app
        self.identities = identities
        self.oauth = oauth
        secret = oauth.client_secret if oauth else secrets.token_hex(32)
        self._fernet = Fernet(
            base64.urlsafe_b64encode(hashlib.sha256(b"portal cookies " + secret.encode()).digest())
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        path = scope["path"]
        if scope["type"] == "http":
            if path == f"{PREFIX}/health" or path.startswith(f"{PREFIX}/assets/"):
                await self.app(_without_identity(scope), receive, send)
                return
            if path == f"{PREFIX}/oauth_callback" and self.oauth:
                await (await self._callback(connection, self.oauth))(scope, receive, send)
                return
            if path == f"{PREFIX}/logout":
                await self._logout()(scope, receive, send)
                return
        try:
            identity = await self._find_identity(connection)
        except PortalError as error:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1013})
            else:
                await refuse(connection, error.status, str(error))(scope, receive, send)
            return
        await self._let_in(identity, connection, receive, send)

    async def _let_in(
        self, identity: Identity | None, connection: HTTPConnection, receive: Receive, send: Send
    ) -> None:
        scope = connection.scope
        if identity is not None and "exec:portal" in identity.scopes:
            inner = _without_identity(scope)
            inner["headers"] = [*inner["headers"], (IDENTITY_HEADER, _write_identity(identity))]
            inner["state"] = {**scope.get("state", {}), "identity": identity}
            await self.app(inner, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401 if identity is None else 4403})
        elif identity is not None:
            await refuse(connection, 403, "your account or token may not use the Portal (scope exec:portal)")(
                scope, receive, send
            )
        elif self.oauth and _wants_page(connection):
            await self._login(connection, self.oauth)(scope, receive, send)
        else:
            response = refuse(connection, 401, "sign in, or send a token with the scope exec:portal")
            response.headers["WWW-Authenticate"] = 'Bearer realm="skydesk"'
            await response(scope, receive, send)

    async def _find_identity(self, connection: HTTPConnection) -> Identity | None:
        token = find_token(connection.headers) or self._open_cookie(connection)
        if token is None:
            return None
        try:
            return await self.identities.get_identity(token)
        except AuthenticationError:
            return None

    def _open_cookie(self, connection: HTTPConnection) -> str | None:
        sealed = connection.cookies.get(SESSION_COOKIE)
        if not sealed:
            return None
        try:
            return self._fernet.decrypt(sealed.encode(), ttl=_SESSION_S).decode()
        except InvalidToken:
            return None

    def _set_cookie(self, response: Response, name: str, content: str, seconds: int, url: str) -> None:
        response.set_cookie(
            name,
            self._fernet.encrypt(content.encode()).decode(),
            max_age=seconds,
            path=PREFIX,
            httponly=True,
            samesite="lax",
            secure=url.startswith("https:"),
        )

    def _login(self, connection: HTTPConnection, oauth: OAuthSettings) -> Response:
        state, verifier = secrets.token_urlsafe(24), secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        wanted = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        query = {
            "client_id": oauth.client_id,
            "redirect_uri": oauth.redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        response = RedirectResponse(f"{oauth.authorize_url}?{urlencode(query)}", status_code=302)
        content = json.dumps({"state": state, "verifier": verifier, "wanted": wanted, "time": time.time()})
        self._set_cookie(response, STATE_COOKIE, content, _LOGIN_S, oauth.public_url)
        return response

    async def _callback(self, connection: HTTPConnection, oauth: OAuthSettings) -> Response:
        sealed = connection.cookies.get(STATE_COOKIE, "")
        try:
            login = json.loads(self._fernet.decrypt(sealed.encode(), ttl=_LOGIN_S))
        except InvalidToken:
            return refuse(
                connection, 400, "this sign-in took too long or began in another window; open the page again"
            )
        given = connection.query_params.get("state", "")
        code = connection.query_params.get("code", "")
        if not hmac.compare_digest(given, login["state"]) or not code:
            return refuse(connection, 400, "this answer does not belong to a sign-in that began here")
        try:
            token = await _exchange(oauth, code, login["verifier"])
        except httpx.HTTPError as error:
            log.warning("sign-in failed", error=str(error))
            return refuse(connection, 503, "the hub does not answer; try again in a moment")
        response = RedirectResponse(login["wanted"], status_code=303)
        self._set_cookie(response, SESSION_COOKIE, token, _SESSION_S, oauth.public_url)
        response.delete_cookie(STATE_COOKIE, path=PREFIX)
        return response

    def _logout(self) -> Response:
        # The identity provider asks once more and then ends the hub's session too.
        response = RedirectResponse("/auth/logout" if self.oauth else "/", status_code=303)
        response.delete_cookie(SESSION_COOKIE, path=PREFIX)
        return response


async def _exchange(oauth: OAuthSettings, code: str, verifier: str) -> str:
    """Trade the code for the person's token at the hub."""
    parts = urlsplit(oauth.hub_api)
    if parts.scheme == "http+unix":
        transport, base = httpx.AsyncHTTPTransport(uds=unquote(parts.netloc)), "http://hub"
    else:
        transport, base = httpx.AsyncHTTPTransport(), f"{parts.scheme}://{parts.netloc}"
    form = {
        "client_id": oauth.client_id,
        "client_secret": oauth.client_secret,
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": oauth.redirect_uri,
    }
    async with httpx.AsyncClient(transport=transport, base_url=base, timeout=10) as client:
        answer = await client.post(f"{parts.path}/oauth2/token", data=form)
        answer.raise_for_status()
        return str(answer.json()["access_token"])


def _without_identity(scope: Scope) -> Scope:
    """Drop headers with which a client could claim to be somebody."""
    headers = [(k, v) for k, v in scope["headers"] if not k.lower().startswith(b"x-skydesk-")]
    return {**scope, "headers": headers}


def _wants_page(connection: HTTPConnection) -> bool:
    return connection.scope.get("method") == "GET" and "text/html" in connection.headers.get("accept", "")


def refuse(connection: HTTPConnection, status: int, message: str) -> Response:
    """Make the answer to a request that gets nothing: a page for a browser, JSON for a program.

    Parameters
    ----------
    connection
        The request.
    status
        HTTP status.
    message
        What is wrong, without a full stop.

    Returns
    -------
    Response
        The answer.
    """
    if _wants_page(connection):
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>skydesk</title>'
            '<body style="font: 16px system-ui; max-width: 40em; margin: 15vh auto; padding: 0 1em">'
            f'<h1 style="font-size: 1.3em">skydesk</h1><p>{escape(message[:1].upper() + message[1:])}.</p>'
            f'<p><a href="{PREFIX}/">Go to the Portal</a></p></body></html>'
        )
        return HTMLResponse(page, status)
    return JSONResponse({"detail": message}, status)
