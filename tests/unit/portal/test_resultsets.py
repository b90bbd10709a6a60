"""Kept results: what a person writes is checked, pages are those of the whole answer, nobody sees another's."""

from __future__ import annotations

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from skydesk_core.release.testing import make_synthetic_release
from skydesk_portal.config import load_config
from skydesk_portal.exceptions import NotFoundError, PortalError, QueryError, QueryTimeoutError, UsageError
from skydesk_portal.factory import create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.models.resultsets import ResultSet, ResultView
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.storage.resultsets import ResultSetStore
from skydesk_portal.testing import FakeIdentityClient

ANN, BOB = Identity("ann", frozenset(SCOPES)), Identity("bob", frozenset(SCOPES))
QUERY = "SELECT objectId, coord_ra, coord_dec, g_psfFlux, r_psfFlux, r_psfFluxErr FROM demo.Object"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results-home")
    (folder / "releases").mkdir()
    make_synthetic_release(folder / "releases" / "demo")
    return folder


@pytest.fixture(scope="module")
def factory(home):
    (home / "run").mkdir()
    settings = load_config(
        {"SKYDESK_HOME": str(home), "SKYDESK_RUN": str(home / "run"), "SKYDESK_URL": "http://localhost"}
    )
    made = create_factory(settings, FakeIdentityClient({}))
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(factory):
    return factory.create_result_set_service()


@pytest.fixture(scope="module")
def result(service) -> ResultSet:
    return service.run(ANN, QUERY)


@pytest.fixture
def explorer(service, result):
    found = service.open(ANN, result.id)
    yield found
    found.close()


@pytest.fixture(scope="module")
def frame(home):
    """The same rows straight from the release, as an independent answer."""
    with duckdb.connect(str(home / "releases/demo/catalogs.duckdb"), read_only=True) as catalog:
        return catalog.sql(QUERY.replace("demo.", "")).df()


@pytest.mark.requirement("DMS-PRTL-REQ-0089")
@pytest.mark.requirement("DMS-PRTL-REQ-0090")
@pytest.mark.requirement("DMS-PRTL-REQ-0092")
def test_pages_put_together_are_the_whole_sorted_and_filtered_result(explorer, frame):
    view = ResultView(
        columns=("r_psfFlux", "objectId"),
        filters=("r_psfFlux > 50", "objectId IS NOT NULL"),
        sort=(("r_psfFlux", True),),
    )
    expected = frame[frame.r_psfFlux > 50].sort_values("r_psfFlux", ascending=False, kind="stable")
    assert explorer.count(view) == len(expected) > 100
    shown = []
    for first in range(0, len(expected), 300):
        page = explorer.page(view, first, 300)
        assert page.table.column_names == ["r_psfFlux", "objectId"]
        assert [frame.objectId[n] for n in page.numbers] == page.table["objectId"].to_pylist()
        shown += page.table["r_psfFlux"].to_pylist()
    assert shown == expected.r_psfFlux.tolist()


def test_equal_values_neither_repeat_nor_vanish_between_pages(service):
    result = service.run(ANN, "SELECT objectId, detect_isIsolated FROM demo.Object")
    explorer = service.open(ANN, result.id)
    view = ResultView(sort=(("detect_isIsolated", False),))
    numbers = [n for first in range(0, result.rows, 400) for n in explorer.page(view, first, 400).numbers]
    explorer.close()
    assert sorted(numbers) == list(range(result.rows))


@pytest.mark.requirement("DMS-PRTL-REQ-0093")
@pytest.mark.requirement("DMS-PRTL-REQ-0091")
def test_derived_columns_follow_from_each_other_and_can_be_filtered_and_plotted(explorer, frame):
    explorer.derive([("ratio", "g_psfFlux / r_psfFlux"), ("double_ratio", "2 * ratio")])
    expected = 2 * frame.g_psfFlux.astype(float) / frame.r_psfFlux.astype(float)
    np.testing.assert_allclose(explorer.axis("double_ratio"), expected, rtol=1e-6, equal_nan=True)
    view = ResultView(filters=("double_ratio BETWEEN 1 AND 2",))
    assert explorer.count(view) == int(((expected >= 1) & (expected <= 2)).sum())
    assert explorer.matches(view.filters).sum() == explorer.count(view)
    explorer.derive([("ratio", "r_psfFlux / g_psfFlux")])
    np.testing.assert_allclose(
        explorer.axis("ratio"), frame.r_psfFlux.astype(float) / frame.g_psfFlux, rtol=1e-6, equal_nan=True
    )
    assert explorer.find_column("double_ratio") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing > 3", "line 1, column 1: unknown column `nothing`"),
        ("r_psfFlux >\n  nowhere", "line 2, column 3"),
        ("r_psfFlux", "a condition is needed"),
        ("1 = 1) OR (2 = 2", "parentheses"),
        ("1 = 1) ORDER BY (objectId", "parentheses"),
        ("objectId IN (SELECT objectId FROM demo.Object)", "sub-queries"),
        ("r_psfFlux > 1; DROP TABLE rows", "semicolon"),
        ("read_text('x') = 'y'", "read_text"),
        ("r_psfFlux > 1 -- and what follows", None),
    ],
)
def test_conditions_are_checked_by_the_front_end_and_say_where_they_are_wrong(explorer, text, words):
    if words is None:
        explorer.check_filter(text)
        return
    with pytest.raises(QueryError) as failure:
        explorer.check_filter(text)
    assert words in str(failure.value)


