"""Archives outside that speak the Virtual Observatory's protocols: what they have at a position, and their images."""

from __future__ import annotations

import io
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow as pa

from skydesk_portal.exceptions import ForbiddenError, NotFoundError, UpstreamError, UsageError
from skydesk_portal.models.tables import ColumnInfo

if TYPE_CHECKING:
    from skydesk_portal.config import ArchiveConfig

__all__ = ["ArchiveAnswer", "ArchiveService"]

MOST_ROWS = 10_000
_WAIT_S = 30.0
_LARGEST_BYTES = 20_000_000
_LARGEST_DEG = 1.0
_ACCESS = ("access_url", "accessurl", "accref", "url")
_ACCESS_UCDS = ("VOX:Image_AccessReference", "meta.ref.url")
_TYPES = {"b": "boolean", "i": "long", "u": "long", "f": "double", "U": "char"}


@dataclass(frozen=True)
class ArchiveAnswer:
    """What an archive has.

    Parameters
    ----------
    table
        The rows; columns of arrays are left out.
    columns
        What the columns mean.
    access
        Column that holds the address of an image; `None` without.
    """

    table: pa.Table
    columns: tuple[ColumnInfo, ...]
    access: str | None


class ArchiveService:
    """Asks the archives that the configuration names, and nobody else.

    Parameters
    ----------
    archives
        The archives.
    """

    def __init__(self, archives: tuple[ArchiveConfig, ...]) -> None:
        self._archives = {archive.name: archive for archive in archives}

    @property
    def names(self) -> list[str]:
        """Names of the archives."""
        return list(self._archives)

    def _get(self, name: str) -> ArchiveConfig:
        if name not in self._archives:
            raise NotFoundError(f"there is no archive {name[:60]!r} in the configuration")
        return self._archives[name]

    def search(self, name: str, ra_deg: float, dec_deg: float, radius_deg: float) -> ArchiveAnswer:
        """Ask an archive what it has around a position.

        Parameters
        ----------
        name
            Name of the archive.
        ra_deg, dec_deg, radius_deg
            Circle, ICRS degrees.

        Returns
        -------
        ArchiveAnswer
            At most `MOST_ROWS` rows.

        Raises
        ------
        UsageError
            If the circle is none, or the archive says that it cannot be asked so.
        UpstreamError
            If the archive does not answer, or not with a VOTable.
        """
        archive = self._get(name)
        if not 0 < radius_deg <= _LARGEST_DEG:
            raise UsageError(f"the radius is more than 0 and at most {_LARGEST_DEG * 3600:g} arcsec")
        # Simple Cone Search 1.03, SIA 1.0 and SIA 2.0.
        every: dict[str, dict[str, str | float]] = {
            "cone": {"RA": ra_deg, "DEC": dec_deg, "SR": radius_deg},
            "sia1": {"POS": f"{ra_deg!r},{dec_deg!r}", "SIZE": 2 * radius_deg, "FORMAT": "image/fits"},
            "sia2": {"POS": f"CIRCLE {ra_deg!r} {dec_deg!r} {radius_deg!r}", "MAXREC": MOST_ROWS},
        }
        asked = every[archive.kind]
        parts = urlsplit(archive.url)
        address = (
            httpx.URL(archive.url).copy_merge_params(asked)
            if parts.query
            else httpx.URL(archive.url, params=asked)
        )
        return self._read(name, self._fetch(name, address))

    @staticmethod
    def _fetch(name: str, address: httpx.URL) -> bytes:
        content = bytearray()
        try:
            with httpx.stream("GET", address, timeout=_WAIT_S) as answer:
                answer.raise_for_status()
                for block in answer.iter_bytes():
                    content += block
                    if len(content) > _LARGEST_BYTES:
                        raise UpstreamError(
                            f"{name} sends more than {_LARGEST_BYTES:,} bytes: ask for a smaller circle"
                        )
        except httpx.HTTPStatusError as error:
            raise UpstreamError(f"{name} answers with the status {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise UpstreamError(f"{name} does not answer") from error
        return bytes(content)

    @staticmethod
    def _read(name: str, content: bytes) -> ArchiveAnswer:
        from astropy.io.votable import parse

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                document = parse(io.BytesIO(content), verify="ignore")
                found = [resource for resource in document.resources if resource.type != "meta"]
                _check_status(
                    name, [*document.infos, *(i for r in document.resources for i in (*r.infos, *r.params))]
                )
                tables = [table for resource in found for table in resource.tables]
                if not tables:
                    raise UpstreamError(f"{name} does not answer with a table")
                table = tables[0].to_table(use_names_over_ids=True)[:MOST_ROWS]
                fields = list(tables[0].fields)
        except (UpstreamError, UsageError):
            raise
        except Exception as error:  # the parser's errors have no common class
            raise UpstreamError(f"{name} does not answer with a VOTable") from error
        columns, arrays, access = [], [], None
        for field, column in zip(fields, table.itercols(), strict=True):
            array = _to_arrow(column)
            if array is None:
                continue
            kind = _TYPES[{"O": "U", "S": "U"}.get(column.dtype.kind, column.dtype.kind)]
            columns.append(
                ColumnInfo(
                    column.name, kind, "*" if kind == "char" else None, unit=str(field.unit or ""), ucd=field.ucd or "",
                    description=field.description or "",
                )
            )  # fmt: skip
            arrays.append(array)
            named = column.name.lower() in _ACCESS and kind == "char"
            if access is None and ((field.ucd or "") in _ACCESS_UCDS or named):
                access = column.name
        return ArchiveAnswer(pa.table(arrays, [c.name for c in columns]), tuple(columns), access)

    async def fetch_image(self, name: str, address: str) -> AsyncIterator[bytes]:
        """Fetch an image that an answer of an archive names.

        Parameters
        ----------
        name
            The archive.
        address
            Address of the image; it must lie with the archive or on a host that its configuration allows.

        Yields
        ------
        bytes
            Part after part.

        Raises
        ------
        ForbiddenError
            If the address lies elsewhere: an archive could otherwise send the platform anywhere.
        UpstreamError
            If it cannot be fetched.
        """
        archive = self._get(name)
        parts = urlsplit(address)
        allowed = {urlsplit(archive.url).netloc.lower(), *(host.lower() for host in archive.image_hosts)}
        if parts.scheme not in {"http", "https"} or parts.netloc.lower() not in allowed:
            raise ForbiddenError(
                f"images of {name} are not fetched from {parts.netloc[:80] or address[:80]!r}"
            )
        try:
            async with httpx.AsyncClient(timeout=_WAIT_S) as client, client.stream("GET", address) as answer:
                answer.raise_for_status()
                async for block in answer.aiter_bytes():
                    yield block
        except httpx.HTTPStatusError as error:
            raise UpstreamError(f"{name} answers with the status {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise UpstreamError(f"{name} does not send the image") from error


def _check_status(name: str, infos: list[Any]) -> None:
    """Raise what a service says went wrong: DALI's QUERY_STATUS, or the Error of Simple Cone Search."""
    for info in infos:
        label, value = str(info.name or info.ID or "").upper(), str(getattr(info, "value", "") or "")
        text = str(getattr(info, "content", "") or getattr(info, "description", "") or value)
        if (label == "QUERY_STATUS" and value.upper() == "ERROR") or label == "ERROR":
            raise UsageError(f"{name} says: {' '.join(text.split())[:300]}")


def _to_arrow(column: Any) -> pa.Array | None:
    if column.ndim != 1 or column.dtype.kind not in "biufOSU":
        return None
    mask = np.asarray(getattr(column, "mask", np.zeros(len(column), bool)))
    if column.dtype.kind in "OSU":
        values = [None if hidden else v.decode("utf-8", "replace") if isinstance(v, bytes) else v
                  for v, hidden in zip(np.asarray(column).tolist(), mask, strict=True)]  # fmt: skip
        if any(not isinstance(v, str | None) for v in values):
            return None
        return pa.array(values, pa.string())
    data = np.asarray(column)
    if data.dtype.kind in "iu":
        data = data.astype(np.int64)
    elif data.dtype.kind == "f":
        data = data.astype(np.float64)
        mask = mask | np.isnan(data)
    return pa.array(data, mask=mask)
