"""A TAP request as the service understands it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from skydesk_portal.exceptions import UsageError

__all__ = ["TapRequest", "list_uploads", "parse_tap_request"]


@dataclass(frozen=True)
class TapRequest:
    """One query with what TAP 1.1 lets a caller say about its answer.

    Parameters
    ----------
    query
        ADQL text.
    maxrec
        Rows wanted at most, `None` for the service's default.
    response_format
        RESPONSEFORMAT as given.
    uploads
        Table name and where it comes from (``param:NAME``).
    """

    query: str
    maxrec: int | None = None
    response_format: str | None = None
    uploads: tuple[tuple[str, str], ...] = ()


def parse_tap_request(parameters: Iterable[tuple[str, str]]) -> TapRequest:
    """Read the parameters of a TAP request.

    Parameters
    ----------
    parameters
        Names in any case and their values.

    Returns
    -------
    TapRequest
        The request.

    Raises
    ------
    UsageError
        If a parameter is missing or wrong.
    """
    values: dict[str, str] = {}
    uploads: list[tuple[str, str]] = []
    for name, value in parameters:
        key = name.upper()
        if key == "UPLOAD":
            uploads += _parse_upload(value)
        else:
            values[key] = value
    if (request := values.get("REQUEST", "doQuery").strip()) and request.lower() != "doquery":
        raise UsageError(f"REQUEST={request[:40]} is not offered here: use doQuery")
    language = values.get("LANG", "ADQL").strip().upper()
    if language not in {"ADQL", "ADQL-2.0", "ADQL-2.1", "ADQL2.0", "ADQL2.1"}:
        raise UsageError(f"LANG={language[:40]} is not offered: use ADQL")
    query = values.get("QUERY", "")
    if not query.strip():
        raise UsageError("parameter QUERY is missing")
    maxrec: int | None = None
    if text := values.get("MAXREC", "").strip():
        if not text.isascii() or not text.isdigit():
            raise UsageError(f"MAXREC={text[:40]} is not a whole number of rows")
        # More digits than any number of rows has mean no limit.
        maxrec = int(text) if len(text) <= 18 else 10**18
    wanted = values.get("RESPONSEFORMAT") or values.get("FORMAT")
    return TapRequest(query, maxrec, wanted, tuple(uploads))


def list_uploads(parameters: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return name and source of the tables that the parameters of a request upload.

    Raises
    ------
    UsageError
        If UPLOAD is not of the form ``table,source``.
    """
    return [pair for name, value in parameters if name.upper() == "UPLOAD" for pair in _parse_upload(value)]


def _parse_upload(value: str) -> list[tuple[str, str]]:
    out = []
    for part in value.split(";"):
        name, comma, source = part.strip().partition(",")
        if not part.strip():
            continue
        name = name.strip().removeprefix("TAP_UPLOAD.")
        if not comma or not name.replace("_", "a").isalnum() or not source.strip():
            raise UsageError(f"UPLOAD={part[:60]} is not of the form table,source")
        out.append((name, source.strip()))
    return out
