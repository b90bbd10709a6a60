"""Bulk cut-outs over HTTP: a table of positions becomes one archive with an index; kills, aborts, bad rows."""

from __future__ import annotations

import io
import os
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from astropy.table import Table
from astropy.wcs import WCS

from skydesk_core.release import Release
from skydesk_core.release.testing_images import CENTER
from skydesk_portal.config import PortalConfig, PortalSettings
from skydesk_portal.factory import Factory, create_factory
from skydesk_portal.models.identity import SCOPES, Identity
from skydesk_portal.models.jobs import Job, JobKind
from skydesk_portal.testing import FakeIdentityClient
from skydesk_portal.uws.runner import JobContext
from tests.support.services import ANN, BOB, LiveServices

BULK = "/api/cutout/bulk"
WHO = Identity("ann", frozenset(SCOPES))


def grid(n: int, step_deg: float = 0.0004) -> Table:
    """Positions around the middle of the field."""
    side = int(np.ceil(np.sqrt(n)))
    y, x = (g.ravel()[:n] for g in np.mgrid[:side, :side])
    return Table(
        {
            "id": [f"star {i}" for i in range(n)],
            "ra": CENTER[0] + (x - side / 2) * step_deg,
            "dec": CENTER[1] + (y - side / 2) * step_deg,
        }
    )


def encode(table: Table, form: str) -> bytes:
    if form == "parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({n: np.asarray(table[n]) for n in table.colnames}), sink)
        return sink.getvalue().to_pybytes()
    buffer = io.BytesIO()
    if form == "votable":
        table.write(buffer, format="votable")
        return buffer.getvalue()
    text = io.StringIO()
    table.write(text, format="csv")
    return text.getvalue().encode()


def begin(client: httpx.Client, content: bytes | None, **data: Any) -> str:
    given = {"PHASE": "RUN", **data}
    files = None
    if content is not None:
        given["UPLOAD"] = "positions,param:file"
        files = {"file": ("positions", content)}
    response = client.post(BULK, data=given, files=files, follow_redirects=False)
    assert response.status_code == 303, response.text
    return response.headers["location"]


def wait_for(client: httpx.Client, job: str, *phases: str, limit_s: float = 120) -> str:
    end = time.monotonic() + limit_s
    while (phase := client.get(job + "/phase").text) not in phases:
        assert time.monotonic() < end, (
            f"the job does not get {phases}, it is {phase}:\n{client.get(job).text}"
        )
        time.sleep(0.05)
    return phase


def fetch(client: httpx.Client, job: str) -> tuple[tarfile.TarFile, pa.Table]:
    archive = tarfile.open(fileobj=io.BytesIO(client.get(job + "/results/archive").content))  # noqa: SIM115 - in memory
    index = pq.read_table(io.BytesIO(client.get(job + "/results/index.parquet").content))
    return archive, index


@pytest.mark.requirement("DMS-API-REQ-0018")
@pytest.mark.parametrize("form", ["votable", "csv", "parquet"])
def test_a_table_of_positions_becomes_an_archive(worker: LiveServices, form: str) -> None:
    table = grid(12)
    table["size"] = [4.0 if i % 2 else 8.0 for i in range(len(table))]
    # Rows that cannot have an image are rows of the index, not failures.
    table.add_row(("far away", 10.0, 10.0, 4.0))
    table.add_row(("no position", np.nan, 10.0, 4.0))
    table.add_row(("beyond the pole", 10.0, 99.0, 4.0))
    table.add_row(("../../etc/passwd", CENTER[0], CENTER[1], 4.0))
    with worker.client() as client:
        job = begin(
            client, encode(table, form), TYPE="visit_image deep_coadd", BANDS="r", CUTOUTDETAIL="MaskedImage"
        )
        assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED", client.get(job).text
        archive, index = fetch(client, job)
        votable = parse_single_table(io.BytesIO(client.get(job + "/results/index").content)).to_table()
    rows = index.to_pylist()
    assert len(votable) == len(rows)
    assert [r["row"] for r in rows] == sorted(r["row"] for r in rows)
    assert {r["row"] for r in rows} == set(range(1, 17))
    # Every row says what became of each dataset type.
    assert {(r["row"], r["dataset_type"]) for r in rows} == {
        (n, k) for n in range(1, 17) for k in ("visit_image", "deep_coadd")
    }
    status = {r["id"]: r["status"] for r in rows}
    assert status["far away"] == "no image"
    assert status["no position"] == status["beyond the pole"] == "error"
    names = archive.getnames()
    files = [r["file_name"] for r in rows if r["file_name"]]
    assert sorted(names) == sorted([*files, "index.parquet", "index.vot"])
    assert len(set(names)) == len(names)
    assert not any(name.startswith("/") or ".." in name.split("/") for name in names)
    release = Release.open(worker.home / "releases" / "demo")
    check_pixels(archive, [r for r in rows if r["file_name"]], release)


