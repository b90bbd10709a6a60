"""Tile pyramids of images: the form in which the portal reads pixels.

A pyramid is a folder with ``meta.json`` and one memory-mapped array per plane and level. Level 0 is the
coarsest and fits one tile, the last level is native. Arrays are stored bottom row first, as in FITS; tiles are
counted and ordered from the top, as map clients want them.

An overview is a pyramid of which only the coarsest level of the pixels is stored: small enough to be published
with every image, and all that a view of many detectors needs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.errors import DataError, NotFoundError
from skydesk_core.release.wcsfit import fit_wcs, make_pixel_to_sky

__all__ = ["PLANES", "TILE", "Pyramid", "build_overview", "build_pyramid"]

TILE = 256
"""Pixels along the side of a tile."""

PLANES = ("image", "variance", "mask")
"""Planes of a pyramid: float32, float32 and uint32."""

_ALIASES = {"sci": "image", "var": "variance"}
_VERSION = 1
_SAMPLE = 100_000
_PERCENTILES = {
    "p01": 0.1,
    "p1": 1,
    "p5": 5,
    "p25": 25,
    "median": 50,
    "p75": 75,
    "p95": 95,
    "p99": 99,
    "p995": 99.5,
    "p999": 99.9,
}


@dataclass(frozen=True)
class Pyramid:
    """An opened pyramid; arrays are mapped from disk when first touched.

    Parameters
    ----------
    folder
        Where ``meta.json`` lies.
    meta
        Its contents.
    """

    folder: Path
    meta: Mapping[str, Any]
    _arrays: dict[tuple[str, int], NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def open(folder: Path) -> Pyramid:
        """Open a pyramid that `build_pyramid` wrote.

        Raises
        ------
        NotFoundError
            If there is no pyramid in the folder.
        DataError
            If its version is not known.
        """
        path = Path(folder) / "meta.json"
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFoundError(f"{folder}: no image pyramid") from error
        if meta.get("version") != _VERSION:
            raise DataError(f"{path}: pyramid version {meta.get('version')!r} is not known, need {_VERSION}")
        return Pyramid(Path(folder), meta)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at native resolution."""
        return self.meta["shape"][0], self.meta["shape"][1]

    @property
    def xy0(self) -> tuple[int, int]:
        """Coordinates of the first array pixel in the image's own frame (patch origin for coadds)."""
        return self.meta["xy0"][0], self.meta["xy0"][1]

    @property
    def levels(self) -> int:
        """How many levels there are; level ``levels - 1`` is native."""
        return self.meta["levels"]

    @property
    def planes(self) -> tuple[str, ...]:
        """Planes that exist."""
        return tuple(self.meta["planes"])

    @property
    def mask_planes(self) -> dict[str, int]:
        """Mask plane name to bit number."""
        return dict(self.meta["mask_planes"])

    @property
    def unit(self) -> str | None:
        """Unit of the pixels (VOUnit)."""
        return self.meta["unit"]

    @property
    def band(self) -> str | None:
        """Band, if the image has one."""
        return self.meta["band"]

    @property
    def wcs(self) -> dict[str, Any] | None:
        """FITS WCS cards of the native array; None when the mapping has no exact FITS form."""
        return self.meta["wcs"]

    @property
    def wcs_fit(self) -> dict[str, Any] | None:
        """Polynomials as `skydesk_core.release.wcsfit.fit_wcs` describes; None without a sky projection."""
        return self.meta["wcs_fit"]

    @property
    def stats(self) -> dict[str, float]:
        """Numbers for a first stretch: median, sigma, percentiles ``p01 p1 p99 p995``, ``zscale`` limits."""
        return self.meta["stats"]

    def array(self, plane: str, z: int) -> NDArray[Any]:
        """Map the whole array of one plane at one level, bottom row first.

        Raises
        ------
        NotFoundError
            If the plane or level does not exist.
        """
        plane = _ALIASES.get(plane, plane)
        key = (plane, z)
        if key not in self._arrays:
            if plane not in self.planes or not 0 <= z < self.meta.get("stored_levels", self.levels):
                raise NotFoundError(f"image has no plane {plane!r} at level {z}")
            self._arrays[key] = np.load(self.folder / f"{plane}-{z}.npy", mmap_mode="r")
        return self._arrays[key]

    def tile(self, plane: str, z: int, x: int, y: int) -> NDArray[Any]:
        """Copy one 256 × 256 tile.

        Parameters
        ----------
        plane
            ``image``, ``variance`` (float32) or ``mask`` (uint32).
        z
            Level, 0 the coarsest.
        x, y
            Column from the left and row from the top of the padded square of the level.

        Returns
        -------
        numpy.ndarray
            Row 0 is the top (highest y). Beyond the image: NaN, or NO_DATA in the mask.

        Raises
        ------
        NotFoundError
            If there is no such tile.
        """
        array = self.array(plane, z)
        count = 1 << z
        if not (0 <= x < count and 0 <= y < count):
            raise NotFoundError(f"image has no tile {z}/{x}/{y}")
        mask = array.dtype == np.uint32
        fill = (
            np.uint32(1 << self.mask_planes["NO_DATA"] if "NO_DATA" in self.mask_planes else 0)
            if mask
            else np.nan
        )
        out = np.full((TILE, TILE), fill, dtype=array.dtype)
        bottom, left = (count - 1 - y) * TILE, x * TILE
        part = array[bottom : bottom + TILE, left : left + TILE]
        out[: part.shape[0], : part.shape[1]] = part
        return np.ascontiguousarray(out[::-1])

    def pixel(self, x: int, y: int) -> tuple[float, float, int]:
        """Read one native pixel.

        Parameters
        ----------
        x, y
            0-based array coordinates.

        Returns
        -------
        tuple
            Value, variance (NaN when the image has none) and mask.

        Raises
        ------
        NotFoundError
            If the position lies outside the image.
        """
        ny, nx = self.shape
        if not (0 <= x < nx and 0 <= y < ny):
            raise NotFoundError(f"pixel ({x}, {y}) lies outside the image of {nx} x {ny} pixels")
        native = self.levels - 1
        variance = float(self.array("variance", native)[y, x]) if "variance" in self.planes else float("nan")
        mask = int(self.array("mask", native)[y, x]) if "mask" in self.planes else 0
        return float(self.array("image", native)[y, x]), variance, mask


