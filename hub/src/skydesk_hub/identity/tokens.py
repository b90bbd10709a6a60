"""Tokens and user information in the form of the Rubin Science Platform, and the page where people manage tokens."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from skydesk_hub.accounts import make_token
from skydesk_hub.errors import UserError
from skydesk_hub.identity.groups import GroupStore
from skydesk_hub.identity.hub_api import HubApi
from skydesk_hub.identity.pages import Pages
from skydesk_hub.identity.signin import SESSION_COOKIE, Sessions, login_address
from skydesk_hub.identity.store import Store, User
from skydesk_hub.scopes import ADMIN_SCOPES, USER_SCOPES, from_custom
from skydesk_hub.supervisor.table import Platform

__all__ = ["Caller", "Gate", "make_router", "refuse"]

CHALLENGE = 'Bearer realm="skydesk"'


@dataclass(frozen=True)
class Caller:
    """Who calls and how.

    Parameters
    ----------
    user
        The person.
    scopes
        What the caller may do.
    by_cookie
        Whether the session's cookie says so, which a forged request could carry too.
    """

    user: User
    scopes: list[str]
    by_cookie: bool


class NewToken(BaseModel):
    """A token somebody wants to make."""

    token_name: str = Field(min_length=1, max_length=64)
    scopes: list[str] = Field(min_length=1)
    expires: int | None = None


def read_credential(request: Request) -> str | None:
    """Return the token of a request: Bearer, or either half of Basic with ``x-oauth-basic``.

    Parameters
    ----------
    request
        The request.
    """
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token"):
        return value.strip()
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return name if password == "x-oauth-basic" else password  # noqa: S105  # the fixed half of the scheme


def refuse(status: int, text: str, kind: str, **headers: str) -> HTTPException:
    """Return an error in the platform's form.

    Parameters
    ----------
    status, text, kind
        HTTP status, message for people, stable code.
    **headers
        Further headers, underscores for hyphens.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HTTPException(status, [{"msg": text, "type": kind}], named)


def to_unix(stamp: str | None) -> int | None:
    """Return a time of the hub as Unix time in seconds.

    Parameters
    ----------
    stamp
        ISO 8601 with zone, or None.
    """
    return int(datetime.fromisoformat(stamp).timestamp()) if stamp else None


def describe_token(row: dict[str, Any]) -> dict[str, Any]:
    """Return a token of the hub as the Rubin Science Platform shows one.

    Parameters
    ----------
    row
        As the hub's API gives it.
    """
    return {
        "token": row["id"],
        "username": row.get("user"),
        "token_type": "user",
        "token_name": row.get("note") or row["id"],
        "scopes": from_custom(row.get("scopes", [])),
        "created": to_unix(row.get("created")),
        "last_used": to_unix(row.get("last_activity")),
        "expires": to_unix(row.get("expires_at")),
    }


class Gate:
    """Finds out who calls and what the caller may do.

    Parameters
    ----------
    store, sessions, hub
        What it works with.
    """

    def __init__(self, store: Store, sessions: Sessions, hub: HubApi) -> None:
        self.store, self.sessions, self.hub = store, sessions, hub

    def csrf(self, request: Request) -> str:
        """Return what a page sends with changes to show that it is ours.

        Parameters
        ----------
        request
            The request with the session's cookie.
        """
        session = request.cookies.get(SESSION_COOKIE, "")
        return hmac.new(self.sessions.key, f"csrf:{session}".encode(), "sha256").hexdigest()

    async def identify(self, request: Request) -> Caller:
        """Return who calls.

        Parameters
        ----------
        request
            The request.

        Raises
        ------
        HTTPException
            401 without a valid token or session.
        """
        credential = read_credential(request)
        if credential is not None:
            bearer = await self.hub.find_bearer(credential) if credential else None
            user = self.store.find_user(bearer.name) if bearer else None
            if bearer is None or user is None or user.disabled:
                raise refuse(401, "the token is not valid", "invalid_token", WWW_Authenticate=CHALLENGE)
            return Caller(user, bearer.scopes, by_cookie=False)
        if user := self.sessions.find_user(request):
            return Caller(user, [*USER_SCOPES, *(ADMIN_SCOPES if user.admin else [])], by_cookie=True)
        raise refuse(401, "sign in or send a token", "not_signed_in", WWW_Authenticate=CHALLENGE)

    async def allow(self, request: Request, name: str, *, changes: bool) -> Caller:
        """Return who calls when the caller may see or change somebody's tokens.

        Parameters
        ----------
        request
            The request.
        name
            Whose tokens.
        changes
            Whether something is to be changed.

        Raises
        ------
        HTTPException
            401 or 403.
        """
        caller = await self.identify(request)
        if "user:token" not in caller.scopes:
            raise refuse(403, "the token lacks scope user:token", "permission_denied")
        if caller.user.name != name:
            raise refuse(403, "these tokens belong to somebody else", "permission_denied")
        given = request.headers.get("x-csrf-token", "")
        if changes and caller.by_cookie and not hmac.compare_digest(self.csrf(request), given):
            raise refuse(403, "header X-CSRF-Token is missing or wrong", "invalid_csrf")
        return caller


