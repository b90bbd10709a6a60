"""Astrometric solution of one detector image from a pointing alone: pattern match, then a TAN-SIP fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header
from astropy.wcs import WCS
from numpy.typing import NDArray

from skydesk_core.algorithms.patternmatch import find_similarity, match_nearest
from skydesk_core.algorithms.tansip import TanSipFit, fit_tan_sip, project
from skydesk_core.errors import DataError

__all__ = ["AstrometryGuess", "AstrometrySolution", "solve_astrometry"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class AstrometryGuess:
    """What is known of an image's place on the sky beforehand.

    Parameters
    ----------
    ra_deg, dec_deg
        Pointing of the image centre (ICRS).
    pointing_error_deg
        By how much the pointing may be wrong.
    scale_arcsec
        Pixel scale.
    scale_tolerance
        Fraction by which the scale may be wrong.
    rotation_deg, rotation_tolerance_deg
        Angle from the pixel axes to (east, north), counter-clockwise, after the
        x axis was reversed for an image that is not mirrored; and its tolerance.
    mirrored
        Whether the image is a mirror image of the sky (determinant of the CD matrix > 0); None if unknown.
    """

    ra_deg: float
    dec_deg: float
    scale_arcsec: float
    pointing_error_deg: float = 0.1
    scale_tolerance: float = 0.03
    rotation_deg: float = 0.0
    rotation_tolerance_deg: float = 180.0
    mirrored: bool | None = None

    @classmethod
    def from_wcs(
        cls,
        wcs: WCS,
        shape: tuple[int, int],
        pointing_error_deg: float,
        scale_tolerance: float,
        rotation_tolerance_deg: float,
    ) -> AstrometryGuess:
        """Take the guess from a starting WCS.

        Parameters
        ----------
        wcs
            Gnomonic system made from the pointing alone.
        shape
            Rows and columns of the image.
        pointing_error_deg, scale_tolerance, rotation_tolerance_deg
            By how much it may be wrong.
        """
        ra, dec = wcs.pixel_to_world_values((shape[1] - 1) / 2, (shape[0] - 1) / 2)
        matrix = wcs.pixel_scale_matrix * 3600
        determinant = float(np.linalg.det(matrix))
        mirrored = determinant > 0
        straight = matrix @ np.diag([1.0 if mirrored else -1.0, 1.0])
        return cls(
            float(ra),
            float(dec),
            float(np.sqrt(abs(determinant))),
            pointing_error_deg,
            scale_tolerance,
            float(np.degrees(np.arctan2(straight[1, 0], straight[0, 0]))),
            rotation_tolerance_deg,
            mirrored,
        )


@dataclass(frozen=True)
class AstrometrySolution:
    """A solved image.

    Parameters
    ----------
    header
        FITS cards of the TAN-SIP system.
    source_index, reference_index
        Matched stars: indices into the given sources and reference stars.
    residual_arcsec
        Measured minus catalogue, east and north, shape (matches, 2).
    used
        Which matches the fit kept.
    order
        Order of the polynomial.
    """

    header: Header
    source_index: NDArray[np.intp]
    reference_index: NDArray[np.intp]
    residual_arcsec: FloatArray
    used: NDArray[np.bool_]
    order: int

    @property
    def wcs(self) -> WCS:
        """The system as an astropy WCS."""
        return WCS(self.header)

    @property
    def n_matches(self) -> int:
        """Number of matched stars that the fit kept."""
        return int(self.used.sum())

    @property
    def median_residual_arcsec(self) -> float:
        """Median distance between measured and catalogue position of the matches."""
        return float(np.median(np.hypot(*self.residual_arcsec[self.used].T)))

    @property
    def offset_std_arcsec(self) -> float:
        """Robust standard deviation of a match's distance per axis."""
        return self.median_residual_arcsec / 1.1774

    @property
    def mirrored(self) -> bool:
        """Whether the image is a mirror image of the sky."""
        h = self.header
        return bool(h["CD1_1"] * h["CD2_2"] - h["CD1_2"] * h["CD2_1"] > 0)

    @property
    def scale_arcsec(self) -> float:
        """Pixel scale at the reference pixel."""
        h = self.header
        return float(3600 * np.sqrt(abs(h["CD1_1"] * h["CD2_2"] - h["CD1_2"] * h["CD2_1"])))


