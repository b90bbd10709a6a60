"""Alert packets that publishing makes, read with the libraries of the alert stream."""

import hashlib
import io
import sqlite3
import struct

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import CCDData
from lsst.alert.packet import Schema

from skydesk_core.config import PublishConfig
from skydesk_core.release import Release
from skydesk_core.release.alerts import AlertTables, load_schema, write_alerts
from skydesk_core.release.alerts_check import check_alerts
from skydesk_core.release.alerts_stamps import StampImages, encode_stamp
from skydesk_core.release.publish import publish


@pytest.fixture(scope="module")
def published(working_home, tmp_path_factory):
    from shutil import copytree

    from skydesk_core.home import Home

    root = tmp_path_factory.mktemp("alerts") / "home"
    copytree(working_home.root, root)
    return publish(Home(root), "pub", "demo/DRP", settings=PublishConfig(hips=False, alert_stamp_pixels=31))


def read_all(folder):
    schema = Schema.from_uri()
    with sqlite3.connect(folder / "index.sqlite") as db:
        db.row_factory = sqlite3.Row
        for row in db.execute("SELECT * FROM alert ORDER BY midpoint_mjd_tai, alert_id").fetchall():
            raw = (folder / row["file"]).read_bytes()[row["start"] : row["start"] + row["length"]]
            assert hashlib.sha256(raw).hexdigest() == row["sha256"]
            assert raw[0] == 0
            assert struct.unpack(">I", raw[1:5])[0] == 1101
            record = schema.deserialize(raw[5:])
            assert schema.validate(record)
            yield row, record


def test_every_dia_source_has_a_packet_with_its_own_values(published):
    with duckdb.connect(str(published.duckdb_path), read_only=True) as con:
        table = con.sql('SELECT * FROM "DiaSource"').to_arrow_table()
    expected = {row["diaSourceId"]: row for row in table.to_pylist()}
    found = list(read_all(published.path / "alerts"))
    assert published.manifest.alerts.count == len(found) == len(expected)
    assert published.manifest.alerts.left_out == 0
    shared = [n for n in table.column_names if n in found[0][1]["diaSource"]]
    assert {"diaSourceId", "ra", "dec", "psfFlux", "psfFluxErr", "snr", "midpointMjdTai", "band"} <= set(
        shared
    )
    for row, record in found:
        source = record["diaSource"]
        assert record["diaSourceId"] == row["alert_id"] == source["diaSourceId"]
        for name in shared:
            wanted = expected[row["alert_id"]][name]
            assert source[name] == (wanted if isinstance(wanted, str) else pytest.approx(wanted, rel=1e-6)), (
                name
            )
        assert (row["ra"], row["dec"], row["band"]) == (source["ra"], source["dec"], source["band"])


def test_history_ends_before_the_alert(published):
    longest = 0
    for _, record in read_all(published.path / "alerts"):
        source = record["diaSource"]
        assert record["diaObject"]["diaObjectId"] == source["diaObjectId"]
        for name in ("prvDiaSources", "prvDiaForcedSources"):
            for earlier in record[name] or ():
                assert earlier["diaObjectId"] == source["diaObjectId"]
                assert 0 < source["midpointMjdTai"] - earlier["midpointMjdTai"] <= 365
        longest = max(longest, len(record["prvDiaSources"] or ()))
    assert longest >= 2


def test_stamps_show_the_source_in_the_middle(published):
    with_images = 0
    images = {}
    with published.get_butler() as butler:
        for row, record in read_all(published.path / "alerts"):
            if record["cutoutDifference"] is None:
                continue
            key = {"instrument": "SimCam", "visit": row["visit"], "detector": row["detector"]}
            if row["visit"] not in images:
                images[row["visit"]] = butler.get("difference_image", key).image.array
            image = images[row["visit"]]
            stamp = CCDData.read(io.BytesIO(record["cutoutDifference"]))
            assert str(stamp.unit) == "nJy"
            assert stamp.shape == (31, 31)
            x, y = round(record["diaSource"]["x"]), round(record["diaSource"]["y"])
            if not (0 <= x < image.shape[1] and 0 <= y < image.shape[0]):
                # The invented sky is larger than the image.
                assert np.isnan(stamp.data[15, 15])
                continue
            with_images += 1
            assert stamp.data[15, 15] == pytest.approx(image[y, x], nan_ok=True)
            at = SkyCoord(record["diaSource"]["ra"], record["diaSource"]["dec"], unit="deg")
            px, py = stamp.wcs.world_to_pixel(at)
            assert px == pytest.approx(15 + record["diaSource"]["x"] - x, abs=0.01)
            assert py == pytest.approx(15 + record["diaSource"]["y"] - y, abs=0.01)
            # The whole stamp, not only its middle, lies where its header says.
            wide = fits.Header.fromstring(record["cutoutScience"][:2880].decode())
            assert wide["CD1_1"] == stamp.wcs.wcs.cd[0, 0]
            # There is no warped template in this repository.
            assert record["cutoutTemplate"] is None
    assert with_images > 3


