"""From the sky to the focal plane: pointing, distortion, point spread function, throughput and sky brightness."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
from astropy.table import Table

from skydesk_core.instrument.camera import CameraDescription

__all__ = ["Visit", "galaxy_stamps", "sky_electrons", "sky_to_pixel", "star_stamps", "zero_point"]

STAR_OVERSAMPLING = 4
GALAXY_OVERSAMPLING = 2
RADIAL = 8.0e-9
"""Third-order radial distortion, 1/pixel²: 3 pixels at the corner of the central detector."""
TANGENTIAL = 1.0e-7
"""Decentring distortion, 1/pixel."""

_ZERO_POINTS = {"g": 28.50, "r": 28.36, "i": 28.17}
_SKY_MAGS = {"g": 22.2, "r": 21.2, "i": 20.5}
_EXTINCTION = {"g": 0.16, "r": 0.10, "i": 0.07}


@dataclass(frozen=True)
class Visit:
    """One simulated visit.

    Attributes
    ----------
    mjd
        Begin of the exposure, MJD (TAI).
    band
        Its band.
    seq_num
        Counter within the night.
    exposure_s
        Exposure time.
    ra_deg, dec_deg, rotation_deg
        Pointing as the header tells it.
    error_x, error_y, error_rotation_deg
        True minus told pointing, pixels and degrees.
    fwhm_arcsec, g1, g2
        Seeing and shear of the PSF at the field's centre.
    clouds_mag
        Extinction by clouds.
    airmass
        Airmass.
    """

    mjd: float
    band: str
    seq_num: int
    exposure_s: float
    ra_deg: float
    dec_deg: float
    rotation_deg: float
    error_x: float
    error_y: float
    error_rotation_deg: float
    fwhm_arcsec: float
    g1: float
    g2: float
    clouds_mag: float
    airmass: float


def zero_point(visit: Visit) -> float:
    """Return the AB magnitude that gives one electron in the whole exposure."""
    return (
        _ZERO_POINTS[visit.band]
        + 2.5 * np.log10(visit.exposure_s)
        - visit.clouds_mag
        - _EXTINCTION[visit.band] * (visit.airmass - 1)
    )


def sky_electrons(visit: Visit, scale_arcsec: float) -> float:
    """Return the sky's electrons per pixel in the whole exposure."""
    zero = _ZERO_POINTS[visit.band] + 2.5 * np.log10(visit.exposure_s)
    return float(10 ** (0.4 * (zero - _SKY_MAGS[visit.band])) * scale_arcsec**2 * visit.airmass**0.5)


def sky_to_pixel(
    camera: CameraDescription, detector: int, visit: Visit, ra_deg: np.ndarray, dec_deg: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Map the sky to a detector through the true pointing and the distortion.

    Parameters
    ----------
    camera, detector, visit
        What looks where.
    ra_deg, dec_deg
        Positions, ICRS, shape (n,).

    Returns
    -------
    x, y : numpy.ndarray
        Zero-based pixels of the assembled detector, shape (n,) each.
    """
    d = camera.detector(detector)
    height, width = d.bbox.shape
    wcs = camera.make_wcs(
        detector, visit.ra_deg, visit.dec_deg, visit.rotation_deg + visit.error_rotation_deg
    )
    x, y = wcs.world_to_pixel_values(ra_deg, dec_deg)
    u = np.asarray(x) - (width - 1) / 2 + d.offset_x + visit.error_x
    v = np.asarray(y) - (height - 1) / 2 + d.offset_y + visit.error_y
    r2 = u * u + v * v
    du = RADIAL * r2 * u + TANGENTIAL * (r2 + 2 * u * u)
    dv = RADIAL * r2 * v + TANGENTIAL * 2 * u * v
    return u + du - d.offset_x + (width - 1) / 2, v + dv - d.offset_y + (height - 1) / 2


def _psf(visit: Visit, u: float, v: float) -> galsim.GSObject:
    # Seeing and shape drift slowly over the focal plane (u, v in units of half a detector).
    fwhm = visit.fwhm_arcsec * (1 + 0.015 * u + 0.01 * v)
    return galsim.Kolmogorov(fwhm=fwhm).shear(g1=visit.g1 + 0.008 * u, g2=visit.g2 - 0.008 * v)


def _draw(profile: galsim.GSObject, scale_arcsec: float, over: int, radius: int) -> np.ndarray:
    size = 2 * over * radius + 1
    seen = galsim.Convolve(profile, galsim.Pixel(scale_arcsec))
    image = seen.drawImage(nx=size, ny=size, scale=scale_arcsec / over, method="no_pixel", dtype=np.float32)
    return np.asarray(image.array) * np.float32(over * over)


def star_stamps(visit: Visit, scale_arcsec: float, centre: tuple[float, float]) -> np.ndarray:
    """Draw the PSF of one detector and its linear change.

    Parameters
    ----------
    visit
        The visit.
    scale_arcsec
        Size of a pixel.
    centre
        The detector's place in the focal plane, in units of half a detector.

    Returns
    -------
    numpy.ndarray
        Shape (3, size, size): centre, change to the right edge, to the upper.
    """
    u, v = centre
    parts = [
        _draw(_psf(visit, u + du, v + dv), scale_arcsec, STAR_OVERSAMPLING, 60)
        for du, dv in ((0, 0), (1, 0), (0, 1))
    ]
    return np.stack([parts[0], parts[1] - parts[0], parts[2] - parts[0]])


def galaxy_stamps(visit: Visit, scale_arcsec: float, shapes: Table) -> np.ndarray:
    """Draw every galaxy shape as the visit sees it, shape (n, size, size)."""
    psf = _psf(visit, 0, 0)
    stamps = []
    for n, hlr, g1, g2 in shapes.iterrows("n", "hlr_arcsec", "g1", "g2"):
        galaxy = galsim.Sersic(n=float(n), half_light_radius=float(hlr), trunc=6 * float(hlr)).shear(
            g1=float(g1), g2=float(g2)
        )
        stamps.append(_draw(galsim.Convolve(galaxy, psf), scale_arcsec, GALAXY_OVERSAMPLING, 22))
    return np.stack(stamps)
