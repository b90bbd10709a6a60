"""Finding out whose token a request carries, by asking the hub."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import mmap
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httpx

from skydesk_portal.exceptions import AuthenticationError, UpstreamError
from skydesk_portal.log import get_logger
from skydesk_portal.models.identity import Identity, UnknownName

__all__ = ["EpochFile", "HubIdentityClient", "IdentityClient", "find_token", "identity_of"]

_SCOPE_PREFIX = "custom:skydesk:"
_KEEP_S = 60.0
_KEEP_INVALID_S = 5.0
_OAUTH_BASIC = "x-oauth-basic"
_ADMINS = "admins"
_BUILT_IN = frozenset({"users", _ADMINS})


def find_token(headers: Mapping[str, str]) -> str | None:
    """Return the token that a request carries.

    Parameters
    ----------
    headers
        Headers of the request, names in any case.

    Returns
    -------
    str or None
        The token of ``Authorization: Bearer`` or ``token``, or of Basic with
        ``x-oauth-basic`` as the user or as the password.
    """
    value = headers.get("authorization") or headers.get("Authorization") or ""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() in {"bearer", "token"}:  # the second is how clients of JupyterHub write it
        return rest.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if user == _OAUTH_BASIC:
        return password or None
    if password in {_OAUTH_BASIC, ""}:
        return user or None
    # TOPCAT and others put the account name into the user field.
    return password


def identity_of(document: Mapping[str, Any]) -> Identity:
    """Read the hub's answer about a token.

    Parameters
    ----------
    document
        JSON of the hub's ``/user``.

    Returns
    -------
    Identity
        Name, scopes, groups.
    """
    scopes = (str(scope).split("!", 1)[0] for scope in document.get("scopes") or [])
    own = frozenset(scope.removeprefix(_SCOPE_PREFIX) for scope in scopes if scope.startswith(_SCOPE_PREFIX))
    return Identity(
        str(document["name"]),
        own,
        frozenset(map(str, document.get("groups") or [])),
        admin=bool(document.get("admin")),
    )


def _complete(identity: Identity, told: Mapping[str, Any]) -> Identity:
    # The hub learns groups and rights when a person signs in; the provider knows those of this moment.
    named = told.get("groups")
    items = named if isinstance(named, list) else []
    groups = frozenset(str(item["name"]) for item in items if isinstance(item, dict) and "name" in item)
    quota = told.get("quota")
    return replace(
        identity,
        groups=groups,
        admin=identity.admin or _ADMINS in groups,
        quota=quota if isinstance(quota, dict) else {},
    )


class EpochFile:
    """Eight bytes that change whenever a token loses rights.

    Parameters
    ----------
    path
        The file; `None` or a missing file means a constant epoch.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._map: mmap.mmap | None = None

    def read(self) -> bytes:
        """Return the current epoch."""
        if self._map is None and self._path is not None and self._path.exists():
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                if os.fstat(descriptor).st_size >= 8:
                    self._map = mmap.mmap(descriptor, 8, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)
        return self._map[:8] if self._map is not None else b""


class IdentityClient(Protocol):
    """Something that knows whose a token is."""

    async def get_identity(self, token: str) -> Identity:
        """Return the identity behind a token.

        Raises
        ------
        AuthenticationError
            If the token is not valid.
        UpstreamError
            If that cannot be found out now.
        """

    async def find_unknown(
        self, token: str, users: Sequence[str], groups: Sequence[str]
    ) -> list[UnknownName]:
        """Return the names that no user or group has; none where that cannot be found out.

        Raises
        ------
        UpstreamError
            If that cannot be found out now.
        """

    async def close(self) -> None:
        """Give back connections."""


