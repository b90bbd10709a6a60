"""Light curves and phase curves of moving objects, whose position is another one at every epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.photometry import band_order
from skydesk_portal.models.sia import adql_text
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.lightcurves import FLUX_COLUMNS, FLUX_KINDS, LightCurve, to_ab_magnitude

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.models.tables import TableInfo
    from skydesk_portal.services.images import QuerySource

__all__ = ["MOVING_FLUXES", "MovingObjectService", "PhaseBand", "make_phase_curve"]

MOVING_FLUXES = ("dia", "science")
"""Kinds of fluxes that a moving object has: it is measured where it is detected."""
_MAX_POINTS = 100_000
_GEOMETRY = ("phaseAngle", "helioRange", "topoRange")
_EXTRA = ("ephVmag", "ephOffset")


@dataclass(frozen=True)
class PhaseBand:
    """The phase curve of one band.

    Parameters
    ----------
    band
        Its name.
    phase_deg, reduced_mag, error_mag
        Phase angles, and magnitudes at 1 AU from Sun and observer with their errors.
    h_mag, h_error_mag, g12, g12_error
        Fitted H, G12 model; None where nothing was fitted, the last None where the slope was kept fixed.
    used
        Number of points of the fit.
    """

    band: str
    phase_deg: NDArray[np.float64]
    reduced_mag: NDArray[np.float64]
    error_mag: NDArray[np.float64]
    h_mag: float | None
    h_error_mag: float | None
    g12: float | None
    g12_error: float | None
    used: int

    def model(self, phase_deg: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Return the fitted reduced magnitudes at phase angles; None where nothing was fitted."""
        from skydesk_portal.pipeline.smallbodies import reduced_magnitude_hg12

        if self.h_mag is None or self.g12 is None:
            return None
        return reduced_magnitude_hg12(phase_deg, self.h_mag, self.g12)


