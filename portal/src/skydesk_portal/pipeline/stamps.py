"""Cut-outs in memory, and how they become files: FITS by hand, because Astropy takes longer than the pixels."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stamp", "card", "format_fits", "format_fits_compressed", "format_image", "render_cards"]

_BLOCK = 2880
_BITPIX = {"f4": -32, "f8": -64, "i4": 32, "i8": 64, "i2": 16, "u1": 8}


@dataclass(frozen=True)
class Stamp:
    """A cut-out.

    Parameters
    ----------
    planes
        Arrays ``image``, and ``mask`` and ``variance`` if they were asked for.
    mask_bits
        Bit of each mask plane.
    facts
        FITS cards that tell where the pixels come from.
    wcs
        FITS cards of the sky coordinates.
    """

    planes: Mapping[str, NDArray[Any]]
    mask_bits: Mapping[str, int]
    facts: str
    wcs: str


def card(name: str, value: object, comment: str = "") -> str:
    """Write one card of a FITS header.

    Parameters
    ----------
    name
        At most eight capital letters.
    value
        A string, number or truth value.
    comment
        Cut where it does not fit.

    Returns
    -------
    str
        80 characters.
    """
    if isinstance(value, bool):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, str):
        quoted = value.replace("'", "''")
        text = f"'{quoted[:66]:<8}'".ljust(20)
    elif isinstance(value, float):
        text = f"{repr(value).upper():>20}"
    else:
        text = f"{value!s:>20}"
    line = f"{name:<8}= {text}"
    if comment and len(line) < 77:
        line = f"{line} / {comment}"
    return line[:80].ljust(80)


def render_cards(items: Sequence[tuple[str, Any]]) -> str:
    """Write cards with names of any length."""
    from astropy.io import fits

    header = fits.Header()
    for name, value in items:
        header[name] = value
    text: str = header.tostring(endcard=False, padding=False)
    return text


@lru_cache(maxsize=64)
def _render_mask_bits(bits: tuple[tuple[str, int], ...]) -> str:
    return render_cards([(f"HIERARCH MP_{name}", bit) for name, bit in bits])


def _pad(content: bytes, fill: bytes) -> bytes:
    return content + fill * (-len(content) % _BLOCK)


def format_image(array: NDArray[Any], cards: str, name: str | None = None, extend: bool = False) -> bytes:
    """Write one image HDU.

    Parameters
    ----------
    array
        Pixels.
    cards
        Cards after the required ones.
    name
        Name of an extension; `None` for the primary HDU.
    extend
        Whether the primary HDU says that extensions follow.

    Returns
    -------
    bytes
        Whole blocks.
    """
    kind = array.dtype.str[1:]
    lines = [
        card("SIMPLE", True, "FITS") if name is None else card("XTENSION", "IMAGE", "image extension"),
        card("BITPIX", _BITPIX[kind] if array.size else 8),
        card("NAXIS", array.ndim if array.size else 0),
    ]
    if array.size:
        lines += [card(f"NAXIS{i + 1}", size) for i, size in enumerate(array.shape[::-1])]
    if name is None and extend:
        lines.append(card("EXTEND", True))
    if name is not None:
        lines += [card("PCOUNT", 0), card("GCOUNT", 1), card("EXTNAME", name)]
    header = "".join(lines) + cards + "END".ljust(80)
    data = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder(">")).tobytes()
    return _pad(header.encode("ascii", "replace"), b" ") + _pad(data, b"\0")


def format_fits(stamp: Stamp) -> bytes:
    """Write a cut-out as FITS.

    Parameters
    ----------
    stamp
        The cut-out.

    Returns
    -------
    bytes
        One image in the primary HDU; with mask and variance, extensions IMAGE, MASK and VARIANCE.
    """
    image = stamp.planes["image"]
    if set(stamp.planes) == {"image"}:
        return format_image(image, stamp.facts + stamp.wcs)
    unit = stamp.facts[:80]
    parts = [format_image(np.zeros(0, np.float32), stamp.facts, extend=True)]
    parts.append(format_image(image, unit + stamp.wcs, "IMAGE"))
    if "mask" in stamp.planes:
        bits = _render_mask_bits(tuple(stamp.mask_bits.items()))
        parts.append(format_image(stamp.planes["mask"], stamp.wcs + bits, "MASK"))
    if "variance" in stamp.planes:
        parts.append(format_image(stamp.planes["variance"], stamp.wcs, "VARIANCE"))
    return b"".join(parts)


def format_fits_compressed(stamp: Stamp) -> bytes:
    """Write a cut-out as FITS with lossless tile compression (GZIP_2), as ``fpack`` does."""
    from astropy.io import fits

    out = fits.HDUList()
    with fits.open(io.BytesIO(format_fits(stamp))) as plain:
        for hdu in plain:
            if hdu.data is None:
                out.append(fits.PrimaryHDU(header=hdu.header))
                continue
            if not out:
                out.append(fits.PrimaryHDU())
            name = hdu.name if hdu.name != "PRIMARY" else "IMAGE"
            # Level 0: no quantization, so that nothing is lost.
            out.append(
                fits.CompImageHDU(hdu.data, hdu.header, name, compression_type="GZIP_2", quantize_level=0.0)
            )
        buffer = io.BytesIO()
        out.writeto(buffer)
    return buffer.getvalue()
