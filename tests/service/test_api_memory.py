"""No request takes the api process above 2 GB: the process is a real one, and its peak is what the kernel counted.

``make soak`` sends all of them, the suite those that took most before there were limits.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.apiprocess import ApiProcess, start_api

LIMIT_MB = 2000
SYNC = "/api/tap/sync"
LEAKS = ("duckdb", "sqlglot", "traceback", "skydesk_portal", "arrow")

type Send = Callable[[httpx.Client], httpx.Response]


@pytest.fixture(scope="module")
def api(synthetic_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    home = tmp_path_factory.mktemp("memory")
    (home / "releases").symlink_to(synthetic_home / "releases")
    with start_api(home) as running:
        yield running


def query(adql: str, **parameters: str) -> Send:
    return lambda client: client.post(SYNC, data={"QUERY": adql, **parameters})


def upload(name: str, make: Callable[[], bytes]) -> Send:
    data = {"QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f", "RESPONSEFORMAT": "csv"}
    return lambda client: client.post(SYNC, data=data, files={"f": (name, make())})


def votable(inner: bytes) -> bytes:
    return b"<VOTABLE version='1.4'><RESOURCE><TABLE>" + inner + b"</TABLE></RESOURCE></VOTABLE>"


def fields(count: int) -> bytes:
    return b"".join(b"<FIELD name='c%d' datatype='int'/>" % number for number in range(count))


def entities() -> bytes:
    """The billion laughs: each entity holds the one before twice."""
    parts = [b"<!ENTITY a0 'ha'>", *(b"<!ENTITY a%d '&a%d;&a%d;'>" % (i, i - 1, i - 1) for i in range(1, 40))]
    return b"<!DOCTYPE z [" + b"".join(parts) + b"]><VOTABLE>&a39;</VOTABLE>"


def repeated_parquet(rows: int) -> bytes:
    """A small file with very many equal rows."""
    out = io.BytesIO()
    group = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 200]))
    table = pa.table({"a": group})
    with pq.ParquetWriter(out, table.schema, compression="zstd") as writer:
        for _ in range(rows // 1_000_000):
            writer.write_table(table)
    return out.getvalue()


def doubled(times: int, tail: str) -> str:
    """A query whose text doubles again and again."""
    names = [f"a{i} AS (SELECT s || s AS s FROM a{i - 1})" for i in range(1, times)]
    first = "a0 AS (SELECT 'xxxxxxxxxxxxxxxx' || obs_id AS s FROM ivoa.ObsCore)"
    return f"WITH {', '.join([first, *names])} {tail.replace('@', f'a{times - 1}')}"


def columns(count: int) -> str:
    return ", ".join(f"a.coord_ra + {i} AS c{i}" for i in range(count))


PAIRS = "demo.Object AS a, demo.Object AS b"
LONG_ROWS = "SELECT a.s || CAST(b.objectId AS VARCHAR(20)) AS s FROM @ AS a, demo.Object AS b"
POLYGON = ", ".join(f"{53 + 2 * np.cos(t):.5f}, {-28 + 2 * np.sin(t):.5f}" for t in np.linspace(0, 6.2, 900))
REQUESTS: dict[str, tuple[Send, set[int]]] = {
    "a million fields": (upload("a.vot", lambda: votable(fields(1_000_000))), {413}),
    "a million columns": (upload("a.csv", lambda: b"c" + b",c" * 999_999 + b"\n"), {400, 413}),
    "entities": (upload("a.vot", entities), {400}),
    "nested elements": (upload("a.vot", lambda: b"<VOTABLE>" + b"<a>" * 5_000_000), {400, 413}),
    "unpacked rows": (upload("a.parquet", lambda: repeated_parquet(50_000_000)), {413}),
    "many rows": (upload("a.csv", lambda: b"a\n" + b"1\n" * 15_000_000), {200}),
    "many identifiers": (query(f"SELECT objectId FROM demo.Object WHERE objectId IN ({','.join(['1'] * 499_000)})"), {400}),
    "many columns": (query(f"SELECT {columns(30_000)} FROM demo.Object AS a"), {400}),
    "many stars": (query(f"SELECT {', '.join(['a.*'] * 5000)} FROM demo.Object AS a"), {400}),
    "many tables": (query("SELECT * FROM " + ", ".join(f"demo.Object AS t{i}" for i in range(15_000))), {400}),
    "wide rows": (query(f"SELECT {columns(2000)} FROM {PAIRS}", MAXREC="6000", RESPONSEFORMAT="parquet"), {200}),
    "long texts": (query(doubled(11, LONG_ROWS), MAXREC="8000", RESPONSEFORMAT="csv"), {200}),
    "longer texts": (query(doubled(12, LONG_ROWS), RESPONSEFORMAT="votable"), {413}),
    "texts without end": (query(doubled(26, "SELECT MAX(s) AS s FROM @")), {413}),
    "a sort": (query(f"SELECT a.*, b.coord_ra + a.coord_dec AS x FROM {PAIRS} ORDER BY x", MAXREC="1000", RESPONSEFORMAT="csv"), {200}),
    "corners": (query(f"SELECT COUNT(*) AS n FROM demo.Object WHERE 1=CONTAINS(POINT(coord_ra, coord_dec), POLYGON({POLYGON}))"), {200}),
    "nested JSON": (lambda client: client.put("/api/sharing/u-ann", content=b'{"users":' + b"[" * 3_900_000, headers={"Content-Type": "application/json"}), {400}),
    "transfer with entities": (lambda client: client.post("/api/files/transfers", content=entities(), headers={"Content-Type": "text/xml"}), {400}),
    "a node": (lambda client: client.put("/api/files/nodes/ann/x", content=b"<a>" * 2_000_000, headers={"Content-Type": "text/xml"}), {400, 413}),
    "a cut-out": (lambda client: client.post("/api/cutout/sync", data={"ID": "x", "POLYGON": "53 -28 " * 200_000}), {400}),
    "a WebDAV document": (lambda client: client.request("PROPFIND", "/files/ann/", content=b"<a>" * 300_000), {400}),
}  # fmt: skip
SOAK: dict[str, tuple[Send, set[int]]] = {
    "many texts": (upload("a.csv", lambda: b"a,b,c,d\n" + b"x,y,z,w\n" * 3_900_000), {200}),
    "rows of a document": (upload("a.vot", lambda: votable(fields(1) + b"<DATA><TABLEDATA>" + b"<TR><TD>1</TD></TR>" * 1_500_000 + b"</TABLEDATA></DATA>")), {200}),
    "nearly too many identifiers": (query(f"SELECT objectId FROM demo.Object WHERE objectId IN ({','.join(map(str, range(49_000)))})"), {200}),
    "joins": (query("SELECT COUNT(*) AS n FROM demo.Object AS t0 " + " ".join(f"JOIN demo.Object AS t{i} ON t0.objectId = t{i}.objectId" for i in range(1, 99))), {200, 400}),
    "circles": (query("SELECT COUNT(*) AS n FROM demo.Object WHERE " + " OR ".join(f"1=CONTAINS(POINT(coord_ra, coord_dec), CIRCLE({i % 360}, {i % 80}, 0.01))" for i in range(3000))), {200, 400}),
    "groups": (query("SELECT COUNT(*) AS n FROM (SELECT a.objectId, b.coord_ra, c.coord_dec, MAX(a.coord_ra) AS m FROM demo.ForcedSource AS a, demo.Object AS b, demo.Object AS c GROUP BY a.objectId, b.coord_ra, c.coord_dec) AS t"), {200, 400, 413}),
    **{f"wide rows as {form}": (query(f"SELECT {columns(2000)} FROM {PAIRS}", MAXREC="20000", RESPONSEFORMAT=form), {200}) for form in ("json", "votable/td", "csv", "tsv", "arrow", "sqlite")},
    **{f"long texts as {form}": (query(doubled(11, LONG_ROWS), MAXREC="8000", RESPONSEFORMAT=form), {200}) for form in ("json", "votable", "votable/td", "fits", "sqlite", "arrow", "parquet")},
    **{f"many rows as {form}": (query(f"SELECT a.* FROM {PAIRS}", MAXREC="2000000", RESPONSEFORMAT=form), {200}) for form in ("json", "votable", "fits", "sqlite", "parquet")},
}  # fmt: skip


def measure(api: ApiProcess, send: Send) -> tuple[httpx.Response, float]:
    api.forget_peak()
    with api.client() as client:
        answer = send(client)
    assert api.process.poll() is None, "the process has ended"
    return answer, api.read_peak_mb()


def check(api: ApiProcess, send: Send, expected: set[int]) -> None:
    answer, peak_mb = measure(api, send)
    assert answer.status_code in expected, answer.text[:300]
    if answer.status_code >= 400:
        assert not [word for word in LEAKS if word in answer.text.lower()], answer.text[:500]
    assert peak_mb < LIMIT_MB


@pytest.mark.parametrize("name", REQUESTS)
def test_a_nasty_request_does_not_take_the_memory(api: ApiProcess, name: str) -> None:
    check(api, *REQUESTS[name])


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [*SOAK, *REQUESTS])
def test_nasty_requests_one_after_another_do_not_add_up(api: ApiProcess, name: str) -> None:
    check(api, *(SOAK | REQUESTS)[name])