class MovingObjectService:
    """Reads what a release knows of moving objects.

    Parameters
    ----------
    queries
        Runs ADQL for a caller.
    """

    def __init__(self, queries: QuerySource) -> None:
        self._queries = queries

    def list_suggestions(
        self, identity: Identity, release: str, count: int = 8
    ) -> list[tuple[int, str, int]]:
        """List the identifiers, names and numbers of observations of the moving objects that were seen most often."""
        info = self._queries.catalog_for(identity).find_table(f"{release}.SSObject")
        if info is None or not {"designation", "nObs"} <= {c.name for c in info.columns}:
            return []
        adql = f"SELECT TOP {count} ssObjectId, designation, nObs FROM {release}.SSObject ORDER BY nObs DESC"
        rows = self._queries.run_query(identity, adql, maxrec=count).table.to_pylist()
        return [(int(r["ssObjectId"]), str(r["designation"]), int(r["nObs"])) for r in rows]

    def find_object(self, identity: Identity, release: str, designation: str) -> int:
        """Return the identifier of a moving object by its designation.

        Raises
        ------
        NotFoundError
            If the release has observed none of that name.
        """
        self._table(identity, release, "SSObject")
        name = adql_text(designation.strip().lower())
        adql = f"SELECT ssObjectId FROM {release}.SSObject WHERE LOWER(designation) = {name}"
        rows = self._queries.run_query(identity, adql, maxrec=1).table.to_pylist()
        if not rows:
            raise NotFoundError(f"release {release} has not observed a moving object {designation.strip()!r}")
        return int(rows[0]["ssObjectId"])

    def get_curve(
        self, identity: Identity, release: str, ss_object_id: int, flux_kind: str = "dia"
    ) -> LightCurve:
        """Read the light curve of a moving object.

        Parameters
        ----------
        identity
            The caller.
        release, ss_object_id
            Which object.
        flux_kind
            One of `MOVING_FLUXES`.

        Returns
        -------
        LightCurve
            Its rows have beside the usual columns the position (``ra``, ``dec``), the circumstances (``phaseAngle``,
            ``helioRange``, ``topoRange``) and the reduced magnitude.

        Raises
        ------
        NotFoundError
            If the release has not observed it.
        UsageError
            If moving objects have no such fluxes.
        """
        if flux_kind not in MOVING_FLUXES:
            raise UsageError(
                f"a moving object has no {FLUX_KINDS.get(flux_kind, flux_kind)} fluxes: choose those of detections"
            )
        source, found = (
            self._table(identity, release, "DiaSource"),
            self._table(identity, release, "SSSource"),
        )
        names = {c.name: c for c in (*found.columns, *source.columns)}
        flux, error, flag = FLUX_COLUMNS[flux_kind]
        own = ["midpointMjdTai", "band", flux, error, "visit", "detector", "ra", "dec"]
        if missing := [n for n in (*own, *_GEOMETRY) if n not in names]:
            raise NotFoundError(f"release {release} does not say {missing[0]} of its moving objects")
        extra = [n for n in _EXTRA if n in {c.name for c in found.columns}]
        flags = [flag] if flag in names else []
        asked = ", ".join(
            [f"d.{n}" for n in own] + [f"s.{n}" for n in (*_GEOMETRY, *extra)] + [f"d.{n}" for n in flags]
        )
        adql = (
            f"SELECT {asked} FROM {release}.SSSource AS s JOIN {release}.DiaSource AS d "
            f"ON d.diaSourceId = s.diaSourceId WHERE s.ssObjectId = {ss_object_id} ORDER BY d.midpointMjdTai"
        )
        rows = self._queries.run_query(identity, adql, maxrec=_MAX_POINTS).table
        if rows.num_rows == 0:
            raise NotFoundError(f"release {release} has no detections of a moving object {ss_object_id}")
        bad = np.zeros(rows.num_rows, bool)
        for name in flags:
            bad |= rows.column(name).fill_null(True).to_numpy(zero_copy_only=False).astype(bool)
        kept = rows.select(range(len(own) + len(_GEOMETRY) + len(extra)))
        kept = kept.rename_columns(["mjd", "band", "flux", "fluxErr", *kept.column_names[4:]])
        kept = kept.add_column(4, "flag", pa.array(bad))
        columns = [names[n] for n in (*own, *_GEOMETRY, *extra)]
        about = ", ".join(flags) or "no flag is published"
        columns.insert(4, ColumnInfo("flag", "boolean", description=f"Whether any of these is set: {about}"))
        kept, reduced = _reduce(kept)
        middle = kept.slice(kept.num_rows // 2, 1).to_pylist()[0]
        return LightCurve(
            release, "SSObject", ss_object_id, float(middle["ra"]), float(middle["dec"]), flux_kind, adql, kept,
            tuple(replace(c, name=n) for c, n in zip((*columns, *reduced), kept.column_names, strict=True)),
            self._name(identity, release, ss_object_id),
        )  # fmt: skip

    def get_phase_curve(self, identity: Identity, curve: LightCurve) -> list[PhaseBand]:
        """Return the phase curves of a light curve of this service, with the release's fits."""
        info = self._table(identity, curve.release, "SSObject")
        names = {c.name for c in info.columns}
        wanted = [
            f"{b}_{n}"
            for b in curve.bands
            for n in ("H", "HErr", "G12", "G12Err", "nObsUsed")
            if f"{b}_{n}" in names
        ]
        fit: dict[str, float | None] = {}
        if wanted:
            adql = f"SELECT {', '.join(wanted)} FROM {curve.release}.SSObject WHERE ssObjectId = {curve.object_id}"
            rows = self._queries.run_query(identity, adql, maxrec=1).table.to_pylist()
            fit = rows[0] if rows else {}
        return make_phase_curve(curve, fit)

    def _name(self, identity: Identity, release: str, ss_object_id: int) -> str:
        info = self._table(identity, release, "SSObject")
        if all(c.name != "designation" for c in info.columns):
            return ""
        adql = f"SELECT designation FROM {release}.SSObject WHERE ssObjectId = {ss_object_id}"
        rows = self._queries.run_query(identity, adql, maxrec=1).table.to_pylist()
        return str(rows[0]["designation"]) if rows else ""

    def _table(self, identity: Identity, release: str, name: str) -> TableInfo:
        info = self._queries.catalog_for(identity).find_table(f"{release}.{name}")
        if info is None:
            raise NotFoundError(f"release {release} has no table {name}, so it knows no moving objects")
        return info


def _reduce(table: pa.Table) -> tuple[pa.Table, tuple[ColumnInfo, ColumnInfo]]:
    """Add the magnitudes that the object would have at 1 AU from Sun and observer."""
    numbers = {
        n: table.column(n).to_numpy(zero_copy_only=False).astype(float)
        for n in ("flux", "fluxErr", "helioRange", "topoRange")
    }
    magnitude, error = to_ab_magnitude(numbers["flux"], numbers["fluxErr"])
    magnitude = magnitude - 5 * np.log10(numbers["helioRange"] * numbers["topoRange"])
    table = table.append_column("reducedMag", pa.array(magnitude, from_pandas=True))
    table = table.append_column("reducedMagErr", pa.array(error, from_pandas=True))
    words = "AB magnitude at 1 AU from Sun and observer"
    return table, (
        ColumnInfo("reducedMag", "double", unit="mag", ucd="phot.mag", description=words),
        ColumnInfo(
            "reducedMagErr",
            "double",
            unit="mag",
            ucd="stat.error;phot.mag",
            description=f"Error of the {words}",
        ),
    )


def make_phase_curve(curve: LightCurve, fit: dict[str, float | None]) -> list[PhaseBand]:
    """Sort the points of a moving object's light curve by band.

    Parameters
    ----------
    curve
        From `MovingObjectService`.
    fit
        Columns of its row of SSObject; those that are missing leave a band without a model.

    Returns
    -------
    list of PhaseBand
        One a band in the order of wavelength; flagged points and limits are left out.
    """
    band = curve.array("band").astype(str)
    phase, mag, error = (curve.array(n).astype(float) for n in ("phaseAngle", "reducedMag", "reducedMagErr"))
    good = np.isfinite(phase) & np.isfinite(mag) & ~curve.array("flag").astype(bool)
    made = []
    for name in sorted(set(band), key=band_order):
        own = good & (band == name)
        made.append(
            PhaseBand(
                name,
                phase[own],
                mag[own],
                error[own],
                fit.get(f"{name}_H"),
                fit.get(f"{name}_HErr"),
                fit.get(f"{name}_G12"),
                fit.get(f"{name}_G12Err"),
                int(fit.get(f"{name}_nObsUsed") or 0),
            )
        )
    return made
