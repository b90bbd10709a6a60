"""The ADQL front end: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pytest

from skydesk_portal.adql import translate
from skydesk_portal.exceptions import QueryError
from skydesk_portal.storage.engine import EngineCapabilities
from tests.support.adql import CATALOG, open_engine

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
    "SELECT BITWISE_AND(objectId, 0xFF), BIT_OR(1, 2), BITWISE_XOR(visit, 3), BITWISE_NOT(visit), visit % 3"
    " FROM demo.ForcedSource",
    "SELECT CAST(1.5 AS INTEGER), CAST('12' AS SMALLINT), CAST(3 AS BIGINT), CAST(1 AS REAL), CAST(objectId AS DOUBLE"
    " PRECISION), CAST(12.5 AS CHAR(2)), CAST('2026-01-01T12:00:00' AS TIMESTAMP) FROM demo.Object",
    "SELECT CAST('1 2' AS POINT), CAST('1 2 3' AS CIRCLE), CAST('1 2 3 2 2 4' AS POLYGON), CAST(POINT(1, 2) AS POINT)",
    "SELECT objectId FROM demo.Object WHERE time > '2026-01-01' AND time < TIMESTAMP('2027-01-01T00:00:00Z')",
    'SELECT TOP 2 objectId AS "my id" FROM demo.Object ORDER BY "my id" DESC, coord_ra * 2 OFFSET 1',
    "SELECT DISTINCT TOP 2 refBand FROM demo.Object",
    "WITH a (x, y) AS (SELECT objectId, refBand FROM demo.Object), b AS (SELECT x FROM a) SELECT a.y FROM a JOIN b USING (x)",
    "(SELECT TOP 2 objectId FROM demo.Object) UNION ALL (SELECT TOP 3 objectId FROM demo.ForcedSource) ORDER BY objectId"
    " OFFSET 1",
    "SELECT objectId FROM demo.Object INTERSECT ALL SELECT objectId FROM demo.ForcedSource ORDER BY -objectId",
    "SELECT ROUND(psfFlux) AS f, COUNT(*) FROM demo.ForcedSource GROUP BY f",
    "SELECT band FROM demo.ForcedSource GROUP BY band ORDER BY AVG(psfFlux) DESC",
    "SELECT o.objectId FROM demo.Object o JOIN (demo.ForcedSource f JOIN ivoa.ObsCore i ON f.band = i.obs_id)"
    " ON f.objectId = o.objectId",
    "SELECT objectId FROM demo.Object o FULL OUTER JOIN demo.ForcedSource f USING (objectId)",
    "SELECT objectId, (SELECT COUNT(*) FROM demo.ForcedSource f WHERE f.objectId = o.objectId) AS n FROM demo.Object o",
    "SELECT objectId FROM demo.Object WHERE refBand ILIKE 'G%' OR refBand NOT LIKE '%x' AND NOT refBand NOT ILIKE 'i'",
    "SELECT 'a' || objectId || 'it''s', .5, 5., 1E-3, 0XfF, - -1 FROM demo.Object",
    "SELECT objectId FROM demo.Object WHERE detect_isPrimary = 'true' OR detect_isPrimary AND NOT detect_isPrimary = 0",
    "SELECT POLYGON(coord_ra, coord_dec, coord_ra + 1, coord_dec, coord_ra, coord_dec + 1),"
    " AREA(BOX(coord_ra, coord_dec, 1, 1)), CENTROID(BOX(POINT(coord_ra, coord_dec), 1, 1)) FROM demo.Object",
    "SELECT AREA(s_region), CENTROID(s_region), COORD2(CENTROID(s_region)), COORDSYS(s_region) FROM ivoa.ObsCore",
    "SELECT CONTAINS(CENTROID(s_region), s_region), INTERSECTS(s_region, s_region) FROM ivoa.ObsCore",
    "SELECT objectId FROM demo.Object WHERE CONTAINS(POINT(coord_ra, coord_dec), CIRCLE(53, -28, 5)) = TRUE",
    "SELECT COORD1(p) FROM (SELECT POINT(coord_ra, coord_dec) AS p FROM demo.Object) AS x"
    " WHERE 1 = CONTAINS(p, CIRCLE(53, -28, 5))",
    "SELECT scisql_median(psfFlux), scisql_percentile(psfFlux, 25), ivo_string_agg(band, ',') FROM demo.ForcedSource",
    "SELECT ivo_healpix_index(10, coord_ra, coord_dec), ivo_healpix_center(10, objectId) FROM demo.Object",
    "SELECT ivo_to_jd(time), ivo_to_mjd(time), ivo_epoch_prop_pos(coord_ra, coord_dec, 3, 4, 2016, 2026) FROM demo.Object",
    "SELECT LOG(2), LOG10(100), MOD(-5, 3), ROUND(2.567, 2), TRUNCATE(1234.5, -2), RAND(7), ATAN2(1, 2), PI(), COT(1)",
    "SELECT NULL, COUNT(NULL), COALESCE(NULL, 1), -NULL, NULL || 'a', SUM(NULL) FROM demo.Object",
    "SELECT DISTINCT .5, ALL_ FROM (SELECT 1 AS ALL_) AS x",
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
    "SELECT COUNT(*) OVER () FROM demo.Object": "no window functions",
    "SELECT objectId FROM demo.Object QUALIFY 1 = 1": "QUALIFY is not ADQL",
    "SELECT objectId FROM demo.Object FETCH FIRST 3 ROWS ONLY": "write SELECT TOP n",
    "SELECT 1 /* comment */": "comments begin with --",
    "SELECT $$text$$": "is not a name",
    "SELECT {'a': 1}": "no structures",
    "SELECT list_transform([1], x -> x)": "no arrays",
    "SELECT * EXCLUDE (objectId) FROM demo.Object": "no list of exceptions",
    "SELECT COLUMNS('x') FROM demo.Object": "unknown function",
    "SELECT TOP 3 DISTINCT refBand FROM demo.Object": "write SELECT DISTINCT TOP 3",
    "SELECT 1 AS 'x'": "double quotes",
    "SELECT 1 WHERE 1 == 1": "write = for equality",
    "SELECT LN(2)": "LOG is the natural logarithm",
    "SELECT scisql_nanojanskyToABMags(1)": "did you mean `scisql_nanojanskyToAbMag`",
    "SELECT LEN('x') FROM demo.Object": "unknown function",
    "SELECT CAST(1 AS HUGEINT)": "CAST to HUGEINT is not ADQL",
    "SELECT CAST('abc' AS INTEGER)": "cannot become INTEGER",
    "SELECT CAST('yesterday' AS TIMESTAMP)": "not a time",
    "SELECT CAST(70000 AS SMALLINT)": "does not fit",
    "SELECT 1.5 & 1": "whole numbers",
    "SELECT COALESCE(refBand, 1) FROM demo.Object": "of one kind",
    "SELECT CASE WHEN 1 = 1 THEN 'a' ELSE 2 END": "of one kind",
    "SELECT objectId FROM demo.Object WHERE refBand IN (SELECT visit FROM demo.ForcedSource)": "compared with",
    "SELECT IN_UNIT(coord_ra, 'Jy') FROM demo.Object": "cannot turn `deg` into `Jy`",
    "SELECT IN_UNIT(coord_ra, 'furlong') FROM demo.Object": "not a unit",
    "SELECT IN_UNIT(objectId, 'm') FROM demo.Object": "not known",
    "SELECT scisql_percentile(psfFlux, visit) FROM demo.ForcedSource": "constant number",
    "SELECT objectId FROM demo.Object WHERE CONTAINS(POINT(1, 2), CIRCLE(1, 2, 3))": "write 1 = CONTAINS",
    "SELECT POINT('GALACTIC', 1, 2)": "use ICRS",
    "SELECT POLYGON(0, 0, 1, 1, 0, 1, 1, 0)": "cross each other",
    "SELECT REGION('BLOB 1 2 3')": "not a region",
    "SELECT BOX(1, 2, 0, 1)": "sides of a BOX",
    "SELECT COUNT(*) AS n FROM demo.Object HAVING n > 1": "write the expression itself",
    "SELECT (SELECT MAX(visit) FROM demo.ForcedSource WHERE psfFlux > g_psfFlux), COUNT(*) FROM demo.Object": "in GROUP BY",
    "SELECT COUNT(*) FROM demo.Object GROUP BY 1": "not numbers",
    "SELECT 1 UNION BY NAME SELECT 2": "followed by ALL or by a SELECT",
    "SELECT 1 ORDER BY 1 NULLS FIRST": "nulls come last",
    "WITH a (x, y) AS (SELECT 1) SELECT * FROM a": "names 2 columns",
    "WITH a AS (SELECT * FROM a) SELECT * FROM a": "unknown table",
    "SELECT 1_000": "not a number",
    "SELECT * FROM range(5)": "function cannot stand in FROM",
    "SELECT " + "LOG(" * 40 + "2" + ")" * 40: "nested too deeply",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = open_engine()
    yield connection
    connection.close()


@pytest.mark.parametrize("query", ACCEPTED)
def test_a_legitimate_query_is_translated_and_runs(query: str, engine: duckdb.DuckDBPyConnection) -> None:
    translation = translate(query, CATALOG)
    assert translation.sql.startswith(("SELECT", "WITH"))
    found = engine.execute(translation.sql)
    assert [item[0] for item in found.description or []] == [column.name for column in translation.columns]


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


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("SELECT 1,\n  'abc FROM demo.Object", (2, 3)),
        ('SELECT "abc FROM demo.Object', (1, 8)),
        ("SELECT objectId\nFROM demo.Object\nWHERE refBand = 3", (3, 7)),
        ("SELECT objectId FROM demo.Object WHERE objectId = 'x'", (1, 40)),
        ("SELECT objectId,\n POINT(1, 95) FROM demo.Object", (2, 2)),
        ("SELECT objectId FROM demo.Object WHERE (1, 2) = 3", (1, 41)),
        ("SELECT objectId FROM demo.Objct", (1, 22)),
    ],
)
def test_every_error_names_its_place(query: str, place: tuple[int, int]) -> None:
    with pytest.raises(QueryError) as caught:
        translate(query, CATALOG)
    assert (caught.value.line, caught.value.column) == place


def test_units_go_through_arithmetic() -> None:
    found = translate(
        "SELECT g_psfFlux / 2, g_psfFlux * coord_ra, g_psfFlux + g_psfFlux, g_psfFlux + coord_ra, coord_ra / g_psfFlux,"
        " IN_UNIT(coord_ra, 'arcsec'), DISTANCE(coord_ra, coord_dec, 1, 2), COALESCE(g_psfFlux, 0) FROM demo.Object",
        CATALOG,
    )
    units = ["nJy", "nJy.deg", "nJy", "", "deg/nJy", "arcsec", "deg", ""]
    assert [column.unit for column in found.columns] == units


def test_functions_and_clauses_of_a_query_are_told() -> None:
    found = translate(
        "SELECT TOP 3 band, MAX(SQRT(psfFlux)) FROM demo.ForcedSource WHERE scisql_s2PtInCircle(visit, 1, 2, 3, 4) = 1"
        " GROUP BY band ORDER BY band",
        CATALOG,
    )
    assert set(found.functions) == {"MAX", "SQRT", "SCISQL_S2PTINCIRCLE"}
    assert set(found.keywords) == {"TOP", "WHERE", "GROUP BY", "ORDER BY"}


@pytest.mark.parametrize(
    ("feature", "query", "words"),
    [
        (
            "subqueries",
            "SELECT objectId FROM demo.Object WHERE objectId IN (SELECT visit FROM demo.ForcedSource)",
            "sub",
        ),
        ("subqueries", "SELECT x FROM (SELECT 1 AS x) AS y", "sub-queries"),
        ("set_operations", "SELECT 1 UNION SELECT 2", "UNION"),
        ("with_clause", "WITH a AS (SELECT 1 AS x) SELECT x FROM a", "WITH"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(feature: str, query: str, words: str) -> None:
    assert translate(query, CATALOG, engine=EngineCapabilities("any")).sql
    with pytest.raises(QueryError, match=f"{words}.* cannot be used with these tables"):
        translate(query, CATALOG, engine=EngineCapabilities("any", **{feature: False}))