def _order_for(n: int, wanted: int) -> int:
    """Largest order that ``n`` stars constrain with at least twice as many data as coefficients."""
    for order in range(wanted, 1, -1):
        if n >= 2 * (order + 1) * (order + 2) / 2 + 4:
            return order
    return 1


def solve_astrometry(
    x: FloatArray,
    y: FloatArray,
    flux: FloatArray,
    ref_ra_deg: FloatArray,
    ref_dec_deg: FloatArray,
    ref_flux: FloatArray,
    guess: AstrometryGuess,
    shape: tuple[int, int],
    order: int = 3,
    match_radius_arcsec: float = 0.0,
    error_arcsec: FloatArray | None = None,
    brightest: int = 60,
    min_matches: int = 6,
) -> AstrometrySolution:
    """Solve an image.

    Parameters
    ----------
    x, y, flux
        Measured sources: pixel positions (0-based) and fluxes in any unit.
    ref_ra_deg, ref_dec_deg, ref_flux
        Reference stars: ICRS positions at the epoch of the image, and fluxes in any unit.
    guess
        Pointing, scale, rotation and parity with their tolerances.
    shape
        Rows and columns of the image.
    order
        Largest order of the polynomial; lowered where there are too few matches.
    match_radius_arcsec
        Final match radius; 0 means one pixel.
    error_arcsec
        Position errors of the sources, used as weights.
    brightest
        Number of sources that vote in the pattern match.
    min_matches
        Fewer matches than this is a failure.

    Returns
    -------
    AstrometrySolution
        The system, the matches and their residuals.

    Raises
    ------
    DataError
        If the pattern is not found or too few stars match.
    """
    # Faint sources outnumber the catalogue's stars many times and only add chance matches.
    bright = np.argsort(-flux)[: max(300, 6 * brightest)]
    xy = np.column_stack([x, y])[bright]
    reach = (guess.pointing_error_deg + np.hypot(*shape) / 2 * guess.scale_arcsec / 3600) * 3600
    plane = project(ref_ra_deg, ref_dec_deg, guess.ra_deg, guess.dec_deg)
    near = np.flatnonzero(np.hypot(plane[:, 0], plane[:, 1]) < reach)
    near = near[np.argsort(-ref_flux[near])]
    if len(near) < min_matches:
        raise DataError(
            f"only {len(near)} reference stars within {reach / 3600:.2f} deg of RA {guess.ra_deg:.4f}, Dec {guess.dec_deg:.4f}"
        )
    flip = None if guess.mirrored is None else not guess.mirrored
    similarity = find_similarity(
        xy,
        plane[near],
        guess.scale_arcsec,
        guess.scale_tolerance,
        guess.rotation_deg,
        guess.rotation_tolerance_deg,
        flip,
        brightest=brightest,
    )
    radius = match_radius_arcsec or guess.scale_arcsec
    positions = similarity.apply(xy)
    all_error = np.ones(len(x)) if error_arcsec is None else np.asarray(error_arcsec)
    ra, dec = ref_ra_deg[near], ref_dec_deg[near]
    floor = 0.0
    for factor, largest in ((4.0, 1), (3.0, 2), (2.0, order), (1.0, order), (1.0, order)):
        i, j = match_nearest(positions, plane[near], factor * radius)
        if len(i) < min_matches:
            raise DataError(
                f"only {len(i)} stars match the reference catalogue within {factor * radius:.2f} arcsec"
            )
        # The catalogue's own errors are not known: until the residuals tell them, all stars weigh the same.
        error = np.hypot(all_error[bright][i], floor) if floor else None
        fit: TanSipFit = fit_tan_sip(
            xy[i, 0], xy[i, 1], ra[j], dec[j], shape, _order_for(len(i), largest), error
        )
        if factor <= 2.0:
            floor = float(np.median(np.hypot(*fit.residual_arcsec[fit.used].T))) / 1.1774
        sky = fit.wcs.all_pix2world(xy, 0)
        positions = project(sky[:, 0], sky[:, 1], guess.ra_deg, guess.dec_deg)
    return AstrometrySolution(fit.header, bright[i], near[j], fit.residual_arcsec, fit.used, fit.order)
