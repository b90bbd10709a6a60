"""A written expression: engine SQL with what is known about its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skydesk_portal.adql import geometry as geo
from skydesk_portal.models.tables import ColumnInfo

__all__ = ["Written", "is_whole", "name_kind"]


@dataclass(frozen=True)
class Written:
    """An expression in engine SQL with what is known about its values.

    Parameters
    ----------
    sql
        Engine SQL.
    kind
        ``num``, ``str``, ``bool``, ``time``, ``region``, ``array``, ``any``, ``null`` or ``shape``.
    info
        Metadata; its datatype is empty where the engine decides.
    number
        Value, if constant.
    shape
        Region, if ``kind`` is ``shape``.
    origin
        Full name of the column, if it is one.
    whole
        Whether it is an integer; `None` where only the engine knows.
    """

    sql: str
    kind: str = "any"
    info: ColumnInfo = ColumnInfo("", "")  # noqa: RUF009  # it is frozen
    number: float | None = None
    shape: Any = None
    origin: str = ""
    whole: bool | None = None

    def value(self) -> geo.Value:
        """Return SQL and constant as geometry wants them."""
        return geo.Value(self.sql if self.number is None else repr(self.number), self.number)


def name_kind(written: Written) -> str:
    """Return what kind of value this is, in words for people."""
    return {
        "num": "a number",
        "str": "a string",
        "bool": "a condition",
        "time": "a time",
        "null": "NULL",
        "array": "an array",
        "shape": "a region",
        "region": "a region",
    }.get(written.kind, "this")


def is_whole(info: ColumnInfo) -> bool | None:
    """Tell whether a column holds integers, `None` where only the engine knows."""
    if info.arraysize not in (None, "", "1") or not info.datatype:
        return None
    return info.datatype in {"short", "int", "long", "unsignedByte"}
