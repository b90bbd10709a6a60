"""Quality figures of a release: against its truth tables where it has them, against itself where it has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.qa.matching import count_neighbours, match_nearest
from skydesk_core.qa.solarsystem import measure_small_bodies
from skydesk_core.qa.truth import measure_against_truth

if TYPE_CHECKING:
    import duckdb

    from skydesk_core.release.opened import Release

__all__ = ["Catalogs", "Metric", "measure_release"]

_MIN_MATCHES = 30
_MIN_SNR = 100.0
_MIN_POINTS = 3


@dataclass(frozen=True)
class Metric:
    """One quality figure.

    Parameters
    ----------
    name
        Stable identifier.
    value, unit
        The figure; None when there was too little data.
    count
        How many stars, sources or frames it rests on.
    description
        How it is defined.
    """

    name: str
    value: float | None
    unit: str
    count: int
    description: str


class Catalogs:
    """Column-wise access to a release's tables.

    Parameters
    ----------
    connection
        A read-only connection to ``catalogs.duckdb``.
    release
        The release.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, release: Release) -> None:
        self.release = release
        self._connection = connection
        self._columns = {t.name: set(t.column_names) for t in release.schema().tables}

    def has(self, table: str, *columns: str) -> bool:
        """Say whether a table exists with all these columns."""
        return table in self._columns and set(columns) <= self._columns[table]

    def read(self, table: str, *columns: str, where: str = "TRUE") -> dict[str, NDArray[Any]]:
        """Read columns as arrays; NULL becomes NaN in floats."""
        names = ", ".join(f'"{c}"' for c in columns)
        found = self._connection.execute(f'SELECT {names} FROM "{table}" WHERE {where}').fetchnumpy()
        return {c: _plain(found[c]) for c in columns}

    def position(self, table: str) -> tuple[str, str]:
        """Return the names of the table's position columns."""
        info = self.release.schema().table(table)
        return info.ra_column or "", info.dec_column or ""


def _plain(values: Any) -> NDArray[Any]:
    if isinstance(values, np.ma.MaskedArray):
        return values.filled(np.nan) if values.dtype.kind == "f" else np.asarray(values.data)
    return np.asarray(values)


def measure_release(release: Release) -> list[Metric]:
    """Measure everything that can be measured on a release.

    Parameters
    ----------
    release
        The release.

    Returns
    -------
    list of Metric
        Figures whose tables are missing are left out.
    """
    import duckdb

    parts: list[Callable[[Catalogs], Iterator[Metric]]] = [
        _measure_solutions,
        _measure_forced_photometry,
        measure_against_truth,
        measure_small_bodies,
    ]
    with duckdb.connect(str(release.duckdb_path), read_only=True) as connection:
        catalogs = Catalogs(connection, release)
        return [metric for part in parts for metric in part(catalogs)]


