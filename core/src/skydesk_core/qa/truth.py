"""Quality figures against the truth tables of a simulated release."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skydesk_core.qa.matching import match_nearest

if TYPE_CHECKING:
    from skydesk_core.qa.metrics import Catalogs, Metric

__all__ = ["find_period", "measure_against_truth"]

_RADIUS_ARCSEC = 0.5
_DIA_SNR = 6.0
_REPEAT_SNR = 200.0


def measure_against_truth(catalogs: Catalogs) -> Iterator[Metric]:
    """Measure what only a simulated sky allows; nothing for a release without truth tables."""
    if catalogs.has("truth_object", "ra", "dec") and catalogs.has("Object", "objectId"):
        yield from _measure_objects(catalogs)
    if catalogs.has("truth_dia", "visit", "ra", "dec", "flux", "kind") and catalogs.has("DiaSource", "visit"):
        yield from _measure_differences(catalogs)
    if catalogs.has("truth_variable", "ra", "dec", "period_day") and catalogs.has("ForcedSource", "objectId"):
        yield from _measure_periods(catalogs)
    if catalogs.has("Source", "visit", "psfFlux", "psfFluxErr", "band"):
        yield from _measure_repeatability(catalogs)


def _metric(name: str, value: float | None, unit: str, count: int, text: str) -> Metric:
    from skydesk_core.qa.metrics import Metric

    return Metric(name, value, unit, count, text)


def _well_seen(catalogs: Catalogs, ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark truth objects that at least half of the visits saw."""
    if not catalogs.has("truth_source", "id", "visit"):
        return np.ones(len(ids), bool)
    seen = catalogs.read("truth_source", "id", "visit")
    who, counts = np.unique(seen["id"], return_counts=True)
    often = who[counts >= 0.5 * len(np.unique(seen["visit"]))]
    return np.isin(ids, often)


def _reference_band(catalogs: Catalogs) -> str | None:
    bands = catalogs.release.manifest.bands
    for band in ("r", *bands):
        if catalogs.has("truth_object", f"{band}_flux") and catalogs.has("Object", f"{band}_psfFlux"):
            return band
    return None


def _measure_objects(catalogs: Catalogs) -> Iterator[Metric]:
    band = _reference_band(catalogs)
    if band is None:
        return
    key = "id" if catalogs.has("truth_object", "id") else "truth_id"
    star = next((c for c in ("is_star", "is_galaxy") if catalogs.has("truth_object", c)), None)
    t = catalogs.read("truth_object", key, "ra", "dec", f"{band}_flux", *([star] if star else []))
    ra, dec = catalogs.position("Object")
    o = catalogs.read("Object", ra, dec, f"{band}_psfFlux", f"{band}_psfFluxErr")
    rows, found, separation = match_nearest(t["ra"], t["dec"], o[ra], o[dec], _RADIUS_ARCSEC)
    snr = o[f"{band}_psfFlux"] / o[f"{band}_psfFluxErr"]
    bright = snr[found] > 50
    if star:
        bright &= t[star][rows].astype(bool) == (star == "is_star")
    if bright.any():
        east = (o[ra][found] - t["ra"][rows]) * np.cos(np.radians(t["dec"][rows])) * 3.6e6
        north = (o[dec][found] - t["dec"][rows]) * 3.6e6
        offset = float(np.hypot(np.median(east[bright]), np.median(north[bright])))
        text = "Object against truth, stars with S/N > 50"
        n = int(bright.sum())
        yield _metric(
            "object_astrometric_residual",
            1000 * float(np.median(separation[bright])),
            "mas",
            n,
            f"median separation, {text}",
        )
        yield _metric("object_astrometric_offset", offset, "mas", n, f"length of the median offset, {text}")
        truth_flux, error = t[f"{band}_flux"][rows], o[f"{band}_psfFluxErr"][found]
        ratio = o[f"{band}_psfFlux"][found] / truth_flux - 1
        yield _metric(
            "object_flux_bias",
            1000 * float(np.median(ratio[bright])),
            "mmag",
            n,
            f"median relative flux error, {text}, {band} band",
        )
        pull = ((o[f"{band}_psfFlux"][found] - truth_flux) / error)[bright]
        width = 1.4826 * float(np.median(np.abs(pull - np.median(pull))))
        yield _metric(
            "object_flux_pull_width",
            width,
            "",
            n,
            f"robust width of (measured - true) / error, {text}, {band} band",
        )
    yield from _measure_completeness(catalogs, t, key, band, rows, len(found), snr)


