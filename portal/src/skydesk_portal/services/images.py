"""Images of a release for the Portal's viewer: which there are, their tiles, and catalogue rows over them."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import numpy as np
import zstandard

from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError
from skydesk_portal.models.tables import Catalog, TableInfo
from skydesk_portal.pipeline.errors import core_errors
from skydesk_portal.pipeline.fitsfiles import find_sky
from skydesk_portal.pipeline.pixels import load_middleware
from skydesk_portal.pipeline.sky import evaluate_wcs, invert_wcs
from skydesk_portal.services.fitsfiles import OWN_IMAGES, FitsFiles
from skydesk_portal.services.focalplanes import FocalPlane, Member, parse_visit_id
from skydesk_portal.services.imagecutouts import ImageCutouts, parse_cutout_id
from skydesk_portal.services.imagerows import ImageRow, parse_outline

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.pipeline import Pyramid, Release
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.fitsaddresses import FitsAddresses
    from skydesk_portal.services.tap import QueryResult

__all__ = ["ID_COLUMNS", "ImageService", "Tile", "pack_points"]

ID_COLUMNS = {
    "Object": "objectId",
    "Source": "sourceId",
    "DiaSource": "diaSourceId",
    "DiaObject": "diaObjectId",
}
"""Tables that can be drawn over an image, and the column that names their rows."""

_DEFAULT_TABLES = {
    "deep_coadd": ("Object", "DiaObject"),
    "template_coadd": ("Object", "DiaObject"),
    "visit_image": ("Source", "Object", "DiaSource"),
    "difference_image": ("DiaSource", "DiaObject", "Object"),
}
_AB_ZERO_NJY = 31.4
_MAX_SOURCES = 1_000_000
_OPEN_PYRAMIDS = 32
_OPEN_PLANES = 4
_OUTLINE_STEPS = 4


class ReleaseSource(Protocol):
    """Where releases come from; it knows who may read which."""

    def find(self, identity: Identity, name: str) -> Release | None:
        """Return a release, `None` if the caller may read none of that name."""
        ...


class QuerySource(Protocol):
    """Where rows come from."""

    def run_query(self, identity: Identity, adql: str, maxrec: int = ..., offset: int = ...) -> QueryResult:
        """Run an ADQL query."""
        ...

    def catalog_for(self, identity: Identity) -> Catalog:
        """Return the tables that the caller may name."""
        ...


@dataclass(frozen=True)
class Tile:
    """One tile ready to be sent."""

    content: bytes
    encoding: str | None
    etag: str


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time build the same pyramid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class ImageService:
    """Looks up images and serves their pixels.

    Parameters
    ----------
    releases
        Opens releases for a caller.
    queries
        Runs ADQL for a caller.
    cache
        Folder for pyramids that are built when they are first looked at.
    files
        The files of people, for images out of them.
    addresses
        Opens FITS files by their address.
    """

    def __init__(
        self,
        releases: ReleaseSource,
        queries: QuerySource,
        cache: Path,
        files: FilesService | None = None,
        addresses: FitsAddresses | None = None,
    ) -> None:
        self._releases = releases
        self._queries = queries
        self._cache = cache
        self.files = FitsFiles(cache.parent / "fitsfiles", files, addresses=addresses)
        self.cutouts = ImageCutouts(cache.parent / "cutouts")
        self._planes: dict[tuple[str, str, str], FocalPlane] = {}
        self._extremes: dict[Path, tuple[float, float]] = {}
        self._open: OrderedDict[tuple[str, str], Pyramid] = OrderedDict()
        self._rows: dict[tuple[str, str], tuple[ImageRow, ...]] = {}
        self._guard = threading.Lock()

    @property
    def queries(self) -> QuerySource:
        """Where rows come from."""
        return self._queries

    def get_release(self, identity: Identity, name: str) -> Release:
        """Open a release that the caller may read.

        Raises
        ------
        NotFoundError
            If there is none of that name.
        """
        found = self._releases.find(identity, name)
        if found is None:
            raise NotFoundError(f"there is no release {name!r}")
        return found

    def list_images(self, identity: Identity, release: str) -> tuple[ImageRow, ...]:
        """List the images of a release.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release.

        Returns
        -------
        tuple of ImageRow
            By dataset type, then time or place.

        Raises
        ------
        NotFoundError
            If the caller sees no release of that name.
        """
        opened = self.get_release(identity, release)
        key = (release, str(opened.manifest.created))
        if key not in self._rows:
            adql = (
                "SELECT dataset_id, dataset_type, obs_title, lsst_band, lsst_visit, lsst_detector, lsst_tract, lsst_patch, "
                f"s_ra, s_dec, s_region, t_min FROM ivoa.ObsCore WHERE obs_collection = '{_quote(release)}'"
            )
            found = self._queries.run_query(identity, adql, maxrec=_MAX_SOURCES).table.to_pylist()
            rows = [
                ImageRow(
                    dataset_id=str(r["dataset_id"]),
                    dataset_type=r["dataset_type"],
                    title=r["obs_title"] or "",
                    band=r["lsst_band"] or "",
                    visit=r["lsst_visit"],
                    detector=r["lsst_detector"],
                    tract=r["lsst_tract"],
                    patch=r["lsst_patch"],
                    ra_deg=r["s_ra"],
                    dec_deg=r["s_dec"],
                    outline=parse_outline(r["s_region"]),
                    mjd_start=r["t_min"],
                )
                for r in found
            ]
            rows.sort(
                key=lambda r: (
                    r.dataset_type,
                    r.visit or 0,
                    r.detector or 0,
                    r.tract or 0,
                    r.patch or 0,
                    r.band,
                )
            )
            self._rows[key] = tuple(rows)
        return self._rows[key]

    def get_pyramid(self, identity: Identity, release: str, dataset_id: str) -> Pyramid:
        """Open the pyramid of an image or of a cut-out; the first look at a visit image or a cut-out builds it.

        Parameters
        ----------
        identity
            The caller.
        release, dataset_id
            Release and Butler identifier (UUID), or the name of a cut-out.

        Returns
        -------
        Pyramid
            The opened pyramid.

        Raises
        ------
        UsageError
            If the identifier is no UUID.
        NotFoundError
            If there is no such image or the caller may not see it.
        """
        if release == OWN_IMAGES:
            return self.files.get_pyramid(identity, dataset_id)
        cutout = parse_cutout_id(dataset_id)
        try:
            key = (release, dataset_id if cutout else str(UUID(dataset_id)))
        except ValueError as error:
            raise UsageError(f"{dataset_id!r} is not a dataset identifier (UUID)") from error
        opened = self.get_release(identity, release)
        with self._guard:
            if found := self._open.get(key):
                self._open.move_to_end(key)
                return found
        if cutout:
            pyramid = self.cutouts.get_pyramid(opened, cutout)
        else:
            pyramid = opened.find_pyramid(key[1]) or self._build(opened, key[1])
        with self._guard:
            self._open[key] = pyramid
            while len(self._open) > _OPEN_PYRAMIDS:
                self._open.popitem(last=False)
        return pyramid

    def get_view(self, identity: Identity, release: str, dataset_id: str) -> Pyramid | FocalPlane:
        """Open what can be shown as one image: an image, or the focal plane of a visit; as `get_pyramid`."""
        if visit := parse_visit_id(dataset_id):
            return self._get_focal_plane(identity, release, *visit)
        return self.get_pyramid(identity, release, dataset_id)

    def _get_focal_plane(self, identity: Identity, release: str, dataset_type: str, visit: int) -> FocalPlane:
        """Put the images of a visit together; the detectors' own pyramids are opened when they are looked at."""
        rows = [
            r
            for r in self.list_images(identity, release)
            if r.dataset_type == dataset_type and r.visit == visit and len(r.outline) >= 3
        ]
        if not rows:
            raise NotFoundError(f"release {release} has no {dataset_type} of visit {visit}")
        opened = self.get_release(identity, release)
        key = (release, f"{dataset_type}-{visit}", str(opened.manifest.created))
        with self._guard:
            if found := self._planes.get(key):
                return found

        def open_overview(dataset_id: str) -> Pyramid:
            return opened.find_overview(dataset_id) or self.get_pyramid(identity, release, dataset_id)

        def member(row: ImageRow) -> Member:
            whole = partial(self.get_pyramid, identity, release, row.dataset_id)
            return Member(
                f"{row.detector}", np.array(row.outline), whole, partial(open_overview, row.dataset_id)
            )

        members = [member(r) for r in rows]
        scale = float((members[0].open_overview().wcs_fit or {}).get("pixel_scale_arcsec", 0.2))
        made = FocalPlane(members, f"{dataset_type} visit {visit}, all {len(rows)} detectors", scale)
        with self._guard:
            self._planes[key] = made
            while len(self._planes) > _OPEN_PLANES:
                self._planes.pop(next(iter(self._planes)))
        return made

    def _build(self, release: Release, dataset_id: str) -> Pyramid:
        folder = self._cache / release.name
        load_middleware()
        try:
            with core_errors(), _locked(folder / f".{dataset_id}.lock"):
                return release.get_pyramid(dataset_id, self._cache)
        except OSError as error:
            raise PortalError(f"the image cannot be prepared: {error.strerror or error}") from error

    def describe(self, identity: Identity, release: str, dataset_id: str) -> dict[str, Any]:
        """Tell the viewer what it needs to show an image.

        Parameters
        ----------
        identity, release, dataset_id
            As for `get_pyramid`.

        Returns
        -------
        dict
            The form that ``viewer/src/tiles.ts`` declares as ``ImageMeta``.
        """
        pyramid = self.get_view(identity, release, dataset_id)
        dataset_type = str(pyramid.meta.get("dataset_type") or "")
        data_id = {k: v for k, v in (pyramid.meta.get("data_id") or {}).items() if v is not None}
        tables: list[str] = []
        if release != OWN_IMAGES:
            known = self._queries.catalog_for(identity)
            wanted = _DEFAULT_TABLES.get(dataset_type, tuple(ID_COLUMNS))
            tables = [t for t in wanted if known.find_table(f"{release}.{t}")]
        return {
            "release": release,
            "dataset_id": dataset_id,
            "dataset_type": dataset_type,
            "title": pyramid.meta.get("title")
            or f"{dataset_type} {' '.join(f'{k} {v}' for k, v in data_id.items())}"
            + (", cut-out" if pyramid.meta.get("cutout") else ""),
            "data_id": data_id,
            "shape": list(pyramid.shape),
            "xy0": list(pyramid.xy0),
            "tile_size": pyramid.meta["tile"],
            "levels": pyramid.levels,
            "unit": pyramid.unit or "",
            "band": pyramid.band,
            "mask_planes": pyramid.mask_planes,
            "wcs": pyramid.wcs_fit,
            "planes": list(pyramid.planes),
            "stats": self._statistics(pyramid),
            "sky_by_request": bool(pyramid.meta.get("sky_by_request")),
            "source_tables": tables,
            "detectors": pyramid.describe_members() if isinstance(pyramid, FocalPlane) else [],
        }

    def _statistics(self, pyramid: Pyramid | FocalPlane) -> dict[str, float]:
        """Return the statistics with the extreme values, which older pyramids do not hold."""
        stats = dict(pyramid.stats)
        if stats and "min" not in stats and not isinstance(pyramid, FocalPlane):
            if pyramid.folder not in self._extremes:
                native = pyramid.array("image", pyramid.levels - 1)
                finite = native[np.isfinite(native)]
                self._extremes[pyramid.folder] = (float(finite.min()), float(finite.max()))
            stats["min"], stats["max"] = self._extremes[pyramid.folder]
        return stats

    def find_sky(
        self, identity: Identity, release: str, dataset_id: str, x: float, y: float
    ) -> tuple[float, float] | None:
        """Return the ICRS position in degrees of a 0-based array pixel after the full WCS, `None` without one.

        The polynomial that the viewer has is exact for the images of releases; images out of people's own files may
        have mappings that no polynomial follows.
        """
        pyramid = self.get_view(identity, release, dataset_id)
        if release == OWN_IMAGES and not isinstance(pyramid, FocalPlane):
            return find_sky(pyramid, x, y)
        if pyramid.wcs_fit is None:
            return None
        ra, dec = evaluate_wcs(pyramid.wcs_fit, np.array([x]), np.array([y]))
        return float(ra[0]), float(dec[0])

    def get_tile(
        self,
        identity: Identity,
        release: str,
        dataset_id: str,
        plane: str,
        zxy: tuple[int, int, int],
        accept: str,
    ) -> Tile:
        """Read one tile.

        Parameters
        ----------
        identity, release, dataset_id
            As for `get_pyramid`.
        plane
            ``image``, ``variance`` or ``mask``.
        zxy
            Level (0 the coarsest), column, row from the top.
        accept
            The request's ``Accept-Encoding``; zstd is used when offered.

        Returns
        -------
        Tile
            Little-endian float32 or, for the mask, uint32, 256 × 256.
        """
        pyramid = self.get_view(identity, release, dataset_id)
        etag = hashlib.sha256(
            f"{release}/{dataset_id}/{pyramid.meta['version']}/{plane}/{zxy}".encode()
        ).hexdigest()[:24]
        with core_errors():
            content = (
                pyramid.tile(plane, *zxy).astype("<u4" if plane == "mask" else "<f4", copy=False).tobytes()
            )
        if "zstd" in accept:
            return Tile(zstandard.compress(content, 1), "zstd", f'"{etag}-z"')
        return Tile(content, None, f'"{etag}"')

    def get_pixel(
        self, identity: Identity, release: str, dataset_id: str, x: int, y: int
    ) -> tuple[float, float, int]:
        """Read value, variance and mask of one native pixel (0-based array coordinates)."""
        pyramid = self.get_view(identity, release, dataset_id)
        ny, nx = pyramid.shape
        if not (0 <= x < nx and 0 <= y < ny):
            raise UsageError(f"pixel ({x}, {y}) lies outside the image of {nx} x {ny} pixels")
        return pyramid.pixel(x, y)

    def pack_sources(self, identity: Identity, release: str, dataset_id: str, table: str) -> bytes:
        """Collect the rows of a table that lie on an image.

        Parameters
        ----------
        identity, release, dataset_id
            As for `get_pyramid`.
        table
            One of `ID_COLUMNS`.

        Returns
        -------
        bytes
            Little-endian: count (uint64), identifiers (int64), then x, y (0-based
            array pixels) and AB magnitude as float32 each.
        """
        info = self._find_table(identity, release, table)
        pyramid = self.get_view(identity, release, dataset_id)
        if pyramid.wcs_fit is None:
            raise NotFoundError("this image has no sky coordinates, so nothing can be drawn over it")
        flux = self._flux_column(info, pyramid.band)
        columns = [ID_COLUMNS[table], info.ra_column, info.dec_column, *([flux] if flux else [])]
        where = [f"1 = CONTAINS(POINT({info.ra_column}, {info.dec_column}), {_polygon(pyramid)})"]
        data_id = pyramid.meta.get("data_id") or {}
        for name in ("visit", "detector"):
            if data_id.get(name) is not None and any(c.name == name for c in info.columns):
                where.append(f"{name} = {int(data_id[name])}")
        adql = f"SELECT {', '.join(map(str, columns))} FROM {release}.{table} WHERE {' AND '.join(where)}"
        rows = self._queries.run_query(identity, adql, maxrec=_MAX_SOURCES).table
        fluxes = rows.column(3).to_numpy(zero_copy_only=False) if flux else np.full(rows.num_rows, np.nan)
        return pack_points(
            rows.column(0).to_numpy(zero_copy_only=False),
            *invert_wcs(
                pyramid.wcs_fit,
                rows.column(1).to_numpy(zero_copy_only=False),
                rows.column(2).to_numpy(zero_copy_only=False),
            ),
            fluxes,
        )

    def get_row(self, identity: Identity, release: str, table: str, row_id: int) -> list[dict[str, Any]]:
        """Read one row of a table that can be drawn over an image.

        Returns
        -------
        list of dict
            ``name``, ``unit``, ``datatype`` (VOTable), ``value`` (Python value) and ``principal`` of each column.
        """
        info = self._find_table(identity, release, table)
        adql = f"SELECT * FROM {release}.{table} WHERE {ID_COLUMNS[table]} = {row_id}"
        found = self._queries.run_query(identity, adql, maxrec=1)
        if found.table.num_rows == 0:
            raise NotFoundError(f"{release}.{table} has no row {row_id}")
        principal = {c.name: c.principal for c in info.columns}
        values = found.table.slice(0, 1).to_pylist()[0]
        return [
            {
                "name": c.name,
                "unit": c.unit or "",
                "datatype": c.datatype,
                "value": values[c.name],
                "principal": principal.get(c.name, False),
            }
            for c in found.columns
        ]

    def _find_table(self, identity: Identity, release: str, table: str) -> TableInfo:
        self.get_release(identity, release)
        info = (
            self._queries.catalog_for(identity).find_table(f"{release}.{table}")
            if table in ID_COLUMNS
            else None
        )
        if info is None or info.ra_column is None:
            raise NotFoundError(f"release {release} has no table {table!r} that can be drawn over an image")
        return info

    def _flux_column(self, info: TableInfo, band: str | None) -> str | None:
        names = {c.name for c in info.columns}
        wanted = [
            f"{band}_psfFlux",
            f"{band}_psfFluxMean",
            "psfFlux",
            *sorted(n for n in names if n.endswith("_psfFlux")),
        ]
        return next((n for n in wanted if n in names), None)