def _read_reference(release: Release) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Read the reference catalog that was published with the release."""
    ra, dec = [], []
    with release.get_butler() as butler:
        kinds = [t for t in butler.registry.queryDatasetTypes() if "htm7" in t.dimensions]
        for kind in kinds:
            for ref in butler.query_datasets(kind, explain=False, limit=None):
                table = butler.get(
                    ref, storageClass="ArrowTable", parameters={"columns": ["coord_ra", "coord_dec"]}
                )
                ra.append(table["coord_ra"].to_numpy())
                dec.append(table["coord_dec"].to_numpy())
    return (np.concatenate(ra), np.concatenate(dec)) if ra else None


def _measure_solutions(catalogs: Catalogs) -> Iterator[Metric]:
    """Count the frames and compare their sources with the reference catalog."""
    raws = catalogs.read("ObsCore", "dataset_id", where="dataset_type = 'raw'")["dataset_id"]
    images = catalogs.read("ObsCore", "dataset_id", where="dataset_type = 'visit_image'")["dataset_id"]
    yield Metric(
        "frames_total", float(len(raws) or len(images)), "", len(raws), "science frames of the release"
    )
    reference = _read_reference(catalogs.release)
    if reference is None or not catalogs.has("Source", "visit", "detector", "psfFlux", "psfFluxErr"):
        return
    ra, dec = catalogs.position("Source")
    # A saturated star has a position but no flux, and bright reference stars saturate.
    bright = "(psfFlux > 20 * psfFluxErr OR psfFlux IS NULL)"
    s = catalogs.read("Source", ra, dec, "visit", "detector", where=bright)
    scale = _pixel_scale(catalogs)
    # One pixel, at least 1 arcsec: wide enough for undersampled cameras, narrow enough that chance pairs stay rare.
    radius = max(1.0, scale)
    residuals, matches = [], []
    keys = s["visit"].astype(np.int64) * 1000 + s["detector"].astype(np.int64)
    for key in np.unique(keys):
        rows = keys == key
        _, _, separation = match_nearest(s[ra][rows], s[dec][rows], *reference, radius_arcsec=radius)
        matches.append(len(separation))
        residuals.append(float(np.median(separation)) if len(separation) else np.nan)
    solved = np.array(matches) >= min(_MIN_MATCHES, len(reference[0]) // 3)
    yield Metric(
        "frames_solved",
        float(solved.sum()),
        "",
        len(solved),
        f"frames with at least {min(_MIN_MATCHES, len(reference[0]) // 3)} sources within {radius:.1f} arcsec "
        "of a reference star",
    )
    kept = np.array(residuals)[solved]
    if kept.size:
        text = "separation of sources (S/N > 20 or saturated) from reference stars: median of the frames' medians"
        yield Metric("astrometric_residual", float(np.median(kept)), "arcsec", int(solved.sum()), text)
        worst = "the same, of the worst solved frame"
        yield Metric("astrometric_residual_worst", float(kept.max()), "arcsec", int(solved.sum()), worst)
        least = int(np.array(matches)[solved].min())
        yield Metric(
            "reference_matches_least",
            float(least),
            "",
            int(solved.sum()),
            "matches of the poorest solved frame",
        )


def _pixel_scale(catalogs: Catalogs) -> float:
    for table in ("VisitDetector", "CcdVisit"):
        if catalogs.has(table, "pixelScale"):
            scale = catalogs.read(table, "pixelScale")["pixelScale"]
            if np.isfinite(scale).any():
                return float(np.nanmedian(scale))
    return 0.2


def _seeing(catalogs: Catalogs) -> float:
    for table in ("VisitDetector", "CcdVisit"):
        if catalogs.has(table, "seeing"):
            seeing = catalogs.read(table, "seeing")["seeing"]
            if np.isfinite(seeing).any():
                return float(np.nanmedian(seeing))
    return 5 * _pixel_scale(catalogs)


def _isolated_stars(catalogs: Catalogs, band: str) -> NDArray[np.int64]:
    """Return ids of objects without a disturbing neighbour that are never saturated."""
    flux = f"{band}_psfFlux"
    ra, dec = catalogs.position("Object")
    extra = [c for c in (f"{band}_extendedness", f"{band}_pixelFlags_saturated") if catalogs.has("Object", c)]
    o = catalogs.read("Object", "objectId", ra, dec, flux, *extra)
    radius = 3 * _seeing(catalogs)
    good = count_neighbours(o[ra], o[dec], o[flux], radius, 0.02) == 0
    if f"{band}_extendedness" in o and _pixel_scale(catalogs) < 1:
        # Undersampled cameras cannot tell stars from galaxies, and what they see is stars.
        good &= ~(o[f"{band}_extendedness"] > 0.5)
    if f"{band}_pixelFlags_saturated" in o:
        good &= ~o[f"{band}_pixelFlags_saturated"].astype(bool)
    return o["objectId"][good]


def _ever_saturated(catalogs: Catalogs, band: str) -> NDArray[np.int64]:
    """Return ids of objects that saturate in any visit: what is left of such a light curve is its faint half."""
    if not catalogs.has("ForcedSource", "pixelFlags_saturated"):
        return np.empty(0, np.int64)
    rows = catalogs.read("ForcedSource", "objectId", where=f"band = '{band}' AND pixelFlags_saturated")
    return np.unique(rows["objectId"])


def _measure_forced_photometry(catalogs: Catalogs) -> Iterator[Metric]:
    """Measure the scatter of forced photometry against its expected noise, band by band."""
    needed = ("objectId", "visit", "band", "psfFlux", "psfFluxErr")
    if not catalogs.has("ForcedSource", *needed) or not catalogs.has("Object", "objectId"):
        return
    flags = [c for c in ("psfFlux_flag", "pixelFlags_edge") if catalogs.has("ForcedSource", c)]
    for band in catalogs.release.manifest.bands:
        if not catalogs.has("Object", f"{band}_psfFlux"):
            continue
        where = " AND ".join([f"band = '{band}'", *(f'NOT "{c}"' for c in flags)])
        f = catalogs.read("ForcedSource", *needed, where=where)
        allowed = np.setdiff1d(_isolated_stars(catalogs, band), _ever_saturated(catalogs, band))
        result = measure_scatter(f["objectId"], f["visit"], f["psfFlux"], f["psfFluxErr"], allowed)
        kind = f"isolated, unsaturated stars with S/N > {_MIN_SNR:.0f} after the ensemble zero point"
        yield Metric(
            f"forced_scatter_{band}",
            result[0],
            "%",
            result[2],
            f"median scatter of forced photometry over {kind}",
        )
        yield Metric(
            f"forced_scatter_ratio_{band}",
            result[1],
            "",
            result[2],
            f"median of scatter over expected noise of {kind}",
        )


def measure_scatter(
    object_id: Any, visit: Any, flux: Any, error: Any, allowed: Any
) -> tuple[float | None, float | None, int]:
    """Measure the scatter of light curves after an ensemble zero point for each visit.

    Parameters
    ----------
    object_id, visit, flux, error
        Measurements of one band, row by row, flux and error in one unit.
    allowed
        Objects that may be used.

    Returns
    -------
    tuple
        Median over the stars of the standard deviation in percent, median of that over the expected noise, and the
        number of stars; the first two None when there is no star.
    """
    keep = np.isin(object_id, allowed) & np.isfinite(flux) & (flux > 0) & np.isfinite(error) & (error > 0)
    ids, star = np.unique(np.asarray(object_id)[keep], return_inverse=True)
    epochs, epoch = np.unique(np.asarray(visit)[keep], return_inverse=True)
    grid = np.full((len(ids), len(epochs)), np.nan)
    noise = grid.copy()
    grid[star, epoch] = -2.5 * np.log10(np.asarray(flux)[keep])
    noise[star, epoch] = 1.0857 * np.asarray(error)[keep] / np.asarray(flux)[keep]
    points = np.isfinite(grid).sum(axis=1)
    snr = 1.0857 / np.where(
        points > 0, np.nanmedian(np.where(np.isfinite(noise), noise, np.inf), axis=1), np.inf
    )
    chosen = (snr > _MIN_SNR) & (points >= max(_MIN_POINTS, 0.5 * len(epochs)))
    grid, noise = grid[chosen], noise[chosen]
    if not len(grid):
        return None, None, 0
    for _ in range(4):
        center = np.nanmedian(grid, axis=1, keepdims=True)
        grid = grid - np.nanmedian(grid - center, axis=0, keepdims=True)
    scatter = np.nanstd(grid, axis=1, ddof=1) / 1.0857
    expected = np.sqrt(np.nanmean(noise**2, axis=1)) / 1.0857
    return 100 * float(np.median(scatter)), float(np.median(scatter / expected)), len(grid)