def make_router(platform: Platform, gate: Gate, pages: Pages) -> APIRouter:
    """Return the routes of tokens and user information.

    Parameters
    ----------
    platform, gate, pages
        What they work with.
    """
    router = APIRouter(prefix="/auth")
    sessions = gate.sessions
    add_information(router, platform, gate)
    add_tokens(router, platform, gate)

    @router.get("/session", include_in_schema=False)
    async def session(request: Request) -> dict[str, str | None]:
        user = sessions.find_user(request)
        return {"username": user.name if user else None}

    @router.get("/tokens", include_in_schema=False)
    async def token_page(request: Request) -> Response:
        user = sessions.find_user(request)
        if user is None:
            return RedirectResponse(login_address(request), 303)
        return pages.render("tokens.html", user=user, csrf=gate.csrf(request), scopes=USER_SCOPES)

    return router


def add_information(router: APIRouter, platform: Platform, gate: Gate) -> None:
    """Add what a caller may learn about itself.

    Parameters
    ----------
    router, platform, gate
        What they work with.
    """

    @router.get("/api/v1/user-info")
    async def user_info(request: Request) -> dict[str, Any]:
        user = (await gate.identify(request)).user
        numbers = GroupStore(gate.store).number_groups()
        groups = [{"name": name, "id": numbers[name]} for name in user.groups if name in numbers]
        memory_gib = (user.memory_mib or platform.config.lab_memory_mib) / 1024
        return {
            "username": user.name,
            "name": user.name,
            "email": None,
            "uid": 1000,
            "gid": 1000,
            "groups": groups,
            # Beside the lab only what differs from the platform's settings, which the services know themselves.
            "quota": {
                **gate.store.get_service_quota(user.name),
                "notebook": {"memory": memory_gib, "spawn": True},
            },
        }

    @router.get("/api/v1/token-info")
    async def token_info(request: Request) -> dict[str, Any]:
        caller = await gate.identify(request)
        kind = "session" if caller.by_cookie else "user"
        return {"username": caller.user.name, "token_type": kind, "scopes": caller.scopes}

    @router.get("/api/v1/login")
    async def login_info(request: Request) -> dict[str, Any]:
        caller = await gate.identify(request)
        known = [{"name": name, "description": text} for name, text in USER_SCOPES.items()]
        return {
            "csrf": gate.csrf(request),
            "username": caller.user.name,
            "scopes": caller.scopes,
            "config": {"scopes": known},
        }


def add_tokens(router: APIRouter, platform: Platform, gate: Gate) -> None:
    """Add listing, making and revoking of tokens.

    Parameters
    ----------
    router, platform, gate
        What they work with.
    """
    hub = gate.hub

    @router.get("/api/v1/users/{name}/tokens")
    async def list_tokens(request: Request, name: str) -> list[dict[str, Any]]:
        await gate.allow(request, name, changes=False)
        return [describe_token(row) for row in await hub.list_tokens(name)]

    @router.get("/api/v1/users/{name}/tokens/{key}")
    async def show_token(request: Request, name: str, key: str) -> dict[str, Any]:
        await gate.allow(request, name, changes=False)
        for row in await hub.list_tokens(name):
            if row["id"] == key:
                return describe_token(row)
        raise refuse(404, "no such token", "not_found")

    @router.post("/api/v1/users/{name}/tokens", status_code=201)
    async def create_token(
        request: Request, response: Response, name: str, wish: Annotated[NewToken, Body()]
    ) -> dict[str, str]:
        caller = await gate.allow(request, name, changes=True)
        life_s = None if wish.expires is None else wish.expires - int(time.time())
        if life_s is not None and life_s <= 0:
            raise refuse(422, "expires lies in the past", "invalid_expires")
        if missing := sorted(set(wish.scopes) - set(caller.scopes)):
            raise refuse(422, f"scope {missing[0]!r} is unknown or not yours to give", "invalid_scopes")
        try:
            made = await make_token(platform, gate.store, name, wish.scopes, life_s, wish.token_name)
        except UserError as error:
            raise refuse(422, str(error), error.code) from error
        response.headers["Location"] = f"/auth/api/v1/users/{name}/tokens/{made['id']}"
        return {"token": made["token"]}

    @router.delete("/api/v1/users/{name}/tokens/{key}", status_code=204)
    async def revoke_token(request: Request, name: str, key: str) -> None:
        await gate.allow(request, name, changes=True)
        if not await hub.revoke_token(name, key):
            raise refuse(404, "no such token", "not_found")
