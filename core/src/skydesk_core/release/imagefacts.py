"""What is known of each published image: geometry, time, filter and size, from files, dimension records and inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from skydesk_core.release.provenance import ExposureFacts, Provenance, known_name
from skydesk_core.release.wcsfit import make_pixel_to_sky

if TYPE_CHECKING:
    from lsst.daf.butler import Butler, DatasetRef

    from skydesk_core.instrument.camera import CameraDescription

__all__ = ["ImageFacts", "collect_image_facts", "middle_of", "separation_deg"]

_GRID = 16
"""Points along each side of a coadd at which its exposure time is counted."""


@dataclass(frozen=True)
class ImageFacts:
    """What ObsCore needs to know of one image.

    Parameters
    ----------
    dataset_id, dataset_type, data_id
        Identity in the Butler.
    corners
        Sky positions of the outer corners of the four corner pixels, ICRS degrees, shape (4, 2); None without WCS.
    shape
        Rows and columns.
    pixel_scale_arcsec, fwhm_arcsec
        Scale at the centre and width of the PSF; None when unknown.
    size_bytes
        Size of the file.
    t_min, t_max
        Start and end, MJD TAI; of a combined image those of the exposures in it.
    exposure_s
        Exposure time in seconds; of a coadd the median over its area.
    band, physical_filter, target, program
        As the dimension records say.
    unit
        Unit of the pixels.
    wavelengths_nm
        What the camera's description says about the band; None if it says nothing.
    observation_type
        What a raw was taken for: science, bias, dark, flat; None for other images.
    """

    dataset_id: str
    dataset_type: str
    data_id: Mapping[str, Any]
    corners: Any
    shape: tuple[int, int]
    pixel_scale_arcsec: float | None
    fwhm_arcsec: float | None
    size_bytes: int
    t_min: float | None
    t_max: float | None
    exposure_s: float | None
    band: str | None
    physical_filter: str | None
    target: str | None
    unit: str | None
    program: str | None = None
    wavelengths_nm: tuple[float, float] | None = None
    observation_type: str | None = None


def _corners_of(projection: Any, bbox: Any) -> tuple[Any, float]:
    ny, nx = bbox.shape
    x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5, (nx - 1) / 2, (nx - 1) / 2 + 1])
    y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5, (ny - 1) / 2, (ny - 1) / 2])
    ra, dec = make_pixel_to_sky(projection, bbox)(x, y)
    return np.stack([ra[:4], dec[:4]], axis=1), 3600 * separation_deg((ra[4], dec[4]), (ra[5], dec[5]))


def _polygon_of(region: Any) -> Any:
    from lsst.sphgeom import LonLat

    points = [LonLat(v) for v in region.getVertices()]
    return np.array([(p.getLon().asDegrees() % 360, p.getLat().asDegrees()) for p in points])


def _time_range(record: Any) -> tuple[float | None, float | None]:
    span = getattr(record, "timespan", None)
    if span is None or span.begin is None or span.end is None:
        return None, None
    return float(span.begin.tai.mjd), float(span.end.tai.mjd)


def _coadd_fwhm(butler: Butler, ref: DatasetRef, bbox: Any, scale_arcsec: float) -> float | None:
    """Return the width of a coadd's PSF, that of a Gaussian with its effective area, arcsec."""
    from lsst.images import BoundsError

    psf = butler.get(ref.makeComponentRef("psf"))
    for part in (0.5, 0.25, 0.75):
        x = int(bbox.x.start + part * (bbox.x.stop - bbox.x.start))
        y = int(bbox.y.start + part * (bbox.y.stop - bbox.y.start))
        try:
            kernel = psf.compute_kernel_image(x=x, y=y).array
        except BoundsError:
            # No visit reaches this cell; another one may do.
            continue
        return 0.664 * scale_arcsec * float(kernel.sum() / np.sqrt((kernel**2).sum()))
    return None


