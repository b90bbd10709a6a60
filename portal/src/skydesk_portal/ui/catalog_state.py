"""What the address of the Catalogs page says: the query, what is shown of its result, plots and brushes."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from skydesk_portal.models.resultsets import ResultView
from skydesk_portal.services.brushing import Box, Brush, Interval, Polygon

__all__ = ["MOST_CHARACTERS", "CatalogState", "read_region", "write_region"]

MOST_CHARACTERS = 2000
"""Longest address; some programs cut off longer ones."""

_LARGEST = 200_000


@dataclass(frozen=True)
class CatalogState:
    """Everything that an address restores.

    Parameters
    ----------
    query
        The ADQL.
    view
        Columns, computed columns and order of the table.
    filters, expression
        What is written above columns, and the condition for whole rows.
    plots
        The plots, each with its brush if it has one; `None` for the usual ones.
    file
        Path of the file that comes with the query; empty if none does.
    """

    query: str
    view: ResultView = field(default_factory=ResultView)
    filters: dict[str, str] = field(default_factory=dict)
    expression: str = ""
    plots: tuple[dict[str, Any], ...] | None = None
    file: str = ""

    def write(self) -> tuple[str, bool]:
        """Return the part of the address after the question mark, and whether all of the state is in it.

        What does not fit is left out, lassos first, then all brushes, then all but the query.
        """
        plots = self.plots or ()
        without_lassos = tuple(
            p if len(p.get("b", ())) < 6 else {k: v for k, v in p.items() if k != "b"} for p in plots
        )
        without_brushes = tuple({k: v for k, v in p.items() if k != "b"} for p in plots)
        for n, kept in enumerate((plots, without_lassos, without_brushes)):
            text = replace(self, plots=kept if self.plots is not None else None)._encode()
            if len(text) <= MOST_CHARACTERS:
                return text, n == 0 or kept == plots
        text = urlencode(self._what())
        return (text, False) if len(text) <= MOST_CHARACTERS else ("", False)

    def _what(self) -> dict[str, str]:
        """Return what is asked, and of which file."""
        return ({"file": self.file} if self.file else {}) | {"query": self.query}

    def _encode(self) -> str:
        found: dict[str, Any] = replace(self.view, filters=(), subset="").to_dict()
        found |= {"f": self.filters} if self.filters else {}
        found |= {"e": self.expression} if self.expression else {}
        found |= {"p": self.plots} if self.plots is not None else {}
        parts = self._what()
        if found:
            packed = zlib.compress(json.dumps(found, separators=(",", ":")).encode(), 9)
            parts["s"] = base64.urlsafe_b64encode(packed).decode().rstrip("=")
        return urlencode(parts)

    @classmethod
    def read(cls, query: str, blob: str) -> CatalogState:
        """Read what an address says; a damaged one restores the query alone."""
        try:
            packed = base64.urlsafe_b64decode(blob + "=" * (-len(blob) % 4))
            unpacker = zlib.decompressobj()
            found = json.loads(unpacker.decompress(packed, _LARGEST)) if blob else {}
            plots = found.get("p")
            return cls(
                query,
                ResultView.from_dict(found),
                {str(k): str(v) for k, v in dict(found.get("f") or {}).items()},
                str(found.get("e") or ""),
                tuple(p for p in plots if isinstance(p, dict)) if isinstance(plots, list) else None,
            )
        except (ValueError, TypeError, AttributeError, zlib.error):
            return cls(query)


def write_region(region: Brush) -> list[float]:
    """Return the numbers of a brush."""
    if isinstance(region, Interval):
        return [region.low, region.high]
    if isinstance(region, Box):
        return [region.x0, region.x1, region.y0, region.y1]
    return [value for vertex in region.vertices for value in vertex]


def read_region(numbers: Sequence[Any]) -> Brush | None:
    """Read what `write_region` wrote; None for anything else."""
    try:
        values = [float(value) for value in numbers]
    except (TypeError, ValueError):
        return None
    if len(values) == 2:
        return Interval(values[0], values[1])
    if len(values) == 4:
        return Box(values[0], values[1], values[2], values[3])
    if len(values) >= 6 and len(values) % 2 == 0:
        return Polygon(tuple(zip(values[::2], values[1::2], strict=True)))
    return None
