"""Looking at one kept result: every expression of a person goes through the ADQL front end, nothing else reaches SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError, UsageError
from skydesk_portal.models.resultsets import ROW_NUMBER, ResultSet, ResultView
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.storage.engine import EngineCapabilities
from skydesk_portal.storage.resultsets_reader import CHOSEN, ResultCursor
from skydesk_portal.vo.votable import finish_columns

__all__ = [
    "ColumnStatistics",
    "ResultExplorer",
    "ResultPage",
    "find_position_columns",
    "is_numeric",
    "quote_name",
]

_LIMITS = EngineCapabilities(
    "result", subqueries=False, set_operations=False, with_clause=False, uploads=False
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
_NUMERIC = {"double", "float", "int", "long", "short", "unsignedByte"}
_SHALLOW_ROWS = 1000
_MOST_DERIVED = 32
_TABLE = "result.rows"
_QUANTILES = (0.01, 0.05, 0.16, 0.25, 0.75, 0.84, 0.95, 0.99)


def is_numeric(column: ColumnInfo) -> bool:
    """Tell whether a column holds one number per row."""
    return column.datatype in _NUMERIC and column.arraysize is None


def find_position_columns(names: Sequence[str]) -> tuple[str, str] | None:
    """Return the right ascension and declination columns among column names."""
    for ra, dec in (("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec")):
        if ra in names and dec in names:
            return ra, dec
    return None


def quote_name(name: str) -> str:
    """Write the name of a column so that any name is one in ADQL."""
    return '"' + name.replace('"', '""') + '"'


def _is_closed(text: str) -> bool:
    """Tell whether an expression closes what it opens, and nothing that it has not opened."""
    depth = 0
    for found in re.finditer(r"'[^']*'|\"[^\"]*\"|--[^\n]*|[()]", text):
        depth += {"(": 1, ")": -1}.get(found.group(), 0)
        if depth < 0:
            return False
    return depth == 0


@dataclass(frozen=True)
class ResultPage:
    """Some rows of a result.

    Parameters
    ----------
    table
        The rows, with the shown columns as the engine types them.
    columns
        What they mean.
    numbers
        Number of each row in the result.
    first
        Place of the first one in the shown order.
    """

    table: pa.Table
    columns: tuple[ColumnInfo, ...]
    numbers: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class ColumnStatistics:
    """What the values of a column are like; all but the counts are `None` without any value.

    Parameters
    ----------
    name, unit
        The column.
    rows, nulls
        How many rows were looked at, and how many have no value (null or NaN).
    mean, median, std, skewness, kurtosis
        Moments; the standard deviation and the two shapes are those of a sample, the kurtosis is the excess.
    low, high
        Least and greatest value.
    quantiles
        Fraction and value.
    """

    name: str
    unit: str
    rows: int
    nulls: int
    mean: float | None
    median: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None
    low: float | None
    high: float | None
    quantiles: tuple[tuple[float, float | None], ...]


class ResultExplorer:
    """One person's look at one result.

    Parameters
    ----------
    result
        What is known of it.
    folder
        Its folder, for columns that are kept as arrays.
    cursor
        Reads it.
    """

    def __init__(self, result: ResultSet, folder: Path, cursor: ResultCursor) -> None:
        self.result = result
        self._folder = folder / "columns"
        self._cursor = cursor
        self._derived: tuple[tuple[str, str], ...] = ()
        self._definition = ""
        self._axes: dict[Path, NDArray[np.float64]] = {}
        self._source = "rows_0"
        number = ColumnInfo(ROW_NUMBER, "long", description="Number of the row in the result, from 0")
        self._all: tuple[ColumnInfo, ...] = (*result.columns, number)
        cursor.define("rows_0", f'SELECT *, rowid AS "{ROW_NUMBER}" FROM rows')

    @property
    def folder(self) -> Path:
        """Where large arrays may lie while somebody looks at the result."""
        return self._folder

    @property
    def columns(self) -> tuple[ColumnInfo, ...]:
        """All columns but the row number, derived ones last."""
        return tuple(column for column in self._all if column.name != ROW_NUMBER)

    def find_column(self, name: str) -> ColumnInfo | None:
        """Return a column by its name, `None` if there is none."""
        return next((column for column in self._all if column.name == name), None)

    # What people write

    def derive(self, derived: Sequence[tuple[str, str]]) -> None:
        """Set the columns that are computed.

        Parameters
        ----------
        derived
            Name and ADQL expression of each; later ones may use earlier ones.

        Raises
        ------
        QueryError
            If an expression is not accepted; says line and column of it.
        UsageError
            If a name cannot be used.
        """
        if len(derived) > _MOST_DERIVED:
            raise UsageError(f"at most {_MOST_DERIVED} columns can be computed")
        base = tuple(c for c in self._all if c.name == ROW_NUMBER or c in self.result.columns)
        columns, source, definitions = base, "rows_0", []
        for n, (name, text) in enumerate(derived, 1):
            if not _NAME.match(name):
                raise UsageError(
                    f"{name[:40]!r} cannot be the name of a column: take a letter, then letters, digits and _"
                )
            if any(c.name.lower() == name.lower() for c in columns):
                raise UsageError(f"there is a column {name} already")
            listed = ", ".join(quote_name(c.name) for c in columns)
            sql, made = self._translate(
                f"SELECT {listed}, (\n", text, f'\n) AS "{name}" FROM {_TABLE}', columns, source
            )
            source = f"rows_{n}"
            self._cursor.define(source, sql)
            schema = self._cursor.fetch(f'SELECT * FROM "{source}" LIMIT 0').schema
            columns = tuple(
                replace(c, description=f"Computed: {text.strip()}") if c.name == name else c
                for c in finish_columns(made, schema)
            )
            definitions.append(sql)
        self._all, self._source, self._derived = columns, source, tuple(derived)
        self._definition = "\x00".join(definitions)
        self._cursor.define("rows_all", f'SELECT * FROM "{source}"')

    def check_filter(self, text: str) -> None:
        """Check a condition without using it.

        Raises
        ------
        QueryError
            If it is not accepted; says line and column of it.
        """
        self._translate(
            f'SELECT "{ROW_NUMBER}" FROM {_TABLE} WHERE (\n', text, "\n)", self._all, self._source
        )

    def _translate(
        self, before: str, text: str, after: str, columns: tuple[ColumnInfo, ...], source: str
    ) -> tuple[str, tuple[ColumnInfo, ...]]:
        """Translate a query around something a person wrote; errors count from the begin of that."""
        if not _is_closed(text):
            raise QueryError("the parentheses of this expression do not fit")
        table = TableInfo("result", "rows", columns, (source,))
        catalog = Catalog((SchemaInfo("result", tables=(table,)),))
        try:
            found = translate(before + text + after, catalog, engine=_LIMITS)
        except QueryError as error:
            if error.line is None:
                raise
            words = str(error).removeprefix(f"line {error.line}, column {error.column}: ")
            line = error.line - before.count("\n")
            if not 1 <= line <= text.count("\n") + 1:
                raise QueryError(f"this expression does not end where it should: {words}") from error
            raise QueryError(words, line, error.column) from error
        return found.sql, found.columns

    def select(self, view: ResultView, *, chosen: bool) -> tuple[str, tuple[ColumnInfo, ...]]:
        """Return the SQL of what is shown, and its columns.

        Parameters
        ----------
        view
            Columns, conditions and order.
        chosen
            Whether only the chosen rows are shown.
        """
        known = {c.name for c in self._all}
        wanted = [name for name in view.columns if name in known and name != ROW_NUMBER]
        shown = wanted or [c.name for c in self.columns]
        sql = self._sql(view, shown, chosen=chosen)
        by_name = {c.name: c for c in self._all}
        return sql, tuple(by_name[name] for name in shown)

    def _sql(self, view: ResultView, names: Sequence[str], *, chosen: bool) -> str:
        for text in view.filters:
            self.check_filter(text)
        for name, _ in view.sort:
            if self.find_column(name) is None:
                raise UsageError(f"there is no column {name[:60]!r} to sort by")
        where = " AND ".join(f"(\n{text}\n)" for text in view.filters)
        order = ", ".join(f"{quote_name(name)}{' DESC' if down else ''}" for name, down in view.sort)
        text = f"SELECT {', '.join(map(quote_name, names))} FROM {_TABLE}"
        text += f" WHERE {where}" if where else ""
        # Equal values keep the order of the result, so that pages neither repeat nor leave out a row; and looking up
        # chosen rows loses that order.
        if order or chosen:
            text += " ORDER BY " + ", ".join(filter(None, [order, f'"{ROW_NUMBER}"']))
        source = self._source
        if chosen:
            source = "rows_chosen"
            self._cursor.define(
                source, f'SELECT * FROM "{self._source}" WHERE "{ROW_NUMBER}" IN (SELECT id FROM {CHOSEN})'
            )
        table = TableInfo("result", "rows", self._all, (source,))
        return translate(text, Catalog((SchemaInfo("result", tables=(table,)),)), engine=_LIMITS).sql

    # Rows

    def choose(self, numbers: NDArray[np.integer[Any]]) -> None:
        """Set the rows that a view of chosen rows shows, by number."""
        self._cursor.choose(numbers)

    def stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Go through the rows of what `select` gave."""
        return self._cursor.stream(sql)

    def count(self, view: ResultView, *, chosen: bool = False) -> int:
        """Count the rows that a view shows."""
        if not view.filters and not chosen:
            return self.result.rows
        sql = self._sql(replace(view, sort=()), [ROW_NUMBER], chosen=chosen)
        return int(self._cursor.fetch(f"SELECT count(*) FROM ({sql})").column(0)[0].as_py())

    def page(self, view: ResultView, first: int, size: int, *, chosen: bool = False) -> ResultPage:
        """Return some rows of a view.

        Parameters
        ----------
        view
            Columns, conditions and order.
        first
            Place of the first wanted row.
        size
            How many at most.
        chosen
            Whether only the chosen rows are shown.
        """
        _, columns = self.select(replace(view, filters=(), sort=()), chosen=False)
        names = [c.name for c in columns]
        if not view.filters and not view.sort and not chosen:
            last = min(first + size, self.result.rows)
            found = self._cursor.fetch_rows(self._source, np.arange(first, last))
        elif first + size <= _SHALLOW_ROWS or chosen:
            sql = self._sql(view, [ROW_NUMBER, *[n for n in names if n != ROW_NUMBER]], chosen=chosen)
            found = self._cursor.fetch(f"SELECT * FROM ({sql}) LIMIT {size} OFFSET {first}")
        else:
            order = self.order(view)
            found = self._cursor.fetch_rows(self._source, order[first : first + size])
        numbers = tuple(int(n) for n in found.column(ROW_NUMBER).to_pylist())
        return ResultPage(found.select(names), columns, numbers, first)

    def order(self, view: ResultView) -> NDArray[np.uint32]:
        """Return the numbers of the rows that a view shows, in its order; kept, so that any page is quick."""
        sql = self._sql(view, [ROW_NUMBER], chosen=False)
        return self._cursor.extract(sql, self._folder / f"{self._hash(sql)}.order", np.uint32)

    def row(self, number: int) -> dict[str, Any]:
        """Return all values of one row.

        Raises
        ------
        UsageError
            If there is no such row.
        """
        if not 0 <= number < self.result.rows:
            raise UsageError(f"there is no row {number}")
        return self._cursor.fetch_rows(self._source, np.array([number])).to_pylist()[0]

    def rows(self, numbers: NDArray[np.integer[Any]]) -> pa.Table:
        """Return all columns of some rows.

        Parameters
        ----------
        numbers
            Shape ``(n,)``, places of the rows in the result.
        """
        return self._cursor.fetch_rows(self._source, numbers).select([c.name for c in self.columns])

    def axis(self, name: str, *, log: bool = False) -> NDArray[np.float64]:
        """Return a column as numbers for plotting and selecting.

        Parameters
        ----------
        name
            A column of numbers.
        log
            Whether to take the decimal logarithm, which only positive values have.

        Returns
        -------
        ndarray
            Shape ``(rows,)``, NaN where there is no value; mapped from a file, the same array at each call.

        Raises
        ------
        UsageError
            If there is no such column, or it holds no numbers.
        """
        column = self.find_column(name)
        if column is None or not is_numeric(column):
            raise UsageError(f"there is no column {name[:60]!r} of numbers")
        value = f"CAST({quote_name(name)} AS DOUBLE)"
        taken = f"CASE WHEN {value} > 0 THEN log10({value}) END" if log else value
        sql = f'SELECT {taken} FROM "{self._source}"'
        path = self._folder / f"{self._hash(self._definition, sql)}.axis"
        if path not in self._axes:
            self._axes[path] = self._cursor.extract(sql, path, np.float64)
        return self._axes[path]

    def values(self, name: str) -> list[Any]:
        """Return all values of a column, of whatever type; for results of a few rows.

        Raises
        ------
        UsageError
            If there is no such column.
        """
        if self.find_column(name) is None:
            raise UsageError(f"there is no column {name[:60]!r}")
        return self._cursor.fetch(f'SELECT {quote_name(name)} FROM "{self._source}"').column(0).to_pylist()

    def matches(self, filters: Sequence[str]) -> NDArray[np.uint8]:
        """Return which rows fulfil conditions, one value (0 or 1) per row."""
        out = np.zeros(self.result.rows, np.uint8)
        for batch in self._cursor.stream(
            self._sql(ResultView(filters=tuple(filters)), [ROW_NUMBER], chosen=False)
        ):
            out[batch.column(0).to_numpy(zero_copy_only=False)] = 1
        return out

    def _hash(self, *parts: str) -> str:
        # The name of a view says nothing of what it computes.
        text = "\x00".join([*parts, self._definition])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    # Statistics

    def describe(
        self, names: Sequence[str], view: ResultView, *, chosen: bool = False
    ) -> list[ColumnStatistics]:
        """Describe the values of columns of numbers in the rows that a view shows."""
        found = [c for c in (self.find_column(name) for name in names) if c is not None and is_numeric(c)]
        if not found:
            return []
        sql = self._sql(replace(view, sort=()), [c.name for c in found], chosen=chosen)
        parts = ["count(*)"]
        for column in found:
            value = f"CAST({quote_name(column.name)} AS DOUBLE)"
            at = f"CASE WHEN isfinite({value}) THEN {value} END"
            parts += [f"{call}({at})" for call in ("count", "avg", "median", "stddev_samp", "min", "max")]
            # Both shapes are not defined for values that are all the same, and overflow for the greatest numbers.
            parts += [
                f"CASE WHEN var_pop({at}) > 0 THEN {call}({at}) END" for call in ("skewness", "kurtosis")
            ]
            parts.append(f"quantile_cont({at}, {list(_QUANTILES)})")
        values = list(self._cursor.fetch(f"SELECT {', '.join(parts)} FROM ({sql})").to_pydict().values())
        flat = [value[0] for value in values]
        rows, out = int(flat[0]), []
        for n, column in enumerate(found):
            count, mean, median, std, low, high, skewness, kurtosis, quantiles = flat[1 + 9 * n : 10 + 9 * n]
            fractions = tuple(zip(_QUANTILES, quantiles or [None] * len(_QUANTILES), strict=True))
            out.append(
                ColumnStatistics(
                    column.name,
                    column.unit,
                    rows,
                    rows - int(count),
                    mean,
                    median,
                    std,
                    skewness,
                    kurtosis,
                    low,
                    high,
                    fractions,
                )
            )
        return out

    def interrupt(self) -> None:
        """Stop what runs, from another thread."""
        self._cursor.interrupt()

    def close(self) -> None:
        """Give the reader back."""
        self._cursor.close()
