"""Filters on the alerts of a release: those that everybody has, and the queries that filters mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import UsageError

if TYPE_CHECKING:
    from skydesk_portal.models.tables import Catalog, TableInfo

__all__ = ["AlertFilter", "choices", "filter_query", "list_filters", "shown_columns"]

_SHOWN = ("diaSourceId", "midpointMjdTai", "band", "snr", "psfFlux", "psfFluxErr", "ra", "dec",
          "diaObjectId", "ssObjectId", "visit", "detector")  # fmt: skip


@dataclass(frozen=True)
class AlertFilter:
    """A filter that everybody has.

    Parameters
    ----------
    name, description
        For people.
    condition
        ADQL on the columns of ``DiaSource``, ``{release}`` for the release; empty lets all through.
    """

    name: str
    description: str
    condition: str


def list_filters(catalog: Catalog, release: str) -> list[AlertFilter]:
    """List the filters that the tables of a release allow.

    Parameters
    ----------
    catalog
        Tables that the reader may query.
    release
        Name of the release.
    """
    source, dia_object = (
        catalog.find_table(f"{release}.DiaSource"),
        catalog.find_table(f"{release}.DiaObject"),
    )
    columns = {c.name for c in source.columns} if source else set()
    counted = dia_object is not None and any(c.name == "nDiaSources" for c in dia_object.columns)
    once = f"diaObjectId IN (SELECT diaObjectId FROM {release}.DiaObject WHERE nDiaSources = 1)"
    found = [AlertFilter("all", "Every alert", "")]
    if "snr" in columns:
        found.append(AlertFilter("bright", "Signal to noise of at least 20", "snr >= 20"))
    if counted:
        found.append(AlertFilter("new", "Of DIA objects that were seen once", once))
        often = f"diaObjectId IN (SELECT diaObjectId FROM {release}.DiaObject WHERE nDiaSources >= 3)"
        found.append(AlertFilter("repeated", "Of DIA objects that were seen three times or more", often))
    if "isNegative" in columns:
        found.append(AlertFilter("fading", "Fainter than the template", "psfFlux < 0"))
    if "ssObjectId" in columns:
        found.append(AlertFilter("moving", "Of known moving objects", "ssObjectId > 0"))
    elif counted and "isDipole" in columns:
        words = "Seen once, brighter than the template, no dipole: what moves looks like this"
        found.append(AlertFilter("moving?", words, f"{once} AND psfFlux > 0 AND isDipole = 0"))
    return found


def shown_columns(table: TableInfo) -> list[str]:
    """Return the columns of the list of alerts that a table has."""
    names = {c.name for c in table.columns}
    return [name for name in _SHOWN if name in names]


def filter_query(table: TableInfo, condition: str, rows: int) -> str:
    """Write the query of a filter.

    Parameters
    ----------
    table
        ``DiaSource`` of a release.
    condition
        ADQL; empty for all.
    rows
        How many at most, the newest.

    Raises
    ------
    UsageError
        If the condition ends the parenthesis that it stands in.
    """
    depth = 0
    quoted = False
    for letter in condition:
        quoted ^= letter == "'"
        depth += 0 if quoted else {"(": 1, ")": -1}.get(letter, 0)
        if depth < 0:
            break
    if depth != 0 or quoted or "--" in condition:
        raise UsageError(
            "a filter is one condition: its parentheses and quotes have to match, and it has no comments"
        )
    where = f" WHERE ({condition.strip()})" if condition.strip() else ""
    return f"SELECT TOP {rows} {', '.join(shown_columns(table))} FROM {table.full_name}{where} ORDER BY midpointMjdTai DESC"


def choices(common: list[AlertFilter], own: Mapping[str, str]) -> dict[str, str]:
    """Return the conditions by the name that a list shows."""
    return {f"{f.name}: {f.description}": f.condition for f in common} | {
        f"own: {name}": text for name, text in own.items()
    }
