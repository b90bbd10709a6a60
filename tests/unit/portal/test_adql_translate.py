"""The ADQL front end: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

import re

import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo


def column(name: str, datatype: str = "double", size: str | None = None, **more: str) -> ColumnInfo:
    return ColumnInfo(name, datatype, size, **more)


OBJECT = TableInfo(
    "demo",
    "Object",
    (
        column("objectId", "long", ucd="meta.id;src"),
        column("coord_ra", unit="deg", ucd="pos.eq.ra"),
        column("coord_dec", unit="deg"),
        column("g_psfFlux", "float", unit="nJy"),
        column("detect_isPrimary", "boolean"),
        column("refBand", "char", "1*"),
    ),
    ("r_demo", "main", "Object"),
    release="demo",
    ra_column="coord_ra",
    dec_column="coord_dec",
    has_index=True,
)
FORCED = TableInfo(
    "demo",
    "ForcedSource",
    (
        column("objectId", "long"),
        column("visit", "long"),
        column("band", "char", "1*"),
        column("psfFlux", "float", unit="nJy"),
    ),
    ("r_demo", "main", "ForcedSource"),
)
IMAGES = TableInfo(
    "ivoa",
    "ObsCore",
    (column("obs_id", "char", "*"), column("s_region", "char", "*", xtype="adql:REGION")),
    ("memory", "ivoa", "ObsCore"),
)
CATALOG = Catalog((SchemaInfo("demo", tables=(OBJECT, FORCED)), SchemaInfo("ivoa", tables=(IMAGES,))))

ACCEPTED = [
    "SELECT TOP 5 * FROM demo.Object",
    "select objectid from DEMO.object;",
    "SELECT 1",
    "SELECT o.* FROM demo.Object AS o",
    "SELECT demo.Object.coord_ra FROM demo.Object",
    "SELECT coord_ra -- a comment\nFROM Object",
    "SELECT COUNT(*), COUNT(DISTINCT band) FROM demo.ForcedSource",
    "SELECT band, AVG(psfFlux) AS f FROM demo.ForcedSource GROUP BY band HAVING COUNT(*) > 3 ORDER BY f DESC",
    "SELECT ROUND(psfFlux, 1) AS f, COUNT(*) FROM demo.ForcedSource GROUP BY ROUND(psfFlux, 1) ORDER BY 1",
    "SELECT * FROM demo.Object o JOIN demo.ForcedSource f ON o.objectId = f.objectId WHERE f.band IN ('g', 'r')",
    "SELECT objectId FROM demo.Object LEFT OUTER JOIN demo.ForcedSource USING (objectId)",
    "SELECT * FROM demo.Object NATURAL JOIN demo.ForcedSource",
    "SELECT a.objectId FROM demo.Object a, demo.ForcedSource b WHERE a.objectId = b.objectId",
    "SELECT x.n FROM (SELECT COUNT(*) AS n FROM demo.Object) AS x",
    "SELECT objectId FROM demo.Object o WHERE EXISTS (SELECT 1 FROM demo.ForcedSource f WHERE f.objectId = o.objectId)",
    "SELECT objectId FROM demo.Object WHERE objectId NOT IN (SELECT objectId FROM demo.ForcedSource)",
    "WITH q AS (SELECT objectId FROM demo.Object) SELECT * FROM q",
    "SELECT objectId FROM demo.Object UNION ALL SELECT objectId FROM demo.ForcedSource ORDER BY objectId",
    "SELECT objectId FROM demo.Object EXCEPT SELECT objectId FROM demo.ForcedSource",
    "SELECT CASE WHEN g_psfFlux > 0 THEN LOG10(g_psfFlux) ELSE NULL END FROM demo.Object",
    "SELECT CAST(objectId AS VARCHAR(10)), COALESCE(g_psfFlux, 0), UPPER(refBand) FROM demo.Object",
    "SELECT scisql_nanojanskyToAbMag(g_psfFlux) FROM demo.Object WHERE detect_isPrimary = 1",
    "SELECT IN_UNIT(coord_ra, 'arcsec') FROM demo.Object OFFSET 5",
    "SELECT DISTANCE(POINT('ICRS', coord_ra, coord_dec), POINT(53, -28)) FROM demo.Object",
    "SELECT AREA(CIRCLE(1, 2, 3)), COORD1(CENTROID(CIRCLE(1, 2, 3))) FROM demo.Object",
    "SELECT objectId FROM demo.Object WHERE 0 = CONTAINS(POINT(coord_ra, coord_dec), BOX(53, -28, 1, 1))",
    "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(53, -28), s_region) = 1",
    "SELECT obs_id FROM ivoa.ObsCore WHERE INTERSECTS(CIRCLE(53, -28, 1), s_region) = 1",
    "SELECT objectId & 255, objectId | 1, objectId ^ 3, ~objectId FROM demo.Object",
]

REFUSED = {
    "": "empty",
    "DELETE FROM demo.Object": "begins with SELECT",
    "SELECT 1; SELECT 2": "one query at a time",
    "SELECT objectId FROM demo.Object LIMIT 5": "SELECT TOP n",
    "SELECT objectId FROM demo.Objekt": "did you mean `demo.Object`",
    "SELECT coord_raa FROM demo.Object": "did you mean `coord_ra`",
    "SELECT x.coord_ra FROM demo.Object o": "not in FROM",
    "SELECT objectId FROM demo.Object, demo.ForcedSource": "say which one",
    "SELECT coord_ra, COUNT(*) FROM demo.Object": "must be in GROUP BY",
    "SELECT coord_ra FROM demo.Object WHERE COUNT(*) > 1": "not in WHERE",
    "SELECT coord_ra FROM demo.Object WHERE refBand = 3": "compared with a string",
    "SELECT LOWER(coord_ra) FROM demo.Object": "takes strings",
    "SELECT SQRT(1, 2) FROM demo.Object": "takes 1 argument",
    "SELECT read_csv('/etc/passwd') FROM demo.Object": "unknown function",
    "SELECT getenv('HOME')": "unknown function",
    "SELECT * FROM read_parquet('x.parquet')": "function cannot stand in FROM",
    "SELECT * FROM 'x.parquet'": "unknown table",
    'SELECT * FROM "/etc/passwd"': "unknown table",
    "SELECT * FROM information_schema.tables": "unknown table",
    "SELECT * FROM duckdb_settings()": "function cannot stand in FROM",
    "SELECT hp29 FROM demo.Object": "unknown column",
    "SELECT * FROM r_demo.main.Object": "unknown table",
    "SELECT coord_ra FROM demo.Object WHERE coord_ra BETWEEN 1 AND": "missing",
    "SELECT coord_ra, FROM demo.Object": "nothing follows the comma",
    "SELECT [1,2] FROM demo.Object": "unexpected",
    "SELECT $1 FROM demo.Object": "is not a name",
    "SELECT coord_ra::int FROM demo.Object": "unexpected",
    "SELECT coord_ra FROM demo.Object WHERE 'abc": "not closed",
    "SELECT CIRCLE(10, 95, 1) FROM demo.Object": "between -90 and 90",
    "SELECT CIRCLE(10, 5, 200) FROM demo.Object": "between 0 and 180",
    "SELECT POLYGON(10, 5, 11, 5) FROM demo.Object": "at least three corners",
    "SELECT coord_ra FROM demo.Object WHERE CONTAINS(POINT(1,2), CIRCLE(1,2,3)) = 2": "compared with = 0 or = 1",
    "SELECT 1e400 FROM demo.Object": "too large",
    "SELECT 99999999999999999999 FROM demo.Object": "64 bits",
    "SELECT 12abc FROM demo.Object": "not a number",
    "SELECT objectId FROM demo.Object UNION SELECT objectId, band FROM demo.ForcedSource": "joins 1 columns with 2",
    "WITH RECURSIVE q AS (SELECT 1) SELECT * FROM q": "",
    "SELECT TOP x coord_ra FROM demo.Object": "whole number",
    "SELECT COUNT(*) OVER () FROM demo.Object": "unexpected",
}


@pytest.mark.parametrize("query", ACCEPTED)
def test_a_legitimate_query_is_translated(query: str) -> None:
    translation = translate(query, CATALOG)
    assert translation.sql.startswith(("SELECT", "WITH"))
    assert translation.columns


@pytest.mark.parametrize("query", REFUSED)
def test_a_wrong_query_is_refused_with_the_reason(query: str) -> None:
    with pytest.raises(QueryError) as caught:
        translate(query, CATALOG)
    assert REFUSED[query] in str(caught.value)
    assert not re.search(r"duckdb|sqlglot|Anonymous|expressions\.", str(caught.value), re.IGNORECASE)


def test_an_error_names_line_and_column() -> None:
    with pytest.raises(QueryError) as caught:
        translate("SELECT\n  coord_ra,\n  coord_deg\nFROM demo.Object", CATALOG)
    assert (caught.value.line, caught.value.column) == (3, 3)


def test_columns_keep_their_metadata() -> None:
    found = translate(
        "SELECT objectId AS id, MAX(g_psfFlux) AS m FROM demo.Object GROUP BY objectId", CATALOG
    )
    assert [(c.name, c.datatype, c.unit, c.ucd) for c in found.columns] == [
        ("id", "long", "", "meta.id;src"),
        ("m", "float", "nJy", ""),
    ]


def test_equal_names_in_a_result_are_told_apart() -> None:
    found = translate(
        "SELECT a.objectId, b.objectId FROM demo.Object a JOIN demo.ForcedSource b ON a.objectId = b.objectId",
        CATALOG,
    )
    assert [c.name for c in found.columns] == ["objectId", "objectId_2"]


@pytest.mark.parametrize(
    "condition",
    [
        "1 = CONTAINS(POINT('ICRS', coord_ra, coord_dec), CIRCLE('ICRS', 53, -28, 0.1))",
        "CONTAINS(POINT(coord_ra, coord_dec), CIRCLE(POINT(53, -28), 6/60.)) = 1",
        "DISTANCE(POINT(coord_ra, coord_dec), POINT(53, -28)) < 0.1",
        "DISTANCE(coord_ra, coord_dec, 53, -28) <= 0.1",
        "0.1 > DISTANCE(POINT(53, -28), POINT(coord_ra, coord_dec))",
        "1 = INTERSECTS(POINT(coord_ra, coord_dec), POLYGON(53, -28, 53.1, -28, 53.1, -28.1))",
        "1 = CONTAINS(POINT(coord_ra, coord_dec), BOX(53, -28, 0.1, 0.1))",
    ],
)
def test_a_region_on_the_indexed_position_uses_the_index(condition: str) -> None:
    sql = translate(f"SELECT objectId FROM demo.Object WHERE {condition}", CATALOG).sql
    assert "t1.hp29 BETWEEN" in sql
    assert 1 <= sql.count("hp29 BETWEEN") <= 9


@pytest.mark.parametrize(
    "condition",
    [
        "0 = CONTAINS(POINT(coord_ra, coord_dec), CIRCLE(53, -28, 0.1))",
        "1 = CONTAINS(POINT(coord_ra + 1, coord_dec), CIRCLE(53, -28, 0.1))",
        "DISTANCE(POINT(coord_ra, coord_dec), POINT(53, -28)) > 0.1",
    ],
)
def test_other_regions_do_not_use_the_index(condition: str) -> None:
    assert "hp29" not in translate(f"SELECT objectId FROM demo.Object WHERE {condition}", CATALOG).sql
