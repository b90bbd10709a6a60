"""The chain that characterises and calibrates one detector image: background, PSF, sources, astrometry, photometry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skydesk_core.algorithms.astrometry import AstrometryGuess, AstrometrySolution, solve_astrometry
from skydesk_core.algorithms.background import Background, fit_background
from skydesk_core.algorithms.cosmics import CosmicSearch, find_cosmic_rays
from skydesk_core.algorithms.detection import Detection, detect, gaussian_kernel
from skydesk_core.algorithms.isr import interpolate_rows
from skydesk_core.algorithms.measure import centroid
from skydesk_core.algorithms.photocal import ZeroPoint, fit_zero_point
from skydesk_core.algorithms.planes import BIT
from skydesk_core.algorithms.psffit import PsfFit, choose_psf_stars, fit_psf, psf_size_for
from skydesk_core.algorithms.shapes import measure_shapes
from skydesk_core.errors import DataError

__all__ = ["Characterisation", "ReferenceStars", "characterise", "find_sources", "solve_sky"]

FloatArray = NDArray[np.float64]
_SMALLEST_SIGMA = 0.7
"""Pixels; what is sharper than that is no star but a hot pixel or a cosmic ray."""
_LOST = BIT["BAD"] | BIT["CR"] | BIT["NO_DATA"]
_UNUSABLE = _LOST | BIT["SAT"] | BIT["SUSPECT"]


@dataclass(frozen=True)
class ReferenceStars:
    """Reference stars at the epoch of the image.

    Parameters
    ----------
    ra_deg, dec_deg
        ICRS positions.
    flux_njy, flux_err_njy
        Fluxes in the band that is calibrated against; errors may be zero.
    """

    ra_deg: FloatArray
    dec_deg: FloatArray
    flux_njy: FloatArray
    flux_err_njy: FloatArray


@dataclass(frozen=True)
class Characterisation:
    """An image whose background, cosmic rays and PSF are known.

    Parameters
    ----------
    image, variance
        Background-subtracted, repaired image and its variance.
    bits
        Mask, with CR, INTRP and EDGE.
    background
        What was subtracted.
    psf_fit
        The PSF and its stars.
    psf_x, psf_y
        Positions of the PSF stars.
    fwhm_pixel
        Width of the PSF in the middle of the image.
    cosmics
        Number of pixels hit by cosmic rays.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    bits: NDArray[np.int32]
    background: Background
    psf_fit: PsfFit
    psf_x: FloatArray
    psf_y: FloatArray
    fwhm_pixel: float
    cosmics: int


def _sizes(
    image: NDArray[np.float32],
    bits: NDArray[np.int32],
    rejected: int,
    x: FloatArray,
    y: FloatArray,
    start: float,
) -> FloatArray:
    """Determinant radius of each source; NaN where it cannot be measured."""
    moments, failed = measure_shapes(image, bits, rejected, x, y, start, 20)
    size = np.maximum(moments[:, 0] * moments[:, 1] - moments[:, 2] ** 2, 1e-9) ** 0.25
    return np.asarray(np.where(failed, np.nan, size))


def _estimate_fwhm(
    image: NDArray[np.float32], bits: NDArray[np.int32], found: Detection, start: float
) -> float:
    bad = (bits & _UNUSABLE) != 0
    ix, iy = found.x.astype(int), found.y.astype(int)
    use = np.flatnonzero((found.sn > 20) & (found.n_pixel > 4) & ~ndimage.maximum_filter(bad, 3)[iy, ix])[
        :400
    ]
    if len(use) < 5:
        use = np.flatnonzero(found.n_pixel > 4)[:400]
    sizes = _sizes(image, bits, _UNUSABLE, found.x[use], found.y[use], start / 2.3548)
    sizes = sizes[np.isfinite(sizes) & (sizes > _SMALLEST_SIGMA)]
    if len(sizes) < 4:
        raise DataError(f"only {len(sizes)} sources to estimate the seeing from")
    # Stars pile up at the small end; hot pixels lie below it and are few.
    s = np.sort(sizes)
    counts = np.searchsorted(s, s * 1.15) - np.arange(len(s))
    best = int(np.argmax(counts))
    return float(2.3548 * np.median(s[best : best + counts[best]]))


def characterise(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bits: NDArray[np.int32],
    fwhm_guess_pixel: float = 4.0,
    cell_pixel: int = 128,
    background_order: int = 6,
    psf_order: int = 2,
    cosmics: CosmicSearch | None = None,
) -> Characterisation:
    """Find background, cosmic rays and PSF of an image.

    Parameters
    ----------
    image, variance, bits
        Result of the instrument-signature removal; not changed.
    fwhm_guess_pixel
        Rough width of the PSF.
    cell_pixel, background_order
        Cells and polynomial order of the background.
    psf_order
        Polynomial order of the PSF over the image.
    cosmics
        How cosmic rays are searched for; not at all if None.

    Returns
    -------
    Characterisation
        The repaired image and its models.

    Raises
    ------
    DataError
        If there is too little sky or there are too few stars.
    """
    bits, variance = bits.copy(), variance.copy()
    lost = (bits & _LOST) != 0
    first = fit_background(image, lost | ((bits & BIT["SAT"]) != 0), cell_pixel, min(background_order, 3))
    flat = image - first.render()
    sky_variance = np.full(image.shape, first.noise**2, np.float32)
    found = detect(flat, sky_variance, lost, gaussian_kernel(fwhm_guess_pixel), 10.0, 3)
    fwhm = _estimate_fwhm(flat, bits, found, fwhm_guess_pixel)
    hit = 0
    if cosmics is not None:
        cr = find_cosmic_rays(flat, variance, (bits & (_LOST | BIT["SAT"])) != 0, fwhm, cosmics)
        hit = int(cr.sum())
        bits[cr] |= BIT["CR"]
        lost = (bits & _LOST) != 0
    sources = ndimage.maximum_filter(found.labels > 0, size=2 * int(np.ceil(fwhm)) + 1)
    background = fit_background(
        image, lost | sources | ((bits & BIT["SAT"]) != 0), cell_pixel, background_order
    )
    flat = np.ascontiguousarray(image - background.render(), np.float32)
    interpolate_rows(flat, variance, bits, ("BAD", "CR"))
    sky_variance[:] = background.noise**2
    if abs(fwhm / fwhm_guess_pixel - 1) > 0.4:
        found = detect(flat, sky_variance, lost, gaussian_kernel(fwhm), 10.0, 3)
    fit, x, y = _fit_psf(flat, variance, bits, found, fwhm, psf_order)
    edge = fit.psf.size // 2
    for rows in (np.s_[:edge, :], np.s_[-edge:, :], np.s_[:, :edge], np.s_[:, -edge:]):
        bits[rows] |= BIT["EDGE"]
    ny, nx = image.shape
    fwhm = 2.3548 * fit.psf.sigma_pixel((nx - 1) / 2, (ny - 1) / 2)
    return Characterisation(flat, variance, bits, background, fit, x, y, fwhm, hit)