def test_stamps_at_the_edge_are_filled_with_nan(published):
    header = {"BUNIT": "nJy"}
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    with fits.open(io.BytesIO(encode_stamp(data, header))) as hdus:
        hdus.verify("exception")
        assert (hdus[0].data == data).all()
        assert hdus[0].header["BUNIT"] == "nJy"


def test_no_more_packets_than_allowed(tmp_path):
    sources = pa.table(
        {
            "diaSourceId": [3, 1, 2],
            "diaObjectId": pa.array([None, 7, 7], pa.int64()),
            "visit": [2026010100001] * 3,
            "detector": [0, 0, 0],
            "midpointMjdTai": [61000.2, 61000.0, 61000.1],
            "ra": [359.9, 0.1, 0.1],
            "dec": [-30.0, 89.9, 89.9],
            "x": [1.0, 2.0, 3.0],
            "y": [1.0, 2.0, 3.0],
            "psfFlux": [float("nan"), 5.0, 6.0],
        }
    )
    entry = write_alerts(tmp_path, AlertTables(sources, None, None, {}), StampImages({}, 31), 2)
    assert (entry.count, entry.left_out) == (2, 1)
    assert [row["alert_id"] for row, _ in read_all(tmp_path / "alerts")] == [1, 2]
    second = list(read_all(tmp_path / "alerts"))[1][1]
    assert [r["diaSourceId"] for r in second["prvDiaSources"]] == [1]
    assert second["diaObject"] is None
    whole = tmp_path / "whole"
    whole.mkdir()
    assert write_alerts(whole, AlertTables(sources, None, None, {}), StampImages({}, 31), 99).count == 3
    last = list(read_all(whole / "alerts"))[2][1]
    assert last["diaSource"]["psfFlux"] is None
    assert last["diaSource"]["diaObjectId"] is None


def test_sources_without_place_or_time_get_no_packet(tmp_path):
    good = {
        "diaSourceId": [1, 2],
        "visit": [2026010100001] * 2,
        "detector": [0, 0],
        "midpointMjdTai": pa.array([61000.0, None]),
        "ra": [10.0, 10.0],
        "dec": [-30.0, -30.0],
        "x": [1.0, 2.0],
        "y": [1.0, 2.0],
    }
    for number, (sources, count) in enumerate(((good, 1), ({k: v for k, v in good.items() if k != "x"}, 0))):
        folder = tmp_path / str(number)
        folder.mkdir()
        entry = write_alerts(folder, AlertTables(pa.table(sources), None, None, {}), StampImages({}, 31), 9)
        assert (entry.count, entry.left_out) == (count, 2 - count)
        assert [row["alert_id"] for row, _ in read_all(folder / "alerts")] == [1][:count]


def test_the_schema_is_kept_beside_the_packets(published):
    import json

    identifier, schema = load_schema()
    assert identifier == 1101
    kept = json.loads((published.path / "alerts" / "schema-1101.json").read_text())
    assert kept == json.loads(json.dumps(schema))
    assert [f["name"] for f in kept["fields"]][:4] == [
        "diaSourceId",
        "observation_reason",
        "target_name",
        "diaSource",
    ]


def test_check_finds_a_damaged_packet(published, tmp_path):
    from shutil import copytree

    folder = tmp_path / "pub"
    copytree(published.path, folder, symlinks=True)
    release = Release.open(folder)
    assert list(check_alerts(release)) == []
    path = next((folder / "alerts").glob("*.packets"))
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)
    assert any("has changed since it was published" in p for p in check_alerts(release))
