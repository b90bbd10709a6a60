"""FITS files by their address: on this platform, and outside of it where the configuration names the hosts."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx

from skydesk_portal.exceptions import ForbiddenError, NotFoundError, UpstreamError, UsageError

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.uploads import UploadService

__all__ = ["FitsAddresses", "RemoteFile", "is_public"]

_BLOCK_BYTES = 1 << 18
_MOST_REDIRECTS = 5
_WAIT_S = 30.0
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class RemoteFile:
    """A file that is being read.

    Parameters
    ----------
    name
        What it is called.
    size_bytes
        Its size, `None` if that is not told beforehand.
    blocks
        Its bytes.
    """

    name: str
    size_bytes: int | None
    blocks: Iterator[bytes]


def is_public(address: str) -> bool:
    """Tell whether an IP address belongs to the public internet, not to this machine or a network around it."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global and not found.is_multicast


class FitsAddresses:
    """Opens addresses that people give.

    Parameters
    ----------
    uploads
        Opens results and files of this platform.
    hosts
        Names of hosts outside from which files may be fetched, ``example.org`` or ``*.example.org``; with ``:port`` where
        it is not the usual one.
    is_allowed
        Tells whether an IP address may be connected to.

    Notes
    -----
    A service that fetches any address can be sent where only it can look. So the host must be one that the operator
    named, each of its addresses must be public, the connection goes to the address that was checked, and every
    redirection is checked in the same way.
    """

    def __init__(
        self, uploads: UploadService, hosts: tuple[str, ...], is_allowed: Callable[[str], bool] = is_public
    ) -> None:
        self._uploads = uploads
        self._hosts = tuple(host.lower() for host in hosts)
        self._is_allowed = is_allowed

    @contextmanager
    def open(self, identity: Identity, address: str) -> Iterator[RemoteFile]:
        """Open a file.

        Parameters
        ----------
        identity
            Who asks.
        address
            Address of a file or of a result of a job here, or of a file on one of the hosts.

        Raises
        ------
        UsageError
            If it is no such address.
        ForbiddenError
            If its host is not one from which files may be fetched.
        NotFoundError
            If there is no such file.
        UpstreamError
            If the host does not answer.
        """
        if self._uploads.is_here(address):
            with self._uploads.open_address(identity, "address", address) as (name, size, stream):
                yield RemoteFile(name, size, iter(lambda: stream.read(_BLOCK_BYTES), b""))
            return
        with httpx.Client(timeout=_WAIT_S, trust_env=False, follow_redirects=False) as client:
            for _ in range(_MOST_REDIRECTS + 1):
                target, pinned = self._check(address)
                request = client.build_request(
                    "GET", pinned, headers={"Host": target.netloc, "Accept-Encoding": "identity"},
                    extensions={"sni_hostname": target.hostname},
                )  # fmt: skip
                with _answering(target), _closing(client.send(request, stream=True)) as answer:
                    if answer.status_code in _REDIRECTS and "location" in answer.headers:
                        address = urljoin(address, answer.headers["location"])
                        continue
                    _check_status(answer, target)
                    length = answer.headers.get("content-length", "")
                    name = unquote(PurePosixPath(target.path).name) or "image.fits"
                    blocks = _read(answer, target)
                    yield RemoteFile(name, int(length) if length.isdigit() else None, blocks)
                    return
        raise UpstreamError(f"the address is redirected more than {_MOST_REDIRECTS} times")

    def _check(self, address: str) -> tuple[SplitResult, httpx.URL]:
        """Return an address and the one to connect to, which names the IP address that was checked."""
        try:
            target = urlsplit(address)
            port = target.port or _PORTS[target.scheme]
            host = (target.hostname or "").lower()
        except (ValueError, KeyError):
            host, port = "", 0
        if host and target.username is not None:
            raise UsageError("an address with a name and a password in it is not opened")
        if not host or len(address) > 2000:
            raise UsageError(f"{address[:80]!r} is not an address that begins with https:// or http://")
        self._check_host(host, port, port == _PORTS[target.scheme])
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except (OSError, UnicodeError) as error:
            raise UpstreamError(f"there is no host {host[:80]}") from error
        if not found or not all(self._is_allowed(ip) for ip in found):
            raise ForbiddenError(
                f"{host[:80]} is not on the public internet: files are not fetched from there"
            )
        return target, httpx.URL(address).copy_with(host=min(found), port=port)

    def _check_host(self, host: str, port: int, usual: bool) -> None:
        wanted = host if usual else f"{host}:{port}"
        for known in self._hosts:
            if wanted == known or (known.startswith("*.") and wanted.endswith(known[1:])):
                return
        if not self._hosts:
            raise ForbiddenError(
                "this platform fetches no files from outside: download the file and open it from your disk"
            )
        listed = ", ".join(self._hosts[:8]) + (", …" if len(self._hosts) > 8 else "")
        raise ForbiddenError(f"files are fetched only from {listed}, not from {wanted[:80]}")


@contextmanager
def _closing(answer: httpx.Response) -> Iterator[httpx.Response]:
    try:
        yield answer
    finally:
        answer.close()


@contextmanager
def _answering(target: SplitResult) -> Iterator[None]:
    """Say which host it was that does not answer."""
    try:
        yield
    except httpx.HTTPError as error:
        raise UpstreamError(
            f"{target.hostname} does not answer as it should: {type(error).__name__}"
        ) from error


def _read(answer: httpx.Response, target: SplitResult) -> Iterator[bytes]:
    with _answering(target):
        yield from answer.iter_bytes(_BLOCK_BYTES)


def _check_status(answer: httpx.Response, target: SplitResult) -> None:
    if answer.status_code in (404, 410):
        raise NotFoundError(f"{target.hostname} has no file {target.path[:120]}")
    if not answer.is_success:
        raise UpstreamError(f"{target.hostname} answers {answer.status_code}")
