"""Random ADQL by the grammar, on tables that an engine holds, for tests of the front end."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import duckdb

from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.storage.cells import cells_around
from skydesk_portal.storage.duckdb_functions import register_functions


def _column(
    name: str,
    datatype: str = "double",
    size: str | None = None,
    *,
    unit: str = "",
    ucd: str = "",
    xtype: str = "",
) -> ColumnInfo:
    return ColumnInfo(name, datatype, size, xtype=xtype, unit=unit, ucd=ucd)


OBJECT = TableInfo(
    "demo",
    "Object",
    (
        _column("objectId", "long", ucd="meta.id;src"),
        _column("coord_ra", unit="deg", ucd="pos.eq.ra"),
        _column("coord_dec", unit="deg"),
        _column("g_psfFlux", "float", unit="nJy"),
        _column("detect_isPrimary", "boolean"),
        _column("refBand", "char", "1*"),
        _column("time", "char", "*", xtype="timestamp"),
    ),
    ("memory", "main", "Object"),
    release="demo",
    rows=8,
    ra_column="coord_ra",
    dec_column="coord_dec",
    has_index=True,
)
FORCED = TableInfo(
    "demo",
    "ForcedSource",
    (
        _column("objectId", "long"),
        _column("visit", "int"),
        _column("band", "char", "1*"),
        _column("psfFlux", "float", unit="nJy"),
    ),
    ("memory", "main", "ForcedSource"),
    rows=6,
)
IMAGES = TableInfo(
    "ivoa",
    "ObsCore",
    (_column("obs_id", "char", "*"), _column("s_region", "char", "*", xtype="adql:REGION")),
    ("memory", "main", "ObsCore"),
    rows=4,
)
CATALOG = Catalog((SchemaInfo("demo", tables=(OBJECT, FORCED)), SchemaInfo("ivoa", tables=(IMAGES,))))


def open_engine() -> duckdb.DuckDBPyConnection:
    """Open an engine with the tables of `CATALOG`, with nulls, NaN and text that is no region among the rows."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    register_functions(connection)
    connection.create_function(
        "skydesk_cells", cells_around, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT[]", type="arrow"
    )  # type: ignore[call-overload]
    connection.execute(
        'CREATE TABLE "Object" AS SELECT *, skydesk_healpix(29, coord_ra, coord_dec) AS hp29,'
        " skydesk_healpix(14, coord_ra, coord_dec) AS hp14 FROM (VALUES"
        " (1::BIGINT, 53.1::DOUBLE, -28.1::DOUBLE, 100.0::REAL, TRUE, 'g', TIMESTAMP '2026-01-01'),"
        " (2, 53.2, -28.0, -5.0, FALSE, 'r', TIMESTAMP '2026-01-02'), (3, 0.0, 0.0, NULL, NULL, NULL, NULL),"
        " (4, NULL, NULL, 1.0, TRUE, 'i', NULL), (5, 'nan'::DOUBLE, 10.0, 'nan'::REAL, TRUE, '', NULL),"
        " (6, 359.99, 89.9, 0.0, FALSE, 'g', NULL), (7, 180.0, -90.0, 1e30, TRUE, 'gr', NULL),"
        " (8, 53.100001, -28.100001, 3.5, TRUE, 'g', NULL))"
        ' AS t("objectId", coord_ra, coord_dec, "g_psfFlux", "detect_isPrimary", "refBand", "time")'
    )
    connection.execute(
        "CREATE TABLE \"ForcedSource\" AS SELECT * FROM (VALUES (1::BIGINT, 10, 'g', 1.5::REAL), (1, 11, 'r', NULL),"
        " (2, 10, 'g', -3.0), (2, 11, 'r', 7.0), (9, 12, NULL, 0.0), (NULL, NULL, 'i', 2.0))"
        ' AS t("objectId", visit, band, "psfFlux")'
    )
    connection.execute(
        "CREATE TABLE \"ObsCore\" AS SELECT * FROM (VALUES ('a', 'POLYGON ICRS 53 -28.2 53.3 -28.2 53.3 -27.9 53 -27.9'),"
        " ('b', 'CIRCLE 0 89 3'), ('c', NULL), ('d', 'no region')) AS t(obs_id, s_region)"
    )
    return connection


