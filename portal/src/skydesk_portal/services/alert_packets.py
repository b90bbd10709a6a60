"""What is in an alert packet: its fields with units and words, its cut-outs as pictures, its light curve."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.cutouts import PictureStyle
from skydesk_portal.services.pictures import render_picture
from skydesk_portal.vo.alerts import field_unit

__all__ = [
    "MOST_PACKETS",
    "AlertPacket",
    "Epoch",
    "FieldGroup",
    "FieldRow",
    "Stamp",
    "draw_stamps",
    "list_epochs",
    "list_fields",
    "read_avro",
]

MOST_PACKETS = 1000
"""Packets that are read from one file."""

_STAMPS = (("cutoutScience", "Science"), ("cutoutTemplate", "Template"), ("cutoutDifference", "Difference"))
_STAMP_PX = 240


@dataclass(frozen=True)
class AlertPacket:
    """One packet.

    Parameters
    ----------
    schema
        Avro schema.
    record
        The content.
    """

    schema: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def source(self) -> Mapping[str, Any]:
        """The DIA source that raised the alert."""
        return self.record.get("diaSource") or {}

    @property
    def alert_id(self) -> int | None:
        """Identifier of the alert, which is that of its source."""
        return self.record.get("diaSourceId") or self.source.get("diaSourceId")


@dataclass(frozen=True)
class FieldRow:
    """One field of a packet in words."""

    name: str
    value: str
    unit: str
    description: str


@dataclass(frozen=True)
class FieldGroup:
    """The fields of one record of a packet."""

    title: str
    rows: tuple[FieldRow, ...]


@dataclass(frozen=True)
class Stamp:
    """A cut-out as a picture, north up and east left.

    Parameters
    ----------
    title
        What it is of.
    png
        The picture.
    side_arcsec
        Length of a side of the cut-out; None without sky coordinates.
    oriented
        Whether it could be turned north up.
    """

    title: str
    png: bytes
    side_arcsec: float | None
    oriented: bool


@dataclass(frozen=True)
class Epoch:
    """One measurement of the history in a packet.

    Parameters
    ----------
    mjd
        Middle of the exposure, MJD TAI.
    band
        Band.
    flux_njy, flux_err_njy
        Difference flux and its error in nJy.
    kind
        ``detection``, ``this alert`` or ``forced``.
    """

    mjd: float
    band: str
    flux_njy: float
    flux_err_njy: float
    kind: str


def read_avro(content: bytes) -> list[AlertPacket]:
    """Read the alerts of an Avro file.

    Parameters
    ----------
    content
        The file with its schema (object container).

    Returns
    -------
    list of AlertPacket
        The first `MOST_PACKETS`.

    Raises
    ------
    UsageError
        If it is no Avro file, or holds no alerts.
    """
    import fastavro

    try:
        reader: Any = fastavro.reader(io.BytesIO(content))
        packets = []
        for record in reader:
            packets.append(AlertPacket(reader.writer_schema, record))
            if len(packets) == MOST_PACKETS:
                break
    except Exception as error:
        raise UsageError(f"this is no Avro file that can be read ({type(error).__name__})") from error
    if not packets or not isinstance(packets[0].record, dict) or "diaSource" not in packets[0].record:
        raise UsageError("this Avro file holds no alerts: its records have no diaSource")
    return packets


def _write(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        return f"{len(value)} records"
    if isinstance(value, dict):
        return f"{len(value)} fields"
    return str(value)


def _record_schema(kind: Any, named: dict[str, Any]) -> Mapping[str, Any] | None:
    """Return the record behind a type: itself, in a union or the items of an array, or by its name."""
    if isinstance(kind, list):
        return next((found for k in kind if (found := _record_schema(k, named)) is not None), None)
    if isinstance(kind, str):
        return named.get(kind)
    if isinstance(kind, dict) and kind.get("type") == "record":
        named[kind["name"]] = named[kind["name"].rpartition(".")[2]] = kind
        return kind
    if isinstance(kind, dict) and kind.get("type") == "array":
        return _record_schema(kind.get("items"), named)
    return None


def _rows(
    fields: Sequence[Mapping[str, Any]], values: Mapping[str, Any], words: Mapping[str, tuple[str, str]]
) -> Iterator[FieldRow]:
    for entry in fields:
        name = entry["name"]
        unit, description = words.get(name, ("", ""))
        value = values.get(name)
        plain = not isinstance(value, list | dict | bytes)
        yield FieldRow(
            name,
            _write(value),
            (unit or field_unit(name) or "") if plain else "",
            entry.get("doc") or description,
        )


def list_fields(packet: AlertPacket, words: Mapping[str, tuple[str, str]]) -> list[FieldGroup]:
    """List the fields of a packet, record by record.

    Parameters
    ----------
    packet
        The packet.
    words
        Unit and description of columns by name, for fields that the schema does not describe.

    Returns
    -------
    list of FieldGroup
        The packet's own fields, then each record in it; of lists only how many there are.
    """
    named: dict[str, Any] = {}
    groups = []
    plain = []
    for entry in packet.schema["fields"]:
        record = _record_schema(entry["type"], named)
        value = packet.record.get(entry["name"])
        if record is not None and isinstance(value, dict):
            groups.append(FieldGroup(entry["name"], tuple(_rows(record["fields"], value, words))))
        else:
            plain.append(entry)
    return [FieldGroup("alert", tuple(_rows(plain, packet.record, words))), *groups]


def _draw(content: bytes, title: str) -> Stamp:
    from astropy.io import fits

    with fits.open(io.BytesIO(content)) as hdus:
        data, header = np.asarray(hdus[0].data, np.float32), hdus[0].header.copy()
    if data.ndim != 2 or 0 in data.shape:
        raise ValueError("a cut-out has two axes")
    oriented = "CRVAL1" in header and any(key in header for key in ("PC1_1", "CD1_1", "CDELT1"))
    side = None
    if oriented:
        # Packets leave out what the axes are; they are those of a tangential projection.
        header.setdefault("CTYPE1", "RA---TAN")
        header.setdefault("CTYPE2", "DEC--TAN")
        from astropy.wcs import WCS
        from astropy.wcs.utils import proj_plane_pixel_scales

        side = float(proj_plane_pixel_scales(WCS(header))[0]) * 3600 * data.shape[1]
    style = PictureStyle(
        limits="99.5" if title == "Difference" else "zscale", size_px=_STAMP_PX, north_up=oriented
    )
    cards = header.tostring() if oriented else ""
    return Stamp(title, render_picture(data, style, "png", cards), side, oriented)


def draw_stamps(packet: AlertPacket) -> list[Stamp]:
    """Draw the cut-outs of a packet.

    Parameters
    ----------
    packet
        The packet.

    Returns
    -------
    list of Stamp
        Science, template, difference; those that the packet lacks, or that cannot be read, are left out.
    """
    found = []
    for field, title in _STAMPS:
        content = packet.record.get(field)
        if isinstance(content, bytes) and content:
            try:
                found.append(_draw(content, title))
            except (OSError, ValueError, TypeError, IndexError, np.linalg.LinAlgError):
                continue
    return found


def _epoch(record: Mapping[str, Any], kind: str) -> Epoch | None:
    numbers = [record.get(name) for name in ("midpointMjdTai", "psfFlux", "psfFluxErr")]
    values = [math.nan if n is None else float(n) for n in numbers]
    if not all(math.isfinite(v) for v in values[:2]):
        return None
    return Epoch(values[0], str(record.get("band") or ""), values[1], values[2], kind)


def list_epochs(packet: AlertPacket) -> list[Epoch]:
    """List the difference fluxes in a packet, by time.

    Parameters
    ----------
    packet
        The packet.

    Returns
    -------
    list of Epoch
        Forced photometry, earlier detections and the alert's own.
    """
    record = packet.record
    found = [_epoch(packet.source, "this alert")]
    found += [_epoch(row, "detection") for row in record.get("prvDiaSources") or ()]
    found += [_epoch(row, "forced") for row in record.get("prvDiaForcedSources") or ()]
    return sorted((e for e in found if e is not None), key=lambda e: (e.mjd, e.kind))
