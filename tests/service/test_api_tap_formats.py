"""Every format of an answer, read back by programs that know nothing of ours."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import sqlite3
import subprocess
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table

from tests.support.services import LiveServices

SYNC = "/api/tap/sync"
QUERY = (
    "SELECT TOP 60 objectId, coord_ra, r_psfFlux, refBand, refExtendedness, POINT(coord_ra, coord_dec) AS place,"
    " CAST(NULL AS INTEGER) AS nothing, CASE WHEN coord_dec > -28.1 THEN 7 ELSE NULL END AS side"
    " FROM demo.Object ORDER BY objectId"
)


def fetch(live: LiveServices, form: str, query: str = QUERY, **more: str) -> httpx.Response:
    with live.client() as client:
        response = client.post(SYNC, data={"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": form, **more})
    assert response.status_code == 200, response.text
    return response


@pytest.fixture(scope="module")
def truth(live_services: LiveServices) -> list[dict[str, object]]:
    document = fetch(live_services, "json").json()
    names = [column["name"] for column in document["metadata"]]
    return [dict(zip(names, row, strict=True)) for row in document["data"]]


def test_json_holds_identifiers_as_text(truth: list[dict[str, object]]) -> None:
    assert len(truth) == 60
    assert all(isinstance(row["objectId"], str) for row in truth)
    assert all(row["nothing"] is None for row in truth)
    assert {row["side"] for row in truth} == {7, None}


@pytest.mark.parametrize("form", ["votable", "votable/td", "application/x-votable+xml", "text/xml"])
def test_votable_in_both_serialisations(
    live_services: LiveServices, truth: list[dict[str, object]], form: str
) -> None:
    response = fetch(live_services, form)
    assert response.headers["content-type"].startswith(
        form if "/x" in form or form == "text/xml" else "application/x-votable+xml"
    )
    table = parse(io.BytesIO(response.content)).get_first_table()
    assert [str(v) for v in table.array["objectId"]] == [row["objectId"] for row in truth]
    assert np.ma.getmaskarray(table.array["side"]).tolist() == [row["side"] is None for row in truth]
    assert table.array["nothing"].mask.all()
    assert (b"BINARY2" in response.content) == (form in {"votable", "application/x-votable+xml"})


def test_fits_has_units_ucds_and_nulls(live_services: LiveServices, truth: list[dict[str, object]]) -> None:
    response = fetch(live_services, "application/fits")
    assert response.headers["content-type"] == "application/fits"
    assert len(response.content) % 2880 == 0
    with fits.open(io.BytesIO(response.content), checksum=True) as hdus:
        hdus.verify("exception")
        header, data = hdus[1].header, hdus[1].data
        assert [str(v) for v in data["objectId"]] == [row["objectId"] for row in truth]
        assert data["coord_ra"].tolist() == [row["coord_ra"] for row in truth]
        assert data["refBand"].tolist() == [row["refBand"] for row in truth]
        np.testing.assert_array_equal(data["place"][:, 0], data["coord_ra"])
        columns = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
        assert header[f"TUNIT{columns['r_psfFlux']}"] == "nJy"
        assert header[f"TUCD{columns['coord_ra']}"].startswith("pos.eq.ra")
        assert header[f"TCOMM{columns['coord_ra']}"]
        null = header[f"TNULL{columns['side']}"]
        assert data["side"].tolist() == [null if row["side"] is None else row["side"] for row in truth]
        assert header["QSTATUS"] == "OK"
    table = Table.read(io.BytesIO(response.content), format="fits")
    assert table["nothing"].mask.all()
    assert str(table["r_psfFlux"].unit) == "nJy"


def test_parquet_is_a_voparquet(live_services: LiveServices, truth: list[dict[str, object]]) -> None:
    response = fetch(live_services, "parquet", QUERY.replace("POINT(coord_ra, coord_dec) AS place, ", ""))
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    file = pq.ParquetFile(io.BytesIO(response.content))
    assert file.metadata.metadata[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    assert file.metadata.metadata[b"QUERY_STATUS"] == b"OK"
    header = ET.fromstring(file.metadata.metadata[b"IVOA.VOTable-Parquet.content"])
    assert len(header.findall(".//{*}TABLE")) == 1
    assert header.find(".//{*}DATA") is None
    table = file.read()
    assert [str(v) for v in table["objectId"].to_pylist()] == [row["objectId"] for row in truth]
    assert table["side"].to_pylist() == [row["side"] for row in truth]
    assert table.schema.field("r_psfFlux").metadata[b"unit"] == b"nJy"
    flat = fetch(
        live_services,
        "parquet",
        "SELECT TOP 9 objectId, coord_ra, r_psfFlux FROM demo.Object ORDER BY objectId",
    )
    read = Table.read(io.BytesIO(flat.content), format="parquet.votable")
    assert [str(v) for v in read["objectId"]] == [row["objectId"] for row in truth[:9]]
    assert str(read["r_psfFlux"].unit) == "nJy"


def test_sqlite_is_one_file_with_rows_and_meaning(
    live_services: LiveServices, truth: list[dict[str, object]], tmp_path: Path
) -> None:
    path = tmp_path / "result.sqlite"
    path.write_bytes(fetch(live_services, "sqlite", MAXREC="50").content)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = db.execute("SELECT objectId, coord_ra, side, typeof(objectId) FROM results").fetchall()
    assert [(str(a), b, c) for a, b, c, _ in found] == [
        (r["objectId"], r["coord_ra"], r["side"]) for r in truth[:50]
    ]
    assert {kind for _, _, _, kind in found} == {"integer"}
    assert json.loads(db.execute("SELECT place FROM results").fetchone()[0])[0] == truth[0]["coord_ra"]
    meaning = dict(db.execute("SELECT name, unit FROM columns").fetchall())
    assert (meaning["r_psfFlux"], meaning["coord_ra"]) == ("nJy", "deg")
    assert db.execute("SELECT value FROM info WHERE name='QUERY_STATUS'").fetchone() == ("OVERFLOW",)
    db.close()


def test_text_and_arrow_hold_the_same_rows(
    live_services: LiveServices, truth: list[dict[str, object]]
) -> None:
    csv = fetch(live_services, "text/csv")
    assert csv.headers["content-type"].startswith("text/csv")
    ids = [row["objectId"] for row in truth]
    assert [str(v) for v in pacsv.read_csv(io.BytesIO(csv.content))["objectId"].to_pylist()] == ids
    lines = fetch(live_services, "tsv").text.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == ids
    stream = pa.ipc.open_stream(fetch(live_services, "arrow").content).read_all()
    assert [str(v) for v in stream["objectId"].to_pylist()] == ids
    assert stream.schema.field("coord_ra").metadata[b"unit"] == b"deg"


@pytest.mark.parametrize(
    "form", ["votable", "votable/td", "csv", "tsv", "fits", "parquet", "json", "sqlite", "arrow"]
)
def test_an_answer_without_rows_is_still_whole(
    live_services: LiveServices, form: str, tmp_path: Path
) -> None:
    content = fetch(live_services, form, MAXREC="0").content
    if form.startswith("votable"):
        table = parse(io.BytesIO(content))
        assert len(table.get_first_table().array) == 0
        assert b"OVERFLOW" in content
    elif form == "fits":
        with fits.open(io.BytesIO(content)) as hdus:
            assert (hdus[1].header["NAXIS2"], hdus[1].header["QSTATUS"]) == (0, "OVERFLOW")
    elif form == "parquet":
        file = pq.ParquetFile(io.BytesIO(content))
        assert (file.metadata.num_rows, file.metadata.metadata[b"QUERY_STATUS"]) == (0, b"OVERFLOW")
    elif form == "arrow":
        assert pa.ipc.open_stream(content).read_all().num_rows == 0
    elif form == "json":
        document = json.loads(content)
        assert (document["data"], document["status"]) == ([], "OVERFLOW")
    elif form == "sqlite":
        (tmp_path / "empty.sqlite").write_bytes(content)
        assert sqlite3.connect(tmp_path / "empty.sqlite").execute(
            "SELECT count(*) FROM results"
        ).fetchone() == (0,)
    else:
        assert len(content.decode().splitlines()) == 1


def test_an_unknown_format_is_refused_with_what_there_is(live_services: LiveServices) -> None:
    with live_services.client() as client:
        response = client.get(SYNC, params={"QUERY": QUERY, "RESPONSEFORMAT": "application/pdf"})
    assert response.status_code == 400
    message = ET.fromstring(response.content).findtext(".//{*}INFO[@name='QUERY_STATUS']") or ""
    for word in ("fits", "sqlite", "application/vnd.apache.parquet", "votable/td"):
        assert word in message


def test_capabilities_list_every_format(live_services: LiveServices) -> None:
    with live_services.client() as client:
        document = ET.fromstring(client.get("/api/tap/capabilities").content)
    listed = {
        (form.findtext("mime"), form.get("ivo-id"), *sorted(a.text or "" for a in form.findall("alias")))
        for form in document.iter("outputFormat")
    }
    standard = "ivo://ivoa.net/std/TAPRegExt#output-votable-"
    assert (
        "application/x-votable+xml;serialization=binary2",
        f"{standard}binary2",
        "votable",
        "votable/b2",
    ) in listed
    assert ("application/x-votable+xml;serialization=tabledata", f"{standard}td", "votable/td") in listed
    for mime, name in (
        ("application/fits", "fits"),
        ("application/vnd.sqlite3", "sqlite"),
        ("application/json", "json"),
    ):
        assert (mime, None, name) in listed
    for mime, _, *names in listed:
        for word in (mime, *names):
            fetch(live_services, str(word), "SELECT TOP 1 objectId FROM demo.Object")


def test_gzip_is_sent_to_those_who_take_it(live_services: LiveServices) -> None:
    headers = {"Authorization": live_services.client().headers["authorization"]}
    query = {"QUERY": "SELECT * FROM demo.Object", "RESPONSEFORMAT": "csv"}

    def raw(accept: str, form: str = "csv", seen_by_proxy: str = "192.0.2.7") -> tuple[httpx.Headers, bytes]:
        with httpx.stream(
            "GET",
            live_services.url + SYNC,
            params={**query, "RESPONSEFORMAT": form},
            headers={**headers, "Accept-Encoding": accept, "X-Forwarded-For": seen_by_proxy},
            timeout=60,
        ) as response:
            return response.headers, b"".join(response.iter_raw())

    plain_headers, plain = raw("identity")
    assert "content-encoding" not in plain_headers
    for accept in ("gzip", "deflate, gzip;q=0.5", "*"):
        packed_headers, packed = raw(accept)
        assert packed_headers["content-encoding"] == "gzip"
        assert packed_headers["vary"] == "Accept-Encoding"
        assert len(packed) < len(plain) / 2
        assert gzip.decompress(packed) == plain
    assert "content-encoding" not in raw("gzip;q=0")[0]
    assert "content-encoding" not in raw("gzip", "parquet")[0]
    for near in ("127.0.0.1", "::ffff:127.0.0.1", "::1"):  # packing takes longer than sending
        assert "content-encoding" not in raw("gzip", seen_by_proxy=near)[0]
    # A stream: its first part can be read before the last has come.
    assert (
        zlib.decompressobj(31).decompress(packed[: len(packed) // 2])
        == plain[: len(zlib.decompressobj(31).decompress(packed[: len(packed) // 2]))]
    )


def test_the_result_of_a_job_has_its_format_too(worker: LiveServices) -> None:
    with worker.client() as client:
        for form, start in (("fits", b"SIMPLE"), ("sqlite", b"SQLite format 3"), ("parquet", b"PAR1")):
            made = client.post(
                "/api/tap/async",
                data={
                    "QUERY": QUERY.replace("POINT(coord_ra, coord_dec) AS place,", ""),
                    "RESPONSEFORMAT": form,
                    "PHASE": "RUN",
                    "MAXREC": "3",
                },
                follow_redirects=False,
            )
            job = made.headers["location"]
            phase = client.get(job + "/phase", params={"WAIT": "60", "PHASE": "QUEUED"}).text
            if phase == "EXECUTING":
                phase = client.get(job + "/phase", params={"WAIT": "60"}).text
            assert phase == "COMPLETED", client.get(job).text
            result = client.get(job + "/results/result")
            assert result.content.startswith(start)
            client.delete(job)


def test_stilts_reads_the_files(live_services: LiveServices, tmp_path: Path) -> None:
    stilts = shutil.which("stilts")
    if stilts is None:
        pytest.skip("there is no stilts: run make tools")
    counts = []
    for form, kind in (("fits", "fits"), ("votable", "votable"), ("csv", "csv")):
        path = tmp_path / f"table.{kind}"
        path.write_bytes(fetch(live_services, form).content)
        done = subprocess.run(
            [stilts, "tpipe", f"in={path}", f"ifmt={kind}", "cmd=keepcols 'objectId side'", "omode=out", "ofmt=csv", "out=-"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        counts.append(done.stdout)
    # Identifiers and nulls come out the same whatever the way.
    assert counts[0] == counts[1] == counts[2]
