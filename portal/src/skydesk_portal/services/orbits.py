"""Orbits over an image: where the known moving objects are at its time, and where they come from and go to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.pipeline.sky import evaluate_wcs, invert_wcs

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.services.images import ImageService

__all__ = ["EVERY", "OrbitService"]

EVERY = "all"
"""Asks for all known objects instead of one."""
_MOST_ORBITS = 2_000_000
_MOST_SHOWN = 500
_MARKS = 6
"""Time marks before and after the image."""
_SLOW_ARCSEC_HOUR = 2.0
_COLUMNS = ("ssObjectId", "mpcDesignation", "q", "e", "incl", "node", "peri", "t_p", "mpcH")


class OrbitService:
    """Predicts moving objects for images.

    Parameters
    ----------
    images
        Knows the images and asks for rows.
    """

    def __init__(self, images: ImageService) -> None:
        self._images = images
        self._sites: dict[tuple[str, str], tuple[float, float, float] | None] = {}
        self._lock = threading.Lock()

    def list_tracks(self, identity: Identity, release: str, dataset_id: str, wanted: str) -> dict[str, Any]:
        """List the known moving objects on an image.

        Parameters
        ----------
        identity
            The caller.
        release, dataset_id
            An image of one exposure.
        wanted
            Identifier (``ssObjectId``) of one object, or `EVERY`.

        Returns
        -------
        dict
            The form that ``viewer/src/orbits.ts`` declares as ``Tracks``: the time, and of each object its position at
            the middle of the exposure and at marks of time before and after.

        Raises
        ------
        NotFoundError
            If the image is of no single time, the release knows no orbits, or not this one.
        UsageError
            If ``wanted`` is no identifier.
        """
        from skydesk_portal.pipeline.smallbodies import Orbits, locate_observer, predict, predict_near

        if wanted != EVERY and not wanted.isdigit():
            raise UsageError(
                f"{wanted[:40]!r} is no identifier of a moving object (ssObjectId), nor {EVERY!r}"
            )
        view = self._images.get_view(identity, release, dataset_id)
        data_id = view.meta.get("data_id") or {}
        if data_id.get("visit") is None or view.wcs_fit is None:
            raise NotFoundError("orbits are drawn over images of one visit that have sky coordinates")
        mjd = self._find_time(identity, release, int(data_id["visit"]))
        catalog = self._read_orbits(identity, release, wanted)
        if not catalog:
            raise NotFoundError(f"release {release} knows no orbit of a moving object {wanted}")
        site = self._find_site(identity, release, str(data_id["instrument"]))
        elements = [np.array([float(row[n]) for row in catalog]) for n in _COLUMNS[2:8]]
        observer = locate_observer(np.array([mjd]), site)
        orbits = Orbits(*elements)
        height, width = view.shape
        x, y = np.array([width / 2, 0.0]), np.array([height / 2, 0.0])
        ra, dec = evaluate_wcs(view.wcs_fit, x, y)
        radius_deg = float(np.hypot((ra[1] - ra[0]) * np.cos(np.radians(dec[0])), dec[1] - dec[0]))
        if wanted == EVERY:
            rows, seen = predict_near(orbits, observer, float(ra[0]), float(dec[0]), radius_deg)
        else:
            rows, seen = np.arange(len(orbits)), predict(orbits, observer)
        px, py = invert_wcs(view.wcs_fit, seen.ra_deg[0], seen.dec_deg[0])
        inside = (px > -0.5) & (py > -0.5) & (px < width - 0.5) & (py < height - 0.5)
        chosen = np.flatnonzero(inside if wanted == EVERY else np.ones(len(rows), bool))[:_MOST_SHOWN]
        names = self._names(identity, release) if len(chosen) else {}
        bodies = []
        for k in chosen:
            row = catalog[int(rows[k])]
            orbit = orbits.take([int(rows[k])])
            rate = float(np.hypot(seen.rate_ra_deg_day[0, k], seen.rate_dec_deg_day[0, k]) * 150)
            step_hour = 1.0 if rate > _SLOW_ARCSEC_HOUR else 24.0
            hours = step_hour * np.arange(-_MARKS, _MARKS + 1)
            track = predict(orbit, locate_observer(mjd + hours / 24, site))
            bodies.append(
                {
                    # A JavaScript number does not hold it; what was never observed has none.
                    "id": str(row["ssObjectId"] or ""),
                    "name": names.get(row["mpcDesignation"], row["mpcDesignation"]),
                    "ra": float(seen.ra_deg[0, k]),
                    "dec": float(seen.dec_deg[0, k]),
                    "inside": bool(inside[k]),
                    "rate_arcsec_hour": rate,
                    "hours": hours.tolist(),
                    "track_ra": track.ra_deg[:, 0].tolist(),
                    "track_dec": track.dec_deg[:, 0].tolist(),
                }
            )
        return {"mjd": mjd, "bodies": bodies}

    def _find_time(self, identity: Identity, release: str, visit: int) -> float:
        """Return the middle of a visit's exposure, MJD TAI."""
        self._require(identity, release, "Visit", ("visit", "expMidptMJD"))
        query = f"SELECT expMidptMJD FROM {release}.Visit WHERE visit = {visit}"
        rows = self._images.queries.run_query(identity, query, maxrec=1).table.to_pylist()
        if not rows or rows[0]["expMidptMJD"] is None:
            raise NotFoundError(f"release {release} does not say when visit {visit} was taken")
        return float(rows[0]["expMidptMJD"])

    def _read_orbits(self, identity: Identity, release: str, wanted: str) -> list[dict[str, Any]]:
        self._require(identity, release, "MPCORB", _COLUMNS)
        where = "" if wanted == EVERY else f" WHERE ssObjectId = {int(wanted)}"
        query = f"SELECT {', '.join(_COLUMNS)} FROM {release}.MPCORB{where}"
        return self._images.queries.run_query(identity, query, maxrec=_MOST_ORBITS).table.to_pylist()

    def _names(self, identity: Identity, release: str) -> dict[str, str]:
        """Return the designations of observed objects by their packed form."""
        known = self._images.queries.catalog_for(identity)
        if known.find_table(f"{release}.SSObject") is None:
            return {}
        query = (
            f"SELECT m.mpcDesignation, s.designation FROM {release}.SSObject AS s "
            f"JOIN {release}.MPCORB AS m ON m.ssObjectId = s.ssObjectId"
        )
        rows = self._images.queries.run_query(identity, query, maxrec=_MOST_ORBITS).table.to_pylist()
        return {r["mpcDesignation"]: r["designation"] for r in rows if r["designation"]}

    def _require(self, identity: Identity, release: str, table: str, columns: tuple[str, ...]) -> None:
        info = self._images.queries.catalog_for(identity).find_table(f"{release}.{table}")
        if info is None or not set(columns) <= {c.name for c in info.columns}:
            raise NotFoundError(f"release {release} has no table {table} with {', '.join(columns)}")

    def _find_site(
        self, identity: Identity, release: str, instrument: str
    ) -> tuple[float, float, float] | None:
        from skydesk_portal.pipeline.smallbodies import find_site

        key = release, instrument
        opened = self._images.get_release(identity, release)
        with self._lock:
            if key not in self._sites:
                self._sites[key] = find_site(opened, instrument)
            return self._sites[key]
