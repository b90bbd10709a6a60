"""Results that are kept for a while so that a person can look at them from every side."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from skydesk_portal.models.tables import ColumnInfo

__all__ = ["ROW_NUMBER", "ResultSet", "ResultView", "SortKey"]

ROW_NUMBER = "rowid"
"""Name of the row number, counted from 0, that every result has beside its own columns."""

type SortKey = tuple[str, bool]
"""A column and whether it is sorted downwards."""


@dataclass(frozen=True)
class ResultSet:
    """What is known of a kept result.

    Parameters
    ----------
    id
        Its identifier.
    owner
        Who made it, and alone may read it.
    adql
        The query.
    columns
        What the columns mean.
    rows
        How many rows there are.
    overflow
        Whether the query had more rows than are kept.
    size_bytes
        Size on disk.
    created
        When it was made.
    """

    id: str
    owner: str
    adql: str
    columns: tuple[ColumnInfo, ...]
    rows: int
    overflow: bool
    size_bytes: int
    created: datetime

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps({**asdict(self), "created": self.created.isoformat()})

    @classmethod
    def from_json(cls, text: str) -> ResultSet:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is something else.
        """
        found: dict[str, Any] = json.loads(text)
        found["columns"] = tuple(ColumnInfo(**column) for column in found["columns"])
        found["created"] = datetime.fromisoformat(found["created"])
        return cls(**found)


@dataclass(frozen=True)
class ResultView:
    """What of a result is shown, and in which order.

    Parameters
    ----------
    columns
        Columns in the order shown; none means all.
    derived
        Columns that are computed: name and ADQL expression; later ones may use earlier ones.
    filters
        ADQL conditions that all have to hold.
    sort
        Keys of the order, the first one first.
    subset
        Name of the kept subset that is shown alone, empty for all rows.
    """

    columns: tuple[str, ...] = ()
    derived: tuple[tuple[str, str], ...] = ()
    filters: tuple[str, ...] = ()
    sort: tuple[SortKey, ...] = ()
    subset: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what is not as usual, for addresses."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> ResultView:
        """Read what `to_dict` made; what does not belong is left out, as from a newer or a damaged address."""

        def pairs(key: str) -> tuple[tuple[Any, Any], ...]:
            rows = found.get(key)
            return (
                tuple((p[0], p[1]) for p in rows if isinstance(p, list | tuple) and len(p) == 2)
                if rows
                else ()
            )

        def words(key: str) -> tuple[str, ...]:
            rows = found.get(key)
            return tuple(str(word) for word in rows) if isinstance(rows, list | tuple) else ()

        return cls(
            words("columns"),
            tuple((str(name), str(text)) for name, text in pairs("derived")),
            words("filters"),
            tuple((str(name), bool(down)) for name, down in pairs("sort")),
            str(found.get("subset") or ""),
        )