@pytest.mark.parametrize(("name", "text"), [
    ("objectId", "1"), ("a b", "1"), ("x", "r_psfFlux, 1"), ("x", "r_psfFlux AS y"), ("x", "COUNT(*)"), ("x", ""),
    ("x", "(SELECT 1)"),
])  # fmt: skip
def test_derived_columns_that_make_no_sense_are_refused(explorer, name, text):
    with pytest.raises(UsageError):
        explorer.derive([(name, text)])


@pytest.mark.requirement("DMS-PRTL-REQ-0094")
def test_statistics_are_those_of_scipy(explorer, frame):
    explorer.derive([("log_flux", "CASE WHEN r_psfFlux > 0 THEN LOG10(r_psfFlux) END")])
    found = explorer.describe(["log_flux"], ResultView())[0]
    flux = frame.r_psfFlux.astype(float).to_numpy()
    values = np.log10(flux[flux > 0])
    assert (found.rows, found.nulls) == (len(frame), len(frame) - len(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.median == pytest.approx(np.median(values))
    assert found.std == pytest.approx(values.std(ddof=1))
    assert found.skewness == pytest.approx(stats.skew(values, bias=False), rel=1e-6)
    assert found.kurtosis == pytest.approx(stats.kurtosis(values, bias=False), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((values.min(), values.max()))
    for fraction, value in found.quantiles:
        assert value == pytest.approx(np.quantile(values, fraction))


def test_a_column_of_nothing_has_statistics_without_values(service):
    result = service.run(
        ANN, "SELECT objectId, SQRT(-1 - ABS(r_psfFlux)) AS nan FROM demo.Object WHERE r_psfFlux > 0"
    )
    explorer = service.open(ANN, result.id)
    found = explorer.describe(["nan"], ResultView())[0]
    explorer.close()
    assert found.nulls == found.rows == result.rows > 0
    assert (found.mean, found.std, found.low) == (None, None, None)


def test_an_empty_result_is_a_result(service):
    result = service.run(ANN, "SELECT objectId, coord_ra FROM demo.Object WHERE coord_ra > 400")
    explorer = service.open(ANN, result.id)
    assert result.rows == explorer.count(ResultView()) == 0
    assert explorer.page(ResultView(sort=(("coord_ra", False),)), 0, 50).numbers == ()
    assert explorer.axis("coord_ra").size == 0
    explorer.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0095")
@pytest.mark.parametrize("form", ["csv", "parquet", "votable", "fits"])
def test_what_is_shown_is_what_is_written(service, result, frame, form):
    chosen = (np.arange(result.rows) % 3 == 0).astype(np.uint8)
    service.store.keep_subset(result, "thirds", chosen)
    view = ResultView(
        columns=("objectId", "twice"), derived=(("twice", "2 * r_psfFlux"),), filters=("r_psfFlux > 50",),
        sort=(("twice", False),), subset="thirds",
    )  # fmt: skip
    _, ending, parts = service.write(ANN, result.id, view, form)
    content = b"".join(parts)
    expected = frame[(frame.r_psfFlux > 50) & (chosen == 1)].sort_values("r_psfFlux", kind="stable")
    if form == "parquet":
        ids = pq.read_table(io.BytesIO(content))["objectId"].to_pylist()
    elif form == "csv":
        assert content.splitlines()[0] == b"objectId,twice"
        ids = [int(line.split(b",")[0]) for line in content.splitlines()[1:]]
    else:
        from astropy.table import Table

        ids = Table.read(io.BytesIO(content), format=form)["objectId"].tolist()
    assert ending == {"votable": "vot"}.get(form, form)
    assert ids == expected.objectId.tolist()


def test_a_document_may_be_read_by_a_different_thread_at_each_part(service, result, frame):
    # As a web server does that has several of them.
    parts, content = service.write(ANN, result.id, ResultView(), "csv")[2], b""
    for part in iter(lambda: ThreadPoolExecutor(1).submit(next, parts, None).result(timeout=60), None):
        content += part
    assert content.count(b"\n") == len(frame) + 1


def test_a_result_belongs_to_who_asked(service, result):
    for other in (BOB, Identity("anna", frozenset(SCOPES))):
        with pytest.raises(NotFoundError):
            service.open(other, result.id)
    for strange in ("../ann", "", "0" * 24):
        with pytest.raises(NotFoundError):
            service.get(ANN, strange)


def test_a_query_that_is_stopped_leaves_nothing(service, home):
    def stop_at_once(stop):
        stop()

    before = sorted((home / "cache" / "resultsets" / "ann").iterdir())
    with pytest.raises(QueryTimeoutError, match="aborted"):
        service.run(ANN, "SELECT a.objectId FROM demo.Object AS a, demo.Object AS b", on_start=stop_at_once)
    assert sorted((home / "cache" / "resultsets" / "ann").iterdir()) == before


def test_an_upload_can_be_joined(service, frame):
    rows = frame.objectId.iloc[[3, 5, 8]].tolist()
    content = ("objectId,label\n" + "".join(f"{n},x{n}\n" for n in rows)).encode()
    result = service.run(
        ANN,
        "SELECT o.objectId, m.label FROM demo.Object AS o JOIN TAP_UPLOAD.mine AS m ON m.objectId = o.objectId",
        uploads={"mine": content},
    )
    explorer = service.open(ANN, result.id)
    assert sorted(explorer.page(ResultView(), 0, 50).table["objectId"].to_pylist()) == sorted(rows)
    explorer.close()


@pytest.mark.requirement("DMS-PRTL-REQ-0108")
def test_a_selection_becomes_a_table_of_the_owner(factory, service, explorer, frame):
    chosen = np.array([1, 4, 9])
    tables = factory.create_table_service()
    made = tables.create_table(
        ANN, "picked", service.rows_of(explorer, ResultView(columns=("objectId",)), chosen)
    )
    found = factory.create_tap_service().run_query(ANN, f"SELECT objectId FROM {made.to_info().full_name}")
    assert sorted(found.table["objectId"].to_pylist()) == sorted(frame.objectId.iloc[chosen].tolist())


# The store by itself


def make_store(folder, limit_bytes=10**9, seconds=3600.0):
    return ResultSetStore(folder, limit_bytes, seconds)


PLAIN = (ColumnInfo("a", "long"),)


def add(store, rows=1000, columns=PLAIN, owner="ann"):
    batch = pa.RecordBatch.from_pydict(
        {c.name: np.random.default_rng(rows).integers(0, 2**60, rows) for c in columns}
    )
    return store.add(owner, "SELECT 1", columns, batch.schema, [batch], lambda: False)


def test_a_failure_on_the_way_is_raised_as_it_was_and_leaves_nothing(tmp_path):
    store = make_store(tmp_path)

    def batches():
        yield pa.RecordBatch.from_pydict({"a": [1, 2]})
        raise QueryTimeoutError("the query was stopped after 1 s")

    with pytest.raises(QueryTimeoutError, match="stopped after 1 s"):
        store.add(
            "ann", "SELECT 1", [ColumnInfo("a", "long")], pa.schema([("a", pa.int64())]), batches(), bool
        )
    assert list((tmp_path / "ann").iterdir()) == []


def test_the_longest_unused_result_makes_room(tmp_path):
    first = add(make_store(tmp_path), 100_000)
    size = sum(p.stat().st_size for p in (tmp_path / "ann" / first.id).rglob("*"))
    store = make_store(tmp_path, int(2.5 * size))
    second = add(store, 100_001)
    os.utime(tmp_path / "ann" / second.id, (time.time() - 500, time.time() - 500))
    third = add(store, 100_002)
    assert [r.id for r in store.list_all("ann")] == [third.id, first.id]
    assert store.find("ann", second.id) is None


def test_a_result_larger_than_the_quota_is_refused(tmp_path):
    with pytest.raises(PortalError, match="larger than") as failure:
        add(make_store(tmp_path, 1000), 100_000)
    assert failure.value.code == "too_large"
    assert list((tmp_path / "ann").iterdir()) == []


def test_what_nobody_looks_at_ends(tmp_path):
    store = make_store(tmp_path, seconds=100)
    old, young = add(store), add(store, 1001)
    stray = tmp_path / "ann" / "0123.part"
    stray.mkdir()
    for path, age in ((tmp_path / "ann" / old.id, 200), (stray, 2 * 24 * 3600)):
        os.utime(path, (time.time() - age, time.time() - age))
    assert store.find("ann", old.id) is None
    assert store.sweep() == 2
    assert [p.name for p in (tmp_path / "ann").iterdir()] == [young.id]


def test_a_column_called_like_the_row_number_is_renamed(tmp_path):
    found = add(make_store(tmp_path), 10, (ColumnInfo("rowid", "long"),))
    assert [c.name for c in found.columns] == ["rowid_"]


@pytest.mark.parametrize("name", ["", "1a", "a b", "and", "NOT", "../x", "a" * 32])
def test_subsets_have_plain_names(tmp_path, name):
    store = make_store(tmp_path)
    found = add(store, 10)
    with pytest.raises(UsageError):
        store.keep_subset(found, name, np.zeros(10, np.uint8))
    with pytest.raises(NotFoundError):
        store.read_subset(found, name)


def test_subsets_are_kept_with_their_result(tmp_path):
    store = make_store(tmp_path)
    found = add(store, 1003)
    mask = (np.random.default_rng(1).random(1003) < 0.3).astype(np.uint8)
    store.keep_subset(found, "some", mask)
    assert store.list_subsets(found) == ["some"]
    assert (store.read_subset(found, "some") == mask).all()
    store.remove_subset(found, "some")
    assert store.list_subsets(found) == []
