"""Light curves from forced photometry and from detections on difference images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.models.tables import ColumnInfo

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.models.tables import TableInfo
    from skydesk_portal.services.images import QuerySource

__all__ = [
    "FLUX_COLUMNS",
    "FLUX_KINDS",
    "LIMIT_SIGMA",
    "LightCurve",
    "LightCurveService",
    "find_limits",
    "to_ab_magnitude",
]

_AB_ZERO_NJY = 31.4
_MAX_POINTS = 100_000
LIMIT_SIGMA = 3.0
"""Fluxes below this many standard deviations are limits in magnitudes."""

FLUX_KINDS = {
    "direct": "forced, total",
    "difference": "forced, difference",
    "dia": "detections, difference",
    "science": "detections, total",
}
"""Kinds of fluxes and what people call them: measured at a known place, or where something was detected."""

FLUX_COLUMNS = {
    "direct": ("psfFlux", "psfFluxErr", "psfFlux_flag"),
    "difference": ("psfDiffFlux", "psfDiffFluxErr", "psfDiffFlux_flag"),
    "dia": ("psfFlux", "psfFluxErr", "psfFlux_flag"),
    "science": ("scienceFlux", "scienceFluxErr", "forced_PsfFlux_flag"),
}
"""Columns of flux, error and flag by kind of fluxes."""
_BAD_PIXELS = (
    "pixelFlags_bad",
    "pixelFlags_edge",
    "pixelFlags_nodataCenter",
    "pixelFlags_saturatedCenter",
    "pixelFlags_crCenter",
    "pixelFlags_suspectCenter",
    "invalidPsfFlag",
)
"""Flags that spoil a flux beside its own."""


@dataclass(frozen=True)
class LightCurve:
    """Forced photometry of one object.

    Parameters
    ----------
    release, kind, object_id
        Identity; ``kind`` is ``Object``, ``DiaObject`` or ``SSObject``.
    ra_deg, dec_deg
        Position, ICRS degrees; of a moving object that of an epoch in the middle.
    flux_kind
        One of `FLUX_KINDS`.
    adql
        The query that gave the rows.
    table, columns
        One row per epoch in the order of time, with units: ``mjd``, ``band``,
        ``flux``, ``fluxErr``, ``flag``, ``visit``, ``detector``, and of what
        moves ``ra`` and ``dec``.
    name
        Designation of a moving object.
    """

    release: str
    kind: str
    object_id: int
    ra_deg: float
    dec_deg: float
    flux_kind: str
    adql: str
    table: pa.Table
    columns: tuple[ColumnInfo, ...]
    name: str = ""

    @property
    def label(self) -> str:
        """What people call it."""
        return self.name or f"{self.kind} {self.object_id}"

    @property
    def moves(self) -> bool:
        """Whether it is elsewhere at every epoch."""
        return self.kind == "SSObject"

    def place(self, epoch: Mapping[str, Any]) -> tuple[float, float]:
        """Return the position at an epoch (a row of ``table``), ICRS degrees."""
        return (float(epoch["ra"]), float(epoch["dec"])) if self.moves else (self.ra_deg, self.dec_deg)

    def array(self, name: str) -> NDArray[Any]:
        """Return one column; missing numbers are NaN."""
        return self.table.column(name).to_numpy(zero_copy_only=False)

    @property
    def bands(self) -> list[str]:
        """Bands in the order of wavelength."""
        return self.photometry.bands

    @property
    def photometry(self) -> Photometry:
        """The points alone."""
        mjd, flux, error = (self.array(n).astype(float) for n in ("mjd", "flux", "fluxErr"))
        return Photometry(
            self.label, mjd, self.array("band").astype(str), flux, error, self.array("flag").astype(bool)
        )


def to_ab_magnitude(flux_njy: Any, error_njy: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn flux densities into AB magnitudes.

    Parameters
    ----------
    flux_njy, error_njy
        Flux density and its error in nJy.

    Returns
    -------
    tuple of numpy.ndarray
        Magnitude and its error; NaN where the flux is not positive.
    """
    flux, error = np.asarray(flux_njy, float), np.asarray(error_njy, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        good = flux > 0
        magnitude = np.where(good, _AB_ZERO_NJY - 2.5 * np.log10(np.where(good, flux, 1.0)), np.nan)
        return magnitude, np.where(good, 2.5 / np.log(10) * error / flux, np.nan)


def find_limits(flux_njy: Any, error_njy: Any) -> NDArray[np.float64]:
    """Give points without a significant flux an upper limit.

    Parameters
    ----------
    flux_njy, error_njy
        Flux density and its error in nJy.

    Returns
    -------
    numpy.ndarray
        AB magnitude of three standard deviations (above a flux of zero, or above a positive one) where the flux is
        less than three; NaN elsewhere.
    """
    flux, error = np.asarray(flux_njy, float), np.asarray(error_njy, float)
    faint = np.isfinite(flux) & (error > 0) & (flux < LIMIT_SIGMA * error)
    with np.errstate(divide="ignore", invalid="ignore"):
        highest = np.maximum(flux, 0) + LIMIT_SIGMA * error
        return np.where(faint, _AB_ZERO_NJY - 2.5 * np.log10(np.where(faint, highest, 1.0)), np.nan)


class LightCurveService:
    """Reads light curves from the forced photometry of a release.

    Parameters
    ----------
    queries
        Runs ADQL for a caller.
    """

    def __init__(self, queries: QuerySource) -> None:
        self._queries = queries

    def list_suggestions(
        self, identity: Identity, release: str, count: int = 12
    ) -> list[tuple[str, int, float, float]]:
        """List objects whose light curves are worth a first look.

        Parameters
        ----------
        identity
            The caller.
        release
            Release to look in.
        count
            How many at most.

        Returns
        -------
        list of tuple
            Kind, identifier, RA and Dec (ICRS degrees): what was detected most often on difference
            images; without such a table the brightest objects in the first band.
        """
        catalog = self._queries.catalog_for(identity)
        if info := catalog.find_table(f"{release}.DiaObject"):
            kind, key, order = "DiaObject", "diaObjectId", "nDiaSources"
        elif info := catalog.find_table(f"{release}.Object"):
            fluxes = [c.name for c in info.columns if c.name.endswith("_psfFlux")]
            kind, key, order = "Object", "objectId", fluxes[0] if fluxes else ""
        if info is None or catalog.find_table(f"{release}.Visit") is None or not order:
            return []
        adql = (
            f"SELECT TOP {count} {key}, {info.ra_column}, {info.dec_column} FROM {release}.{kind} "
            f"WHERE {order} IS NOT NULL ORDER BY {order} DESC"
        )
        rows = self._queries.run_query(identity, adql, maxrec=count).table.to_pylist()
        return [(kind, int(r[key]), float(r[info.ra_column]), float(r[info.dec_column])) for r in rows]

    def find_object(
        self, identity: Identity, release: str, ra_deg: float, dec_deg: float, radius_arcsec: float = 5.0
    ) -> int:
        """Return the object nearest to a position.

        Parameters
        ----------
        identity
            The caller.
        release
            Release to look in.
        ra_deg, dec_deg
            ICRS degrees.
        radius_arcsec
            How far it may be away.

        Raises
        ------
        NotFoundError
            If there is none within the radius.
        """
        info = self._table(identity, release, "Object")
        ra, dec = info.ra_column, info.dec_column
        adql = (
            f"SELECT objectId, {ra}, {dec} FROM {release}.Object "
            f"WHERE 1 = CONTAINS(POINT({ra}, {dec}), CIRCLE({ra_deg:.8f}, {dec_deg:.8f}, {radius_arcsec / 3600:.8f}))"
        )
        rows = self._queries.run_query(identity, adql, maxrec=1000).table.to_pylist()
        if not rows:
            raise NotFoundError(
                f"no object of release {release} lies within {radius_arcsec:g} arcsec of RA {ra_deg:.6f}, Dec {dec_deg:.6f}"
            )
        shrink = np.cos(np.radians(dec_deg))
        nearest = min(rows, key=lambda r: np.hypot((r[ra] - ra_deg) * shrink, r[dec] - dec_deg))
        return int(nearest["objectId"])

    def get_curve(
        self,
        identity: Identity,
        release: str,
        object_id: int,
        kind: str = "Object",
        flux_kind: str = "direct",
    ) -> LightCurve:
        """Read the light curve of an object.

        Parameters
        ----------
        identity
            The caller.
        release, object_id
            Which object.
        kind
            ``Object`` (forced photometry at coadd positions) or ``DiaObject``.
        flux_kind
            One of `FLUX_KINDS`; detections are known of a ``DiaObject`` only.

        Raises
        ------
        NotFoundError
            If there is no such object, or it has no such photometry.
        """
        if flux_kind not in FLUX_KINDS or kind not in ("Object", "DiaObject"):
            raise UsageError(f"there are no light curves of kind {kind!r} with fluxes {flux_kind!r}")
        key = "objectId" if kind == "Object" else "diaObjectId"
        table = self._flux_table(kind, flux_kind)
        home, info = self._table(identity, release, kind), self._table(identity, release, table)
        names = {c.name: c for c in info.columns}
        flux, error, flag = FLUX_COLUMNS[flux_kind]
        if flux not in names or error not in names:
            raise NotFoundError(f"release {release} has no {FLUX_KINDS[flux_kind]} fluxes ({table}.{flux})")
        flags = [n for n in (flag, *_BAD_PIXELS) if n in names]
        asked = ", ".join(f"f.{n}" for n in ("band", flux, error, "visit", "detector", *flags))
        if "midpointMjdTai" in names:
            mjd, start = names["midpointMjdTai"], "f.midpointMjdTai"
            source = f"{release}.{table} AS f"
        else:
            visit = self._table(identity, release, "Visit")
            mjd, start = next(c for c in visit.columns if c.name == "expMidptMJD"), "v.expMidptMJD"
            source = f"{release}.{table} AS f JOIN {release}.Visit AS v ON v.visit = f.visit"
        adql = f"SELECT {start}, {asked} FROM {source} WHERE f.{key} = {object_id} ORDER BY {start}"
        place = self._queries.run_query(
            identity,
            f"SELECT {home.ra_column}, {home.dec_column} FROM {release}.{kind} WHERE {key} = {object_id}",
            maxrec=1,
        ).table.to_pylist()
        if not place:
            raise NotFoundError(f"release {release} has no {kind} {object_id}")
        found = self._queries.run_query(identity, adql, maxrec=_MAX_POINTS).table
        if found.num_rows == 0:
            raise NotFoundError(
                f"{kind} {object_id} has no {FLUX_KINDS[flux_kind]} fluxes in release {release}"
            )
        bad = np.zeros(found.num_rows, bool)
        for name in flags:
            bad |= found.column(name).fill_null(True).to_numpy(zero_copy_only=False).astype(bool)
        kept = found.select(range(6)).rename_columns(["mjd", "band", "flux", "fluxErr", "visit", "detector"])
        kept = kept.add_column(4, "flag", pa.array(bad))
        about = ", ".join(flags) or "no flag is published"
        columns = (
            mjd, names["band"], names[flux], names[error],
            ColumnInfo("flag", "boolean", description=f"Whether any of these is set: {about}"),
            names["visit"], names["detector"],
        )  # fmt: skip
        ra_deg, dec_deg = place[0].values()
        return LightCurve(
            release, kind, object_id, float(ra_deg), float(dec_deg), flux_kind, adql, kept,
            tuple(replace(c, name=n) for c, n in zip(columns, kept.column_names, strict=True)),
        )  # fmt: skip

    @staticmethod
    def _flux_table(kind: str, flux_kind: str) -> str:
        if flux_kind in ("dia", "science"):
            if kind != "DiaObject":
                raise UsageError(
                    "detections on difference images belong to a DiaObject: choose one, or forced fluxes"
                )
            return "DiaSource"
        return "ForcedSource" if kind == "Object" else "ForcedSourceOnDiaObject"

    def _table(self, identity: Identity, release: str, name: str) -> TableInfo:
        info = self._queries.catalog_for(identity).find_table(f"{release}.{name}")
        if info is None:
            raise NotFoundError(
                f"release {release} has no table {name}, so it has no light curves of this kind"
            )
        return info