class _Reader:
    """Reads geometry; remembers what is the same for many images."""

    def __init__(self, butler: Butler) -> None:
        self.butler = butler
        self._raw_shapes: dict[Any, tuple[int, int]] = {}
        self._cameras: dict[str, CameraDescription | None] = {}

    def camera(self, instrument: str | None) -> CameraDescription | None:
        """Return the description of an instrument of ours, None for another one."""
        from lsst.pipe.base import Instrument

        from skydesk_core.instrument.base import SkydeskInstrument

        if instrument is None:
            return None
        if instrument not in self._cameras:
            try:
                found = Instrument.fromName(instrument, self.butler.registry)
            except (LookupError, RuntimeError, TypeError):
                found = None
            self._cameras[instrument] = found.describe() if isinstance(found, SkydeskInstrument) else None
        return self._cameras[instrument]

    def geometry(self, ref: DatasetRef) -> tuple[Any, Any, Any, Any]:
        """Return corners, shape, pixel scale and unit of one image."""
        if ref.datasetType.storageClass_name == "RawImage":
            return self._raw_geometry(ref)
        parts = self.butler.get(
            ref.makeComponentRef("components"), parameters={"components": ["sky_projection", "bbox", "unit"]}
        )
        bbox = parts["bbox"]
        unit = None if parts["unit"] is None else parts["unit"].to_string()
        if parts["sky_projection"] is None:
            return self._pointed_region(ref), bbox.shape, self._nominal_scale(ref), unit
        corners, scale = _corners_of(parts["sky_projection"], bbox)
        return corners, bbox.shape, scale, unit

    def _nominal_scale(self, ref: DatasetRef) -> float | None:
        camera = self.camera(str(ref.dataId["instrument"])) if "instrument" in ref.dataId else None
        return None if camera is None else camera.scale_arcsec

    def _raw_geometry(self, ref: DatasetRef) -> tuple[Any, Any, Any, Any]:
        key = (ref.dataId["instrument"], ref.dataId["detector"])
        if key not in self._raw_shapes:
            self._raw_shapes[key] = self.butler.get(ref).array.shape
        return self._pointed_region(ref), self._raw_shapes[key], self._nominal_scale(ref), "adu"

    def _pointed_region(self, ref: DatasetRef) -> Any:
        """Return the corners of what an exposure without WCS may have seen; None for what is no exposure."""
        if not {"exposure", "detector"} <= set(ref.dimensions.names):
            return None
        data = {
            "instrument": ref.dataId["instrument"],
            "visit": ref.dataId["exposure"],
            "detector": ref.dataId["detector"],
        }
        with self.butler.query() as query:
            regions = list(query.dimension_records("visit_detector_region").where(data))
        return _polygon_of(regions[0].region) if regions and regions[0].region is not None else None


def collect_image_facts(
    butler: Butler,
    refs: Iterable[DatasetRef],
    seeing_arcsec: Mapping[tuple[int, int], float],
    provenance: Provenance | None = None,
) -> list[ImageFacts]:
    """Read what ObsCore needs of each image from its file's header and the dimension records.

    Parameters
    ----------
    butler
        The release's Butler.
    refs
        Expanded references of published image types.
    seeing_arcsec
        Width of the PSF by visit and detector.
    provenance
        What went into the images; gives combined images their times.

    Returns
    -------
    list of ImageFacts
        One entry per image.
    """
    reader = _Reader(butler)
    facts = [_facts_of(reader, ref, seeing_arcsec) for ref in refs]
    if provenance is None:
        return facts
    corners = {f.dataset_id: f.corners for f in facts if f.corners is not None}
    return [_combined(f, provenance.exposures.get(f.dataset_id, ()), corners) for f in facts]


def _facts_of(reader: _Reader, ref: DatasetRef, seeing_arcsec: Mapping[tuple[int, int], float]) -> ImageFacts:
    butler = reader.butler
    data_id = butler.registry.expandDataId(ref.dataId)
    records = data_id.records
    corners, shape, scale, unit = reader.geometry(ref)
    element = next((e for e in ("visit", "exposure") if e in data_id), None)
    moment = records[element] if element else None
    t_min, t_max = _time_range(moment)
    required: dict[str, Any] = {k: data_id[k] for k in data_id.dimensions.required}
    implied: dict[str, Any] = dict(data_id.mapping)
    moment_id = required.get("visit", required.get("exposure", -1))
    fwhm = seeing_arcsec.get((moment_id, required.get("detector", -1)))
    if ref.datasetType.storageClass_name == "CellCoadd" and scale is not None:
        fwhm = _coadd_fwhm(butler, ref, butler.get(ref.makeComponentRef("bbox")), scale)
    camera = reader.camera(implied.get("instrument"))
    band = implied.get("band")
    return ImageFacts(
        dataset_id=str(ref.id),
        dataset_type=ref.datasetType.name,
        data_id=required,
        corners=corners,
        shape=(int(shape[0]), int(shape[1])),
        pixel_scale_arcsec=scale,
        fwhm_arcsec=fwhm,
        size_bytes=butler.getURI(ref).size(),
        t_min=t_min,
        t_max=t_max,
        exposure_s=None if moment is None else moment.exposure_time,
        band=band,
        physical_filter=implied.get("physical_filter"),
        target=None if moment is None else known_name(moment.target_name),
        unit=unit,
        program=None if moment is None else known_name(moment.science_program),
        wavelengths_nm=None if camera is None else camera.wavelengths_nm.get(band or ""),
        observation_type=getattr(moment, "observation_type", None),
    )


