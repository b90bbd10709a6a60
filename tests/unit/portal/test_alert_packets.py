"""What is in an alert packet, with real packets of LSSTCam and with made ones."""

import io
import json

import fastavro
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from PIL import Image

from skydesk_portal.exceptions import UsageError
from skydesk_portal.services.alert_packets import (
    AlertPacket,
    draw_stamps,
    list_epochs,
    list_fields,
    read_avro,
)


@pytest.fixture(scope="module")
def packets(test_data):
    folder = test_data / "rubin_alerts"
    schema = json.loads((folder / "alert_schema_v10_0.json").read_text())
    rows = pq.read_table(folder / "rubin_alerts_v10_0_25.parquet").to_pylist()
    return [AlertPacket(schema, row) for row in rows]


def grey(stamp):
    return np.asarray(Image.open(io.BytesIO(stamp.png)).convert("L"), float)


def as_fits(header, data):
    buffer = io.BytesIO()
    fits.PrimaryHDU(data.astype(np.float32), header).writeto(buffer)
    return buffer.getvalue()


def test_all_stamps_of_real_alerts_are_drawn_with_their_size(packets):
    assert len(packets) == 25
    for packet in packets:
        stamps = draw_stamps(packet)
        assert [s.title for s in stamps] == ["Science", "Template", "Difference"]
        for stamp in stamps:
            assert stamp.oriented
            pixels = fits.getheader(io.BytesIO(packet.record["cutoutScience"]))["NAXIS1"]
            assert stamp.side_arcsec == pytest.approx(0.2 * pixels, rel=0.01)
            assert grey(stamp).std() > 1


@pytest.mark.requirement("DMS-PRTL-REQ-0048")
def test_stamps_of_real_alerts_are_the_right_way_up(packets):
    """ROTPA is the position angle of +y of the image: what lies there must lie at that angle, east to the left."""
    for packet in packets:
        header = fits.getheader(io.BytesIO(packet.record["cutoutScience"]))
        size = header["NAXIS1"]
        data = np.zeros((size, size))
        data[int(0.75 * size) :, size // 2 - 1 : size // 2 + 1] = 100.0
        (stamp,) = draw_stamps(AlertPacket(packet.schema, {"cutoutDifference": as_fits(header, data)}))
        picture = grey(stamp)
        y, x = np.nonzero(picture > 128)
        middle = (np.array(picture.shape) - 1) / 2
        angle = np.degrees(np.arctan2(middle[1] - x.mean(), middle[0] - y.mean()))
        off = (angle - header["ROTPA"] + 180) % 360 - 180
        assert abs(off) < 4, (angle, header["ROTPA"])


@pytest.mark.parametrize("mirrored", [False, True])
def test_north_is_up_and_east_is_left_whatever_the_parity(mirrored):
    header = fits.Header({"CRPIX1": 15.5, "CRPIX2": 15.5, "CRVAL1": 40.0, "CRVAL2": 60.0})
    turn = np.radians(70)
    matrix = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * 0.2 / 3600
    if mirrored:
        matrix[:, 0] *= -1
    header.update({f"CD{i + 1}_{j + 1}": matrix[i, j] for i in range(2) for j in range(2)})
    for sky, axis in (((0.0, 2.0), "up"), ((2.0, 0.0), "left")):
        x, y = np.linalg.inv(matrix) @ (np.array(sky) / 3600) + 14.5
        data = np.zeros((30, 30))
        data[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = 1.0
        (stamp,) = draw_stamps(AlertPacket({}, {"cutoutScience": as_fits(header, data)}))
        picture = grey(stamp)
        dy, dx = (np.argwhere(picture > 128) - (np.array(picture.shape) - 1) / 2).mean(axis=0)
        assert (dy < -5 * abs(dx)) if axis == "up" else (dx < -5 * abs(dy))


def test_fields_and_epochs_of_real_alerts_are_those_of_the_packet(packets):
    for packet in packets:
        groups = {
            group.title: {row.name: row for row in group.rows}
            for group in list_fields(packet, {"snr": ("", "words")})
        }
        source = packet.record["diaSource"]
        assert groups["diaSource"].keys() == source.keys()
        assert float(groups["diaSource"]["psfFlux"].value) == pytest.approx(source["psfFlux"], rel=1e-8)
        assert groups["diaSource"]["psfFlux"].unit == "nJy"
        assert groups["diaSource"]["ra"].unit == "deg"
        assert groups["diaSource"]["snr"].description == "words"
        epochs = list_epochs(packet)
        history = [*(packet.record["prvDiaSources"] or []), *(packet.record["prvDiaForcedSources"] or [])]
        good = [row for row in history if row["psfFlux"] is not None and row["midpointMjdTai"] is not None]
        assert len(epochs) == len(good) + 1
        assert [e.mjd for e in epochs] == sorted(e.mjd for e in epochs)


def whole(schema, value):
    """Return a record with whole numbers where the schema wants them: the table has some as floats."""
    kinds = schema if isinstance(schema, list) else [schema]
    for kind in kinds:
        if value is None:
            return None
        if isinstance(kind, dict) and kind["type"] == "record" and isinstance(value, dict):
            return {f["name"]: whole(f["type"], value.get(f["name"])) for f in kind["fields"]}
        if isinstance(kind, dict) and kind["type"] == "array":
            return [whole(kind["items"], item) for item in value]
        if kind in ("int", "long"):
            return int(value)
    return value


def test_a_file_of_real_alerts_is_read_and_others_are_refused_in_a_sentence(packets):
    kept = ("diaSourceId", "diaSource", "cutoutDifference", "cutoutScience", "cutoutTemplate")
    schema = {**packets[0].schema, "fields": [f for f in packets[0].schema["fields"] if f["name"] in kept]}
    schema.pop("__fastavro_parsed", None)
    schema.pop("__named_schemas", None)
    buffer = io.BytesIO()
    fastavro.writer(buffer, schema, [whole({"type": "record", **schema}, dict(p.record)) for p in packets])
    found = read_avro(buffer.getvalue())
    assert [p.alert_id for p in found] == [p.record["diaSourceId"] for p in packets]
    other = io.BytesIO()
    fastavro.writer(
        other, {"type": "record", "name": "x", "fields": [{"name": "a", "type": "int"}]}, [{"a": 1}]
    )
    for content, words in (
        (b"nonsense", "no Avro file"),
        (buffer.getvalue()[:5000], "no Avro file"),
        (other.getvalue(), "no alerts"),
    ):
        with pytest.raises(UsageError, match=words):
            read_avro(content)


def test_damaged_stamps_are_left_out():
    record = {"cutoutScience": b"SIMPLE  = nonsense", "cutoutTemplate": None, "cutoutDifference": b""}
    assert draw_stamps(AlertPacket({}, record)) == []
