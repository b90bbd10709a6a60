"""Alert packets of a release: one for each DIA source, in the Avro schema of the Rubin alert stream."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.time import Time

from skydesk_core.release.alerts_stamps import STAMPS, StampImages, Stamps
from skydesk_core.release.healpix import to_hp29
from skydesk_core.release.manifest import AlertsEntry

__all__ = ["AlertTables", "load_schema", "write_alerts"]

_HISTORY_DAYS = 365.0
_MAGIC = b"\0"
_NEEDED = ("diaSourceId", "visit", "detector", "midpointMjdTai", "ra", "dec", "x", "y")
_INDEX = """
CREATE TABLE alert (
  alert_id INTEGER PRIMARY KEY, dia_object_id INTEGER, visit INTEGER NOT NULL, detector INTEGER NOT NULL,
  band TEXT, midpoint_mjd_tai REAL NOT NULL, ra REAL NOT NULL, dec REAL NOT NULL, hp29 INTEGER NOT NULL,
  snr REAL, psf_flux REAL, psf_flux_err REAL, file TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  sha256 TEXT NOT NULL
) STRICT;
CREATE INDEX alert_object ON alert (dia_object_id);
CREATE INDEX alert_time ON alert (midpoint_mjd_tai, alert_id);
CREATE INDEX alert_place ON alert (hp29);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class AlertTables:
    """The published tables that packets are made of.

    Parameters
    ----------
    sources, objects, forced
        DiaSource, DiaObject and ForcedSourceOnDiaObject; the last two may be missing.
    midpoints
        Middle of the exposure by visit, MJD TAI, for the forced sources.
    ss_sources, orbits
        SSSource and mpc_orbits, where small bodies were looked for.
    """

    sources: pa.Table
    objects: pa.Table | None
    forced: pa.Table | None
    midpoints: Mapping[int, float]
    ss_sources: pa.Table | None = None
    orbits: pa.Table | None = None


def load_schema() -> tuple[int, dict[str, Any]]:
    """Load the newest alert schema.

    Returns
    -------
    tuple
        Its Confluent identifier, such as 1101 for 11.1, and the Avro schema as JSON.
    """
    from lsst.alert.packet import Schema, get_latest_schema_version

    schema = Schema.from_uri()
    major, minor = get_latest_schema_version()
    plain = {k: v for k, v in schema.definition.items() if not k.startswith("__")}
    return 100 * int(major) + int(minor), plain


def _record_of(kind: Any, named: Mapping[str, Any]) -> Any:
    """Find the record behind a field: itself, an item of an array, or one of a union."""
    if isinstance(kind, list):
        return next((r for r in (_record_of(k, named) for k in kind) if r is not None), None)
    if isinstance(kind, dict):
        return kind if kind.get("type") == "record" else _record_of(kind.get("items"), named)
    return named.get(kind) if isinstance(kind, str) else None


def _fields(schema: Mapping[str, Any], name: str) -> list[tuple[str, str, bool]]:
    """List name, Avro type and nullability of the fields of a part of the packet."""
    named: dict[str, Any] = {}
    for field in schema["fields"]:
        record = _record_of(field["type"], named)
        if record is not None:
            named[record["name"]] = record
            if field["name"] == name:
                return [
                    (
                        f["name"],
                        next((k for k in f["type"] if k != "null"), "null")
                        if isinstance(f["type"], list)
                        else f["type"],
                        isinstance(f["type"], list) and "null" in f["type"],
                    )
                    for f in record["fields"]
                ]
    raise KeyError(name)


_EMPTY: dict[str, Any] = {
    "boolean": False,
    "int": 0,
    "long": 0,
    "float": float("nan"),
    "double": float("nan"),
    "string": "",
}
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
}


