"""Telling other services of alerts: only those that the configuration names, and never one in a private network."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from skydesk_portal.exceptions import ForbiddenError, UpstreamError, UsageError

__all__ = ["AlertWebhooks"]

_WAIT_S = 10.0
_SERVER_ERROR = 500


def _resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class AlertWebhooks:
    """Sends JSON to addresses outside.

    Parameters
    ----------
    allowed
        Beginnings of the addresses that may be used, such as ``https://hooks.example.org/``; none forbids all.
    resolve
        Returns the addresses of a host.
    transport
        Replaces the network.
    """

    def __init__(
        self,
        allowed: Sequence[str],
        resolve: Callable[[str, int], list[str]] = _resolve,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve
        self._transport = transport

    @property
    def enabled(self) -> bool:
        """Whether there is any address that may be used."""
        return bool(self._allowed)

    def check(self, url: str) -> None:
        """Refuse an address that may not be used.

        Raises
        ------
        ForbiddenError
            If the configuration does not allow it.
        UsageError
            If it is no plain ``https`` address.
        """
        try:
            parts = urlsplit(url)
            plain = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
            plain = plain and not parts.fragment and url.isascii() and url.isprintable() and " " not in url
            _ = parts.port
        except ValueError:
            plain = False
        if not plain or "\\" in url or "/.." in url:
            raise UsageError("a webhook is an https address without user name and fragment")
        if not any(url.startswith(start) for start in self._allowed):
            raise ForbiddenError(
                "this platform does not send to that address: its configuration names those it may use"
            )

    def send(self, url: str, body: Mapping[str, Any], key: str) -> None:
        """Send something.

        Parameters
        ----------
        url
            Where to.
        body
            What.
        key
            Value of the header ``Idempotency-Key``: the same for every try.

        Raises
        ------
        ForbiddenError
            If the address may not be used, or belongs to a private network.
        UpstreamError
            If nobody answers, or the answer says that a later try may succeed.
        UsageError
            If what is there refuses.
        """
        self.check(url)
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise UpstreamError(f"the webhook's host {host} is not known") from error
        if not addresses or not all(ipaddress.ip_address(a.partition("%")[0]).is_global for a in addresses):
            raise ForbiddenError(f"the webhook's host {host} lies in a private network")
        # What was checked is what is used: the name is not looked up a second time.
        target = f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with httpx.Client(transport=self._transport, trust_env=False, timeout=_WAIT_S) as client:
                answer = client.post(
                    f"https://{target}:{port}{path}",
                    json=body,
                    headers={"Host": parts.netloc, "Idempotency-Key": key, "User-Agent": "skydesk"},
                    extensions={"sni_hostname": host},
                )
        except httpx.HTTPError as error:
            raise UpstreamError(f"the webhook does not answer ({type(error).__name__})") from error
        if answer.status_code >= _SERVER_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise UpstreamError(f"the webhook answered {answer.status_code}")
        if not answer.is_success:
            raise UsageError(f"the webhook answered {answer.status_code}")
