"""A polynomial form of an image's pixel-to-sky mapping that a browser can evaluate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["evaluate_wcs", "fit_wcs", "invert_wcs", "make_pixel_to_sky", "project", "unproject"]

type FloatArray = NDArray[np.float64]

_MAX_DEGREE = 7
_TOLERANCE_PX = 0.01
_TOLERANCE_ARCSEC = 0.003
_GRID = 15


def make_pixel_to_sky(
    projection: Any, bbox: Any
) -> Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Make a function from 0-based array pixels to ICRS degrees.

    Parameters
    ----------
    projection
        An ``lsst.images.SkyProjection``.
    bbox
        Bounding box of the array.
    """
    view = projection.as_astropy(bbox)

    def pixel_to_sky(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        # The view speaks radians, as AST does.
        ra, dec = view.pixel_to_world_values(np.asarray(x, float), np.asarray(y, float))
        return np.degrees(np.asarray(ra, float)) % 360.0, np.degrees(np.asarray(dec, float))

    return pixel_to_sky


def project(ra_deg: Any, dec_deg: Any, crval: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Project sky positions gnomonically (FITS TAN) onto the tangent plane at ``crval``.

    Returns
    -------
    tuple of numpy.ndarray
        Tangent plane coordinates xi (east) and eta (north) in degrees.
    """
    ra, dec = np.radians(np.asarray(ra_deg, float)), np.radians(np.asarray(dec_deg, float))
    ra0, dec0 = np.radians(crval[0]), np.radians(crval[1])
    cos_c = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    xi = np.cos(dec) * np.sin(ra - ra0) / cos_c
    eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) / cos_c
    return np.degrees(xi), np.degrees(eta)


def unproject(xi_deg: Any, eta_deg: Any, crval: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Undo `project`; returns ICRS right ascension in [0, 360) and declination in degrees."""
    xi, eta = np.radians(np.asarray(xi_deg, float)), np.radians(np.asarray(eta_deg, float))
    ra0, dec0 = np.radians(crval[0]), np.radians(crval[1])
    denominator = np.cos(dec0) - eta * np.sin(dec0)
    ra = ra0 + np.arctan2(xi, denominator)
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, denominator))
    return np.degrees(ra) % 360.0, np.degrees(dec)


def _design(u: FloatArray, v: FloatArray, degree: int) -> tuple[FloatArray, list[tuple[int, int]]]:
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    return np.stack([u**i * v**j for i, j in powers], axis=1), powers


def _matrix(coefficients: FloatArray, powers: list[tuple[int, int]], degree: int) -> list[list[float]]:
    out = np.zeros((degree + 1, degree + 1))
    for value, (i, j) in zip(coefficients, powers, strict=True):
        out[i, j] = value
    return [[float(c) for c in row] for row in out]


