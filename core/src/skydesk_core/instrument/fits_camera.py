"""Cameras that a short YAML file describes, so that any camera writing FITS can be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from skydesk_core.errors import DataError, NotFoundError
from skydesk_core.home import Home
from skydesk_core.instrument.base import SkydeskInstrument
from skydesk_core.instrument.camera import Amplifier, CameraDescription, Detector, PixelBox
from skydesk_core.instrument.observation import HeaderCards
from skydesk_core.skymap import Tract

__all__ = ["CameraFile", "FitsCamera", "make_fits_camera", "read_camera_file"]

_STRICT = ConfigDict(frozen=True, extra="forbid")
Estimated = float | Literal["estimate"]


class PixelSection(BaseModel):
    """Section ``pixels`` of a camera file: the readout.

    Attributes
    ----------
    shape
        Height and width of the raw image.
    trim
        ``[x0, x1, y0, y1]`` of the light-sensitive part, half open; all
        without it.
    overscan
        ``[x0, x1, y0, y1]`` of the serial overscan.
    bad_rows
        Ranges of rows without signal, after trimming.
    saturation
        ADU at and above which a pixel is saturated.
    gain
        Electrons per ADU, or ``estimate``.
    read_noise
        Electrons, or ``estimate``.
    """

    model_config = _STRICT

    shape: tuple[int, int]
    trim: tuple[int, int, int, int] | None = None
    overscan: tuple[int, int, int, int] | None = None
    bad_rows: tuple[tuple[int, int], ...] = ()
    saturation: float = Field(gt=0)
    gain: Estimated = "estimate"
    read_noise: Estimated = "estimate"

    @field_validator("gain")
    @classmethod
    def _positive(cls, value: Estimated) -> Estimated:
        if value != "estimate" and not value > 0:
            raise ValueError("must be positive or 'estimate'")
        return value


class SkySection(BaseModel):
    """Section ``sky`` of a camera file: scale and orientation.

    Attributes
    ----------
    scale_arcsec
        Size of a pixel.
    scale_tolerance
        Largest relative error of the scale.
    rotation_deg
        Position angle of the image's +y axis, if no card tells it.
    rotation_tolerance_deg
        Largest error of the rotation; 180 if it is unknown.
    pointing_tolerance_deg
        Largest error of the pointing.
    flip
        Whether the image is mirrored.
    """

    model_config = _STRICT

    scale_arcsec: float = Field(gt=0)
    scale_tolerance: float = Field(default=0.02, ge=0, lt=0.5)
    rotation_deg: float = 0.0
    rotation_tolerance_deg: float = Field(default=180.0, ge=0, le=180)
    pointing_tolerance_deg: float = Field(default=0.1, ge=0)
    flip: bool = False


class SkyMapSection(BaseModel):
    """Section ``skymap`` of a camera file: the grid its images are combined on.

    Attributes
    ----------
    patches
        Number of patches along x and y in a tract.
    patch_pixels
        Inner size of a patch along x and y.
    border
        Border of a patch, pixels.
    """

    model_config = _STRICT

    patches: tuple[int, int] = (2, 2)
    patch_pixels: tuple[int, int]
    border: int = Field(default=30, ge=0)


class CameraFile(BaseModel):
    """A whole camera file.

    Attributes
    ----------
    name
        Name of the instrument and of its skymap.
    cards
        Which header card holds which fact.
    filters
        Band of each value of the filter card; the physical filter is the
        value itself.
    wavelengths_nm
        Shortest and longest wavelength of bands, where the name does not tell them.
    types
        Kind of frame (``science``, ``bias``, ``dark``, ``flat``) for values of
        the type card.
    pixels, sky, skymap
        See the sections' classes.
    calibrations
        Which of ``bias``, ``dark``, ``flat``, ``defects`` are expected.
    site
        Longitude (degrees, East), latitude (degrees) and height (m) of the observatory.
    """

    model_config = _STRICT

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,30}$")
    cards: HeaderCards
    filters: dict[str, str]
    wavelengths_nm: dict[str, tuple[float, float]] = {}
    types: dict[str, str] = {}
    pixels: PixelSection
    sky: SkySection
    skymap: SkyMapSection
    calibrations: tuple[Literal["bias", "dark", "flat", "defects"], ...] = ()
    site: tuple[float, float, float] | None = None

    def describe(self) -> CameraDescription:
        """Return the description that the pipeline uses."""
        height, width = self.pixels.shape
        trim = self.pixels.trim or (0, width, 0, height)
        raw_bbox = PixelBox(x0=trim[0], x1=trim[1], y0=trim[2], y1=trim[3])
        scan = self.pixels.overscan
        amplifier = Amplifier(
            name="A",
            bbox=PixelBox(x0=0, x1=trim[1] - trim[0], y0=0, y1=trim[3] - trim[2]),
            raw_bbox=raw_bbox,
            overscan_bbox=PixelBox(x0=scan[0], x1=scan[1], y0=scan[2], y1=scan[3]) if scan else None,
            gain=None if self.pixels.gain == "estimate" else self.pixels.gain,
            read_noise=None if self.pixels.read_noise == "estimate" else self.pixels.read_noise,
            saturation=self.pixels.saturation,
        )
        detector = Detector(
            id=0, name="0", bbox=amplifier.bbox, raw_shape=self.pixels.shape, amplifiers=(amplifier,)
        )
        return CameraDescription(
            name=self.name,
            scale_arcsec=self.sky.scale_arcsec,
            scale_tolerance=self.sky.scale_tolerance,
            rotation_tolerance_deg=self.sky.rotation_tolerance_deg,
            pointing_tolerance_deg=self.sky.pointing_tolerance_deg,
            flip=self.sky.flip,
            detectors=(detector,),
            bad_rows=self.pixels.bad_rows,
            calibrations=self.calibrations,
            bands=dict(self.filters),
            wavelengths_nm=dict(self.wavelengths_nm),
            site=self.site,
        )

    def make_tract(self, number: int, ra_deg: float, dec_deg: float) -> Tract:
        """Make a tract of this camera's skymap around a pointing."""
        return Tract(
            id=number,
            ra_deg=ra_deg,
            dec_deg=dec_deg,
            scale_arcsec=self.sky.scale_arcsec,
            n_x=self.skymap.patches[0],
            n_y=self.skymap.patches[1],
            patch_nx=self.skymap.patch_pixels[0],
            patch_ny=self.skymap.patch_pixels[1],
            border=self.skymap.border,
        )


