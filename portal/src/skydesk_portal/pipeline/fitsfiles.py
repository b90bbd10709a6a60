"""FITS files of people: which parts of a file are images, and the tile pyramid of one of them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.errors import SkydeskError
from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError
from skydesk_portal.pipeline import Pyramid, build_pyramid
from skydesk_portal.pipeline.sky import fit_wcs

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["FilePart", "build_part", "cut_part", "find_sky", "list_parts"]

_MOST_PARTS = 1000
_MOST_PIXELS = 1 << 27
_GOOD_ARCSEC = 0.01
_USABLE_PX = 0.5


@dataclass(frozen=True)
class FilePart:
    """One part of a FITS file.

    Parameters
    ----------
    number, name
        Place in the file from 0 and the name of the extension.
    shape
        Sizes of its axes, the fastest last; empty without pixels.
    planes
        How many two-dimensional images it holds; 0 if it cannot be shown.
    reason
        Why it cannot be shown, empty if it can.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    planes: int
    reason: str


@contextmanager
def _reading() -> Iterator[None]:
    """Say in a sentence why a file cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PortalError:
        raise
    except SkydeskError as error:
        raise UsageError(str(error)) from error
    except MemoryError as error:
        raise UsageError("the image does not fit into memory") from error
    except Exception as error:
        # Astropy raises nearly everything on damaged files; none of it may end the page.
        text = " ".join(str(error).split()).split(". ")[0][:200] or type(error).__name__
        raise UsageError(f"the file cannot be read as FITS: {text}") from error


def list_parts(path: Path) -> tuple[FilePart, ...]:
    """List the parts of a FITS file.

    Parameters
    ----------
    path
        The file, plain or compressed by gzip or bzip2.

    Raises
    ------
    UsageError
        If it is not FITS, or broken at its beginning.
    """
    from astropy.io import fits

    parts: list[FilePart] = []
    with _reading(), fits.open(path, lazy_load_hdus=True) as file:
        for number, unit in enumerate(file):
            if number >= _MOST_PARTS:
                break
            parts.append(_describe(number, unit))
    return tuple(parts)


def _describe(number: int, unit: Any) -> FilePart:
    shape = tuple(int(n) for n in (getattr(unit, "shape", ()) or ())) if unit.is_image else ()
    reason = ""
    if not unit.is_image:
        reason = "it is a table"
    elif len(shape) < 2:
        reason = "it has no pixels" if not shape or 0 in shape else "it has only one axis"
    elif 0 in shape:
        reason = "it has no pixels"
    elif shape[-1] * shape[-2] > _MOST_PIXELS:
        reason = f"it has {shape[-1]} x {shape[-2]} pixels, more than {_MOST_PIXELS}"
    planes = 0 if reason else int(np.prod(shape[:-2], dtype=np.int64))
    return FilePart(number, str(unit.name or "PRIMARY"), shape, planes, reason)


@dataclass(frozen=True)
class _Pixels:
    """What `build_pyramid` takes an image without mask and variance to be."""

    array: NDArray[np.float32]


def build_part(path: Path, number: int, plane: int, folder: Path, identity: dict[str, Any]) -> Pyramid:
    """Build the pyramid of one image of a FITS file.

    Parameters
    ----------
    path
        The file.
    number, plane
        Part of the file, and which of its two-dimensional images, both from 0.
    folder
        Where the pyramid goes.
    identity
        What else its ``meta.json`` says.

    Raises
    ------
    NotFoundError
        If the file has no such part or plane.
    UsageError
        If it cannot be shown.
    """
    from astropy.io import fits

    with _reading(), fits.open(path, lazy_load_hdus=True) as file:
        try:
            unit = file[number]
        except IndexError as error:
            raise NotFoundError(f"the file has no part {number}") from error
        part = _describe(number, unit)
        if part.reason:
            raise UsageError(f"part {number} of the file cannot be shown: {part.reason}")
        if not 0 <= plane < part.planes:
            raise NotFoundError(
                f"part {number} of the file has {part.planes} planes, none has number {plane}"
            )
        data = np.asarray(unit.data).reshape(-1, *part.shape[-2:])[plane]
        if not (np.issubdtype(data.dtype, np.number) and not np.iscomplexobj(data)):
            raise UsageError(f"part {number} of the file holds {data.dtype}, not real numbers")
        header = unit.header
        cards = header.tostring(sep="\n", padding=False)
        sky = _find_mapping(cards, file)
        fit = None if sky is None else _try_fit(sky, part.shape[-2:])
        exact = fit is not None and fit["max_error_arcsec"] <= _GOOD_ARCSEC
        facts = {
            **identity,
            "unit": str(header.get("BUNIT", "")).strip(),
            "wcs_fit": fit,
            "sky_by_request": sky is not None and not exact,
            "fits_header": cards if sky is not None else None,
        }
        return build_pyramid(_Pixels(np.ascontiguousarray(data, np.float32)), folder, facts, None)


def _find_mapping(cards: str, file: Any = None) -> WCS | None:
    """Return the celestial part of a header's WCS, `None` if there is none that can be used."""
    from astropy.io import fits
    from astropy.wcs import WCS

    try:
        found = WCS(fits.Header.fromstring(cards, sep="\n"), fobj=file).celestial
        return found if found.naxis == 2 and found.has_celestial else None
    except Exception:  # noqa: BLE001 - a broken WCS raises nearly everything; the pixels are shown without it
        return None


