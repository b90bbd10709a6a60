"""Rights at the hub: tokens made for a user and everything of a user ended at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from skydesk_hub.errors import ServiceError, UserError
from skydesk_hub.identity.store import Store
from skydesk_hub.scopes import ADMIN_SCOPES, USER_SCOPES, to_custom
from skydesk_hub.supervisor.table import Platform
from skydesk_hub.wire import Answer, request

__all__ = ["end_rights", "ensure_hub_user", "make_token"]


async def call_hub(
    platform: Platform, method: str, path: str, data: object = None, *, token: str = ""
) -> Answer:
    """Send a request to the hub's REST API.

    Parameters
    ----------
    platform
        What is known.
    method, path
        The request, the path below ``/nb/hub/api``.
    data
        JSON body.
    token
        Token to act with; the supervisor's own when empty.

    Raises
    ------
    ServiceError
        When the hub does not answer.
    """
    try:
        return await request(
            platform.layout.socket("hub"),
            method,
            f"/nb/hub/api{path}",
            token=token or platform.keys.ops_token,
            data=data,
            timeout_s=20,
        )
    except (OSError, TimeoutError) as error:
        raise ServiceError(
            "the hub does not answer; try again when skydesk status shows it healthy"
        ) from error


async def ensure_hub_user(platform: Platform, name: str, *, token: str = "") -> None:
    """Make the user known to the hub if it has not signed in yet.

    Parameters
    ----------
    platform
        What is known.
    name
        The user.
    token
        Token to act with.
    """
    answer = await call_hub(platform, "POST", f"/users/{quote(name)}", token=token)
    if answer.status not in (201, 409):
        raise ServiceError(f"the hub refused to make user {name} ({answer.status})")


async def make_token(
    platform: Platform, store: Store, name: str, scopes: list[str], expires_in_s: int | None, note: str | None
) -> dict[str, Any]:
    """Make a token at the hub.

    Parameters
    ----------
    platform
        What is known.
    store
        The users.
    name
        Whose token it is.
    scopes
        Its scopes under their public names, e.g. ``read:tap``.
    expires_in_s
        Life time in seconds; None for ever.
    note
        What people see in the list of tokens.

    Returns
    -------
    dict
        The hub's answer: ``token``, ``id``, ``expires_at``, …

    Raises
    ------
    UserError
        When the user is unknown or disabled, or a scope cannot be given.
    ServiceError
        When the hub refuses.
    """
    user = store.get_user(name)
    if user.disabled:
        raise UserError(f"user {name} is disabled")
    for scope in scopes:
        if scope not in USER_SCOPES and scope not in ADMIN_SCOPES:
            raise UserError(f"unknown scope {scope!r}; known are {' '.join([*USER_SCOPES, *ADMIN_SCOPES])}")
        if scope in ADMIN_SCOPES and not user.admin:
            raise UserError(f"user {name} is no administrator and cannot have scope {scope!r}")
    if not scopes:
        raise UserError("a token needs at least one scope")
    await ensure_hub_user(platform, name)
    data: dict[str, object] = {"scopes": to_custom(scopes), "note": note or "skydesk token create"}
    if expires_in_s:
        data["expires_in"] = expires_in_s
    answer = await call_hub(platform, "POST", f"/users/{quote(name)}/tokens", data)
    if answer.status == 400 and (wanted := [scope for scope in scopes if scope in ADMIN_SCOPES]):
        # The hub gives an administrator these rights at the first sign-in.
        raise UserError(
            f"{name} has to open Notebooks or the Portal once before a token can have {wanted[0]}"
        )
    if answer.status != 201:
        raise ServiceError(f"the hub refused the token ({answer.status}: {describe_refusal(answer)})")
    made: dict[str, Any] = answer.json()
    return made


def describe_refusal(answer: Answer) -> str:
    """Return the hub's own words about a refused request.

    Parameters
    ----------
    answer
        Its answer.
    """
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.body[:200].decode(errors="replace")


async def end_rights(platform: Platform, name: str) -> None:
    """Stop a user's lab and remove the user's tokens and sessions at the hub; files stay.

    Parameters
    ----------
    platform
        What is known.
    name
        The user.
    """
    await call_hub(platform, "DELETE", f"/users/{quote(name)}/server")
    answer = await call_hub(platform, "DELETE", f"/users/{quote(name)}")
    if answer.status not in (204, 404):
        raise ServiceError(
            f"the hub refused to remove user {name} ({answer.status}: {describe_refusal(answer)})"
        )
