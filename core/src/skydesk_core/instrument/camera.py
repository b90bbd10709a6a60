"""What the pipeline must know about a camera: detectors, amplifiers, scale and orientation."""

from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from lsst.images import Box
from pydantic import BaseModel, ConfigDict

from skydesk_core.errors import NotFoundError

__all__ = ["Amplifier", "CameraDescription", "Detector", "PixelBox"]

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class PixelBox(BaseModel):
    """A box of pixels, half open: ``x0 ≤ x < x1``, ``y0 ≤ y < y1``."""

    model_config = _FROZEN

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index for a numpy array (y, x)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def box(self) -> Box:
        """The same as an lsst.images box."""
        return Box.factory[self.y0 : self.y1, self.x0 : self.x1]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.y1 - self.y0, self.x1 - self.x0


class Amplifier(BaseModel):
    """One readout channel.

    Attributes
    ----------
    name
        Its name.
    bbox
        Where its pixels lie in the assembled image.
    raw_bbox
        Where its light-sensitive pixels lie in the raw file; same shape as
        ``bbox``, no flip.
    overscan_bbox
        Where its serial overscan lies in the raw file; None without one.
    gain
        Electrons per ADU; None if it has to be estimated from the frames.
    read_noise
        Electrons; None if it has to be estimated from the frames.
    saturation
        ADU (raw, overscan not subtracted) at and above which a pixel counts
        as saturated.
    """

    model_config = _FROZEN

    name: str
    bbox: PixelBox
    raw_bbox: PixelBox
    overscan_bbox: PixelBox | None = None
    gain: float | None
    read_noise: float | None
    saturation: float


class Detector(BaseModel):
    """One detector of a camera.

    Attributes
    ----------
    id, name
        Number and full name, as in the dimension ``detector``.
    bbox
        The assembled (trimmed) image.
    raw_shape
        Height and width of the raw image.
    amplifiers
        Its readout channels.
    offset_x, offset_y
        Position of the detector's centre in the focal plane, pixels from the
        boresight.
    raft
        Name of the raft that it is mounted in; None in a camera without rafts.
    """

    model_config = _FROZEN

    id: int
    name: str
    bbox: PixelBox
    raw_shape: tuple[int, int]
    amplifiers: tuple[Amplifier, ...]
    offset_x: float = 0.0
    offset_y: float = 0.0
    raft: str | None = None


class CameraDescription(BaseModel):
    """A whole camera; stored as dataset type ``camera``.

    Attributes
    ----------
    name
        Name of the instrument.
    scale_arcsec
        Nominal size of a pixel.
    scale_tolerance
        Largest relative error of the scale that the astrometry must allow for.
    rotation_tolerance_deg
        Largest error of the sky angle; 180 means that it is unknown.
    pointing_tolerance_deg
        Largest error of the pointing.
    flip
        Whether the image is a mirror image of the sky seen with North up and
        East left. False means that East lies to the left when North is up.
    detectors
        All detectors.
    bad_rows
        Ranges of rows (assembled image, half open) that hold no signal.
    calibrations
        Names of the calibrations that the instrument removal expects
        (``bias``, ``dark``, ``flat``, ``defects``).
    bands
        Band of each physical filter.
    wavelengths_nm
        Limits of bands whose names do not tell them.
    site
        Geodetic longitude (degrees, East), latitude (degrees) and height (m) of the observatory, which predicts
        where small bodies are seen; None for the Earth's centre.
    """

    model_config = _FROZEN

    name: str
    scale_arcsec: float
    scale_tolerance: float = 0.01
    rotation_tolerance_deg: float = 2.0
    pointing_tolerance_deg: float = 0.02
    flip: bool = False
    detectors: tuple[Detector, ...]
    bad_rows: tuple[tuple[int, int], ...] = ()
    calibrations: tuple[str, ...] = ()
    bands: dict[str, str] = {}
    wavelengths_nm: dict[str, tuple[float, float]] = {}
    site: tuple[float, float, float] | None = None

    def detector(self, detector: int) -> Detector:
        """Return one detector.

        Raises
        ------
        NotFoundError
            If the camera has no detector of that number.
        """
        for d in self.detectors:
            if d.id == detector:
                return d
        raise NotFoundError(f"camera {self.name} has no detector {detector}")

    def make_wcs(self, detector: int, ra_deg: float, dec_deg: float, sky_angle_deg: float) -> WCS:
        """Make the starting WCS of an exposure from its pointing alone.

        Parameters
        ----------
        detector
            Number of the detector.
        ra_deg, dec_deg
            Boresight, ICRS.
        sky_angle_deg
            Position angle of the image's +y axis, from North through East.

        Returns
        -------
        astropy.wcs.WCS
            Gnomonic, without distortion; for zero-based pixels use
            ``pixel_to_world_values``. The true one differs by the camera's
            distortion and by the errors that the tolerances tell.

        Raises
        ------
        NotFoundError
            If the camera has no detector of that number.
        """
        d = self.detector(detector)
        height, width = d.bbox.shape
        scale = self.scale_arcsec / 3600
        angle = np.deg2rad(sky_angle_deg)
        # +y points to position angle `angle`; +x to `angle` - 90 deg (East is left) or + 90 deg when mirrored.
        side = 1.0 if self.flip else -1.0
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.radesys = "ICRS"
        wcs.wcs.crval = [ra_deg, dec_deg]
        wcs.wcs.crpix = [(width + 1) / 2 - d.offset_x, (height + 1) / 2 - d.offset_y]
        wcs.wcs.cd = scale * np.array(
            [[side * np.cos(angle), np.sin(angle)], [-side * np.sin(angle), np.cos(angle)]]
        )
        wcs.wcs.set()
        return wcs
