"""The index of a release's alert packets, read from SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.alerts import AlertQuery, AlertRow
from skydesk_portal.models.regions import Region, region_has

__all__ = ["AlertIndex"]

_COLUMNS = ", ".join(f.name for f in fields(AlertRow))
_MAX_RANGES = 64
_FINEST_ORDER = 18
_ORDER0_DEG = 58.6


class AlertIndex:
    """Finds packets of one release.

    Parameters
    ----------
    path
        The file, which nobody changes.
    """

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self._uri, uri=True)
        except sqlite3.Error as error:
            raise PortalError("the alerts of the release cannot be read") from error
        try:
            yield db
        except sqlite3.Error as error:
            raise PortalError("the alerts of the release cannot be read") from error
        finally:
            db.close()

    def find(self, alert_id: int) -> AlertRow | None:
        """Return an alert by its identifier, `None` if there is none."""
        with self._open() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM alert WHERE alert_id = ?", [alert_id]).fetchone()
        return None if row is None else AlertRow(*row)

    def list_newest(self, limit: int) -> list[AlertRow]:
        """Return the newest alerts, by time."""
        with self._open() as db:
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM alert ORDER BY midpoint_mjd_tai DESC, alert_id DESC LIMIT ?", [limit]
            ).fetchall()
        return [AlertRow(*row) for row in reversed(rows)]

    def search(self, query: AlertQuery) -> list[AlertRow]:
        """Return the alerts that fulfil conditions, by time.

        Parameters
        ----------
        query
            The conditions.

        Returns
        -------
        list of AlertRow
            One page, at most ``query.limit`` rows.
        """
        where: list[str] = []
        values: list[object] = []
        for column, wanted in {"alert_id": query.ids, "band": query.bands, **query.equal}.items():
            if wanted:
                where.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for column, spans in query.between.items():
            where.append("(" + " OR ".join([f"{column} BETWEEN ? AND ?"] * len(spans)) + ")")
            values += [limit for span in spans for limit in span]
        if query.after is not None:
            where.append("(midpoint_mjd_tai, alert_id) > (?, ?)")
            values += query.after
        with self._open() as db:
            if query.regions:
                where.append("(" + " OR ".join(self._place(db, query.regions, values)) + ")")
            condition = f"WHERE {' AND '.join(where)}" if where else ""
            rows = db.execute(
                f"SELECT {_COLUMNS} FROM alert {condition} ORDER BY midpoint_mjd_tai, alert_id LIMIT ?",
                [*values, query.limit],
            ).fetchall()
        return [AlertRow(*row) for row in rows]

    def _place(
        self, db: sqlite3.Connection, regions: tuple[Region, ...], values: list[object]
    ) -> Iterator[str]:
        """Write a condition for each region: ranges of the index, then the exact test."""
        for number, region in enumerate(regions):

            def inside(ra_deg: float, dec_deg: float, region: Region = region) -> bool:
                return region_has(region, ra_deg, dec_deg)

            db.create_function(f"inside_{number}", 2, inside, deterministic=True)
            ranges = _ranges(region)
            values += [int(limit) for span in ranges for limit in span]
            spans = " OR ".join(["(hp29 >= ? AND hp29 < ?)"] * len(ranges)) or "FALSE"
            yield f"(({spans}) AND inside_{number}(ra, dec))"


def _ranges(region: Region) -> np.ndarray:
    """Cover a region by few ranges of the HEALPix index of order 29."""
    import astropy.units as u
    from mocpy import MOC

    size = max(region.size_deg, 1e-4)
    order = int(np.clip(np.log2(4 * _ORDER0_DEG / size), 2, _FINEST_ORDER))
    if region.radius_deg is not None:
        ra, dec = region.corners[0]
        radius = max(region.radius_deg, 1e-6) * u.deg
        moc = MOC.from_cone(ra * u.deg, dec * u.deg, radius=radius, max_depth=order)
    else:
        corners = np.array(region.corners)
        moc = MOC.from_polygon(corners[:, 0] * u.deg, corners[:, 1] * u.deg, max_depth=order)
    while len(moc.to_depth29_ranges) > _MAX_RANGES and order > 0:
        order -= 1
        moc = moc.degrade_to_order(order)
    return np.asarray(moc.to_depth29_ranges)
