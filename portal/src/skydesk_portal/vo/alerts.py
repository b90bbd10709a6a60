"""Alert packets as FITS: cut-outs as images, everything else as tables."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.io import fits

__all__ = ["alert_fits", "cutouts_fits", "field_unit"]

_STAMPS = {"cutoutDifference": "DIFFIM", "cutoutScience": "SCIENCE", "cutoutTemplate": "TEMPLATE"}
_TABLES = {
    "prvDiaForcedSources": "FORCEDPHOT",
    "diaObject": "DIAOBJECT",
    "ssSource": "SSSOURCE",
    "mpc_orbits": "MPCORBIT",
}
_NULL_INT, _NULL_LONG, _NULL_BOOLEAN = -(1 << 31), -(1 << 63), 255
_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "raErr": "deg",
    "decErr": "deg",
    "x": "pixel",
    "y": "pixel",
    "exposureTime": "s",
}


def _record_of(kind: Any, named: Mapping[str, Any]) -> Any:
    if isinstance(kind, list):
        return next((r for r in (_record_of(k, named) for k in kind) if r is not None), None)
    if isinstance(kind, dict):
        return kind if kind.get("type") == "record" else _record_of(kind.get("items"), named)
    return named.get(kind) if isinstance(kind, str) else None


def _records(schema: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """List the fields of the record behind each field of the packet that has one."""
    named: dict[str, Any] = {}
    found = {}
    for field in schema["fields"]:
        record = _record_of(field["type"], named)
        if record is not None:
            named[record["name"]] = record
            found[field["name"]] = record["fields"]
    return found


def field_unit(name: str) -> str | None:
    """Return the unit of a field of a packet by its name, `None` for none."""
    if name in _UNITS:
        return _UNITS[name]
    if name.endswith("MjdTai"):
        return "d"
    flux = "Flux" in name and not any(word in name for word in ("flag", "Ndata", "Chi2", "Slope"))
    return "nJy" if flux else None


def _column(name: str, kind: Any, values: Sequence[Any]) -> fits.Column | None:
    """Make a column; None for what is no plain value."""
    plain = next((k for k in kind if k != "null"), None) if isinstance(kind, list) else kind
    if plain in ("float", "double"):
        numbers = [np.nan if v is None else v for v in values]
        return fits.Column(
            name, "E" if plain == "float" else "D", field_unit(name), array=np.array(numbers, float)
        )
    if plain in ("int", "long"):
        null, dtype = (_NULL_INT, np.int32) if plain == "int" else (_NULL_LONG, np.int64)
        whole = np.array([null if v is None else v for v in values], dtype)
        nullable = null if isinstance(kind, list) else None
        return fits.Column(name, "J" if plain == "int" else "K", field_unit(name), null=nullable, array=whole)
    if plain == "boolean":
        # FITS has no third value for a logical column.
        flags = np.array([_NULL_BOOLEAN if v is None else v for v in values], np.uint8)
        return fits.Column(name, "B", null=_NULL_BOOLEAN, array=flags)
    if plain == "string":
        words = ["" if v is None else str(v) for v in values]
        return fits.Column(name, f"{max([1, *map(len, words)])}A", array=np.array(words))
    return None


def _table(name: str, schema_fields: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> Any:
    made = [_column(f["name"], f["type"], [row[f["name"]] for row in rows]) for f in schema_fields]
    return fits.BinTableHDU.from_columns([c for c in made if c is not None], name=name)


def _stamps(record: Mapping[str, Any]) -> list[Any]:
    found = []
    for field, name in _STAMPS.items():
        if record[field] is not None:
            with fits.open(io.BytesIO(record[field])) as hdus:
                found.append(fits.ImageHDU(hdus[0].data, hdus[0].header, name=name))
    return found


def _write(hdus: list[Any]) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer, checksum=True)
    return buffer.getvalue()


def cutouts_fits(record: Mapping[str, Any]) -> bytes:
    """Write the cut-outs of an alert, one image extension each: ``DIFFIM``, ``SCIENCE``, ``TEMPLATE``.

    Parameters
    ----------
    record
        The packet.
    """
    return _write(_stamps(record))


def alert_fits(schema: Mapping[str, Any], record: Mapping[str, Any]) -> bytes:
    """Write an alert.

    Parameters
    ----------
    schema
        Avro schema of the packet.
    record
        The packet.

    Returns
    -------
    bytes
        FITS with the tables ``ALERT`` and ``DIASOURCE`` (the alert's own source first, then the earlier ones),
        ``FORCEDPHOT``, ``DIAOBJECT``, ``SSSOURCE`` and ``MPCORBIT``, and the cut-outs as `cutouts_fits` has them.
    """
    records = _records(schema)
    plain = [f for f in schema["fields"] if f["name"] not in records and f["name"] not in _STAMPS]
    sources = [record["diaSource"], *(record["prvDiaSources"] or ())]
    hdus = [_table("ALERT", plain, [record]), *_stamps(record)]
    hdus.append(_table("DIASOURCE", records["diaSource"], sources))
    for field, name in _TABLES.items():
        value = record[field]
        rows = value if isinstance(value, list) else [] if value is None else [value]
        hdus.append(_table(name, records[field], rows))
    return _write(hdus)
