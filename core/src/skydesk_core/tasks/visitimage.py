"""Build the VisitImage of a calibrated detector image, its summary and its source table."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from lsst.images import (
    BackgroundMap,
    Box,
    DetectorFrame,
    Image,
    ObservationSummaryStats,
    SkyProjection,
    VisitImage,
)
from lsst.images.fields import ChebyshevField

from skydesk_core.algorithms.astrometry import AstrometrySolution
from skydesk_core.algorithms.background import Background
from skydesk_core.algorithms.calibrate import Characterisation
from skydesk_core.algorithms.photocal import ZeroPoint
from skydesk_core.algorithms.psfstore import to_stored_psf
from skydesk_core.ids import pack_source_ids
from skydesk_core.instrument.camera import CameraDescription
from skydesk_core.instrument.observation import make_observation_info
from skydesk_core.tasks.convert import from_bits
from skydesk_core.tasks.detectors import make_detector

__all__ = ["background_field", "build_visit_image", "make_source_table", "summarise"]

_FLUX_ENDS = ("Flux", "FluxErr")
_UNITS = {
    "x": "pixel", "y": "pixel", "xErr": "pixel", "yErr": "pixel", "ra": "deg", "dec": "deg",
    "raErr": "deg", "decErr": "deg", "ra_dec_Cov": "deg2", "coord_ra": "deg", "coord_dec": "deg",
    "ixx": "pixel2", "iyy": "pixel2", "ixy": "pixel2", "ixxPSF": "pixel2", "iyyPSF": "pixel2", "ixyPSF": "pixel2",
    "psfFlux_area": "pixel", "footprintArea_value": "pixel",
}  # fmt: skip


def background_field(background: Background, scale: float, bbox: Box, unit: u.UnitBase) -> ChebyshevField:
    """Express a background as the field that images carry.

    Parameters
    ----------
    background
        Fitted background.
    scale
        Factor to the wanted unit.
    bbox
        Place of the image.
    unit
        The unit.
    """
    return ChebyshevField(bbox, np.array(background.coefficients * scale), unit=unit)


def build_visit_image(
    seen: Characterisation,
    sky: AstrometrySolution,
    zero: ZeroPoint,
    camera: CameraDescription,
    exposure: Any,
    detector: int,
    band: str,
    summary: dict[str, Any],
) -> VisitImage:
    """Build the calibrated image in nJy.

    Parameters
    ----------
    seen
        Image in electrons with its models.
    sky, zero
        Astrometric and photometric solution.
    camera
        The camera.
    exposure
        Dimension record of the exposure.
    detector
        Number of the detector.
    band
        Band.
    summary
        Result of `summarise`.
    """
    ny, nx = seen.image.shape
    box = Box.factory[0:ny, 0:nx]
    frame = DetectorFrame(instrument=exposure.instrument, visit=exposure.id, detector=detector, bbox=box)
    projection = SkyProjection.from_fits_wcs(sky.wcs, frame, pixel_bounds=box)
    scale = np.float32(zero.njy_per_unit)
    backgrounds = BackgroundMap()
    backgrounds.add(
        "preliminary",
        background_field(seen.background, float(scale), box, u.nJy),
        "Chebyshev polynomial through clipped means of cells.",
        is_subtracted=True,
    )
    known = {k: v for k, v in summary.items() if k in ObservationSummaryStats.model_fields and v is not None}
    corners = {
        "raCorners": tuple(summary[c] for c in ("llcra", "lrcra", "urcra", "ulcra")),
        "decCorners": tuple(summary[c] for c in ("llcdec", "lrcdec", "urcdec", "ulcdec")),
    }
    return VisitImage(
        Image(seen.image * scale, bbox=box, unit=u.nJy, sky_projection=projection),
        mask=from_bits(seen.bits, box, projection),
        variance=Image(seen.variance * scale**2, bbox=box, unit=u.nJy**2, sky_projection=projection),
        obs_info=make_observation_info(exposure, detector),
        summary_stats=ObservationSummaryStats(**known, **corners),
        photometric_scaling=ChebyshevField(box, np.array([[float(scale)]]), unit=u.nJy / u.electron),
        psf=to_stored_psf(seen.psf_fit.psf, box),
        detector=make_detector(camera, detector, exposure.id),
        backgrounds=backgrounds,
        band=band,
        metadata={"GAIN": float(summary["gain"]), "NJY_E": float(scale)},
    )


def summarise(
    seen: Characterisation,
    sky: AstrometrySolution,
    zero: ZeroPoint,
    exposure: Any,
    detector: int,
    band: str,
    gain: float,
) -> dict[str, Any]:
    """Summarise a calibrated detector image in one row.

    Parameters
    ----------
    seen, sky, zero
        What the calibration found.
    exposure
        Dimension record of the exposure.
    detector
        Number of the detector.
    band
        Band.
    gain
        Mean gain, e/ADU.

    Returns
    -------
    dict
        Columns under the names of the SDM table VisitDetector (sky in ADU), and
        ``nMatches``, ``astromOffsetMedian`` (arcsec), ``zeroPointScatter`` (mag), ``gain``,
        ``nPhotoStars``, ``mirrored``, ``nCosmicRayPixels``.
    """
    ny, nx = seen.image.shape
    psf = seen.psf_fit.psf
    middle = ((nx - 1) / 2, (ny - 1) / 2)
    ixx, iyy, ixy = psf.second_moments(*middle)
    sigma = psf.sigma_pixel(*middle)
    x = np.array([middle[0], -0.5, -0.5, nx - 0.5, nx - 0.5])
    y = np.array([middle[1], -0.5, ny - 0.5, ny - 0.5, -0.5])
    ra, dec = sky.wcs.all_pix2world(x, y, 0)
    area = psf.area_pixel(*middle)
    noise_njy = seen.background.noise * zero.njy_per_unit * np.sqrt(area)
    offset = np.hypot(*sky.residual_arcsec[sky.used].T)
    row: dict[str, Any] = {
        "visitId": int(exposure.id), "detector": detector, "physical_filter": exposure.physical_filter, "band": band,
        "ra": float(ra[0]), "dec": float(dec[0]), "pixelScale": sky.scale_arcsec,
        "expTime": float(exposure.exposure_time), "darkTime": float(exposure.dark_time or exposure.exposure_time),
        "zeroPoint": zero.magnitude, "psfSigma": sigma, "psfArea": area, "psfIxx": ixx, "psfIyy": iyy, "psfIxy": ixy,
        "skyBg": seen.background.level / gain, "skyNoise": seen.background.noise / gain,
        "meanVar": float(np.median(seen.variance)) / gain**2,
        "seeing": 2.3548 * sigma * sky.scale_arcsec,
        "astromOffsetMean": float(offset.mean()), "astromOffsetStd": float(offset.std()),
        "nPsfStar": int(seen.psf_fit.used.sum()), "magLim": float(31.4 - 2.5 * np.log10(5 * noise_njy)),
        "xSize": nx, "ySize": ny,
        "llcra": float(ra[1]), "llcdec": float(dec[1]), "ulcra": float(ra[2]), "ulcdec": float(dec[2]),
        "urcra": float(ra[3]), "urcdec": float(dec[3]), "lrcra": float(ra[4]), "lrcdec": float(dec[4]),
        "nMatches": sky.n_matches, "astromOffsetMedian": sky.median_residual_arcsec, "mirrored": sky.mirrored,
        "zeroPointScatter": zero.scatter_mag, "nPhotoStars": int(zero.used.sum()), "gain": gain,
        "nCosmicRayPixels": seen.cosmics,
    }  # fmt: skip
    if exposure.zenith_angle is not None:
        row["zenithDistance"] = float(exposure.zenith_angle)
    return row


def make_source_table(
    columns: dict[str, Any],
    wcs: WCS,
    njy_per_unit: float,
    visit: int,
    detector: int,
    band: str,
    physical_filter: str,
) -> Table:
    """Turn measurements into rows of the SDM table Source.

    Parameters
    ----------
    columns
        Result of `skydesk_core.algorithms.measure.measure_sources`.
    wcs
        Solution of the image.
    njy_per_unit
        Factor from the measured unit to nJy.
    visit, detector, band, physical_filter
        What the sources belong to.
    """
    n = len(columns["x"])
    ra, dec = wcs.all_pix2world(columns["x"], columns["y"], 0)
    matrix = wcs.pixel_scale_matrix
    var_x, var_y = columns["xErr"].astype(float) ** 2, columns["yErr"].astype(float) ** 2
    out: dict[str, Any] = {
        "sourceId": np.array(pack_source_ids(visit, detector, n), np.int64),
        "visit": np.full(n, visit, np.int64),
        "detector": np.full(n, detector, np.int32),
        "band": np.full(n, band),
        "physical_filter": np.full(n, physical_filter),
        "ra": ra, "dec": dec, "coord_ra": ra, "coord_dec": dec,
        "raErr": np.sqrt(matrix[0, 0] ** 2 * var_x + matrix[0, 1] ** 2 * var_y).astype(np.float32),
        "decErr": np.sqrt(matrix[1, 0] ** 2 * var_x + matrix[1, 1] ** 2 * var_y).astype(np.float32),
        "ra_dec_Cov": (matrix[0, 0] * matrix[1, 0] * var_x + matrix[0, 1] * matrix[1, 1] * var_y).astype(np.float32),
    }  # fmt: skip
    for name, values in columns.items():
        if name == "variance_value":
            out[name] = values * njy_per_unit**2
        elif name.endswith(_FLUX_ENDS):
            out[name] = values * njy_per_unit
        else:
            out[name] = values
    table = Table(out)
    for name in table.colnames:
        if name.endswith(_FLUX_ENDS):
            table[name].unit = u.nJy
        elif name in _UNITS:
            table[name].unit = u.Unit(_UNITS[name])
    return table
