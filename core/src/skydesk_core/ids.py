"""64-bit identifiers of sources and objects, packed from what they belong to.

Layout of a source identifier (63 bits, sign bit never set):
16 bits day since 2000-01-01, 17 bits sequence number, 8 bits detector, 22 bits counter.
Layout of an object identifier: 17 bits tract, 14 bits patch, 32 bits counter.
"""

from __future__ import annotations

from datetime import date, timedelta

from skydesk_core.errors import UsageError

__all__ = ["pack_object_ids", "pack_source_ids", "unpack_object_id", "unpack_source_id"]

_EPOCH = date(2000, 1, 1)


def _offset(day: int) -> int:
    try:
        return (date(day // 10000, day // 100 % 100, day % 100) - _EPOCH).days
    except ValueError as error:
        raise UsageError(f"visit does not begin with a date YYYYMMDD: {day}") from error


def pack_source_ids(visit: int, detector: int, count: int, start: int = 0) -> list[int]:
    """Make identifiers for the sources of one visit and detector.

    Parameters
    ----------
    visit
        Visit identifier, ``YYYYMMDD * 100000 + sequence number``.
    detector
        Detector number, 0 to 255.
    count
        How many identifiers to make.
    start
        Counter of the first one.

    Returns
    -------
    list of int
        Identifiers that are unique over all visits and detectors.

    Raises
    ------
    UsageError
        If a part does not fit into its bits.
    """
    day, seq = divmod(visit, 100000)
    days = _offset(day)
    if not (0 <= days < 1 << 16 and 0 <= detector < 1 << 8 and start + count <= 1 << 22):
        raise UsageError(f"source identifier out of range: visit {visit}, detector {detector}, {count} rows")
    head = ((days << 17 | seq) << 8 | detector) << 22
    return [head | (start + i) for i in range(count)]


def unpack_source_id(source_id: int) -> tuple[int, int, int]:
    """Split a source identifier.

    Returns
    -------
    tuple of int
        Visit, detector, counter.
    """
    counter = source_id & (1 << 22) - 1
    detector = source_id >> 22 & 0xFF
    seq = source_id >> 30 & (1 << 17) - 1
    day = _EPOCH + timedelta(days=source_id >> 47)
    return (day.year * 10000 + day.month * 100 + day.day) * 100000 + seq, detector, counter


def pack_object_ids(tract: int, patch: int, count: int, start: int = 1) -> list[int]:
    """Make identifiers for the objects of one tract and patch.

    Parameters
    ----------
    tract, patch
        Numbers of the tract (17 bits) and of the patch (14 bits).
    count
        How many identifiers to make.
    start
        Counter of the first one; not 0 by default, because an identifier 0 reads like "none".

    Returns
    -------
    list of int
        Identifiers that are unique over all tracts and patches of a skymap.

    Raises
    ------
    UsageError
        If a part does not fit into its bits.
    """
    if not (0 <= tract < 1 << 17 and 0 <= patch < 1 << 14 and start + count <= 1 << 32):
        raise UsageError(f"object identifier out of range: tract {tract}, patch {patch}, {count} rows")
    head = (tract << 14 | patch) << 32
    return [head | (start + i) for i in range(count)]


def unpack_object_id(object_id: int) -> tuple[int, int, int]:
    """Split an object identifier.

    Returns
    -------
    tuple of int
        Tract, patch, counter.
    """
    return object_id >> 46, object_id >> 32 & (1 << 14) - 1, object_id & (1 << 32) - 1
