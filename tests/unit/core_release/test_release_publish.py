import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from skydesk_core.errors import DataError, NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.release import Release, check_release, get_release, list_releases
from skydesk_core.release.manifest import check_release_name
from skydesk_core.release.publish import publish
from skydesk_core.release.remove import remove_release


@pytest.fixture(scope="module")
def published(working_home, tmp_path_factory):
    """A release of a copy of the working home; on the same file system, so that files are linked."""
    steps = []
    home = Home(tmp_path_factory.mktemp("published") / "home")
    shutil.copytree(working_home.root, home.root)
    release = publish(home, "pub", "demo/DRP", progress=lambda what, part: steps.append((what, part)))
    return release, steps, home


def query(release, sql):
    with duckdb.connect(str(release.duckdb_path), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_a_release_is_sound_and_listed(published):
    release, steps, home = published
    report = check_release(release.path)
    assert report.problems == []
    assert report.images == 12
    assert [r.name for r in list_releases(home)] == ["pub"]
    parts = [part for _, part in steps]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_images_are_linked_and_readable_by_everybody(published):
    release, _, _ = published
    with release.get_butler() as butler:
        for ref in butler.query_datasets("visit_image"):
            found = os.stat(butler.getURI(ref).ospath)
            assert found.st_nlink == 2
            assert found.st_mode & 0o444 == 0o444
            assert np.isfinite(butler.get(ref).image.array).any()
        assert butler.get("skyMap", skymap="skydesk_demo").name == "skydesk_demo"
    for path in (release.path / "catalogs.duckdb", release.path / "butler" / "gen3.sqlite3"):
        assert path.stat().st_mode & 0o777 == 0o444


def test_the_repository_needs_no_writing(published, tmp_path):
    """Whoever can only read the files gets the same answers; nothing is written beside them."""
    release, _, _ = published
    before = {p: p.stat().st_mtime_ns for p in release.path.rglob("*")}
    with release.get_butler() as butler:
        assert len(butler.query_dimension_records("visit_detector_region")) == 2
        where = "visit_detector_region.region OVERLAPS POINT(53.13, -28.10)"
        assert len(butler.query_datasets("visit_image", where=where)) == 2
    assert {p: p.stat().st_mtime_ns for p in release.path.rglob("*")} == before


def test_tables_are_sorted_and_indexed(published):
    release, _, _ = published
    assert query(release, 'SELECT count(*) FROM "ForcedSource"') == [(1800,)]
    hp29 = np.array([r[0] for r in query(release, 'SELECT hp29 FROM "Object"')])
    assert (np.diff(hp29) >= 0).all()
    assert query(release, 'SELECT bool_and(hp29 >> 30 = hp14) FROM "ForcedSource"') == [(True,)]
    indexes = {r[0] for r in query(release, "SELECT table_name || ':' || expressions FROM duckdb_indexes()")}
    assert any("ForcedSource" in i and "objectId" in i for i in indexes)
    plan = query(release, 'EXPLAIN SELECT * FROM "ForcedSource" WHERE "objectId" = 17')
    assert "ForcedSource" in str(plan)


def test_relations_hold(published):
    release, _, _ = published
    for table in release.schema():
        for key in table.foreign_keys:
            (mine,), (theirs,) = key.columns, key.target_columns
            known = f'SELECT "{theirs}" FROM "{key.target_table}"'
            lost = f'SELECT count(*) FROM "{table.name}" WHERE "{mine}" NOT IN ({known})'
            assert query(release, lost) == [(0,)], key.name
    assert any(t.foreign_keys for t in release.schema())


def test_schema_yaml_is_felis_and_says_what_the_sdm_says(published):
    from felis import Schema

    release, _, _ = published
    ours = Schema.from_uri(str(release.path / "schema.yaml"), context={"id_generation": True})
    theirs = Schema.from_uri("resource://lsst.sdm.schemas/dp1.yaml", context={"id_generation": True})
    dp1 = {t.name: {c.name: c for c in t.columns} for t in theirs.tables}
    compared = 0
    for table in ours.tables:
        for column in table.columns:
            twin = dp1.get(table.name, {}).get(column.name)
            if twin is None:
                continue
            compared += 1
            unit = twin.ivoa_unit or twin.fits_tunit
            assert (column.datatype, column.ivoa_ucd, column.ivoa_unit) == (
                twin.datatype,
                twin.ivoa_ucd,
                unit,
            )
            assert column.tap_principal == twin.tap_principal
    assert compared > 100
    assert {t.name for t in ours.tables} == {t.name for t in release.schema()}
    assert all(c.description for t in ours.tables for c in t.columns)


def test_duckdb_types_follow_the_schema(published):
    release, _, _ = published
    names = {"long": "BIGINT", "double": "DOUBLE", "float": "FLOAT", "int": "INTEGER", "short": "SMALLINT"}
    names |= {"boolean": "BOOLEAN", "char": "VARCHAR"}
    for table in release.schema():
        found = dict(
            query(
                release,
                f"SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{table.name}'",
            )
        )
        for column in table.columns:
            want = "TIMESTAMP" if column.xtype == "timestamp" else names[column.datatype]
            assert found[column.name] == want, (table.name, column.name)


def test_obscore_rows_describe_the_images(published):
    release, _, _ = published
    rows = query(
        release,
        "SELECT dataset_id, dataset_type, calib_level, s_ra, s_dec, s_fov, s_region, t_min, t_max, em_min, em_max, "
        's_xel1, access_url, obs_publisher_did, access_estsize, lsst_band, dataproduct_subtype FROM "ObsCore"',
    )
    assert len(rows) == 12
    with release.get_butler() as butler:
        for row in rows:
            assert butler.get_dataset(UUID(row[0])) is not None
            assert row[13] == f"ivo://skydesk/pub?repo=pub&id={row[0]}"
            assert row[16] == f"lsst.{row[1]}"
            if row[1] in ("bias", "flat"):
                assert row[3:9] == (None,) * 6
                continue
            assert 53.0 < row[3] < 53.3
            assert -28.2 < row[4] < -28.0
            assert 0.03 < row[5] < 0.12
            corners = [float(w) for w in row[6].removeprefix("POLYGON ICRS ").split()]
            assert len(corners) == 8
            if row[1] == "visit_image":
                assert (row[8] - row[7]) * 86400 == pytest.approx(30.0, abs=0.01)
                assert row[2] == 2
            assert row[9] < row[10] < 1.1e-6
            assert row[11] == (32 if row[1] == "raw" else 560 if "coadd" in row[1] else 1024)
            assert row[12].startswith("/api/datalink/links?ID=ivo%3A%2F%2Fskydesk")
            assert row[14] > (100 if row[1] != "raw" else 1)


def test_combined_images_have_the_times_of_what_is_in_them(published):
    release, _, _ = published
    rows = query(
        release,
        "SELECT c.t_min, c.t_max, c.t_exptime, c.t_resolution, c.target_name, c.proposal_id, min(v.t_min), max(v.t_max), "
        'c.dataset_id FROM "ObsCore" c JOIN "Provenance" p ON p.dataset_id = c.dataset_id '
        "JOIN \"ObsCore\" v ON v.dataset_id = p.input_id WHERE c.dataset_type LIKE '%_coadd' GROUP BY ALL",
    )
    assert len(rows) == 2
    for row in rows:
        assert row[:2] == row[6:8]
        assert row[2:6] == (30.0, 30.0, "ECDFS", "synthetic")


def test_provenance_is_what_the_files_record(published):
    release, _, _ = published
    rows = query(release, 'SELECT dataset_type, input_type, role, count(*) FROM "Provenance" GROUP BY ALL')
    assert set(rows) == {
        ("visit_image", "raw", "science", 2),
        ("visit_image", "bias", "calibration", 2),
        ("visit_image", "flat", "calibration", 2),
        ("difference_image", "visit_image", "science", 2),
        ("difference_image", "template_coadd", "template", 1),
        ("deep_coadd", "visit_image", "science", 1),
        ("template_coadd", "visit_image", "science", 1),
    }
    with release.get_butler() as butler:
        for image, flat in query(
            release, "SELECT dataset_id, input_id FROM \"Provenance\" WHERE input_type = 'flat'"
        ):
            ours, its = (butler.get_dataset(UUID(i)).dataId for i in (image, flat))
            visit = butler.registry.expandDataId(ours)
            assert visit["physical_filter"] == its["physical_filter"]


def test_parquet_has_the_hats_layout(published):
    release, _, _ = published
    folder = release.path / "catalogs" / "Object"
    text = (folder / "hats.properties").read_text()
    assert "hats_col_healpix=hp29" in text
    assert "hats_nrows=300" in text
    lines = (folder / "partition_info.csv").read_text().split()
    assert lines[0] == "Norder,Npix"
    total = 0
    for line in lines[1:]:
        order, pixel = map(int, line.split(","))
        path = (
            folder / "dataset" / f"Norder={order}" / f"Dir={pixel // 10000 * 10000}" / f"Npix={pixel}.parquet"
        )
        table = pq.ParquetFile(path).read()
        assert set((table["hp29"].to_numpy() >> (2 * (29 - order))).tolist()) == {pixel}
        total += table.num_rows
    assert total == 300
    metadata = pq.read_metadata(folder / "dataset" / "_metadata")
    assert metadata.num_rows == 300
    assert metadata.row_group(0).column(0).file_path.startswith("Norder=")


def test_manifest_says_what_there_is(published):
    release, _, _ = published
    m = release.manifest
    assert m.bands == ("g", "r", "i")
    assert m.skymap == "skydesk_demo"
    assert m.center_deg == pytest.approx((53.13, -28.10), abs=0.01)
    assert m.software["lsst-daf-butler"]
    assert {t.dataset_type: t.count for t in m.image_types} == {
        "raw": 2,
        "bias": 1,
        "flat": 2,
        "visit_image": 2,
        "difference_image": 2,
        "deep_coadd": 2,
        "template_coadd": 1,
    }
    from mocpy import MOC

    assert MOC.from_string(m.footprint).sky_fraction > 0
    tree = json.loads((release.path / "manifest.json").read_text())
    assert tree["format"] == 1


def test_an_existing_name_is_an_error(published):
    _, _, home = published
    with pytest.raises(UsageError, match="release 'pub' exists already"):
        publish(home, "pub", "demo/DRP")


def test_an_unknown_collection_is_an_error(working_home):
    with pytest.raises(NotFoundError, match="collection 'nix' does not exist"):
        publish(working_home, "other", "nix")
    assert not (working_home.releases / "other").exists()


def test_a_collection_without_products_is_an_error(working_home):
    with pytest.raises(DataError, match="holds no image and no table"):
        publish(working_home, "other", "skymaps")


@pytest.mark.parametrize("name", ["Demo", "1a", "a" * 32, "a-b", "ivoa", "tap_schema", "../x", ""])
def test_bad_names_are_refused(name):
    with pytest.raises(UsageError, match="release name"):
        check_release_name(name)


def test_a_failure_leaves_nothing(home_copy, monkeypatch):
    import skydesk_core.release.writer as writer

    def fail(*_args):
        raise DataError("broken pixels")

    monkeypatch.setattr(writer, "build_dataset_pyramid", fail)
    with pytest.raises(DataError, match="broken pixels"):
        publish(home_copy, "broken", "demo/DRP")
    assert list(home_copy.releases.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(home_copy, monkeypatch):
    import skydesk_core.release.writer as writer

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "build_dataset_pyramid", fail)
    with pytest.raises(DataError, match="no space left"):
        publish(home_copy, "broken", "demo/DRP")
    assert list(home_copy.releases.iterdir()) == []


def test_a_killed_publish_leaves_no_release_and_is_cleaned_up(home_copy):
    code = (
        "import os, sys; from skydesk_core.release.publish import publish\n"
        "def step(what, part):\n    if part > 0.6: os.kill(os.getpid(), 9)\n"
        "publish(sys.argv[1], 'demo', 'demo/DRP', progress=step)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home_copy.root)], check=False)
    assert done.returncode == -9
    left = [p.name for p in home_copy.releases.iterdir()]
    assert len(left) == 1
    assert re.fullmatch(r"\.demo\.building-\d+", left[0])
    assert list_releases(home_copy) == []
    assert check_release(publish(home_copy, "demo", "demo/DRP").path).ok
    assert [p.name for p in home_copy.releases.iterdir()] == ["demo"]


def test_calibrations_keep_their_validity(home_copy):
    from astropy.time import Time
    from lsst.daf.butler import CollectionType, DatasetType, Timespan

    from skydesk_core.repo import open_repo

    span = Timespan(Time(61000.0, format="mjd", scale="tai"), None)
    with open_repo(home_copy, writeable=True, run="calib/made") as butler:
        kind = DatasetType(
            "flatlike",
            ("instrument", "detector"),
            "StructuredDataDict",
            universe=butler.dimensions,
            isCalibration=True,
        )
        butler.registry.registerDatasetType(kind)
        ref = butler.put({"level": 3}, kind, instrument="SimCam", detector=0)
        butler.collections.register("SimCam/calib", CollectionType.CALIBRATION)
        butler.registry.certify("SimCam/calib", [ref], span)
        butler.collections.register("SimCam/defaults", CollectionType.CHAINED)
        butler.collections.redefine_chain("SimCam/defaults", ["SimCam/calib"])
    release = publish(home_copy, "cal", "demo/DRP")
    with release.get_butler() as butler:
        visit = butler.query_datasets("visit_image")[0].dataId["visit"]
        assert butler.get("flatlike", instrument="SimCam", detector=0, visit=visit) == {"level": 3}


def test_removing_keeps_the_working_repository(home_copy):
    publish(home_copy, "gone", "demo/DRP")
    remove_release(home_copy, "gone")
    assert list(home_copy.releases.iterdir()) == []
    again = publish(home_copy, "gone", "demo/DRP")
    assert check_release(again.path).ok
    with pytest.raises(NotFoundError, match="no release 'nix'"):
        get_release(home_copy, "nix")


def test_check_finds_what_changed(home_copy):
    release = publish(home_copy, "pub2", "demo/DRP")
    victims = ("schema.yaml", "catalogs/Object/partition_info.csv", "checksums.json")
    for victim in victims:
        path = release.path / victim
        path.chmod(0o644)
        path.write_text(path.read_text() + "\n")
    with release.get_butler() as butler:
        one, two = (Path(butler.getURI(r).ospath) for r in butler.query_datasets("visit_image"))
    one.unlink()
    content = two.read_bytes()
    two.unlink()
    two.write_bytes(content[: len(content) // 2])
    problems = check_release(release.path).problems
    assert sum(p.startswith("checksums.json is not the file") for p in problems) == 1
    assert (
        sum(p.startswith(victims[:2]) and p.endswith("has changed since it was published") for p in problems)
        == 2
    )
    assert sum("is missing" in p for p in problems) == 1
    assert sum("has changed since" in p for p in problems) == 3
    assert sum("cannot be read" in p for p in problems) == 2


def test_manifest_of_a_newer_format_is_refused(published, tmp_path):
    release, _, _ = published
    tree = json.loads((release.path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**tree, "format": 2}))
    with pytest.raises(DataError, match="release format 2 is not known"):
        Release.open(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({k: v for k, v in tree.items() if k != "bands"}))
    with pytest.raises(DataError, match="lacks or misforms an entry: 'bands'"):
        Release.open(tmp_path)
    with pytest.raises(NotFoundError, match="no release"):
        Release.open(tmp_path / "nix")


def test_a_release_of_a_newer_format_does_not_hide_the_others(synthetic_release, tmp_path, caplog):
    for name in ("old", "new"):
        (tmp_path / "releases" / name).mkdir(parents=True)
    text = (synthetic_release.path / "manifest.json").read_text()
    (tmp_path / "releases" / "old" / "manifest.json").write_text(text)
    (tmp_path / "releases" / "new" / "manifest.json").write_text(text.replace('"format": 1', '"format": 9'))
    assert [r.path.name for r in list_releases(tmp_path)] == ["old"]
    assert "release format 9 is not known" in caplog.text
    with pytest.raises(DataError, match="format 9"):
        get_release(tmp_path, "new")
