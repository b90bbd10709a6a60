"""Light curves from forced photometry, and their periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.tables import ColumnInfo

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.models.tables import TableInfo
    from skydesk_portal.services.images import QuerySource

__all__ = ["LightCurve", "LightCurveService", "find_period", "multiband_power", "to_ab_magnitude"]

_AB_ZERO_NJY = 31.4
_MAX_POINTS = 100_000
_OVERSAMPLING = 8
_MIN_PERIOD_DAY = 0.05
_MAX_EVALUATIONS = 100_000_000
_CHUNK = 1_000_000
_MIN_POINTS = 6
_FLUXES = {
    "direct": ("psfFlux", "psfFluxErr", "psfFlux_flag"),
    "difference": ("psfDiffFlux", "psfDiffFluxErr", "psfDiffFlux_flag"),
}


@dataclass(frozen=True)
class LightCurve:
    """Forced photometry of one object.

    Parameters
    ----------
    release, kind, object_id
        Identity; ``kind`` is ``Object`` or ``DiaObject``.
    ra_deg, dec_deg
        Position, ICRS degrees.
    flux_kind
        ``direct`` or ``difference``.
    table, columns
        One row per epoch in the order of time, with units: ``mjd``, ``band``,
        ``flux``, ``fluxErr``, ``flag``, ``visit``, ``detector``.
    """

    release: str
    kind: str
    object_id: int
    ra_deg: float
    dec_deg: float
    flux_kind: str
    table: pa.Table
    columns: tuple[ColumnInfo, ...]

    def array(self, name: str) -> NDArray[Any]:
        """Return one column; missing numbers are NaN."""
        return self.table.column(name).to_numpy(zero_copy_only=False)

    @property
    def bands(self) -> list[str]:
        """Bands in the order of wavelength."""
        return sorted(
            {str(b) for b in self.array("band")}, key=lambda b: ("ugrizy".find(b) if b in "ugrizy" else 99, b)
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


def multiband_power(
    time_day: NDArray[np.float64],
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    band: NDArray[np.intp],
    frequency_per_day: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compute a Lomb–Scargle periodogram whose sinusoid is shared by all bands.

    Parameters
    ----------
    time_day, values, weights
        Points; the weights are inverse variances.
    band
        Number of the band of each point; each band has its own mean.
    frequency_per_day
        Frequencies in 1/day, shape (nf,).

    Returns
    -------
    numpy.ndarray
        Share of the weighted variance that the sinusoid explains, 0 to 1, shape (nf,);
        the model with ``nterms_base=1, nterms_band=0`` of VanderPlas & Ivezić (2015, ApJ 812, 18).
    """
    member = (band[:, None] == np.unique(band)[None, :]).astype(float)
    share = member * weights[:, None] / (member * weights[:, None]).sum(axis=0)

    def centre(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x - (x @ share) @ member.T

    y = centre(values)
    total = float((weights * y * y).sum())
    power = np.zeros(frequency_per_day.size)
    step = max(1, _CHUNK // max(time_day.size, 1))
    for start in range(0, frequency_per_day.size, step):
        phase = 2 * np.pi * frequency_per_day[start : start + step, None] * time_day[None, :]
        s, c = centre(np.sin(phase)), centre(np.cos(phase))
        ss, cc, sc = (s * s) @ weights, (c * c) @ weights, (s * c) @ weights
        ys, yc = s @ (weights * y), c @ (weights * y)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (ys**2 * cc + yc**2 * ss - 2 * ys * yc * sc) / (total * (ss * cc - sc**2))
        power[start : start + step] = np.nan_to_num(found)
    return power


def find_period(
    mjd: NDArray[np.float64], flux: NDArray[np.float64], error: NDArray[np.float64], band: NDArray[Any]
) -> tuple[float, float]:
    """Find the period that folds a multi-band light curve best.

    Parameters
    ----------
    mjd
        Times in days.
    flux, error
        Flux and its error in any unit.
    band
        Band of each point; each band has its own mean, and the relative variation is the same in all.

    Returns
    -------
    tuple of float
        Period in days and its power (0 to 1). Periods from twice the time span down to
        0.05 days, or to the usual distance of points where they lie closer, are tried.

    Raises
    ------
    UsageError
        If there are too few points or they span no time.
    """
    good = np.isfinite(mjd) & np.isfinite(flux) & (error > 0)
    mjd, flux, error = mjd[good].astype(float), flux[good].astype(float), error[good].astype(float)
    number = np.unique(band[good].astype(str), return_inverse=True)[1]
    span = float(np.ptp(mjd)) if mjd.size else 0.0
    if mjd.size < _MIN_POINTS or span <= 0:
        raise UsageError(
            f"a period needs at least {_MIN_POINTS} good points over some time; there are {mjd.size}"
        )
    scale = np.empty(mjd.size)
    for n in np.unique(number):
        inside = number == n
        mean, spread = abs(float(flux[inside].mean())), float(flux[inside].std())
        scale[inside] = mean if mean > spread else spread or 1.0
    time, values, weights = mjd - mjd.min(), flux / scale, (scale / error) ** 2
    highest = max(1 / _MIN_PERIOD_DAY, mjd.size / span)
    count = min(int(highest * span * _OVERSAMPLING), _MAX_EVALUATIONS // mjd.size)
    frequency = (1 + np.arange(count)) / (_OVERSAMPLING * span)
    frequency = frequency[frequency >= 0.5 / span]
    best = int(np.argmax(multiband_power(time, values, weights, number, frequency)))
    near = frequency[best] + np.linspace(-1, 1, 401) / (_OVERSAMPLING * span)
    near = near[near > 0]
    fine = multiband_power(time, values, weights, number, near)
    top = int(np.argmax(fine))
    return float(1 / near[top]), float(fine[top])


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
            ``direct`` on the visit images or ``difference`` on the difference images.

        Raises
        ------
        NotFoundError
            If there is no such object or it has no forced photometry.
        """
        forced, key = (
            ("ForcedSource", "objectId") if kind == "Object" else ("ForcedSourceOnDiaObject", "diaObjectId")
        )
        home, info = self._table(identity, release, kind), self._table(identity, release, forced)
        names = {c.name: c for c in info.columns}
        flux, error, flag = _FLUXES[flux_kind]
        if flux not in names:
            raise NotFoundError(f"release {release} has no {flux_kind} fluxes ({forced}.{flux})")
        visit = self._table(identity, release, "Visit")
        mjd = next(c for c in visit.columns if c.name == "expMidptMJD")
        flagged = f"f.{flag}" if flag in names else None
        adql = (
            f"SELECT v.expMidptMJD, f.band, f.{flux}, f.{error}, {flagged + ', ' if flagged else ''}f.visit, f.detector "
            f"FROM {release}.{forced} AS f JOIN {release}.Visit AS v ON v.visit = f.visit "
            f"WHERE f.{key} = {object_id} ORDER BY v.expMidptMJD"
        )
        place = self._queries.run_query(
            identity,
            f"SELECT {home.ra_column}, {home.dec_column} FROM {release}.{kind} WHERE {key} = {object_id}",
            maxrec=1,
        ).table.to_pylist()
        if not place:
            raise NotFoundError(f"release {release} has no {kind} {object_id}")
        found = self._queries.run_query(identity, adql, maxrec=_MAX_POINTS).table
        if found.num_rows == 0:
            raise NotFoundError(f"{kind} {object_id} has no forced photometry in release {release}")
        columns = [
            mjd,
            names["band"],
            names[flux],
            names[error],
            *([names[flag]] if flagged else []),
            names["visit"],
            names["detector"],
        ]
        new = ["mjd", "band", "flux", "fluxErr", *(["flag"] if flagged else []), "visit", "detector"]
        table = found.rename_columns(new)
        if not flagged:
            table = table.append_column("flag", pa.array(np.zeros(table.num_rows, bool)))
            columns.append(ColumnInfo("flag", "boolean", description="No flag is published"))
        ra_deg, dec_deg = place[0].values()
        return LightCurve(
            release, kind, object_id, float(ra_deg), float(dec_deg), flux_kind, table,
            tuple(_renamed(c, n) for c, n in zip(columns, table.column_names, strict=True)),
        )  # fmt: skip

    def _table(self, identity: Identity, release: str, name: str) -> TableInfo:
        info = self._queries.catalog_for(identity).find_table(f"{release}.{name}")
        if info is None:
            raise NotFoundError(
                f"release {release} has no table {name}, so it has no light curves of this kind"
            )
        return info


def _renamed(column: ColumnInfo, name: str) -> ColumnInfo:
    from dataclasses import replace

    return replace(column, name=name)