def _quote(text: str) -> str:
    return text.replace("'", "''")


def _polygon(pyramid: Pyramid | FocalPlane) -> str:
    """ADQL polygon along the border of an image, with points on its edges because distorted edges are curved."""
    assert pyramid.wcs_fit is not None
    ny, nx = pyramid.shape
    t = np.arange(_OUTLINE_STEPS) / _OUTLINE_STEPS
    x = np.concatenate([t * nx, np.full(t.size, nx), (1 - t) * nx, np.zeros(t.size)]) - 0.5
    y = np.concatenate([np.zeros(t.size), t * ny, np.full(t.size, ny), (1 - t) * ny]) - 0.5
    ra, dec = evaluate_wcs(pyramid.wcs_fit, x, y)
    return "POLYGON(" + ", ".join(f"{a:.8f}, {d:.8f}" for a, d in zip(ra, dec, strict=True)) + ")"


def pack_points(ids: Any, x: Any, y: Any, flux_njy: Any = np.nan) -> bytes:
    """Pack rows as ``viewer/src/sources.ts`` reads them: identifiers, 0-based array pixels, fluxes in nJy."""
    flux = np.broadcast_to(np.asarray(flux_njy, float), np.shape(ids))
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = np.where(flux > 0, _AB_ZERO_NJY - 2.5 * np.log10(flux), np.nan)
    parts = [
        np.array([len(ids)], "<u8"),
        np.asarray(ids).astype("<i8"),
        *(np.asarray(a).astype("<f4") for a in (x, y, magnitude)),
    ]
    return b"".join(part.tobytes() for part in parts)
