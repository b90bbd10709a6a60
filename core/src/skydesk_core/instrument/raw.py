"""Raw files: what a task gets when it reads one, and how the Butler reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from astropy.io import fits
from lsst.daf.butler import FormatterV2

from skydesk_core.errors import DataError

__all__ = ["RawFormatter", "RawImage", "read_raw"]


@dataclass
class RawImage:
    """The whole readout of one detector.

    Attributes
    ----------
    array
        ADU, shape (y, x), float32, overscan included.
    header
        The FITS header of the image.
    """

    array: np.ndarray
    header: fits.Header


def read_raw(path: Path | str, *, pixels: bool = True) -> RawImage:
    """Read the first image of a FITS file.

    Parameters
    ----------
    path
        FITS file, which may be compressed by gzip.
    pixels
        Whether to read the pixels; without them the array is empty.

    Returns
    -------
    RawImage
        Pixels and the primary header with that of the image merged in.

    Raises
    ------
    DataError
        If the file is not FITS, is cut short or holds no two-dimensional image.
    """
    try:
        with fits.open(path, memmap=False, ignore_missing_simple=False) as hdus:
            for hdu in hdus:
                if hdu.header.get("NAXIS") == 2 and not isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                    header = hdus[0].header.copy()
                    if hdu is not hdus[0]:
                        header.update(hdu.header)
                    array = hdu.data.astype(np.float32) if pixels else np.empty((0, 0), np.float32)
                    return RawImage(array, header)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"{path}: not a readable FITS file ({error})") from error
    raise DataError(f"{path}: holds no two-dimensional image")


class RawFormatter(FormatterV2):
    """Reads raw files as they came from the camera; never writes them."""

    can_read_from_local_file: ClassVar[bool] = True
    default_extension: ClassVar[str] = ".fits"
    supported_extensions: ClassVar[frozenset[str]] = frozenset(
        {".fits", ".fit", ".fts", ".fits.gz", ".fits.fz"}
    )

    def read_from_local_file(self, path: str, component: str | None = None, expected_size: int = -1) -> Any:
        """Read one file; see `read_raw`."""
        return read_raw(path)
