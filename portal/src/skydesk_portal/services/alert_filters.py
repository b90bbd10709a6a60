"""Filters on the alerts of a release: those that everybody has, and the queries that filters mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import NotFoundError, QueryError, UsageError

if TYPE_CHECKING:
    from skydesk_portal.models.alert_subscriptions import SubscriptionWish
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.models.tables import Catalog, TableInfo
    from skydesk_portal.services.tap import TapService

__all__ = [
    "AlertFilter",
    "check_filter",
    "choices",
    "filter_query",
    "find_condition",
    "get_sources",
    "list_filters",
    "select_alerts",
    "shown_columns",
]

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


def find_condition(catalog: Catalog, wish: SubscriptionWish, release: str) -> str:
    """Return the condition of a subscription on the alerts of a release.

    Parameters
    ----------
    catalog
        Tables that the subscriber may query.
    wish
        What is subscribed to.
    release
        Name of the release.

    Raises
    ------
    UsageError
        If there is no such supplied filter, or the release does not allow it.
    """
    if not wish.filter:
        return wish.condition
    filters = {f.name: f for f in list_filters(catalog, release)}
    if wish.filter not in filters:
        raise UsageError(
            f"release {release} has no filter {wish.filter[:40]!r}; there are {', '.join(filters)}"
        )
    return filters[wish.filter].condition


def check_filter(queries: TapService, identity: Identity, wish: SubscriptionWish, release: str) -> None:
    """Refuse a filter that could not be applied to the alerts of a release.

    Raises
    ------
    NotFoundError
        If the release has no alerts that can be queried.
    QueryError, UsageError
        If the filter is none.
    """
    catalog = queries.catalog_for(identity)
    query = filter_query(get_sources(catalog, release), find_condition(catalog, wish, release), 1)
    try:
        queries.check(identity, query)
    except QueryError as error:
        # The place is one in a query that the subscriber has not seen.
        text = str(error).split(": ", 1)[-1] if error.line is not None else str(error)
        raise QueryError(f"the filter cannot be applied: {text}") from error


def get_sources(catalog: Catalog, release: str) -> TableInfo:
    """Return the table of the DIA sources of a release.

    Raises
    ------
    NotFoundError
        If there is none.
    """
    table = catalog.find_table(f"{release}.DiaSource")
    if table is None:
        raise NotFoundError(f"release {release} has no table DiaSource")
    return table


def select_alerts(
    queries: TapService, identity: Identity, wish: SubscriptionWish, release: str, alert_ids: Sequence[int]
) -> list[int]:
    """Return the alerts that pass the filter of a subscription, in their order.

    Parameters
    ----------
    queries
        The query service.
    identity
        The subscriber.
    wish
        What is subscribed to.
    release, alert_ids
        The alerts.

    Raises
    ------
    PortalError
        If the filter cannot be applied.
    """
    if not alert_ids:
        return []
    catalog = queries.catalog_for(identity)
    table, condition = get_sources(catalog, release), find_condition(catalog, wish, release)
    filter_query(table, condition, 1)  # refuses what would break out of its parenthesis
    these = f"diaSourceId IN ({', '.join(map(str, alert_ids))})"
    where = f"{these} AND ({condition.strip()})" if condition.strip() else these
    found = queries.run_query(
        identity, f"SELECT diaSourceId FROM {table.full_name} WHERE {where}", len(alert_ids)
    )
    passed = set(found.table.column(0).to_pylist())
    return [alert_id for alert_id in alert_ids if alert_id in passed]