def _quads(array: NDArray[Any], fill: Any) -> list[NDArray[Any]]:
    """Split an array into the four pixels of each 2 x 2 block, padded at the top and right."""
    ny, nx = array.shape
    if ny % 2 or nx % 2:
        array = np.pad(array, ((0, ny % 2), (0, nx % 2)), constant_values=fill)
    return [array[j::2, i::2] for j in (0, 1) for i in (0, 1)]


def _halve_mean(array: NDArray[np.float32]) -> NDArray[np.float32]:
    quads = _quads(array, np.nan)
    total = quads[0] + quads[1] + quads[2] + quads[3]
    total *= np.float32(0.25)
    # Blocks with missing pixels are few; only those pay for the careful mean.
    rows, columns = np.nonzero(~np.isfinite(total))
    if rows.size:
        stack = np.stack([q[rows, columns] for q in quads])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            total[rows, columns] = np.nanmean(stack, axis=0)
    return total


def _halve_or(array: NDArray[np.uint32]) -> NDArray[np.uint32]:
    quads = _quads(array, 0)
    return quads[0] | quads[1] | quads[2] | quads[3]


def _combine_mask(mask: Any) -> tuple[NDArray[np.uint32], dict[str, int]]:
    """Pack a mask of bytes into one 32-bit number per pixel."""
    schema = mask.schema
    width = schema.dtype.itemsize * 8
    planes: dict[str, int] = {}
    for plane in schema:
        if plane is not None:
            bit = schema.bit(plane.name)
            planes[plane.name] = bit.index * width + int(bit.mask).bit_length() - 1
    if planes and max(planes.values()) > 31:
        raise DataError(f"image has more than 32 mask planes: {', '.join(planes)}")
    array = mask.array
    out = np.zeros(array.shape[:2], np.uint32)
    for index in range(array.shape[2]):
        if index * width < 32:
            out |= array[:, :, index].astype(np.uint32) << np.uint32(index * width)
    return out, planes


def _read_planes(image: Any) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """Copy the planes of an image; a raw readout has only pixels."""
    if not hasattr(image, "image"):
        return {"image": np.ascontiguousarray(image.array, dtype=np.float32)}, {}
    mask, names = _combine_mask(image.mask)
    pixels = np.ascontiguousarray(image.image.array, dtype=np.float32)
    variance = np.ascontiguousarray(image.variance.array, dtype=np.float32)
    return {"image": pixels, "variance": variance, "mask": mask}, names


def _stats(image: NDArray[np.float32], mask: NDArray[np.uint32] | None, no_data: int) -> dict[str, float]:
    from astropy.visualization import ZScaleInterval

    step = max(1, int(np.sqrt(image.size / _SAMPLE)))
    sample = image[::step, ::step]
    good = np.isfinite(sample)
    if mask is not None and no_data:
        good &= (mask[::step, ::step] & np.uint32(no_data)) == 0
    values = sample[good].astype(np.float64)
    if values.size == 0:
        return {}
    names = {
        "p01": 0.1,
        "p1": 1,
        "p5": 5,
        "p25": 25,
        "median": 50,
        "p75": 75,
        "p95": 95,
        "p99": 99,
        "p995": 99.5,
        "p999": 99.9,
    }
    found = dict(zip(names, map(float, np.percentile(values, list(names.values()))), strict=True))
    found["sigma"] = 1.4826 * float(np.median(np.abs(values - found["median"])))
    low, high = ZScaleInterval().get_limits(values)
    # The extremes are those of all pixels: a sample would miss the brightest star.
    extremes = {"min": float(np.nanmin(image, initial=np.inf, where=np.isfinite(image))),
                "max": float(np.nanmax(image, initial=-np.inf, where=np.isfinite(image)))}  # fmt: skip
    return {**found, **extremes, "zscale_low": float(low), "zscale_high": float(high)}


