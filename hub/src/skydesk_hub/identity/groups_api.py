"""Groups over HTTP: administrators change them, everybody sees the own ones and can have names checked."""

from __future__ import annotations

import hmac
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, Field

from skydesk_hub.epoch import bump_epoch
from skydesk_hub.errors import UserError
from skydesk_hub.identity.groups import GroupStore
from skydesk_hub.identity.store import BUILT_IN
from skydesk_hub.identity.tokens import Caller, Gate, refuse
from skydesk_hub.supervisor.table import Platform

__all__ = ["make_router"]

SCOPE = "admin:users"
MOST_NAMES = 1000


class NewGroup(BaseModel):
    """What an administrator says about a group."""

    description: str | None = Field(None, max_length=200)
    members: list[str] = Field([], max_length=MOST_NAMES)


class Names(BaseModel):
    """Names to look up."""

    users: list[Annotated[str, Field(max_length=64)]] = Field([], max_length=MOST_NAMES)
    groups: list[Annotated[str, Field(max_length=64)]] = Field([], max_length=MOST_NAMES)


async def allow_admin(gate: Gate, request: Request) -> Caller:
    """Return who calls when the caller may change groups.

    Parameters
    ----------
    gate, request
        Who finds out, and about what.

    Raises
    ------
    HTTPException
        401 or 403.
    """
    caller = await gate.identify(request)
    if SCOPE not in caller.scopes or not caller.user.admin:
        raise refuse(403, f"this takes an administrator with the scope {SCOPE}", "permission_denied")
    given = request.headers.get("x-csrf-token", "")
    if caller.by_cookie and request.method != "GET" and not hmac.compare_digest(gate.csrf(request), given):
        raise refuse(403, "header X-CSRF-Token is missing or wrong", "invalid_csrf")
    return caller


def make_router(platform: Platform, gate: Gate) -> APIRouter:
    """Return the routes.

    Parameters
    ----------
    platform, gate
        What they work with.
    """
    router = APIRouter(prefix="/auth/api/v1")
    groups = GroupStore(gate.store)
    add_changes(router, platform, gate, groups)

    @router.get("/groups")
    async def list_groups(request: Request) -> list[dict[str, Any]]:
        caller = await gate.identify(request)
        everything = caller.user.admin and SCOPE in caller.scopes
        found = [g for g in groups.list_groups() if everything or caller.user.name in g.members]
        return [
            *(
                {"name": name, "description": "", "members": None}
                for name in BUILT_IN
                if name in caller.user.groups
            ),
            *(group.describe() for group in found),
        ]

    @router.post("/names/unknown")
    async def find_unknown(request: Request, names: Annotated[Names, Body()]) -> dict[str, Any]:
        await gate.identify(request)
        return {"unknown": [asdict(one) for one in groups.find_unknown(names.users, names.groups)]}

    return router


def add_changes(router: APIRouter, platform: Platform, gate: Gate, groups: GroupStore) -> None:
    """Add what administrators do.

    Parameters
    ----------
    router, platform, gate, groups
        What they work with.
    """

    def changed() -> None:
        # Tokens and sessions that services know already have the new groups at once.
        bump_epoch(platform.layout.epoch_file)

    @router.put("/groups/{name}")
    async def put_group(request: Request, name: str, wish: Annotated[NewGroup, Body()]) -> dict[str, Any]:
        await allow_admin(gate, request)
        try:
            group = groups.put_group(name, wish.members, wish.description)
        except UserError as error:
            raise refuse(422, str(error), error.code) from error
        changed()
        return group.describe()

    @router.delete("/groups/{name}", status_code=204)
    async def remove_group(request: Request, name: str) -> None:
        await allow_admin(gate, request)
        try:
            groups.remove_group(name)
        except UserError as error:
            raise refuse(404, str(error), error.code) from error
        changed()

    @router.put("/groups/{name}/members/{user}")
    async def put_member(request: Request, name: str, user: str) -> dict[str, Any]:
        await allow_admin(gate, request)
        try:
            groups.get_group(name)
            group = groups.put_group(name, [user])
        except UserError as error:
            raise refuse(404, str(error), error.code) from error
        changed()
        return group.describe()

    @router.delete("/groups/{name}/members/{user}", status_code=204)
    async def remove_member(request: Request, name: str, user: str) -> None:
        await allow_admin(gate, request)
        try:
            groups.take_out(name, [user])
        except UserError as error:
            raise refuse(404, str(error), error.code) from error
        changed()
