"""Joins by position: the join over cells finds the pairs that the test of every pair finds."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import hpgeom
import numpy as np
import pyarrow as pa
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.adql.celljoin import CellJoins, cell_shift
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.storage.cells import cells_around
from skydesk_portal.storage.duckdb_engine import DuckdbEngine

NUMBERS = ("id", "coord_ra", "coord_dec", "size")


def _sky(n: int, seed: int) -> pa.Table:
    """Positions in tight groups: at the poles, at RA 0, on base-cell corners, with null, NaN and odd ranges."""
    rng = np.random.default_rng(seed)
    where = rng.choice([(10.0, 89.999), (200.0, -89.9995), (0.0, 0.0), (45.0, 41.8103), (53.1, -28.1)], n)
    near = rng.normal(0, 0.002, (n, 2))
    ra, dec = where[:, 0] + near[:, 0], np.clip(where[:, 1] + near[:, 1], -90, 90)
    ra[where[:, 1] > 89] = rng.uniform(-10, 370, int((where[:, 1] > 89).sum()))
    ra[:5], dec[5:10] = np.nan, np.nan
    dec[10], dec[11] = 90.0, -90.0
    size = rng.choice([0.0, 0.0003, 0.002, 0.05, -1.0, np.nan], n)
    columns = {"id": np.arange(n), "coord_ra": ra, "coord_dec": dec, "size": size}
    return pa.table(
        {k: pa.array(v, mask=np.arange(n) % 97 == 96 if k != "id" else None) for k, v in columns.items()}
    )


def _indexed(table: pa.Table) -> pa.Table:
    ra, dec = (table[name].to_numpy() for name in ("coord_ra", "coord_dec"))
    good = np.isfinite(ra) & np.isfinite(dec)
    hp = hpgeom.angle_to_pixel(1 << 29, np.where(good, ra, 0) % 360, np.where(good, dec, 0)).astype(np.int64)
    hp[~good] = -1
    return table.append_column("hp29", pa.array(hp)).append_column("hp14", pa.array(hp >> 30))


def _info(name: str, rows: int, *, index: bool) -> TableInfo:
    columns = tuple(ColumnInfo(c, "long" if c == "id" else "double") for c in NUMBERS)
    more = {"ra_column": "coord_ra", "dec_column": "coord_dec", "has_index": True} if index else {}
    return TableInfo("s", name, columns, (name,), rows=rows, **more)  # type: ignore[arg-type]


BIG, SMALL, OTHER = _indexed(_sky(900, 1)), _sky(200, 2), _indexed(_sky(200, 3))
CATALOG = Catalog(
    (
        SchemaInfo(
            "s",
            tables=(
                _info("big", 900, index=True),
                _info("small", 200, index=False),
                _info("other", 200, index=True),
            ),
        ),
    )
)
TABLES = {"big": BIG, "small": SMALL, "other": OTHER}


@pytest.fixture(scope="module")
def engine() -> DuckdbEngine:
    return DuckdbEngine({}, threads=2, memory_mb=500)


def _rows(engine: DuckdbEngine, sql: str) -> list[tuple[object, ...]]:
    query = engine.start(sql, timeout_s=60, uploads=TABLES)
    rows = [tuple(row.values()) for batch in query.batches() for row in batch.to_pylist()]
    query.close()
    return sorted(rows, key=str)


def _plain_sql(query: str, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(CellJoins, "join", lambda *_: "")
        return translate(query, CATALOG).sql


INSIDE = "1=CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(t.coord_ra, t.coord_dec, {r}))"
REVERSED = "CONTAINS(POINT(t.coord_ra, t.coord_dec), CIRCLE(POINT(o.coord_ra, o.coord_dec), {r})) = 1"
NEAR = "DISTANCE(o.coord_ra, o.coord_dec, t.coord_ra, t.coord_dec) < {r}"
BEYOND = "{r} >= DISTANCE(POINT(t.coord_ra, t.coord_dec), POINT(o.coord_ra, o.coord_dec))"
CONDITIONS = [c.format(r=r) for c in (INSIDE, REVERSED, NEAR, BEYOND) for r in ("0.0004", "1/60.0")]
CONDITIONS += [INSIDE.format(r="t.size"), NEAR.format(r="t.size*2"), NEAR.format(r="5.0"), NEAR.format(r="0")]
CONDITIONS += [f"(({NEAR.format(r='0.01')}) AND o.id > t.id) AND t.id <> 7"]


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_pairs_are_those_of_the_plain_join(
    engine: DuckdbEngine, monkeypatch: pytest.MonkeyPatch, condition: str
) -> None:
    query = f"SELECT o.id AS o, t.id AS t FROM s.small AS t JOIN s.big AS o ON {condition}"
    wanted = _rows(engine, _plain_sql(query, monkeypatch))
    assert wanted or ") < 0" in condition
    for text in (query, query.replace(" JOIN", ",").replace(" ON ", " WHERE ").replace("t,", "t ,")):
        sql = translate(text, CATALOG).sql
        assert "skydesk_cells" in sql
        assert _rows(engine, sql) == wanted


@pytest.mark.parametrize("side", ["LEFT OUTER", "RIGHT OUTER", "FULL OUTER"])
@pytest.mark.parametrize("tables", ["s.small AS t {} JOIN s.big AS o", "s.big AS o {} JOIN s.small AS t"])
@pytest.mark.parametrize("radius", ["0.003", "t.size"])
def test_rows_without_a_partner_stay_in_outer_joins(
    engine: DuckdbEngine, monkeypatch: pytest.MonkeyPatch, side: str, tables: str, radius: str
) -> None:
    query = (
        f"SELECT o.id AS o, t.id AS t FROM {tables.format(side)} ON {INSIDE.format(r=radius)} AND o.id <> 3"
    )
    sql = translate(query, CATALOG).sql
    assert ("skydesk_cells" in sql) == (side != "FULL OUTER")
    wanted = _rows(engine, _plain_sql(query, monkeypatch))
    assert _rows(engine, sql) == wanted
    assert any(None in row for row in wanted)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COUNT(*) AS n, COUNT(DISTINCT t.id) AS m FROM s.big AS o, s.small AS t, s.other AS x"
        f" WHERE {INSIDE.format(r=0.002)} AND DISTANCE(x.coord_ra, x.coord_dec, t.coord_ra, t.coord_dec) < 0.001",
        f"SELECT t.id, COUNT(*) AS n FROM s.big AS o JOIN s.other AS t ON {INSIDE.format(r=0.002)} GROUP BY t.id",
        "SELECT o.id AS a, t.id AS b, x.id AS c FROM s.small AS t JOIN s.big AS o ON "
        f"{INSIDE.format(r=0.0005)} LEFT JOIN s.other AS x"
        " ON 1=CONTAINS(POINT(x.coord_ra, x.coord_dec), CIRCLE(t.coord_ra, t.coord_dec, 0.0008))",
        "WITH t AS (SELECT id, coord_ra, coord_dec FROM s.small WHERE id < 99) SELECT o.id, t.id FROM t, s.big AS o"
        f" WHERE {INSIDE.format(r=0.002)}",
        f"SELECT t.*, o.id FROM (SELECT id, coord_ra, coord_dec FROM s.small WHERE coord_ra > 9) AS t JOIN s.big AS o ON {INSIDE.format(r=0.0007)}",
        "SELECT id FROM s.small WHERE id IN (SELECT t.id FROM s.small AS t, s.big AS o"
        f" WHERE {INSIDE.format(r=0.0002)})",
    ],
)
def test_larger_queries_agree_with_the_plain_join(
    engine: DuckdbEngine, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    sql = translate(query, CATALOG).sql
    assert "skydesk_cells" in sql
    assert "skydesk#" not in ", ".join(column.name for column in translate(query, CATALOG).columns)
    assert _rows(engine, sql) == _rows(engine, _plain_sql(query, monkeypatch))


@pytest.mark.parametrize(
    "condition",
    [
        f"({INSIDE.format(r=0.01)} OR o.id = t.id)",
        f"NOT ({INSIDE.format(r=0.01)})",
        INSIDE.format(r=0.01).replace("1=", "0="),
        INSIDE.format(r="o.size + t.size"),
        INSIDE.format(r=60),
        NEAR.format(r="(SELECT MAX(size) FROM s.small)"),
        "DISTANCE(1.0, 2.0, t.coord_ra, t.coord_dec) < 1",
        "DISTANCE(POINT(CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(t.coord_ra, t.coord_dec, 1)), 0),"
        " POINT(2, 3)) < 90",
    ],
)
def test_what_cannot_be_a_join_by_cells_is_none(condition: str) -> None:
    sql = translate(f"SELECT o.id FROM s.small AS t, s.big AS o WHERE {condition}", CATALOG).sql
    assert "skydesk_cells" not in sql


def test_the_words_of_the_join_inside_a_string_stay_a_string(engine: DuckdbEngine) -> None:
    sql = translate(f"SELECT '\x01t1;' AS a FROM s.small AS t JOIN s.big AS o ON {INSIDE.format(r=0.01)}"
                    " AND 'x t1; t2;' = 'x t1; t2;'", CATALOG).sql  # fmt: skip
    assert "'x t1; t2;' = 'x t1; t2;'" in sql
    assert _rows(engine, sql)


def test_a_circle_stays_within_the_cells_around_its_centre() -> None:
    rng = np.random.default_rng(5)
    n = 4000
    ra = rng.uniform(0, 360, n)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    dec[:500], dec[500:1000] = 90 - rng.exponential(0.01, 500), 41.8103 + rng.normal(0, 0.01, 500)
    for radius in (1 / 3600, 6.4 / 3600, 0.01, 0.1, 3.0, 14.0):
        bits = cell_shift(radius)
        assert bits is not None
        cells = cells_around(pa.array(ra), pa.array(dec), pa.array([bits] * n)).to_pylist()
        for angle in np.linspace(0, 2 * np.pi, 16):
            r, d = np.radians(radius), np.radians(dec)
            there = np.arcsin(np.clip(np.sin(d) * np.cos(r) + np.cos(d) * np.sin(r) * np.cos(angle), -1, 1))
            turn = np.arctan2(np.sin(angle) * np.sin(r) * np.cos(d), np.cos(r) - np.sin(d) * np.sin(there))
            pixel = hpgeom.angle_to_pixel(
                1 << (14 - bits // 2), (ra + np.degrees(turn)) % 360, np.degrees(there)
            )
            assert all(p in around for p, around in zip(pixel.tolist(), cells, strict=True))
    assert cell_shift(0.0) == 0
    assert cell_shift(20.0) is None


def test_the_sql_of_a_cross_match_is_a_hash_join(tmp_path: Path) -> None:
    sql = translate(
        f"SELECT o.id FROM s.small AS t, s.big AS o WHERE {INSIDE.format(r='1/3600.0')}", CATALOG
    ).sql
    plain = duckdb.connect()
    plain.create_function(
        "skydesk_cells", cells_around, ["DOUBLE", "DOUBLE", "INTEGER"], "BIGINT[]", type="arrow"
    )
    for name, table in TABLES.items():
        plain.register(name, table)
    plan = re.sub(r"\s+", " ", plain.sql(f"EXPLAIN {sql}").fetchall()[0][1]).lower()
    assert "hp14 = skydesk#cell" in plan
    assert "nested" not in plan
    assert "cross product" not in plan