def read_camera_file(path: Path | str) -> CameraFile:
    """Read and check a camera file.

    Raises
    ------
    DataError
        If the file is not YAML or a key is wrong; the message names the file
        and the key.
    NotFoundError
        If there is no such file.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFoundError(f"no camera file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        raise DataError(f"{path}: not a camera file: its top level is not a mapping")
    try:
        camera = CameraFile.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        raise DataError(f"{path}: key {key}: {first['msg']}") from None
    _check_boxes(camera, str(path))
    return camera


def _check_boxes(camera: CameraFile, path: str) -> None:
    height, width = camera.pixels.shape
    for key in ("trim", "overscan"):
        box = getattr(camera.pixels, key)
        if box and not (0 <= box[0] < box[1] <= width and 0 <= box[2] < box[3] <= height):
            raise DataError(f"{path}: key pixels.{key}: {list(box)} does not lie within {width} x {height}")
    if not camera.filters:
        raise DataError(f"{path}: key filters: at least one filter is needed")
    for band in camera.filters.values():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", band):
            raise DataError(f"{path}: key filters: {band!r} is not a name of a band")
    for band, (low, high) in camera.wavelengths_nm.items():
        if band not in camera.filters.values() or not 0 < low < high:
            raise DataError(f"{path}: key wavelengths_nm: {band}: [{low:g}, {high:g}] is no span of a band")


class FitsCamera(SkydeskInstrument):
    """An instrument made from a camera file; see `make_fits_camera`."""

    camera_file: CameraFile

    @classmethod
    def getName(cls) -> str:  # noqa: N802
        """Return the camera's name."""
        return cls.camera_file.name

    @classmethod
    def describe(cls) -> CameraDescription:
        """Return the camera's description."""
        return cls.camera_file.describe()

    @classmethod
    def cards(cls) -> HeaderCards:
        """Return which header card holds which fact."""
        return cls.camera_file.cards

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which the registry imports this class again."""
        return f"skydesk_core.instrument.registered.{cls.camera_file.name}"

    @classmethod
    def physical_filter(cls, name: str, path: str) -> str:
        """Return the physical filter for a header's value.

        Raises
        ------
        DataError
            If the camera file does not list the filter.
        """
        filters = cls.camera_file.filters
        if not cls.camera_file.cards.filter:
            return next(iter(filters))
        if name not in filters:
            known = ", ".join(filters)
            raise DataError(
                f"{path}: card {cls.camera_file.cards.filter} names the unknown filter {name!r}; known: {known}"
            )
        return name


def make_fits_camera(camera_file: CameraFile) -> FitsCamera:
    """Make an instrument from a camera file."""
    members = {
        "camera_file": camera_file,
        "frame_types": {k.lower(): v for k, v in camera_file.types.items()},
        "rotation_deg": camera_file.sky.rotation_deg,
        "region_margin_deg": camera_file.sky.pointing_tolerance_deg,
        "__doc__": f"The camera {camera_file.name}, as its file describes it.",
    }
    instrument: FitsCamera = type(camera_file.name, (FitsCamera,), members)()
    return instrument


def find_camera_path(home: Home, name: str) -> Path | None:
    """Return the registered file of a camera, or None."""
    path = home.cameras / f"{name}.yaml"
    return path if path.is_file() else None
