"""TAN-SIP world coordinates (Calabretta & Greisen 2002; Shupe et al. 2005) fitted to matched positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS
from numpy.typing import NDArray

__all__ = ["TanSipFit", "deproject", "fit_tan_sip", "project"]

FloatArray = NDArray[np.float64]
_ARCSEC = 180 * 3600 / np.pi


def project(ra_deg: FloatArray, dec_deg: FloatArray, ra0_deg: float, dec0_deg: float) -> FloatArray:
    """Gnomonic projection of sky positions about a tangent point.

    Returns
    -------
    ndarray
        Standard coordinates towards east and north in arcsec, shape (n, 2); NaN
        for positions more than 90 degrees away.
    """
    dra = np.radians(np.asarray(ra_deg) - ra0_deg)
    dec, dec0 = np.radians(np.asarray(dec_deg)), np.radians(dec0_deg)
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(dra)
    cosine = np.where(cosine > 0, cosine, np.nan)
    xi = np.cos(dec) * np.sin(dra) / cosine
    eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(dra)) / cosine
    return np.stack([xi, eta], axis=-1) * _ARCSEC


def deproject(plane_arcsec: FloatArray, ra0_deg: float, dec0_deg: float) -> tuple[FloatArray, FloatArray]:
    """Undo `project`.

    Returns
    -------
    tuple of ndarray
        Right ascension (0 to 360) and declination in degrees.
    """
    xi, eta = np.moveaxis(np.asarray(plane_arcsec) / _ARCSEC, -1, 0)
    dec0 = np.radians(dec0_deg)
    below = np.cos(dec0) - eta * np.sin(dec0)
    ra = np.degrees(np.arctan2(xi, below)) + ra0_deg
    dec = np.degrees(np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, below)))
    return np.mod(ra, 360.0), dec


@dataclass(frozen=True)
class TanSipFit:
    """A fitted world coordinate system.

    Parameters
    ----------
    header
        The FITS cards of the system (CTYPE, CRVAL, CRPIX, CD, A, B, AP, BP).
    residual_arcsec
        Measured minus catalogue position towards east and north, shape (n, 2), for all given stars.
    used
        Which of the given stars the fit kept, shape (n,).
    order
        Order of the polynomial.
    """

    header: Header
    residual_arcsec: FloatArray
    used: NDArray[np.bool_]
    order: int

    @property
    def wcs(self) -> WCS:
        """The system as an astropy WCS (pixel origin 0 in its ``all_pix2world``)."""
        return WCS(self.header)


def _powers(order: int, lowest: int = 0) -> list[tuple[int, int]]:
    return [(p, n - p) for n in range(lowest, order + 1) for p in range(n, -1, -1)]


def _design(u: FloatArray, v: FloatArray, powers: list[tuple[int, int]]) -> FloatArray:
    return np.column_stack([u**p * v**q for p, q in powers])


def fit_tan_sip(
    x: FloatArray,
    y: FloatArray,
    ra_deg: FloatArray,
    dec_deg: FloatArray,
    shape: tuple[int, int],
    order: int = 3,
    error_arcsec: FloatArray | None = None,
    clip_sigma: float = 5.0,
) -> TanSipFit:
    """Fit a TAN-SIP system to matched stars, with rejection of outliers.

    Parameters
    ----------
    x, y
        Pixel positions, 0-based.
    ra_deg, dec_deg
        ICRS positions of the same stars at the epoch of the image.
    shape
        Rows and columns of the image; the reference pixel is its centre.
    order
        Order of the polynomial; 1 is a plain TAN system.
    error_arcsec
        Position errors used as weights.
    clip_sigma
        Stars further out than this many robust standard deviations are rejected.

    Returns
    -------
    TanSipFit
        The system and the residuals.
    """
    centre = np.array([(shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0])
    half = max(shape) / 2.0
    u, v = (x - centre[0]) / half, (y - centre[1]) / half
    powers = _powers(order)
    design = _design(u, v, powers)
    weight = 1.0 / np.asarray(error_arcsec) if error_arcsec is not None else np.ones(len(x))
    middle = int(np.argmin(u**2 + v**2))
    crval = np.array([ra_deg[middle], dec_deg[middle]])
    used = np.ones(len(x), bool)
    for _ in range(8):
        plane = project(ra_deg, dec_deg, crval[0], crval[1])
        w = (weight * used)[:, None]
        coefficients, *_ = np.linalg.lstsq(design * w, plane * w, rcond=None)
        ra0, dec0 = deproject(coefficients[0], crval[0], crval[1])
        crval = np.array([float(ra0), float(dec0)])
        residual = design @ coefficients - plane
        size = np.hypot(residual[:, 0], residual[:, 1]) * weight
        # 1.1774 is the median of a Rayleigh distribution of unit sigma. All stars count, also rejected ones: a median
        # of the kept ones alone would shrink from pass to pass.
        sigma = max(float(np.median(size)) / 1.1774, 1e-9)
        kept = size < clip_sigma * sigma
        if kept.sum() >= max(len(powers) + 2, 0.5 * len(x)):
            used = kept
    # One more pass without changing the sample: the constant term is now zero to rounding.
    plane = project(ra_deg, dec_deg, crval[0], crval[1])
    w = (weight * used)[:, None]
    coefficients, *_ = np.linalg.lstsq(design[:, 1:] * w, plane * w, rcond=None)
    header = _make_header(coefficients, powers[1:], half, centre, crval, order)
    return TanSipFit(header, design[:, 1:] @ coefficients - plane, used, order)


def _make_header(
    coefficients: FloatArray,
    powers: list[tuple[int, int]],
    half: float,
    centre: FloatArray,
    crval: FloatArray,
    order: int,
) -> Header:
    scaled = coefficients / 3600.0 / np.array([half ** (p + q) for p, q in powers])[:, None]
    cd = scaled[:2].T
    forward = np.linalg.solve(cd, scaled[2:].T)
    header = Header()
    suffix = "-SIP" if order > 1 else ""
    header["WCSAXES"] = 2
    header["CTYPE1"], header["CTYPE2"] = f"RA---TAN{suffix}", f"DEC--TAN{suffix}"
    header["CUNIT1"] = header["CUNIT2"] = "deg"
    header["CRVAL1"], header["CRVAL2"] = crval
    header["CRPIX1"], header["CRPIX2"] = centre + 1.0
    for i in range(2):
        for j in range(2):
            header[f"CD{i + 1}_{j + 1}"] = cd[i, j]
    header["RADESYS"] = "ICRS"
    if order > 1:
        for row, name in zip(forward, "AB", strict=True):
            header[f"{name}_ORDER"] = order
            for (p, q), value in zip(powers[2:], row, strict=True):
                header[f"{name}_{p}_{q}"] = value
        _add_inverse(header, forward, powers[2:], half, order + 2)
    return header


def _add_inverse(
    header: Header, forward: FloatArray, powers: list[tuple[int, int]], half: float, order: int
) -> None:
    """Add AP and BP, fitted to the forward polynomial on a grid that covers the image."""
    axis = np.linspace(-1.05 * half, 1.05 * half, 25)
    u, v = (a.ravel() for a in np.meshgrid(axis, axis))
    offset = _design(u, v, powers) @ forward.T
    cap_u, cap_v = u + offset[:, 0], v + offset[:, 1]
    inverse_powers = _powers(order)
    design = _design(cap_u / half, cap_v / half, inverse_powers)
    solution, *_ = np.linalg.lstsq(design, -offset, rcond=None)
    for column, name in enumerate(("AP", "BP")):
        header[f"{name}_ORDER"] = order
        for (p, q), value in zip(inverse_powers, solution[:, column], strict=True):
            header[f"{name}_{p}_{q}"] = value / half ** (p + q)