def _combined(fact: ImageFacts, exposures: Sequence[ExposureFacts], corners: Mapping[str, Any]) -> ImageFacts:
    """Fill in the times of an image that combines exposures."""
    if fact.t_min is not None or not exposures:
        return fact
    begins = [e.t_min for e in exposures if e.t_min is not None]
    ends = [e.t_max for e in exposures if e.t_max is not None]
    targets = {e.target for e in exposures}
    programs = {e.program for e in exposures}
    return replace(
        fact,
        t_min=min(begins, default=None),
        t_max=max(ends, default=None),
        exposure_s=_exposure_of(fact, exposures, corners),
        target=targets.pop() if len(targets) == 1 else None,
        program=programs.pop() if len(programs) == 1 else None,
    )


def _exposure_of(
    fact: ImageFacts, exposures: Sequence[ExposureFacts], corners: Mapping[str, Any]
) -> float | None:
    """Return the exposure time of a combined image.

    Of a coadd it is the median over its area, as ObsCore wishes; of a
    calibration, every pixel of which comes from all its exposures, the sum.
    """
    if any(e.exposure_s is None for e in exposures):
        return None
    whole = {e.moment: float(e.exposure_s or 0.0) for e in exposures}
    outlines = [corners.get(e.input_id) for e in exposures]
    if fact.corners is None or any(o is None for o in outlines):
        return sum(whole.values())
    points = _points_within(fact.corners)
    total = np.zeros(len(points))
    for moment, seconds in whole.items():
        covered = np.zeros(len(points), bool)
        for exposure, outline in zip(exposures, outlines, strict=True):
            if exposure.moment == moment:
                covered |= _covers(outline, points)
        total += seconds * covered
    seen = total[total > 0]
    return float(np.median(seen)) if seen.size else sum(whole.values())


def _unit(corners: Any) -> Any:
    ra, dec = np.radians(corners[:, 0]), np.radians(corners[:, 1])
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _points_within(corners: Any) -> Any:
    """Return unit vectors of a grid of points in a quadrangle."""
    a, b, c, d = _unit(corners)[:4]
    steps = (np.arange(_GRID) + 0.5) / _GRID
    u, v = (g.ravel()[:, None] for g in np.meshgrid(steps, steps))
    points = (1 - u) * (1 - v) * a + u * (1 - v) * b + u * v * c + (1 - u) * v * d
    return points / np.linalg.norm(points, axis=1)[:, None]


def _covers(outline: Any, points: Any) -> Any:
    """Tell which points lie in a convex polygon."""
    corners = _unit(outline)
    sides = np.cross(corners, np.roll(corners, -1, axis=0)) @ points.T
    inside = (sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)
    # The great circles of the edges meet once more on the far side of the sky.
    return inside & (points @ corners.mean(axis=0) > 0)


def separation_deg(a: Any, b: Any) -> float:
    """Return the angle between two positions, degrees."""
    (ra1, dec1), (ra2, dec2) = np.radians(a), np.radians(b)
    h = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return float(np.degrees(2 * np.arcsin(np.sqrt(min(1.0, h)))))


def middle_of(corners: Any) -> tuple[float, float]:
    """Return the middle of some positions, ICRS degrees."""
    vector = _unit(corners).mean(axis=0)
    vector /= np.linalg.norm(vector)
    return float(np.degrees(np.arctan2(vector[1], vector[0])) % 360), float(np.degrees(np.arcsin(vector[2])))