def _measure_completeness(
    catalogs: Catalogs,
    t: dict[str, Any],
    key: str,
    band: str,
    matched: Any,
    pairs: int,
    snr: NDArray[np.float64],
) -> Iterator[Metric]:
    seen = _well_seen(catalogs, t[key])
    magnitude = 31.4 - 2.5 * np.log10(np.maximum(t[f"{band}_flux"], 1e-3))
    hit = np.zeros(len(seen), bool)
    hit[matched] = True
    edges = np.arange(np.floor(magnitude[seen].min()), 28.0, 0.5) if seen.any() else np.empty(0)
    centers, fractions = [], []
    for low in edges:
        inside = seen & (magnitude >= low) & (magnitude < low + 0.5)
        if inside.sum() >= 8:
            centers.append(low + 0.25)
            fractions.append(hit[inside].mean())
    for level in (0.9, 0.5):
        yield _metric(
            f"object_completeness_{round(100 * level)}",
            _crossing(centers, fractions, level),
            "mag",
            int(seen.sum()),
            f"{band} magnitude at which {level:.0%} of the true objects are found within {_RADIUS_ARCSEC} arcsec",
        )
    if len(snr):
        yield _metric(
            "object_purity", pairs / len(snr), "", len(snr), "part of the objects that match a true one"
        )


def _crossing(centers: list[float], fractions: list[float], level: float) -> float | None:
    """Find where the completeness falls below a level for good, by linear interpolation."""
    for i in range(len(centers) - 1, 0, -1):
        if fractions[i] < level <= fractions[i - 1]:
            slope = (fractions[i] - fractions[i - 1]) / (centers[i] - centers[i - 1])
            return float(centers[i - 1] + (level - fractions[i - 1]) / slope)
    return None


def _measure_differences(catalogs: Catalogs) -> Iterator[Metric]:
    ra, dec = catalogs.position("DiaSource")
    d = catalogs.read("DiaSource", "visit", ra, dec, "psfFlux", "psfFluxErr", "band")
    t = catalogs.read("truth_dia", "visit", "ra", "dec", "flux", "kind", "band")
    error = {b: float(np.nanmedian(d["psfFluxErr"][d["band"] == b])) for b in np.unique(d["band"])}
    true_snr = t["flux"] / np.array([error.get(b, np.inf) for b in t["band"]])
    # The template may hold a variable at any phase; what appears from nothing has a known difference flux.
    new = np.isin(t["kind"], ("transient", "mover")) & (true_snr > _DIA_SNR)
    processed = np.isin(t["visit"], d["visit"])
    hit, genuine = np.zeros(len(new), bool), np.zeros(len(d["visit"]), bool)
    for visit in np.unique(d["visit"]):
        a, b = np.flatnonzero(t["visit"] == visit), np.flatnonzero(d["visit"] == visit)
        rows, found, _ = match_nearest(t["ra"][a], t["dec"][a], d[ra][b], d[dec][b], _RADIUS_ARCSEC)
        hit[a[rows]] = True
        genuine[b[found]] = True
    sought = new & processed
    if sought.any():
        yield _metric(
            "dia_completeness",
            float(hit[sought].mean()),
            "",
            int(sought.sum()),
            f"part of the true transients and movers with S/N > {_DIA_SNR:.0f} in a visit that have a DiaSource",
        )
    if len(genuine):
        text = "part of the DiaSources within 0.5 arcsec of something that varies, appears or moves in that visit"
        yield _metric("dia_purity", float(genuine.mean()), "", len(genuine), text)


def find_period(
    mjd: Any, flux: Any, error: Any, band: Any, shortest_day: float, longest_day: float
) -> float | None:
    """Find the period of a light curve in several bands.

    Parameters
    ----------
    mjd, flux, error, band
        The measurements; flux and error in one unit.
    shortest_day, longest_day
        Range of periods to search.

    Returns
    -------
    float or None
        The period in days with the highest Lomb-Scargle power over the relative fluxes of all bands; None with
        fewer than eight measurements.
    """
    from astropy.timeseries import LombScargle

    relative, noise = np.array(flux, float), np.array(error, float)
    for name in np.unique(band):
        rows = np.asarray(band) == name
        mean = np.nanmedian(relative[rows])
        relative[rows], noise[rows] = relative[rows] / mean - 1, noise[rows] / mean
    good = np.isfinite(relative) & np.isfinite(noise) & (noise > 0)
    if good.sum() < 8:
        return None
    time = np.asarray(mjd, float)[good]
    span = time.max() - time.min()
    frequency = np.arange(1 / longest_day, 1 / shortest_day, 0.1 / max(span, 1.0))
    power = LombScargle(time, relative[good], noise[good]).power(frequency, assume_regular_frequency=True)
    return float(1 / frequency[np.argmax(power)])