def _fit_psf(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    bits: NDArray[np.int32],
    found: Detection,
    fwhm: float,
    order: int,
) -> tuple[PsfFit, FloatArray, FloatArray]:
    bad = (bits & _LOST) != 0
    x, y, runaway = centroid(image, bad, found.x, found.y, fwhm / 2.3548)
    size = psf_size_for(fwhm)
    unusable = np.zeros(len(x), bool)
    owner = found.labels[(found.labels > 0) & ((bits & (_UNUSABLE & ~BIT["CR"])) != 0)] - 1
    unusable[owner] = True
    ny, nx = image.shape
    r = size // 2
    inside = (x > r) & (x < nx - 1 - r) & (y > r) & (y < ny - 1 - r)
    radius = _sizes(image, bits, _LOST, x, y, fwhm / 2.3548)
    good = inside & ~runaway & ~unusable & ~found.blended
    chosen = choose_psf_stars(x, y, radius, found.sn, good, max(2.0 * fwhm, 0.6 * size))
    fit = fit_psf(image, variance, bad, x[chosen], y[chosen], size, fwhm, order)
    return fit, x[chosen], y[chosen]


def find_sources(seen: Characterisation, threshold: float, min_pixel: int = 1) -> Detection:
    """Detect sources with the PSF itself and set DETECTED in the mask.

    Parameters
    ----------
    seen
        Characterised image; the plane DETECTED of its mask is changed.
    threshold
        Smallest signal-to-noise ratio.
    min_pixel
        Smallest footprint.
    """
    ny, nx = seen.image.shape
    kernel = seen.psf_fit.psf.images(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))[0]
    lost = (seen.bits & (_LOST & ~BIT["CR"])) != 0
    # The photon noise of the sources themselves must not hide their neighbours.
    sky = np.full(seen.image.shape, seen.background.noise**2, np.float32)
    found = detect(seen.image, sky, lost, kernel, threshold, min_pixel)
    seen.bits[...] &= ~BIT["DETECTED"]
    seen.bits[found.labels > 0] |= BIT["DETECTED"]
    return found


def solve_sky(
    columns: dict[str, NDArray[Any]],
    stars: ReferenceStars,
    guess: AstrometryGuess,
    shape: tuple[int, int],
    order: int = 3,
    brightest: int = 60,
) -> tuple[AstrometrySolution, ZeroPoint]:
    """Solve astrometry and photometry of measured sources.

    Parameters
    ----------
    columns
        Measurements as `skydesk_core.algorithms.measure.measure_sources` gives them.
    stars
        Reference stars.
    guess
        What is known of the pointing.
    shape
        Rows and columns of the image.
    order
        Largest order of the distortion polynomial.
    brightest
        Number of sources that vote in the pattern match.

    Returns
    -------
    tuple
        The astrometric solution (its indices refer to the given sources) and the zero point.

    Raises
    ------
    DataError
        If one of them fails.
    """
    # A saturated star has no PSF flux but is the best known star of the catalogue: its aperture flux ranks it.
    rank = np.where(np.isfinite(columns["psfFlux"]), columns["psfFlux"], 0.0)
    if "ap06Flux" in columns:
        rank = np.maximum(rank, columns["ap06Flux"])
    use = np.flatnonzero((rank > 0) & ~columns["pixelFlags_offimage"] & ~columns["pixelFlags_bad"])
    error = np.nan_to_num(np.hypot(columns["xErr"][use], columns["yErr"][use]), nan=1.0) * guess.scale_arcsec
    error = np.hypot(
        error, np.where(columns["pixelFlags_saturatedCenter"][use], 0.2, 0.01) * guess.scale_arcsec
    )
    solution = solve_astrometry(
        columns["x"][use], columns["y"][use], rank[use], stars.ra_deg, stars.dec_deg, stars.flux_njy, guess, shape,
        order, error_arcsec=error, brightest=brightest,
    )  # fmt: skip
    index = use[solution.source_index]
    clean = ~(columns["psfFlux_flag"] | columns["pixelFlags_saturated"] | columns["pixelFlags_suspect"])[
        index
    ]
    zero = fit_zero_point(
        columns["psfFlux"][index],
        columns["psfFluxErr"][index],
        stars.flux_njy[solution.reference_index],
        stars.flux_err_njy[solution.reference_index],
        clean & solution.used,
    )
    final = AstrometrySolution(
        solution.header,
        index,
        solution.reference_index,
        solution.residual_arcsec,
        solution.used,
        solution.order,
    )
    return final, zero
