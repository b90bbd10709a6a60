"""The identity service's way to the hub: whose token is this, and what tokens does somebody have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from skydesk_hub.errors import ServiceError
from skydesk_hub.scopes import from_custom
from skydesk_hub.supervisor.table import Platform

__all__ = ["Bearer", "HubApi"]


@dataclass(frozen=True)
class Bearer:
    """The owner of a token.

    Parameters
    ----------
    name
        The user.
    scopes
        The token's scopes under their public names.
    """

    name: str
    scopes: list[str] = field(default_factory=list)


class HubApi:
    """A client of the hub's REST API on its unix socket.

    Parameters
    ----------
    platform
        What is known.
    """

    def __init__(self, platform: Platform) -> None:
        self.token = platform.keys.identity_token
        parts = urlsplit(platform.hub_api)
        transport = httpx.AsyncHTTPTransport(uds=unquote(parts.netloc))
        self.client = httpx.AsyncClient(transport=transport, base_url=f"http://hub{parts.path}", timeout=20)

    async def ask(
        self, method: str, path: str, data: object = None, token: str | None = None
    ) -> httpx.Response:
        """Send a request.

        Parameters
        ----------
        method, path
            The request.
        data
            JSON body.
        token
            Whose right is used; the identity service's own when None.

        Raises
        ------
        ServiceError
            When the hub does not answer.
        """
        try:
            headers = {"Authorization": f"token {token or self.token}"}
            return await self.client.request(method, path, json=data, headers=headers)
        except httpx.HTTPError as error:
            raise ServiceError("the hub does not answer") from error

    async def find_bearer(self, token: str) -> Bearer | None:
        """Return whose token this is, or None when it is not valid.

        Parameters
        ----------
        token
            As presented.
        """
        answer = await self.ask("GET", "/user", token=token)
        if answer.status_code == 200:
            data = answer.json()
            return Bearer(data["name"], from_custom(data["scopes"]))
        if answer.status_code in (401, 403):
            return None
        raise ServiceError(f"the hub answered {answer.status_code}")

    async def list_tokens(self, name: str) -> list[dict[str, Any]]:
        """Return the tokens of a user, none when the hub has not met the user yet.

        Parameters
        ----------
        name
            The user.
        """
        answer = await self.ask("GET", f"/users/{quote(name)}/tokens")
        if answer.status_code == 404:
            return []
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["api_tokens"]
        return found

    async def revoke_token(self, name: str, key: str) -> bool:
        """Revoke a token; False when there is none of that key.

        Parameters
        ----------
        name, key
            The user and the token's identifier.
        """
        answer = await self.ask("DELETE", f"/users/{quote(name)}/tokens/{quote(key)}")
        if answer.status_code not in (204, 404):
            raise ServiceError(f"the hub answered {answer.status_code}")
        return answer.status_code == 204
