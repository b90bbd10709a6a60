"""Rows of the serialisations BINARY and BINARY2 (VOTable 1.4, sections 5.3 and 5.4) as Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skydesk_portal.exceptions import UsageError

__all__ = ["BinaryField", "read_rows"]

_NUMBERS = {
    "boolean": "u1",
    "bit": "u1",
    "unsignedByte": "u1",
    "short": ">i2",
    "int": ">i4",
    "long": ">i8",
    "float": ">f4",
    "double": ">f8",
}
_ARROW = {"unsignedByte": "i2", "short": "i2", "int": "i4", "long": "i8", "float": "f4", "double": "f8"}
_TRUE, _FALSE = np.frombuffer(b"Tt1", np.uint8), np.frombuffer(b"Ff0", np.uint8)


@dataclass(frozen=True)
class BinaryField:
    """How the values of a column are written.

    Parameters
    ----------
    name, datatype
        Of the field.
    length
        Letters of a string, `None` if their number precedes them; 1 for numbers.
    null
        The integer that stands for no value, if there is one.
    """

    name: str
    datatype: str
    length: int | None = 1
    null: int | None = None

    @property
    def is_text(self) -> bool:
        """Whether the values are strings."""
        return self.datatype in {"char", "unicodeChar"}

    @property
    def width(self) -> int:
        """Bytes of a value, those before a string of variable length in its place."""
        if not self.is_text:
            return np.dtype(_NUMBERS[self.datatype]).itemsize
        return 4 if self.length is None else self.length * self.letter

    @property
    def letter(self) -> int:
        """Bytes of a letter."""
        return 2 if self.datatype == "unicodeChar" else 1


def read_rows(data: bytes, fields: Sequence[BinaryField], *, has_mask: bool) -> list[pa.Array]:
    """Read all rows.

    Parameters
    ----------
    data
        The stream, decoded.
    fields
        How the columns are written.
    has_mask
        Whether each row begins with its null flags (BINARY2).

    Returns
    -------
    list of pyarrow.Array
        One column for each field.

    Raises
    ------
    UsageError
        If the stream ends within a row.
    """
    mask_bytes = (len(fields) + 7) // 8 if has_mask else 0
    fixed = mask_bytes + sum(field.width for field in fields)
    open_ended = [i for i, field in enumerate(fields) if field.length is None]
    bytes_of = np.frombuffer(data, np.uint8)
    if open_ended:
        starts, lengths = _find_rows(data, fields, mask_bytes, open_ended)
    else:
        if len(data) % fixed:
            raise UsageError("not a VOTable: its rows end too early")
        starts, lengths = np.arange(0, len(data), fixed), {}
    hidden = np.zeros((len(starts), len(fields)), bool)
    if has_mask:
        flags = bytes_of[starts[:, None] + np.arange(mask_bytes)]
        hidden = np.unpackbits(flags, axis=1)[:, : len(fields)].astype(bool)
    at = starts + mask_bytes
    out = []
    for i, field in enumerate(fields):
        if i in lengths:
            out.append(_texts(data, at + 4, lengths[i] * field.letter, field, hidden[:, i]))
            at = at + 4 + lengths[i] * field.letter
        else:
            if field.is_text:
                out.append(_texts(data, at, np.full(len(at), field.width), field, hidden[:, i]))
            else:
                out.append(_numbers(bytes_of, at, field, hidden[:, i]))
            at = at + field.width
    return out


def _find_rows(
    data: bytes, fields: Sequence[BinaryField], mask_bytes: int, open_ended: Sequence[int]
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Find where each row begins and how many letters its strings of variable length have."""
    steps, step = [], mask_bytes
    for field in fields:
        if field.length is None:
            steps.append((step, field.letter))
            step = 0
        else:
            step += field.width
    starts: list[int] = []
    counts: list[int] = []
    place, end = 0, len(data)
    read = int.from_bytes
    while place < end:
        starts.append(place)
        for before, letter in steps:
            place += before
            count = read(data[place : place + 4], "big")
            counts.append(count)
            place += 4 + count * letter
            if place > end:
                raise UsageError("not a VOTable: its rows end too early")
        place += step
    if place != end:
        raise UsageError("not a VOTable: its rows end too early")
    table = np.array(counts, np.int64).reshape(len(starts), len(steps))
    return np.array(starts, np.int64), {i: table[:, k] for k, i in enumerate(open_ended)}


def _numbers(bytes_of: np.ndarray, at: np.ndarray, field: BinaryField, hidden: np.ndarray) -> pa.Array:
    raw = bytes_of[at[:, None] + np.arange(field.width)]
    values = np.ascontiguousarray(raw).view(_NUMBERS[field.datatype]).ravel()
    if field.datatype == "boolean":
        return pa.array(np.isin(values, _TRUE), mask=hidden | ~np.isin(values, (*_TRUE, *_FALSE)))
    if field.datatype == "bit":
        # The standard says the highest bit of the byte, astropy writes another: there is only one either way.
        return pa.array(values != 0, mask=hidden)
    values = values.astype(_ARROW[field.datatype])
    if field.null is not None and values.dtype.kind == "i":
        hidden = hidden | (values == field.null)
    if values.dtype.kind == "f":
        # In these serialisations NaN stands for no value.
        hidden = hidden | np.isnan(values)
    return pa.array(values, mask=hidden)


def _texts(
    data: bytes, at: np.ndarray, sizes: np.ndarray, field: BinaryField, hidden: np.ndarray
) -> pa.Array:
    code = "utf-16-be" if field.letter == 2 else "utf-8"
    out = []
    for start, size, skip in zip(at.tolist(), sizes.tolist(), hidden.tolist(), strict=True):
        # Strings of fixed length are filled up with zeros or blanks.
        text = None if skip else data[start : start + size].decode(code, "replace").split("\0", 1)[0]
        out.append(text if text is None or field.length is None else text.rstrip(" "))
    return pa.array(out, pa.string())
