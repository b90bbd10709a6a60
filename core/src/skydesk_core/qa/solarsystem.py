"""Quality figures of the association of detections with known small bodies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from skydesk_core.qa.matching import match_nearest

if TYPE_CHECKING:
    from skydesk_core.qa.metrics import Catalogs, Metric

__all__ = ["measure_small_bodies"]

_RADIUS_ARCSEC = 0.5


def measure_small_bodies(catalogs: Catalogs) -> Iterator[Metric]:
    """Measure which detections of true bodies were recognised, and how far they are from the predictions."""
    from skydesk_core.qa.metrics import Metric

    if not catalogs.has("SSSource", "diaSourceId", "designation", "ephOffset"):
        return
    s = catalogs.read("SSSource", "diaSourceId", "designation", "ephOffset")
    if len(s["ephOffset"]):
        text = "median separation of the detections of known small bodies from their predicted positions"
        yield Metric("sso_residual", float(np.median(s["ephOffset"])), "arcsec", len(s["ephOffset"]), text)
    if not (
        catalogs.has("truth_orbit", "id", "designation", "is_known") and catalogs.has("truth_dia", "kind")
    ):
        return
    ra, dec = catalogs.position("DiaSource")
    d = catalogs.read("DiaSource", "diaSourceId", "visit", ra, dec)
    t = catalogs.read("truth_dia", "id", "visit", "ra", "dec", where="kind = 'mover'")
    orbits = catalogs.read("truth_orbit", "id", "designation", "is_known")
    name_of = dict(zip(orbits["id"].tolist(), orbits["designation"].tolist(), strict=True))
    known = set(orbits["id"][orbits["is_known"].astype(bool)].tolist())
    found = dict(zip(s["diaSourceId"].tolist(), s["designation"].tolist(), strict=True))
    sought = hit = 0
    right = set()
    for visit in np.unique(t["visit"]):
        a, b = np.flatnonzero(t["visit"] == visit), np.flatnonzero(d["visit"] == visit)
        rows, there, _ = match_nearest(t["ra"][a], t["dec"][a], d[ra][b], d[dec][b], _RADIUS_ARCSEC)
        for body, source in zip(t["id"][a[rows]].tolist(), d["diaSourceId"][b[there]].tolist(), strict=True):
            same = found.get(source) == name_of[body]
            sought += body in known
            hit += body in known and same
            right |= {source} if same else set()
    if sought:
        text = "part of the detections of true bodies with a known orbit that are associated with that body"
        yield Metric("sso_completeness", hit / sought, "", sought, text)
    if found:
        text = "part of the associations with a known body that are that true body"
        yield Metric("sso_purity", len(right & found.keys()) / len(found), "", len(found), text)