def check_pixels(archive: tarfile.TarFile, rows: list[dict[str, Any]], release: Release) -> None:
    """Each cut-out holds the original's pixels, its position in the pixel that the index names."""
    from uuid import UUID

    originals: dict[str, Any] = {}
    with release.get_butler() as butler:
        for r in rows:
            if r["dataset_id"] not in originals:
                originals[r["dataset_id"]] = butler.get(butler.get_dataset(UUID(r["dataset_id"])))
    for r in rows:
        original = originals[r["dataset_id"]]
        member = archive.extractfile(r["file_name"])
        assert member is not None
        with fits.open(io.BytesIO(member.read())) as hdus:
            image, header = hdus["IMAGE"].data, hdus["IMAGE"].header
            assert hdus[0].header["OBJECT"] == r["id"]
        assert image.shape == (r["height"], r["width"])
        assert image.shape in {(20, 20), (40, 40)}
        px, py = WCS(header).world_to_pixel_values(r["ra"], r["dec"])
        assert (px, py) == pytest.approx((r["x"], r["y"]), abs=0.01)
        assert abs(px - image.shape[1] // 2) <= 0.51
        x0, y0 = round(-header["LTV1"]), round(-header["LTV2"])
        b = original.bbox
        if r["status"] == "ok":
            array = original.image.array[y0 - b.y.start :, x0 - b.x.start :][
                : image.shape[0], : image.shape[1]
            ]
            np.testing.assert_array_equal(image, array)
        else:
            assert r["status"] == "partial"
            assert r["message"]


def test_positions_come_from_a_query(worker: LiveServices) -> None:
    query = "SELECT objectId, coord_ra, coord_dec FROM demo.Object WHERE r_psfMag < 21.5"
    with worker.client() as client:
        job = begin(client, None, QUERY=query, SIZE="5", BANDS="r", RELEASE="demo", RESPONSEFORMAT="png")
        assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED", client.get(job).text
        archive, index = fetch(client, job)
        counted = client.post(
            "/api/tap/sync", data={"QUERY": query, "RESPONSEFORMAT": "csv"}
        ).text.splitlines()[1:]
    assert sorted(set(index.column("id").to_pylist())) == sorted(line.split(",")[0] for line in counted)
    pictures = [name for name in archive.getnames() if name.endswith(".png")]
    assert len(pictures) == sum(name is not None for name in index.column("file_name").to_pylist()) > 0


def test_positions_come_from_the_result_of_a_query_job(worker: LiveServices) -> None:
    query = "SELECT TOP 7 objectId AS id, coord_ra, coord_dec FROM demo.Object WHERE r_psfMag < 22"
    with worker.client() as client:
        made = client.post(
            "/api/tap/async", data={"QUERY": query, "PHASE": "RUN"}, follow_redirects=False
        ).headers["location"]
        assert wait_for(client, made, "COMPLETED", "ERROR") == "COMPLETED"
        job = begin(
            client,
            None,
            UPLOAD=f"mine,{made}/results/result",
            SIZE="2",
            TYPE="raw, template_coadd",
            BANDS="r",
        )
        assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED", client.get(job).text
        _, index = fetch(client, job)
    rows = index.to_pylist()
    assert len({row["id"] for row in rows}) == 7
    # Nothing can be cut out of raw images: each row says so.
    raw = [row for row in rows if row["dataset_type"] == "raw"]
    assert raw
    assert {row["status"] for row in raw} <= {"error", "no image"}
    assert all("sky coordinates" in row["message"] for row in raw if row["status"] == "error")


@pytest.mark.parametrize(
    ("data", "content", "word"),
    [
        ({}, None, "UPLOAD"),
        ({"UPLOAD": "t,param:nothing"}, None, "no part called"),
        ({"TYPE": "a;b"}, b"ra,dec\n1,2\n", "TYPE"),
        ({"SIZE": "0"}, b"ra,dec\n1,2\n", "SIZE"),
        ({"SIZE": "1e9"}, b"ra,dec\n1,2\n", "SIZE"),
        ({"RELEASE": "other"}, b"ra,dec\n1,2\n", "no release"),
        ({}, b"x,y\n1,2\n", "right ascension"),
        ({"RACOL": "z"}, b"x,y\n1,2\n", "RACOL"),
        ({}, b"ra,dec\na,b\n", "numbers"),
        ({}, b"<VOTABLE", "UPLOAD"),
        ({"RESPONSEFORMAT": "png", "CUTOUTDETAIL": "Exposure"}, b"ra,dec\n1,2\n", "Exposure"),
    ],
)
def test_what_cannot_be_done_is_said_before_there_is_a_job(
    live_services: LiveServices, data: dict[str, str], content: bytes | None, word: str
) -> None:
    given = {"PHASE": "RUN", **data}
    if content is not None:
        given["UPLOAD"] = "t,param:file"
    with live_services.client() as client:
        before = client.get(BULK).text.count("<uws:jobref")
        files = {"file": ("t", content)} if content is not None else None
        response = client.post(BULK, data=given, files=files, follow_redirects=False)
        assert response.status_code in {400, 404}, response.text
        assert word in response.text
        assert client.get(BULK).text.count("<uws:jobref") == before
    with live_services.client(BOB) as bob:
        assert bob.get(BULK).text.count("<uws:jobref") == 0


@pytest.fixture
def bench_factory(demo_home: Path, tmp_path: Path) -> Iterator[Factory]:
    """The services over the demo, to run a job step by step."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "releases").symlink_to(demo_home / "releases")
    settings = PortalSettings(
        home=home, run=home / "run", url="http://services.example", portal=PortalConfig(bulk_cutouts=500)
    )
    factory = create_factory(settings, FakeIdentityClient({ANN: WHO}))
    yield factory
    factory.close()


def attempt(factory: Factory, job: Job, number: int) -> JobContext:
    folder = factory.settings.results / job.id / f"attempt-{number}"
    folder.mkdir(parents=True)
    return JobContext(folder)


def make_job(factory: Factory, table: Table, **parameters: str) -> Job:
    return factory.create_job_service().create_job(
        WHO,
        kind=JobKind.BULK,
        parameters=[("UPLOAD", "p,param:file"), *parameters.items()],
        files={"file": encode(table, "csv")},
    )


def test_an_attempt_goes_on_where_the_one_before_was_killed(bench_factory: Factory) -> None:
    job = make_job(bench_factory, grid(40), TYPE="visit_image", SIZE="3")
    executor = bench_factory.create_executors()[JobKind.BULK]

    class KilledError(BaseException):
        """As if the process ended here."""

    first = attempt(bench_factory, job, 1)
    reported: list[int] = []
    remember = first.report

    def report(**facts: object) -> None:
        remember(**facts)
        reported.append(int(str(facts.get("done", 0))))
        if reported[-1] >= 100:
            raise KilledError

    first.report = report  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        executor.execute(job, first)
    work = bench_factory.settings.results / job.id / "work"
    made = {path.name: path.stat().st_mtime_ns for path in work.glob("part-*.json")}
    assert made
    assert not list(first.folder.glob("*.tar"))
    second = attempt(bench_factory, job, 2)
    seen: dict[str, int] = {}
    keep = second.report

    def look(**facts: object) -> None:
        keep(**facts)
        seen.update({path.name: path.stat().st_mtime_ns for path in work.glob("part-*.json")})

    second.report = look  # type: ignore[method-assign]
    results = {name: path for name, path, _ in executor.execute(job, second)}
    # What was done stayed as it was, and nothing is there twice.
    assert made.items() <= seen.items()
    with tarfile.open(results["archive"]) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    index = pq.read_table(results["index.parquet"])
    assert sorted(n for n in index.column("file_name").to_pylist() if n) == sorted(
        n for n in names if not n.startswith("index.")
    )
    assert not work.exists()
    # The same as one attempt makes without a kill.
    again = make_job(bench_factory, grid(40), TYPE="visit_image", SIZE="3")
    whole = {n: p for n, p, _ in executor.execute(again, attempt(bench_factory, again, 1))}
    assert whole["archive"].read_bytes() == results["archive"].read_bytes()


def test_cutouts_over_the_border_of_a_patch_are_whole(bench_factory: Factory) -> None:
    release = bench_factory.create_release_store().list_all()[0]
    with release.get_butler() as butler:
        name = next(iter(butler.query_datasets("deep_coadd"))).dataId["skymap"]
        tract = butler.get("skyMap", skymap=name).tract(0)
    inner = tract.patch(0).inner_bbox
    x, y = (inner.x.stop - 2, 300) if tract.n_x > 1 else (300, inner.y.stop - 2)
    ra, dec = (float(v) for v in tract.wcs.pixel_to_world_values(x, y))
    far = [float(v) for v in tract.wcs.pixel_to_world_values(-tract.border, 300)]
    table = Table({"id": ["inside", "edge"], "ra": [ra, far[0]], "dec": [dec, far[1]]})
    # Larger than the border that patches share, so that both patches are needed.
    size = 0.2 * (2 * tract.border + 60)
    job = make_job(bench_factory, table, BANDS="r", SIZE=str(size))
    results = {
        n: p
        for n, p, _ in bench_factory.create_executors()[JobKind.BULK].execute(
            job, attempt(bench_factory, job, 1)
        )
    }
    rows = {r["id"]: r for r in pq.read_table(results["index.parquet"]).to_pylist()}
    assert rows["inside"]["status"] == "ok"
    assert rows["edge"]["status"] in {"no image", "partial"}
    with tarfile.open(results["archive"]) as archive:
        member = archive.extractfile(rows["inside"]["file_name"])
        assert member is not None
        header = fits.getheader(io.BytesIO(member.read()))
    assert header["PATCHES"].split() == ["0", "1"] or len(header["PATCHES"].split()) == 2


def test_too_many_positions_name_the_limit(bench_factory: Factory) -> None:
    from skydesk_portal.exceptions import TooLargeError

    bulk = bench_factory.create_bulk_service()
    with pytest.raises(TooLargeError, match=r"500 that the setting portal\.bulk_cutouts"):
        bulk.check(WHO, [("UPLOAD", "p,param:file")], {"file": encode(grid(501), "csv")})
    job = make_job(bench_factory, grid(400), TYPE="visit_image")
    with pytest.raises(TooLargeError, match=r"cut-outs are more than the 500"):
        bench_factory.create_executors()[JobKind.BULK].execute(job, attempt(bench_factory, job, 1))
    assert not (bench_factory.settings.results / job.id / "work").exists()


def test_a_killed_worker_and_an_abort(worker: LiveServices) -> None:
    """A worker that is killed in the middle loses nothing; an aborted job ends at once and leaves nothing."""
    content = encode(grid(3000, 0.00008), "csv")
    data = {"TYPE": "visit_image", "CUTOUTDETAIL": "Exposure", "SIZE": "2"}
    with worker.client() as client:
        job = begin(client, content, **data)
        folder = worker.home / "results" / job.rsplit("/", 1)[1]
        end = time.monotonic() + 120
        # Until the first cut-outs are written.
        while not any(".tar" in path.name for path in folder.rglob("*")):
            assert time.monotonic() < end, client.get(job).text
            time.sleep(0.02)
        begun = time.monotonic()
        client.post(job + "/phase", data={"PHASE": "ABORT"})
        assert wait_for(client, job, "ABORTED") == "ABORTED"
        while any(path.suffix in {".tar", ".json"} for path in folder.rglob("*")):
            assert time.monotonic() < begun + 60, list(folder.rglob("*"))
            time.sleep(0.05)
        small = encode(grid(300), "csv")
        job = begin(client, small, TYPE="visit_image", SIZE="2")
        wait_for(client, job, "EXECUTING", "COMPLETED")
        process = worker.workers["worker-1"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        worker.start_worker("worker-1")
        assert wait_for(client, job, "COMPLETED", "ERROR") == "COMPLETED", client.get(job).text
        archive, index = fetch(client, job)
        names = Counter(archive.getnames())
        assert max(names.values()) == 1
        assert {n for n in index.column("file_name").to_pylist() if n} == {
            n for n in names if "index." not in n
        }
