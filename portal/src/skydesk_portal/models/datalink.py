"""What links may be asked for, and what a link says (DataLink 1.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.datasets import DatasetId, parse_dataset_id, split_identifier

__all__ = ["ROW_KEYS", "Link", "RowId", "ServiceUse", "parse_link_id"]

ROW_KEYS = {
    "Object": "objectId",
    "DiaObject": "diaObjectId",
    "Source": "sourceId",
    "DiaSource": "diaSourceId",
    "SSObject": "ssObjectId",
    "Visit": "visit",
}
"""Tables whose rows have links, and the column that names a row."""

_SPELLED = {name.lower(): name for name in ROW_KEYS}


@dataclass(frozen=True)
class RowId:
    """One row of a table of a release."""

    release: str
    table: str
    key: int

    @property
    def text(self) -> str:
        """The identifier as `parse_link_id` reads it."""
        return f"ivo://skydesk/{self.release}?table={self.table}&id={self.key}"

    @property
    def key_column(self) -> str:
        """The column that names a row."""
        return ROW_KEYS[self.table]


@dataclass(frozen=True)
class ServiceUse:
    """A service that a link offers, with the values that hold for its dataset.

    Parameters
    ----------
    kind
        ``cutout-sync``, ``cutout-async``, ``psf`` or ``timeseries``.
    values
        Values of parameters: what to send, or the largest region that makes sense.
    options
        Values to choose from, by parameter.
    """

    kind: str
    values: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """One row of a links answer; exactly one of URL, service and error is set.

    Parameters
    ----------
    id
        The identifier as it was asked for.
    semantics
        Term of the vocabulary ``datalink/core``.
    description
        For people.
    access_url, service, error_message
        Where it is, which service gives it, or why there is nothing.
    content_type, content_length, content_qualifier
        Media type, bytes, and term of the vocabulary ``product-type``.
    local_semantics
        What tells apart links of equal semantics: a dataset type or a table.
    link_auth
        Whether the address wants a token: ``true``, ``false`` or ``optional``.
    link_authorized
        Whether the caller's token is good enough.
    """

    id: str
    semantics: str
    description: str = ""
    access_url: str | None = None
    service: ServiceUse | None = None
    error_message: str | None = None
    content_type: str | None = None
    content_length: int | None = None
    content_qualifier: str | None = None
    local_semantics: str | None = None
    link_auth: str | None = None
    link_authorized: bool | None = None


def _parse_row(text: str, table: str | None) -> RowId | None:
    """Read the identifier of a row; `None` if the text looks like that of a dataset."""
    if table is not None:
        release, _, name = table.strip().rpartition(".")
        key = text.strip()
    else:
        parts = split_identifier(text)
        query = parse_qs(parts.query)
        if parts.scheme != "ivo" or "table" not in query:
            return None
        release, name, key = parts.path.strip("/"), query["table"][0], (query.get("id") or [""])[0]
    known = _SPELLED.get(name.lower())
    if known is None:
        raise UsageError(f"rows of {name[:40]!r} have no links; those of {', '.join(ROW_KEYS)} have")
    if not re.fullmatch(r"[\w.-]{1,64}", release) or not re.fullmatch(r"[+-]?[0-9]{1,19}", key):
        raise UsageError(
            f"ID {text[:100]!r} is not an identifier such as ivo://skydesk/RELEASE?table=Object&id=1"
        )
    number = int(key)
    if not -(1 << 63) <= number < 1 << 63:
        raise UsageError(f"ID {text[:100]!r}: the number is not one of 64 bits")
    return RowId(release, known, number)


def parse_link_id(text: str, table: str | None = None) -> DatasetId | RowId:
    """Read what links are asked for.

    Parameters
    ----------
    text
        Identifier of a dataset (see `parse_dataset_id`) or of a row,
        ``ivo://skydesk/RELEASE?table=Object&id=NUMBER``.
    table
        ``RELEASE.TABLE``; the text is then the number of a row alone.

    Returns
    -------
    DatasetId or RowId
        What is meant.

    Raises
    ------
    UsageError
        If it is neither.
    """
    return _parse_row(text, table) or parse_dataset_id(text)