def _to_icrs(wcs: WCS, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ICRS degrees of 0-based pixels, NaN where there are none."""
    sky = wcs.pixel_to_world(np.asarray(x, float), np.asarray(y, float)).icrs
    return np.asarray(sky.ra.deg, float), np.asarray(sky.dec.deg, float)


def _try_fit(wcs: WCS, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """Fit polynomials if the image is small on the sky and they follow its mapping."""
    ny, nx = shape
    try:
        with np.errstate(all="ignore"):
            x = np.array([0, nx - 1, 0, nx - 1, (nx - 1) / 2], float)
            y = np.array([0, 0, ny - 1, ny - 1, (ny - 1) / 2], float)
            ra, dec = np.radians(_to_icrs(wcs, x, y))
            unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
            if not np.isfinite(unit).all() or (unit[:, :4].T @ unit[:, 4]).min() < 0.5:
                return None
            fit = fit_wcs(lambda a, b: _to_icrs(wcs, a, b), (ny, nx))
    except (ValueError, np.linalg.LinAlgError):
        return None
    return fit if np.isfinite(fit["max_error_px"]) and fit["max_error_px"] < _USABLE_PX else None


def find_sky(pyramid: Pyramid, x: float, y: float) -> tuple[float, float] | None:
    """Return the ICRS position of a 0-based pixel after the full WCS of the file; `None` where there is none."""
    cards = pyramid.meta.get("fits_header")
    wcs = _find_mapping(cards) if cards else None
    if wcs is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ra, dec = _to_icrs(wcs, x, y)
    return (float(ra), float(dec)) if np.isfinite(ra + dec) else None


def cut_part(pyramid: Pyramid, box: tuple[int, int, int, int]) -> bytes:
    """Cut a box of pixels out of an image of a file.

    Parameters
    ----------
    pyramid
        The image.
    box
        First column and row, last column and row (both included), 0-based.

    Returns
    -------
    bytes
        A FITS file with the WCS of the part.

    Raises
    ------
    UsageError
        If the box lies off the image.
    """
    from astropy.io import fits

    ny, nx = pyramid.shape
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], nx - 1), min(box[3], ny - 1)
    if x0 > x1 or y0 > y1:
        raise UsageError("the box to cut out lies off the image")
    header = fits.Header()
    cards = pyramid.meta.get("fits_header")
    wcs = _find_mapping(cards) if cards else None
    with _reading():
        if wcs is not None:
            header = wcs[y0 : y1 + 1, x0 : x1 + 1].to_header(relax=True)
        if pyramid.unit:
            header["BUNIT"] = pyramid.unit
        out = io.BytesIO()
        pixels = np.array(pyramid.array("image", pyramid.levels - 1)[y0 : y1 + 1, x0 : x1 + 1])
        fits.PrimaryHDU(pixels, header).writeto(out)
    return out.getvalue()
