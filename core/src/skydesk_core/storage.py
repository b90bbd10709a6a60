"""How datasets are stored: storage classes, formatters, compression recipes, and guarded library repairs."""

from __future__ import annotations

import copy
import functools
from typing import Any

import astropy.io.fits.hdu.compressed._codecs as _codecs
import lsst.images.psfs._piff as _piff
from isal import igzip
from lsst.images.formatters import GenericFormatter

__all__ = ["ImageFormatter", "apply_library_repairs", "make_repo_config"]

GZIP_LEVEL = 1
"""Level of the lossless compression by ISA-L: sixty times faster to write than zlib's 9 for 4 % more bytes."""

LOSSY_DATASET_TYPES = ("post_isr_image", "preliminary_visit_image")
"""Intermediates that are quantised to 1/16 of the noise; final products stay lossless."""


_read_struct = _piff._ArchivePiffReader.read_struct


def _read_bandpass(reader: Any, name: str) -> None:
    """Tell Piff that an archive holds no bandpass; Piff 1.7 asks for one and lsst-images does not know it."""


def _read_struct_copy(reader: Any, name: str) -> Any:
    """Hand Piff a copy: it takes entries out of what it reads, and the formatter reads a cached tree again."""
    return copy.deepcopy(_read_struct(reader, name))


def apply_library_repairs() -> None:
    """Make Astropy's tile compression fast and Piff's PSF readable; harmless when repeated.

    Notes
    -----
    The names are private to their libraries, so a test fails when one
    changes its meaning.
    """
    _codecs.gzip_compress = functools.partial(igzip.compress, compresslevel=GZIP_LEVEL)
    _codecs.gzip_decompress = igzip.decompress
    if not hasattr(_piff._ArchivePiffReader, "read_bandpass"):
        _piff._ArchivePiffReader.read_bandpass = _read_bandpass  # type: ignore[attr-defined]  # it is missing: that is repaired
    _piff._ArchivePiffReader.read_struct = _read_struct_copy  # type: ignore[assignment]
    # PiffLogger takes a name and is given a logger: whoever reads the name of a record then fails (Sentry does,
    # which the Butler server brings along).
    _piff._LOG = _piff.__name__  # type: ignore[assignment]


apply_library_repairs()


class ImageFormatter(GenericFormatter):
    """The formatter of lsst.images for types that carry a PSF.

    Importing this module repairs the reading of Piff PSFs, therefore any
    Butler that reads such a dataset works, whoever opened it.
    """


def _recipes() -> dict[str, Any]:
    lossless = {"algorithm": "GZIP_2", "tile_shape": [256, 256]}
    lossy = {
        "algorithm": "RICE_1",
        "tile_shape": [256, 256],
        "quantization": {"dither": "SUBTRACTIVE_DITHER_2", "level": 16.0},
    }
    return {
        "default": {"image": lossless, "mask": lossless, "variance": lossless},
        "lossy": {"image": lossy, "mask": lossless, "variance": lossy},
    }


def make_repo_config() -> dict[str, Any]:
    """Make the part of a Butler configuration that is skydesk's own.

    Returns
    -------
    dict
        Sections ``storageClasses`` and ``datastore`` for
        ``lsst.daf.butler.Butler.makeRepo``.
    """
    generic = "lsst.images.formatters.GenericFormatter"
    own = f"{__name__}.{ImageFormatter.__name__}"
    json = "lsst.daf.butler.formatters.json.JsonFormatter"
    formatters: dict[str, Any] = {
        "write_recipes": {generic: _recipes(), own: _recipes()},
        "SkydeskSkyMap": json,
        "CameraDescription": json,
        "RawImage": "skydesk_core.instrument.raw.RawFormatter",
        "VisitImage": own,
        "DifferenceImage": own,
        "CellCoadd": own,
    }
    for name in LOSSY_DATASET_TYPES:
        formatters[name] = {"formatter": own, "parameters": {"recipe": "lossy"}}
    return {
        "storageClasses": {
            "SkydeskSkyMap": {"pytype": "skydesk_core.skymap.SkyMap"},
            "CameraDescription": {"pytype": "skydesk_core.instrument.camera.CameraDescription"},
            "RawImage": {"pytype": "skydesk_core.instrument.raw.RawImage"},
        },
        "datastore": {"formatters": formatters},
    }