def _make_records(
    fields: Sequence[tuple[str, str, bool]],
    table: pa.Table,
    renamed: Mapping[str, str],
    given: Mapping[str, Sequence[Any]],
) -> list[dict[str, Any]]:
    """Turn rows into records of the schema: what was not measured is null, or zero where null is not allowed."""
    columns: list[list[Any]] = []
    for name, kind, nullable in fields:
        source = renamed.get(name, name)
        empty = None if nullable else _EMPTY[kind]
        if name in given:
            values = list(given[name])
        elif source in table.column_names:
            values = table[source].to_pylist()
        else:
            columns.append([empty] * table.num_rows)
            continue
        make = _MAKERS[kind]
        # A value that is no number is written as null, as in the stream.
        columns.append([empty if v is None or v != v else make(v) for v in values])
    names = [f[0] for f in fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _usable(sources: pa.Table) -> pa.Table:
    """Keep the sources that say what they are, when and where; the others cannot be an alert."""
    good = np.ones(sources.num_rows, bool)
    for name in _NEEDED:
        if name not in sources.column_names:
            return sources.slice(0, 0)
        good &= np.isfinite(sources[name].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    return sources.filter(pa.array(good))


class _Packets:
    """Everything that packets are put together from."""

    def __init__(self, schema: Mapping[str, Any], tables: AlertTables, now_mjd_tai: float) -> None:
        sources = _usable(tables.sources)
        self.unusable = tables.sources.num_rows - sources.num_rows
        sources = sources.sort_by([("midpointMjdTai", "ascending"), ("diaSourceId", "ascending")])
        count = sources.num_rows
        self.sources = _make_records(
            _fields(schema, "diaSource"), sources, {}, {"timeProcessedMjdTai": [now_mjd_tai] * count}
        )
        self.by_object: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for record in self.sources:
            if record["diaObjectId"]:
                self.by_object[record["diaObjectId"]].append(record)
        self.objects: dict[int, dict[str, Any]] = {}
        if tables.objects is not None:
            validity = [now_mjd_tai] * tables.objects.num_rows
            made = _make_records(
                _fields(schema, "diaObject"), tables.objects, {}, {"validityStartMjdTai": validity}
            )
            self.objects = {r["diaObjectId"]: r for r in made}
        self.forced: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.bodies = _records_by(schema, "ssSource", tables.ss_sources, "diaSourceId")
        self.orbits = _records_by(schema, "mpc_orbits", tables.orbits, "designation")
        if tables.forced is not None and tables.forced.num_rows:
            self._read_forced(_fields(schema, "prvDiaForcedSources"), tables, now_mjd_tai)

    def _read_forced(
        self, fields: Sequence[tuple[str, str, bool]], tables: AlertTables, now_mjd_tai: float
    ) -> None:
        assert tables.forced is not None, "the caller checks"
        rows = tables.forced.sort_by(
            [("diaObjectId", "ascending"), ("visit", "ascending"), ("detector", "ascending")]
        )
        known = [v in tables.midpoints for v in rows["visit"].to_pylist()]
        rows = rows.filter(pa.array(known))
        given = {
            "diaForcedSourceId": range(1, rows.num_rows + 1),
            "midpointMjdTai": [tables.midpoints[v] for v in rows["visit"].to_pylist()],
            "timeProcessedMjdTai": [now_mjd_tai] * rows.num_rows,
        }
        renamed = {
            "psfFlux": "psfDiffFlux",
            "psfFluxErr": "psfDiffFluxErr",
            "scienceFlux": "psfFlux",
            "scienceFluxErr": "psfFluxErr",
            "ra": "coord_ra",
            "dec": "coord_dec",
        }
        for record in _make_records(fields, rows, renamed, given):
            self.forced[record["diaObjectId"]].append(record)

    def make(self, source: dict[str, Any], stamps: Stamps) -> dict[str, Any]:
        """Put a packet together."""
        key, when = source["diaObjectId"], source["midpointMjdTai"]
        history: dict[str, list[dict[str, Any]] | None] = {"source": None, "forced": None}
        if key:
            for name, records in (("source", self.by_object[key]), ("forced", self.forced.get(key, []))):
                before = [r for r in records if when - _HISTORY_DAYS <= r["midpointMjdTai"] < when]
                history[name] = before or None
        body = self.bodies.get(source["diaSourceId"])
        return {
            "diaSourceId": source["diaSourceId"],
            "observation_reason": None,
            "target_name": None,
            "diaSource": source,
            "prvDiaSources": history["source"],
            "prvDiaForcedSources": history["forced"],
            "diaObject": self.objects.get(key) if key else None,
            "ssSource": body,
            "mpc_orbits": self.orbits.get(body["designation"]) if body else None,
            **{f"cutout{kind.capitalize()}": getattr(stamps, kind) for kind in STAMPS},
        }


def _records_by(
    schema: Mapping[str, Any], part: str, table: pa.Table | None, key: str
) -> dict[Any, dict[str, Any]]:
    """Make the records of a part of the packet, by one of their fields."""
    if table is None:
        return {}
    return {r[key]: r for r in _make_records(_fields(schema, part), table, {}, {})}


def write_alerts(
    folder: Path,
    tables: AlertTables,
    images: StampImages,
    maximum: int,
    progress: Callable[[float], None] = lambda _fraction: None,
) -> AlertsEntry:
    """Write a packet for each DIA source.

    Parameters
    ----------
    folder
        The release being built; the files go to ``alerts/`` in it.
    tables
        What the packets are made of.
    images
        Where cut-outs come from.
    maximum
        Largest number of packets; the earliest sources get theirs.
    progress
        Called with the fraction that is done.

    Returns
    -------
    AlertsEntry
        Entry for the manifest.

    Notes
    -----
    ``alerts/VISIT.packets`` holds the packets of a visit one after the other in Confluent's wire format: a zero byte,
    the schema's identifier as four bytes, the Avro record. ``alerts/index.sqlite`` says where each of them lies and
    has what alerts are searched by; ``alerts/schema-ID.json`` is the schema. History in a packet ends before its
    source's exposure and goes back a year; the DIA object is that of the release.
    """
    import fastavro

    place = folder / "alerts"
    place.mkdir()
    schema_id, schema = load_schema()
    (place / f"schema-{schema_id}.json").write_text(json.dumps(schema), encoding="utf-8")
    parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
    packets = _Packets(schema, tables, float(Time.now().tai.mjd))
    chosen = packets.sources[:maximum]
    groups: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for source in chosen:
        groups[source["visit"], source["detector"]].append(source)
    head = _MAGIC + struct.pack(">I", schema_id)
    rows: list[tuple[Any, ...]] = []
    for number, ((visit, detector), sources) in enumerate(sorted(groups.items())):
        progress(number / len(groups))
        stamps = images.cut((visit, detector), [s["x"] for s in sources], [s["y"] for s in sources])
        with (place / f"{visit}.packets").open("ab") as stream:
            for source, cut in zip(sources, stamps, strict=True):
                buffer = io.BytesIO()
                buffer.write(head)
                fastavro.schemaless_writer(buffer, parsed, packets.make(source, cut))
                content = buffer.getvalue()
                rows.append(_index_row(source, f"{visit}.packets", stream.tell(), content))
                stream.write(content)
    _write_index(place / "index.sqlite", rows, schema_id)
    return AlertsEntry(len(rows), len(packets.sources) + packets.unusable - len(rows), schema_id)


def _index_row(source: Mapping[str, Any], file: str, start: int, content: bytes) -> tuple[Any, ...]:
    return (
        source["diaSourceId"],
        source["diaObjectId"],
        source["visit"],
        source["detector"],
        source["band"],
        source["midpointMjdTai"],
        source["ra"],
        source["dec"],
        int(to_hp29(source["ra"], source["dec"])[0]),
        source["snr"],
        source["psfFlux"],
        source["psfFluxErr"],
        file,
        start,
        len(content),
        hashlib.sha256(content).hexdigest(),
    )


def _write_index(path: Path, rows: Iterable[tuple[Any, ...]], schema_id: int) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(_INDEX)
        db.executemany(f"INSERT INTO alert VALUES ({', '.join('?' * 16)})", rows)
        db.executemany("INSERT INTO fact VALUES (?, ?)", [("version", "1"), ("schema_id", str(schema_id))])
    db.close()
