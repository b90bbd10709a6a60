"""Names of objects, looked up at a service outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from skydesk_portal.exceptions import UpstreamError

__all__ = ["NameResolver", "NamedPosition"]

_WAIT_S = 10.0
_LONGEST_BYTES = 100_000
_POSITION = re.compile(r"^%J\s+(\S+)\s+(\S+)", re.MULTILINE)
_TITLE = re.compile(r"^%I\.0\s+(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class NamedPosition:
    """Where a name service has an object: its usual name and ICRS degrees."""

    title: str
    ra_deg: float
    dec_deg: float


class NameResolver:
    """Asks a name service that answers as Sesame of the CDS does with ``-oI``.

    Parameters
    ----------
    url
        Address to which the name is appended, such as ``https://…/nph-sesame/-oI/SNV?``.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def find(self, name: str) -> NamedPosition | None:
        """Look a name up.

        Parameters
        ----------
        name
            The name as it was typed.

        Returns
        -------
        NamedPosition or None
            Its position; `None` if the service does not know it.

        Raises
        ------
        UpstreamError
            If the service does not answer, or not in the form that is expected.
        """
        try:
            with httpx.stream("GET", self._url + quote(name, safe=""), timeout=_WAIT_S) as answer:
                answer.raise_for_status()
                content = b""
                for block in answer.iter_bytes():
                    content += block
                    if len(content) > _LONGEST_BYTES:
                        raise UpstreamError("the name service sends more than an answer")
        except httpx.HTTPError as error:
            raise UpstreamError("the name service does not answer") from error
        text = content.decode("utf-8", "replace")
        found = _POSITION.search(text)
        if found is None:
            return None
        try:
            ra_deg, dec_deg = float(found[1]), float(found[2])
        except ValueError as error:
            raise UpstreamError("the name service gives a position that cannot be read") from error
        if not (0 <= ra_deg <= 360 and -90 <= dec_deg <= 90):
            raise UpstreamError("the name service gives a position outside the sky")
        title = _TITLE.search(text)
        return NamedPosition(" ".join(title[1].split()) if title else name, ra_deg % 360, dec_deg)