@dataclass
class QueryMaker:
    """Makes random queries.

    Parameters
    ----------
    rng
        Where randomness comes from.
    """

    rng: random.Random
    names: int = 0
    columns: list[list[tuple[str, str]]] = field(default_factory=list)

    def make(self) -> str:
        """Return one query."""
        self.names = 0
        self.columns = []
        return self._query(2)

    def _pick[T](self, *options: T) -> T:
        return self.rng.choice(options)

    def _name(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share

    def _query(self, depth: int, width: int | None = None) -> str:
        kinds = [self._pick("n", "n", "s", "b") for _ in range(width or self.rng.randrange(1, 4))]
        text = self._select(depth, kinds)
        if depth and self._chance(0.15):
            text += f" {self._pick('UNION', 'EXCEPT', 'INTERSECT')}{self._pick('', ' ALL')} {self._select(depth - 1, kinds)}"
            if self._chance(0.5):
                text += f" ORDER BY {self.rng.randrange(1, len(kinds) + 1)}"
        elif depth and self._chance(0.1):
            name = self._name()
            text = f"WITH {name} AS ({text}) SELECT * FROM {name}"
        return text

    def _source(self, depth: int) -> str:
        name = self._name()
        if depth and self._chance(0.25):
            keep = self.columns
            self.columns = []
            kinds = [self._pick("n", "s") for _ in range(2)]
            inner = self._select(depth - 1, kinds, names=["x", "y"])
            self.columns = keep
            self.columns[-1] += [(f"{name}.x", kinds[0]), (f"{name}.y", kinds[1])]
            return f"({inner}) AS {name}"
        table = self._pick(OBJECT, OBJECT, FORCED, IMAGES)
        kind = {"char": "s", "boolean": "b"}
        for column in table.columns:
            letter = (
                "t"
                if column.xtype == "timestamp"
                else "r"
                if column.xtype
                else kind.get(column.datatype, "n")
            )
            self.columns[-1].append((f"{name}.{column.name}", letter))
        return f"{table.full_name} {self._pick('AS ', '')}{name}"

    def _select(self, depth: int, kinds: list[str], names: list[str] | None = None) -> str:
        self.columns.append([])
        sources = self._source(depth)
        if self._chance(0.3):
            right = self._source(depth)
            join = self._pick("JOIN", "LEFT JOIN", "RIGHT OUTER JOIN", "FULL JOIN", "INNER JOIN")
            sources += f" {join} {right} ON {self._condition(1)}" if self._chance(0.8) else f", {right}"
        where = f" WHERE {self._condition(depth + 1)}" if self._chance(0.6) else ""
        group, having = "", ""
        if self._chance(0.2):
            terms = [self._value(kind, 1) for kind in kinds]
            items = [
                self._pick(term, f"COUNT(DISTINCT {term})") if kind == "n" else term
                for term, kind in zip(terms, kinds, strict=True)
            ]
            group = f" GROUP BY {', '.join(terms)}"
            having = " HAVING COUNT(*) > 0" if self._chance(0.3) else ""
        else:
            items = [self._value(kind, depth + 1) for kind in kinds]
        aliases = names or [self._pick("", f"c{i}") for i in range(len(items))]
        listed = ", ".join(
            f"{item} AS {alias}" if alias else item for item, alias in zip(items, aliases, strict=True)
        )
        head = self._pick("", "", "DISTINCT ", "ALL ") + (
            f"TOP {self.rng.randrange(0, 5)} " if self._chance(0.3) else ""
        )
        self.columns.pop()
        return f"SELECT {head}{listed} FROM {sources}{where}{group}{having}"

    def _column(self, letter: str) -> str | None:
        found = [name for scope in self.columns[-1:] for name, kind in scope if kind == letter]
        return self.rng.choice(found) if found else None

    def _value(self, letter: str, depth: int) -> str:
        makers: dict[str, Callable[[int], str]] = {
            "n": self._number,
            "s": self._string,
            "b": self._boolean,
            "t": self._time,
        }
        return makers[letter](depth)

    def _boolean(self, _: int) -> str:
        return self._column("b") or self._pick("TRUE", "FALSE")

    def _time(self, _: int) -> str:
        return self._column("t") or "CAST('2026-01-01T00:00:00' AS TIMESTAMP)"

    def _string(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.5):
            return self._column("s") or self._pick("'g'", "'it''s'", "''", "'%'")
        one, two = self._string(depth - 1), self._string(depth - 1)
        return self._pick(
            f"({one} || {two})",
            f"UPPER({one})",
            f"LOWER({one})",
            f"COALESCE({one}, {two})",
            f"CAST({self._number(depth - 1)} AS VARCHAR(5))",
            f"CASE WHEN {self._condition(0)} THEN {one} ELSE {two} END",
        )

    def _number(self, depth: int) -> str:
        if depth <= 0 or self._chance(0.35):
            literal = self._pick("1", "0", "2.5", ".5", "1e3", "0x1F", "-3", "53.1", "NULL")
            return (self._column("n") or literal) if self._chance(0.7) else literal
        one, two = self._number(depth - 1), self._number(depth - 1)
        return self._pick(
            f"({one} {self._pick('+', '-', '*', '/', '%')} {two})",
            f"{self._pick('ABS', 'SQRT', 'LOG', 'LOG10', 'SIN', 'COS', 'TAN', 'ASIN', 'ATAN', 'EXP', 'SIGN')}({one})",
            f"{self._pick('CEILING', 'FLOOR', 'ROUND', 'TRUNCATE', 'DEGREES', 'RADIANS')}({one})",
            f"{self._pick('POWER', 'ATAN2', 'MOD')}({one}, {two})",
            f"ROUND({one}, {self._pick('0', '2', '-1')})",
            f"TRUNCATE({one}, 2)",
            f"COALESCE({one}, {two}, 1)",
            f"CAST({one} AS {self._pick('REAL', 'DOUBLE PRECISION')})",
            f"(CAST({self._pick('7', '12')} AS BIGINT) {self._pick('&', '|', '^')} 5)",
            f"CASE WHEN {self._condition(0)} THEN {one} WHEN {self._condition(0)} THEN {two} END",
            f"DISTANCE({self._point(depth - 1)}, {self._point(depth - 1)})",
            f"AREA({self._region(depth - 1)})",
            f"COORD1(CENTROID({self._region(depth - 1)}))",
            f"{self._pick('CONTAINS', 'INTERSECTS')}({self._point(0)}, {self._region(depth - 1)})",
            f"scisql_nanojanskyToAbMag({one})",
            f"scisql_s2PtInBox({one}, {two}, 0, -30, 60, 30)",
            f"ivo_healpix_index(8, {self._point(0)})",
            f"ivo_hasword({self._string(depth - 1)}, 'g')",
            f"ivo_to_mjd({self._time(0)})",
            f"-({one})",
            f"(SELECT MAX(objectId) FROM demo.Object WHERE {one} > 0)",
            "(SELECT COUNT(*) FROM demo.ForcedSource)",
        )

    def _point(self, depth: int) -> str:
        if self._chance(0.5) and self._column("n"):
            return f"POINT({self._column('n')}, {self._column('n')})"
        ra, dec = self.rng.uniform(-10, 370), self.rng.uniform(-90, 90)
        plain = f"POINT({self._pick('', chr(39) + 'ICRS' + chr(39) + ', ')}{ra:.3f}, {dec:.3f})"
        return plain if depth <= 0 else self._pick(plain, f"CENTROID({self._region(depth - 1)})")

    def _region(self, depth: int) -> str:
        ra, dec, size = self.rng.uniform(0, 360), self.rng.uniform(-80, 80), self.rng.uniform(0.01, 40)
        corners = f"{ra:.2f}, {dec:.2f}, {ra + 5:.2f}, {dec:.2f}, {ra + 5:.2f}, {dec + 5:.2f}"
        dart = f"{ra:.2f}, 0, {ra + 6:.2f}, 0, {ra + 6:.2f}, 6, {ra + 4:.2f}, 1.5, {ra:.2f}, 6"
        return self._pick(
            f"CIRCLE({ra:.2f}, {dec:.2f}, {size:.2f})",
            f"CIRCLE({self._point(depth - 1)}, {size:.2f})",
            f"BOX({ra:.2f}, {dec:.2f}, {size:.2f}, {size / 2:.2f})",
            f"BOX({self._point(0)}, 1, 1)",
            f"POLYGON({corners})",
            f"POLYGON({dart})",
            f"POLYGON({self._point(0)}, POINT(3, 3), POINT(4, 5))",
            f"REGION('CIRCLE ICRS {ra:.2f} {dec:.2f} 2')",
            self._column("r") or "CAST('10 20 3' AS CIRCLE)",
        )

    def _condition(self, depth: int) -> str:
        if depth > 0 and self._chance(0.4):
            one, two = self._condition(depth - 1), self._condition(depth - 1)
            return self._pick(f"({one} AND {two})", f"{one} OR {two}", f"NOT ({one})", f"({one})")
        letter = self._pick("n", "n", "s", "b", "t")
        one, two = self._value(letter, depth - 1), self._value(letter, depth - 1)
        if letter == "n" and self._chance(0.3):
            name = self._pick("CONTAINS", "INTERSECTS")
            inner = self._pick(self._point(0), self._region(0))
            return self._pick(
                f"{self._pick(0, 1)} = {name}({inner}, {self._region(0)})",
                f"DISTANCE({self._point(0)}, {self._point(0)}) {self._pick('<', '<=', '>')} {self._number(0)}",
            )
        options = [
            f"{one} {self._pick('=', '<>', '!=', '<', '>', '<=', '>=')} {two}",
            f"{one} {self._pick('', 'NOT ')}BETWEEN {two} AND {one}",
            f"{one} {self._pick('', 'NOT ')}IN ({one}, {two})",
            f"{one} IS {self._pick('', 'NOT ')}NULL",
        ]
        if letter == "s":
            options.append(f"{one} {self._pick('LIKE', 'NOT LIKE', 'ILIKE')} {two}")
        if letter == "n":
            options += [
                f"{one} IN (SELECT objectId FROM demo.ForcedSource)",
                f"EXISTS (SELECT 1 FROM demo.ForcedSource WHERE psfFlux > {one})",
            ]
        return self.rng.choice(options)