def _describe_sky(image: Any) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    projection = image.sky_projection
    if projection is None:
        return None, None
    bbox = image.bbox
    fit = fit_wcs(make_pixel_to_sky(projection, bbox), bbox.shape)
    exact = projection.as_fits_wcs(bbox)
    cards = None
    if exact is not None:
        header = exact.to_header(relax=True)
        cards = {k: header[k] for k in header if k and k not in ("COMMENT", "HISTORY")}
    return cards, fit


def build_pyramid(
    image: Any, folder: Path, identity: Mapping[str, Any] | None = None, band: str | None = None
) -> Pyramid:
    """Build the pyramid of an image, complete or not at all.

    Parameters
    ----------
    image
        An ``lsst.images.MaskedImage`` (or any class derived from it), or a raw readout with only an ``array``.
    folder
        Where to put it; an existing pyramid is replaced.
    identity
        What else ``meta.json`` should say (``dataset_type``, ``dataset_id``, ``data_id``, ``mjd``, …).
    band
        Band of the image; by default the image's own.

    Returns
    -------
    Pyramid
        The new pyramid.

    Notes
    -----
    Towards coarser levels the image is the mean of the finite pixels of a 2 × 2 block, the variance a
    quarter of the mean variance, and the mask the bitwise OR.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    planes, mask_planes = _read_planes(image)
    pixels = planes["image"]
    no_data = 1 << mask_planes["NO_DATA"] if "NO_DATA" in mask_planes else 0
    ny, nx = pixels.shape
    levels = _count_levels(ny, nx)
    masked = hasattr(image, "image")
    cards, fit = _describe_sky(image) if masked else (None, None)
    meta = {
        "version": _VERSION,
        "shape": [ny, nx],
        "xy0": [int(image.bbox.x.start), int(image.bbox.y.start)] if masked else [0, 0],
        "levels": levels,
        "tile": TILE,
        "planes": list(planes),
        "mask_planes": mask_planes,
        "unit": "adu" if not masked else None if image.unit is None else image.unit.to_string(),
        "band": band if band is not None else getattr(image, "band", None),
        "wcs": cards,
        "wcs_fit": fit,
        "stats": _stats(pixels, planes.get("mask"), no_data),
        **(identity or {}),
    }
    with _finished(folder, meta) as work:
        for name, plane in planes.items():
            _write_levels(work, name, plane, levels)
    return Pyramid.open(folder)


def build_overview(
    image: Any,
    projection: Any,
    folder: Path,
    identity: Mapping[str, Any] | None = None,
    band: str | None = None,
) -> Pyramid:
    """Build the overview of an image, complete or not at all.

    Parameters
    ----------
    image
        An ``lsst.images.Image``.
    projection
        Its ``lsst.images.SkyProjection``.
    folder
        Where to put it; an existing overview is replaced.
    identity, band
        As for `build_pyramid`.

    Returns
    -------
    Pyramid
        With the plane ``image`` at level 0 alone, equal to that of the whole pyramid.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(image.array, np.float32)
    ny, nx = pixels.shape
    levels = _count_levels(ny, nx)
    for _ in range(levels - 1):
        pixels = _halve_mean(pixels)
    meta = {
        "version": _VERSION,
        "shape": [ny, nx],
        "xy0": [int(image.bbox.x.start), int(image.bbox.y.start)],
        "levels": levels,
        "stored_levels": 1,
        "tile": TILE,
        "planes": ["image"],
        "mask_planes": {},
        "unit": None if image.unit is None else image.unit.to_string(),
        "band": band,
        "wcs": None,
        "wcs_fit": fit_wcs(make_pixel_to_sky(projection, image.bbox), image.bbox.shape),
        "stats": {},
        **(identity or {}),
    }
    with _finished(folder, meta) as work:
        np.save(work / "image-0.npy", pixels)
    return Pyramid.open(folder)


def _count_levels(ny: int, nx: int) -> int:
    levels = 1
    while TILE << (levels - 1) < max(ny, nx):
        levels += 1
    return levels


@contextmanager
def _finished(folder: Path, meta: Mapping[str, Any]) -> Iterator[Path]:
    """Give a folder for arrays that comes to its place, with ``meta.json``, once they are written."""
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        work.chmod(0o755)
        yield work
        (work / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        _replace(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_levels(work: Path, name: str, plane: NDArray[Any], levels: int) -> None:
    for z in range(levels - 1, -1, -1):
        np.save(work / f"{name}-{z}.npy", plane)
        if z == 0:
            break
        if name == "mask":
            plane = _halve_or(plane)
        else:
            plane = _halve_mean(plane)
            if name == "variance":
                plane *= np.float32(0.25)


def _replace(work: Path, folder: Path) -> None:
    """Move a finished pyramid to its place; another writer's equal result is as good as ours."""
    try:
        os.rename(work, folder)
    except OSError:
        if not (folder / "meta.json").exists():
            raise
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        os.rename(folder, old / "old")
        os.rename(work, folder)
        shutil.rmtree(old, ignore_errors=True)