class HubIdentityClient:
    """Asks JupyterHub with the caller's own token; remembers answers for a short time.

    Parameters
    ----------
    hub_api
        Base address of the hub's REST interface; ``http+unix://SOCKET/PATH``
        names a unix socket.
    epoch
        File that changes whenever a token loses rights.
    transport
        Replaces the network, for tests.
    provider
        Socket of the identity provider, which knows people's own quotas, and
        their groups also before they have signed in to the hub.
    """

    def __init__(
        self,
        hub_api: str,
        epoch: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        provider: Path | None = None,
    ) -> None:
        parts = urlsplit(hub_api)
        base = hub_api.rstrip("/")
        if parts.scheme == "http+unix":
            transport = transport or httpx.AsyncHTTPTransport(uds=unquote(parts.netloc))
            base = f"http://hub{parts.path.rstrip('/')}"
        self._client = httpx.AsyncClient(transport=transport, timeout=10.0)
        self._url = f"{base}/user"
        self._socket = provider
        self._provider: httpx.AsyncClient | None = None
        if provider is not None:
            self._provider = httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(provider)), base_url="http://identity", timeout=5.0
            )
        self._epoch = EpochFile(epoch)
        self._seen = b""
        self._answers: dict[str, tuple[float, Identity | None]] = {}
        self._pending: dict[str, asyncio.Task[Identity | None]] = {}

    async def get_identity(self, token: str) -> Identity:
        """Return the identity behind a token.

        Parameters
        ----------
        token
            A token of the hub.

        Returns
        -------
        Identity
            Who it is and what the token allows.

        Raises
        ------
        AuthenticationError
            If the hub does not know the token.
        UpstreamError
            If the hub does not answer.
        """
        epoch = self._epoch.read()
        if epoch != self._seen:
            self._answers.clear()
            self._seen = epoch
        # Only the digest is kept: a memory dump must not hold usable tokens.
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._answers.get(key)
        if known is not None and known[0] > time.monotonic():
            return self._valid(known[1])
        task = self._pending.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(token, key, epoch))
            self._pending[key] = task
            task.add_done_callback(lambda _: self._pending.pop(key, None))
        return self._valid(await asyncio.shield(task))

    def _valid(self, identity: Identity | None) -> Identity:
        if identity is None:
            raise AuthenticationError("the token is not valid: it is wrong, expired or revoked")
        return identity

    async def _ask(self, token: str, key: str, epoch: bytes) -> Identity | None:
        try:
            response = await self._client.get(self._url, headers={"Authorization": f"token {token}"})
        except (httpx.HTTPError, ValueError) as error:
            raise UpstreamError("the sign-in service does not answer; try again in a moment") from error
        if response.status_code >= 500:
            raise UpstreamError("the sign-in service is not ready; try again in a moment")
        identity, sure = None, True
        if response.status_code == 200:
            document = response.json()
            # A token of a service has no user behind it and nothing here belongs to it.
            if document.get("kind", "user") == "user":
                identity = identity_of(document)
                if self._provider_is_there():
                    told = await self._ask_provider(token)
                    sure = bool(told)
                    # The hub's groups may be out of date: what cannot be checked now is not granted now.
                    kept = replace(identity, groups=identity.groups & _BUILT_IN)
                    identity = _complete(identity, told) if told else kept
        # The answer holds only if nothing was revoked while the question was on its way.
        if self._epoch.read() == epoch:
            if len(self._answers) > 10_000:
                self._answers.clear()
            keep = _KEEP_S if identity is not None and sure else _KEEP_INVALID_S
            self._answers[key] = (time.monotonic() + keep, identity)
        return identity

    def _provider_is_there(self) -> bool:
        return self._provider is not None and self._socket is not None and self._socket.exists()

    async def find_unknown(
        self, token: str, users: Sequence[str], groups: Sequence[str]
    ) -> list[UnknownName]:
        """Return the names that no user or group has; none where that cannot be found out.

        Parameters
        ----------
        token
            The caller's.
        users, groups
            Names.

        Raises
        ------
        UpstreamError
            If the provider does not answer.
        """
        if not self._provider_is_there():
            return []
        assert self._provider is not None
        try:
            response = await self._provider.post(
                "/auth/api/v1/names/unknown",
                headers={"Authorization": f"Bearer {token}"},
                json={"users": list(users), "groups": list(groups)},
            )
            response.raise_for_status()
            return [UnknownName(**one) for one in response.json()["unknown"]]
        except (httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            raise UpstreamError("names cannot be checked at the moment; try again") from error

    async def _ask_provider(self, token: str) -> Mapping[str, Any]:
        assert self._provider is not None
        try:
            response = await self._provider.get(
                "/auth/api/v1/user-info", headers={"Authorization": f"Bearer {token}"}
            )
            told = response.json() if response.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            # Whoever may come in is not kept out by this; the platform's figures hold meanwhile.
            get_logger().warning("the identity provider tells no quota", error=type(error).__name__)
            return {}
        return told if isinstance(told, dict) else {}

    async def close(self) -> None:
        """Give back connections."""
        await self._client.aclose()
        if self._provider is not None:
            await self._provider.aclose()
