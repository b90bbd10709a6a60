"""Which names a part of a query may use, and what each of them means."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from sqlglot import exp

from skydesk_portal.adql.celljoin import CellJoins
from skydesk_portal.adql.grammar import find_place
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, ColumnInfo, TableInfo

__all__ = ["OutColumn", "Scope", "Source", "error_at", "excerpt", "quote", "suggest"]


def quote(name: str) -> str:
    """Return a name as a quoted identifier of the engine."""
    return '"' + name.replace('"', '""') + '"'


def suggest(word: str, known: list[str]) -> str:
    """Return `` (did you mean …?)`` for a misspelt word, or nothing."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f" (did you mean `{lowered[close[0]]}`?)" if close else ""


def _ending(word: str, known: list[str]) -> str:
    # What people call `ra` is `coord_ra` in one table and `s_ra` in another.
    found = {name for name in known if name.lower().endswith(f"_{word.lower()}")}
    ends = sorted(found, key=lambda name: (len(name), name))
    names = " or ".join(f"`{name}`" for name in ends[:3])
    return f" (did you mean {names}?)" if names else ""


def _span(node: exp.Expression | None) -> tuple[int, int] | None:
    if node is None:
        return None
    metas = [n.meta for n in node.walk() if n.meta.get("start") is not None]
    return (min(m["start"] for m in metas), max(m["end"] for m in metas)) if metas else None


def excerpt(text: str, node: exp.Expression) -> str:
    """Return the part of the query that a node was read from, as well as that is known."""
    span = _span(node)
    return "" if span is None else " ".join(text[span[0] : span[1] + 1].split())


def error_at(text: str, node: exp.Expression | None, message: str) -> QueryError:
    """Make an error that points at a node of the tree."""
    span = _span(node)
    return QueryError(message) if span is None else QueryError(message, *find_place(text, span[0]))


@dataclass(frozen=True)
class OutColumn:
    """A column of a table, a sub-query or a result."""

    name: str
    info: ColumnInfo
    kind: str = "any"
    origin: str = ""


def kind_of(info: ColumnInfo) -> str:
    """Return the coarse kind of a column: num, str, bool, time, region, array or any."""
    if info.datatype in {"char", "unicodeChar"}:
        xtype = info.xtype.rpartition(":")[2].lower()
        if xtype == "timestamp":
            return "time"
        # ObsCore's s_region is text whose meaning is a region; s_region without an xtype occurs in older releases.
        shapes = {"region", "point", "circle", "polygon", "shape", "stc-s"}
        return "region" if xtype in shapes or info.name.lower() == "s_region" else "str"
    if info.arraysize not in (None, "", "1"):
        return "array"
    if info.datatype == "boolean":
        return "bool"
    return "num" if info.datatype in {"short", "int", "long", "float", "double", "unsignedByte"} else "any"


@dataclass
class Source:
    """One entry of a FROM clause under its private name ``key``."""

    alias: str
    key: str
    columns: list[OutColumn]
    table: TableInfo | None = None
    quoted: bool = False

    def find(self, name: str, *, quoted: bool) -> OutColumn | None:
        """Return the column of that name, `None` if there is none."""
        for column in self.columns:
            if column.name == name or (not quoted and column.name.lower() == name.lower()):
                return column
        return None

    def matches(self, qualifier: list[str]) -> bool:
        """Tell whether a written qualifier (table, or schema and table) means this source."""
        if len(qualifier) == 1:
            return qualifier[0].lower() == self.alias.lower()
        return self.table is not None and [self.table.schema.lower(), self.table.name.lower()] == [
            part.lower() for part in qualifier
        ]