def fit_wcs(
    pixel_to_sky: Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]], shape: tuple[int, int]
) -> dict[str, Any]:
    """Fit polynomials from pixels to the tangent plane at the image's centre, and back.

    Parameters
    ----------
    pixel_to_sky
        Maps 0-based array coordinates x, y to ICRS degrees.
    shape
        Rows and columns of the image.

    Returns
    -------
    dict
        ``crval`` [ra, dec] degrees; ``centre`` [x0, y0] and ``scale`` s in pixels with
        u = (x - x0) / s, v = (y - y0) / s; ``degree``; ``xi`` and ``eta``: matrices c with
        xi_deg = sum c[i][j] u**i v**j; ``max_error_arcsec``, ``max_error_px``; ``pixel_scale_arcsec``;
        ``inverse``: {``scale_deg`` t, ``degree``, ``u``, ``v``, ``max_error_px``} with
        u = sum c[i][j] (xi / t)**i (eta / t)**j. The degree is raised until the error is below 0.01 pixels
        and 3 mas at control points between the fitted ones, or stops falling.
    """
    ny, nx = shape
    centre, scale = ((nx - 1) / 2, (ny - 1) / 2), max(nx, ny) / 2
    ra0, dec0 = pixel_to_sky(np.array([centre[0]]), np.array([centre[1]]))
    crval = (float(ra0[0]) % 360.0, float(dec0[0]))

    def grid(n: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        columns, rows = np.meshgrid(np.linspace(-0.5, nx - 0.5, n), np.linspace(-0.5, ny - 0.5, n))
        x, y = columns.ravel(), rows.ravel()
        xi, eta = project(*pixel_to_sky(x, y), crval)
        return (x - centre[0]) / scale, (y - centre[1]) / scale, xi, eta

    u, v, xi, eta = grid(_GRID)
    cu, cv, cxi, ceta = grid(2 * _GRID - 1)
    area = np.linalg.lstsq(_design(u, v, 1)[0], np.stack([xi, eta], axis=1), rcond=None)[0]
    pixel_deg = float(np.sqrt(abs(np.linalg.det(area[1:])))) / scale

    # What is exact to 0.01 of a large pixel may still be visibly wrong as a coordinate.
    tolerance = min(_TOLERANCE_PX, _TOLERANCE_ARCSEC / (3600 * pixel_deg))
    degree, forward, powers, error = _raise_degree(
        (u, v), (xi, eta), (cu, cv), (cxi, ceta), pixel_deg, tolerance
    )
    plane = float(max(np.abs(xi).max(), np.abs(eta).max()))
    back_degree, back, back_powers, back_error = _raise_degree(
        (xi / plane, eta / plane), (u, v), (cxi / plane, ceta / plane), (cu, cv), 1 / scale, _TOLERANCE_PX
    )
    return {
        "crval": list(crval),
        "centre": list(centre),
        "scale": scale,
        "degree": degree,
        "xi": _matrix(forward[:, 0], powers, degree),
        "eta": _matrix(forward[:, 1], powers, degree),
        "max_error_px": error,
        "max_error_arcsec": error * pixel_deg * 3600,
        "pixel_scale_arcsec": pixel_deg * 3600,
        "inverse": {
            "scale_deg": plane,
            "degree": back_degree,
            "u": _matrix(back[:, 0], back_powers, back_degree),
            "v": _matrix(back[:, 1], back_powers, back_degree),
            "max_error_px": back_error,
        },
    }


def _raise_degree(
    inputs: tuple[FloatArray, FloatArray],
    outputs: tuple[FloatArray, FloatArray],
    check_inputs: tuple[FloatArray, FloatArray],
    check_outputs: tuple[FloatArray, FloatArray],
    pixel: float,
    tolerance: float,
) -> tuple[int, FloatArray, list[tuple[int, int]], float]:
    """Fit with growing degree until the largest error is below the tolerance; keep the best."""
    best: tuple[int, FloatArray, list[tuple[int, int]], float] | None = None
    for degree in range(1, _MAX_DEGREE + 1):
        design, powers = _design(*inputs, degree)
        solution = np.linalg.lstsq(design, np.stack(outputs, axis=1), rcond=None)[0]
        check, _ = _design(*check_inputs, degree)
        error = float(np.hypot(*(check @ solution - np.stack(check_outputs, axis=1)).T).max()) / pixel
        if best is None or error < best[3]:
            best = (degree, solution, powers, error)
        if error < tolerance:
            break
    assert best is not None
    return best


def evaluate_wcs(fit: dict[str, Any], x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """Evaluate the forward polynomials of `fit_wcs`.

    Parameters
    ----------
    fit
        What `fit_wcs` returned.
    x, y
        0-based array coordinates in pixels.

    Returns
    -------
    tuple of numpy.ndarray
        ICRS right ascension and declination in degrees.
    """
    u = (np.asarray(x, float) - fit["centre"][0]) / fit["scale"]
    v = (np.asarray(y, float) - fit["centre"][1]) / fit["scale"]
    xi = np.polynomial.polynomial.polyval2d(u, v, np.array(fit["xi"]))
    eta = np.polynomial.polynomial.polyval2d(u, v, np.array(fit["eta"]))
    return unproject(xi, eta, (fit["crval"][0], fit["crval"][1]))


def invert_wcs(fit: dict[str, Any], ra_deg: Any, dec_deg: Any) -> tuple[FloatArray, FloatArray]:
    """Evaluate the inverse polynomials of `fit_wcs`, exact to the ``max_error_px`` they state.

    Parameters
    ----------
    fit
        What `fit_wcs` returned.
    ra_deg, dec_deg
        ICRS degrees, on the hemisphere around ``crval``; off the image the polynomials mean less and less.

    Returns
    -------
    tuple of numpy.ndarray
        0-based array coordinates in pixels.
    """
    inverse = fit["inverse"]
    xi, eta = project(ra_deg, dec_deg, (fit["crval"][0], fit["crval"][1]))
    s, t = xi / inverse["scale_deg"], eta / inverse["scale_deg"]
    u = np.polynomial.polynomial.polyval2d(s, t, np.array(inverse["u"]))
    v = np.polynomial.polynomial.polyval2d(s, t, np.array(inverse["v"]))
    return u * fit["scale"] + fit["centre"][0], v * fit["scale"] + fit["centre"][1]
