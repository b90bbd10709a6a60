"""Which engine answers which query, and what an engine that can do little is spared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pyarrow as pa
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.adql.engine_sql import parse_engine_sql, without_frame
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.storage.duckdb_engine import DuckdbEngine
from skydesk_portal.storage.engine import EngineCapabilities, RunningQuery
from skydesk_portal.storage.routed_engine import DistributedTables, RoutedEngine
from skydesk_portal.storage.routing import RoutedTable, estimate_rows

QSERV = EngineCapabilities(
    "qserv",
    subqueries=False,
    set_operations=False,
    with_clause=False,
    offset=False,
    uploads=False,
    functions=frozenset({"count", "avg", "min", "max", "sum", "pow", "sin", "cos", "radians", "log10"}),
    indexed=False,
)
ROWS = 10**9


def _table(name: str, rows: int, *, position: bool = True) -> TableInfo:
    columns = [
        ColumnInfo("objectId", "long", indexed=True),
        ColumnInfo("band", "char", "*"),
        ColumnInfo("flux", "double"),
    ]
    columns += [ColumnInfo(n, "double") for n in ("coord_ra", "coord_dec")] + [
        ColumnInfo("hp29", "long"),
        ColumnInfo("hp14", "long"),
    ]
    more = {"ra_column": "coord_ra", "dec_column": "coord_dec", "has_index": True} if position else {}
    return TableInfo("dr1", name, tuple(columns), ("r_dr1", "main", name), release="dr1", rows=rows, **more)  # type: ignore[arg-type]


UPLOAD = TableInfo(
    "TAP_UPLOAD",
    "mine",
    (ColumnInfo("objectId", "long"), ColumnInfo("ra", "double"), ColumnInfo("dec", "double")),
    ("up_1",),
    rows=10,
)
TABLES = (_table("Object", ROWS), _table("Forced", 20 * ROWS), _table("Visit", 1000))
CATALOG = Catalog((SchemaInfo("dr1", tables=TABLES), SchemaInfo("TAP_UPLOAD", tables=(UPLOAD,))))
ROUTED = {t.source: RoutedTable(t.rows or 0, frozenset({"objectId"}), 0.5) for t in TABLES}

CONE = "CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(53, -28, {r})) = 1"
FEW = [
    f"SELECT * FROM dr1.Object o WHERE {CONE.format(r=0.01)}",
    f"SELECT * FROM dr1.Object o WHERE flux > 3 AND ({CONE.format(r=0.2)})",
    "SELECT * FROM dr1.Object WHERE objectId = 5",
    "SELECT * FROM dr1.Object WHERE objectId IN (5, 6, 7) AND flux > 1",
    "SELECT f.* FROM dr1.Object o JOIN dr1.Forced f ON o.objectId = f.objectId WHERE o.objectId IN (5, 6)",
    f"SELECT f.flux FROM dr1.Forced f JOIN dr1.Object o ON o.objectId = f.objectId WHERE {CONE.format(r=0.001)}",
    f"SELECT f.flux FROM dr1.Object o LEFT JOIN dr1.Forced f ON o.objectId = f.objectId WHERE {CONE.format(r=0.001)}",
    f"SELECT * FROM dr1.Forced WHERE objectId IN (SELECT o.objectId FROM dr1.Object o WHERE {CONE.format(r=0.001)})",
    f"WITH few AS (SELECT objectId FROM dr1.Object o WHERE {CONE.format(r=0.001)}) SELECT f.flux FROM few JOIN dr1.Forced f ON f.objectId = few.objectId",
    "SELECT TOP 100 objectId, flux FROM dr1.Forced",
    "SELECT band, COUNT(*) AS n FROM dr1.Visit GROUP BY band",
]
MANY = [
    "SELECT COUNT(*) AS n FROM dr1.Object",
    "SELECT TOP 10 objectId FROM dr1.Object ORDER BY flux",
    "SELECT TOP 10 objectId FROM dr1.Object WHERE flux > 1e9",
    "SELECT band, AVG(flux) AS m FROM dr1.Forced GROUP BY band",
    f"SELECT * FROM dr1.Object o WHERE {CONE.format(r=40)}",
    "SELECT * FROM dr1.Object WHERE objectId = 5 OR flux > 3",
    "SELECT * FROM dr1.Object WHERE objectId > 5",
    "SELECT o.objectId FROM dr1.Object o JOIN dr1.Forced f ON o.objectId = f.objectId",
    f"SELECT f.flux FROM dr1.Forced f LEFT JOIN dr1.Object o ON o.objectId = f.objectId AND {CONE.format(r=0.001)}",
    "SELECT v.band FROM dr1.Visit v JOIN dr1.Forced f ON f.flux = v.flux WHERE v.objectId = 3",
    "SELECT objectId FROM dr1.Visit UNION SELECT objectId FROM dr1.Object",
    "SELECT objectId FROM dr1.Visit WHERE flux > (SELECT AVG(flux) FROM dr1.Object)",
]
SMALL_ENOUGH = 5_000_000


@pytest.mark.parametrize(("query", "few"), [*((q, True) for q in FEW), *((q, False) for q in MANY)])
def test_an_index_that_leads_to_few_rows_is_seen(query: str, few: bool) -> None:
    tree = parse_engine_sql(translate(query, CATALOG, limit=1_000_001).sql)
    assert (estimate_rows(tree, ROUTED) <= SMALL_ENOUGH) is few


class RestrictedEngine:
    """An engine that can do as little as Qserv; DuckDB does its work here."""

    capabilities = QSERV

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._engine = _filled()

    def find_obstacle(self, sql: str) -> str | None:
        return None

    def start(
        self,
        sql: str,
        *,
        timeout_s: float,
        uploads: Mapping[str, pa.Table] | None = None,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> RunningQuery:
        self.asked.append(without_frame(parse_engine_sql(sql)).sql("duckdb"))
        # Its counts are 32 bits wide, as nobody should notice.
        narrow = sql.replace("count(*)", "CAST(count(*) AS INTEGER)")
        return _Named(self._engine.start(narrow, timeout_s=timeout_s, on_start=on_start))

    def close(self) -> None:
        self._engine.close()


class _Named:
    engine = "qserv"

    def __init__(self, running: RunningQuery) -> None:
        self._running = running
        self.schema, self.cancel, self.close = running.schema, running.cancel, running.close

    def batches(self) -> Iterator[pa.RecordBatch]:
        return self._running.batches()


def _filled() -> DuckdbEngine:
    engine = DuckdbEngine({}, threads=1, memory_mb=200)
    rows = pa.table(
        {
            "objectId": pa.array(range(100), pa.int64()),
            "band": ["gri"[i % 3] for i in range(100)],
            "flux": [float(i) for i in range(100)],
            "coord_ra": [53 + i / 100 for i in range(100)],
            "coord_dec": [-28.0] * 100,
            "hp29": pa.array(range(100), pa.int64()),
            "hp14": pa.array(range(100), pa.int64()),
        }
    )
    kept = tuple(replace(table, source=("memory", "main", table.name)) for table in TABLES)
    engine.provide(kept, {table.full_name: rows for table in kept})
    return engine


@pytest.fixture
def routed() -> Iterator[tuple[RoutedEngine, RestrictedEngine, Catalog]]:
    restricted = RestrictedEngine()
    tables = tuple(replace(table, source=("memory", "main", table.name)) for table in TABLES)
    catalog = Catalog((SchemaInfo("dr1", tables=tables), CATALOG.schemas[1]))
    known = {table.source: RoutedTable(table.rows or 0, frozenset({"objectId"})) for table in tables}
    engine = RoutedEngine(_filled(), [DistributedTables(restricted, known)], SMALL_ENOUGH)
    yield engine, restricted, catalog
    engine.close()


def _answer(engine: RoutedEngine, catalog: Catalog, query: str) -> tuple[str, pa.Table]:
    upload = pa.table({"objectId": pa.array([3, 4], pa.int64()), "ra": [53.03, 53.04], "dec": [-28.0, -28.0]})
    translation = translate(query, catalog, limit=1001, engine=engine.capabilities)
    uploads = {"up_1": upload} if "TAP_UPLOAD" in query else {}
    running = engine.start(translation.sql, timeout_s=60, uploads=uploads)
    table = pa.Table.from_batches(running.batches(), running.schema)
    running.close()
    assert engine.choose(translation.sql, uploads).capabilities.name == running.engine
    return running.engine, table


REFUSED = {
    "sub-queries": "SELECT COUNT(*) AS n FROM (SELECT objectId FROM dr1.Object WHERE flux > 90) AS x",
    "UNION": "SELECT objectId FROM dr1.Object WHERE flux > 98 UNION SELECT objectId FROM dr1.Forced WHERE flux > 97",
    "WITH": "WITH x AS (SELECT objectId FROM dr1.Object WHERE flux > 90) SELECT COUNT(*) AS n FROM x",
    "OFFSET": "SELECT objectId FROM dr1.Object WHERE flux > 5 ORDER BY objectId OFFSET 90",
    "uploaded tables": "SELECT o.objectId FROM dr1.Object o JOIN TAP_UPLOAD.mine AS u ON o.flux = u.objectId",
    "functions MEDIAN": "SELECT MEDIAN(flux) AS m FROM dr1.Object",
    "functions CONTAINS": "SELECT COUNT(*) AS n FROM dr1.Object AS o WHERE CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(o.coord_ra, o.coord_dec, o.flux)) = 1 AND MOD(objectId, 2) = 0",
}


@pytest.mark.parametrize("feature", REFUSED)
def test_the_front_end_refuses_what_an_engine_cannot(feature: str) -> None:
    with pytest.raises(
        QueryError,
        match=rf"{feature}.* cannot be used with these tables|{feature}.* can be used with these tables",
    ):
        translate(REFUSED[feature], CATALOG, engine=QSERV)
    translate(
        "SELECT band, AVG(flux) AS m FROM dr1.Object WHERE flux > 5 GROUP BY band ORDER BY band",
        CATALOG,
        engine=QSERV,
    )


@pytest.mark.parametrize("feature", REFUSED)
def test_what_a_restricted_engine_cannot_goes_to_the_one_beside_it(
    routed: tuple[RoutedEngine, RestrictedEngine, Catalog], feature: str
) -> None:
    engine, restricted, catalog = routed
    name, table = _answer(engine, catalog, REFUSED[feature])
    assert name == "indexed"
    assert table.num_rows
    assert restricted.asked == []


def test_a_scan_goes_to_the_restricted_engine_and_keeps_its_types(
    routed: tuple[RoutedEngine, RestrictedEngine, Catalog],
) -> None:
    engine, restricted, catalog = routed
    query = "SELECT band, COUNT(*) AS n, AVG(flux) AS m FROM dr1.Object WHERE flux > 5 GROUP BY band ORDER BY band"
    name, table = _answer(engine, catalog, query)
    assert (name, table.schema.field("n").type) == ("qserv", pa.int64())
    assert table.column("n").to_pylist() == [32, 31, 31]
    assert len(restricted.asked) == 1
    assert "result" not in restricted.asked[0]
    assert _answer(engine, catalog, "SELECT flux FROM dr1.Object WHERE objectId = 7")[0] == "indexed"
    assert len(restricted.asked) == 1