@dataclass
class Scope:
    """The sources of one SELECT, and those of the query around it."""

    text: str
    catalog: Catalog
    parent: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    joined: dict[str, OutColumn] = field(default_factory=dict)
    """Columns merged by USING or NATURAL, by lower-case name."""
    aliases: dict[str, exp.Expression] = field(default_factory=dict)
    """Expressions of the SELECT list by the lower-case names it gives them."""
    groups: list[str] | None = None
    inner: list[tuple[str, str, exp.Expression]] = field(default_factory=list)
    """Columns that sub-queries inside the SELECT use: SQL, name and where it stands."""
    cells: CellJoins = field(default_factory=CellJoins)

    def add(self, source: Source, node: exp.Expression) -> None:
        """Add a source; refuse a second one of the same name."""
        if any(source.alias and source.alias.lower() == other.alias.lower() for other in self.sources):
            raise error_at(
                self.text, node, f"two tables are called `{source.alias}` here: give one of them an alias"
            )
        self.sources.append(source)

    def owner_of(self, source: Source | None) -> Scope | None:
        """Return the scope, of this query or one around it, that a source belongs to."""
        scope: Scope | None = self
        while scope is not None and source not in scope.sources:
            scope = scope.parent
        return scope

    def knows(self, name: str) -> bool:
        """Tell whether a source, or a column merged by USING, has a column of that name."""
        joined = name.lower() in self.joined
        return joined or any(source.find(name, quoted=False) is not None for source in self.sources)

    def resolve(self, column: exp.Column) -> tuple[str, OutColumn, Source | None]:
        """Find out what a column name means.

        Parameters
        ----------
        column
            The name as it was read.

        Returns
        -------
        tuple
            Engine SQL, the column, and the source it belongs to.

        Raises
        ------
        QueryError
            If the name is unknown or means several columns.
        """
        parts = [part for part in column.parts if isinstance(part, exp.Identifier)]
        *qualifier, last = parts
        name, quoted = last.name, bool(last.args.get("quoted"))
        if len(qualifier) > 2:
            raise error_at(self.text, column, "a column name has at most the parts schema.table.column")
        found = self._lookup([part.name for part in qualifier], name, column, quoted=quoted)
        if found is not None:
            return found
        if self.parent is not None:
            return self.parent.resolve(column)
        raise self._unknown([part.name for part in qualifier], name, column)

    def _lookup(
        self, qualifier: list[str], name: str, node: exp.Expression, *, quoted: bool
    ) -> tuple[str, OutColumn, Source | None] | None:
        if not qualifier and name.lower() in self.joined:
            merged = self.joined[name.lower()]
            return quote(merged.name), merged, None
        hits = [
            (source, column)
            for source in self.sources
            if not qualifier or source.matches(qualifier)
            if (column := source.find(name, quoted=quoted)) is not None
        ]
        if len(hits) > 1:
            where = " and ".join(f"`{source.alias}`" for source, _ in hits[:3])
            raise error_at(self.text, node, f"column `{name}` is in {where}: say which one")
        if not hits:
            return None
        source, column = hits[0]
        return f"{source.key}.{quote(column.name)}", column, source

    def _unknown(self, qualifier: list[str], name: str, node: exp.Expression) -> QueryError:
        every = self.sources + (self.parent.sources if self.parent else [])
        if qualifier:
            named = [source for source in every if source.matches(qualifier)]
            if not named:
                known = [source.alias for source in every]
                hint = suggest(qualifier[-1], known) or (f": FROM has {', '.join(known)}" if known else "")
                return error_at(self.text, node, f"table `{'.'.join(qualifier)}` is not in FROM{hint}")
            every = named
        columns = [column.name for source in every for column in source.columns]
        hint = suggest(name, columns) or _ending(name, columns)
        of = f" of `{named[0].alias}`" if qualifier else ""
        if not qualifier and name.lower() in self.aliases:
            hint = ": the SELECT list gives that name, write the expression itself here"
        return error_at(self.text, node.args.get("this") or node, f"unknown column `{name}`{of}{hint}")

    def find_table(self, table: exp.Table) -> TableInfo:
        """Look up the table that a FROM clause names.

        Raises
        ------
        QueryError
            If the caller has no table of that name.
        """
        parts = [part.name for part in table.parts if isinstance(part, exp.Identifier)]
        if len(parts) != len(table.parts) or not parts:
            raise error_at(self.text, table, "FROM takes names of tables and sub-queries only")
        name = ".".join(parts)
        if len(parts) == 2 and (info := self.catalog.find_table(name)) is not None:
            return info
        if len(parts) == 1:
            fits = [info for info in self.catalog.iter_tables() if info.name.lower() == name.lower()]
            if len(fits) == 1:
                return fits[0]
            if fits:
                found = " or ".join(f"`{info.full_name}`" for info in fits[:3])
                raise error_at(self.text, table, f"table `{name}` needs its schema: {found}")
        known = [info.full_name for info in self.catalog.iter_tables()]
        hint = suggest(name, known) or suggest(
            "." + parts[-1], ["." + k.split(".", 1)[1] for k in known]
        ).replace("`.", "`")
        raise error_at(self.text, table, f"unknown table `{name}`{hint}")