def _measure_periods(catalogs: Catalogs) -> Iterator[Metric]:
    if not catalogs.has("Visit", "visit", "expMidptMJD"):
        return
    ra, dec = catalogs.position("Object")
    o = catalogs.read("Object", "objectId", ra, dec)
    t = catalogs.read("truth_variable", "ra", "dec", "period_day", "amplitude_mag")
    rows, found, _ = match_nearest(t["ra"], t["dec"], o[ra], o[dec], _RADIUS_ARCSEC)
    times = catalogs.read("Visit", "visit", "expMidptMJD")
    mjd_of = dict(zip(times["visit"].tolist(), times["expMidptMJD"].tolist(), strict=True))
    f = catalogs.read("ForcedSource", "objectId", "visit", "band", "psfFlux", "psfFluxErr")
    order = np.argsort(f["objectId"], kind="stable")
    sorted_ids = f["objectId"][order]
    tried = right = 0
    for row, match in zip(rows, found, strict=True):
        low, high = (
            np.searchsorted(sorted_ids, o["objectId"][match], "left"),
            np.searchsorted(sorted_ids, o["objectId"][match], "right"),
        )
        mine = order[low:high]
        noise = np.nanmedian(f["psfFluxErr"][mine] / np.abs(f["psfFlux"][mine])) if mine.size else np.inf
        # With fewer points than this no period can be found by anyone; with less signal it would be luck.
        if mine.size < 15 or not t["period_day"][row] > 0 or t["amplitude_mag"][row] < 3 * noise:
            continue
        mjd = np.array([mjd_of[v] for v in f["visit"][mine].tolist()])
        tried += 1
        period = find_period(mjd, f["psfFlux"][mine], f["psfFluxErr"][mine], f["band"][mine], 0.1, 30.0)
        right += period is not None and abs(period / t["period_day"][row] - 1) < 0.01
    if tried:
        text = (
            "part of the periodic variables (15 points, amplitude > 3 sigma) whose period is found within 1 %"
        )
        yield _metric("period_recovery", right / tried, "", tried, text)


def _measure_repeatability(catalogs: Catalogs) -> Iterator[Metric]:
    """Measure PA1 as Rubin defines it: the median of the stars' standard deviations over single-visit photometry."""
    ra, dec = catalogs.position("Source")
    ora, odec = catalogs.position("Object") if catalogs.has("Object", "objectId") else ("", "")
    if not ora:
        return
    o = catalogs.read("Object", "objectId", ora, odec)
    extra = ["extendedness"] if catalogs.has("Source", "extendedness") else []
    for band in catalogs.release.manifest.bands:
        where = f"band = '{band}' AND psfFlux > {_REPEAT_SNR} * psfFluxErr"
        s = catalogs.read("Source", ra, dec, "psfFlux", "visit", *extra, where=where)
        groups: dict[int, list[float]] = {}
        for visit in np.unique(s["visit"]):
            mine = np.flatnonzero(s["visit"] == visit)
            if extra:
                mine = mine[~(s["extendedness"][mine] > 0.5)]
            rows, found, _ = match_nearest(s[ra][mine], s[dec][mine], o[ora], o[odec], _RADIUS_ARCSEC)
            for row, match in zip(mine[rows], found, strict=True):
                groups.setdefault(int(match), []).append(float(s["psfFlux"][row]))
        spreads = [np.std(-2.5 * np.log10(v), ddof=1) for v in groups.values() if len(v) >= 3]
        if spreads:
            text = f"PA1: median scatter of single-visit fluxes of stars with S/N > {_REPEAT_SNR:.0f}, {band} band"
            yield _metric(
                f"photometric_repeatability_{band}",
                1000 * float(np.median(spreads)),
                "mmag",
                len(spreads),
                text,
            )
