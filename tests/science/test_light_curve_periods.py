"""Published periods are found in real light curves: RR Lyrae stars in five bands, a transiting planet."""

import io
import tarfile
from dataclasses import dataclass

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from skydesk_core.algorithms.boxes import search_boxes
from skydesk_core.algorithms.periods import describe_alias, make_series, search_periods


@dataclass(frozen=True)
class Score:
    exact: int = 0
    alias: int = 0
    listed: int = 0
    tried: int = 0


def score_rr_lyrae(test_data, every):
    """Search the stars of Sesar et al. (2010, ApJ 708, 717), who publish the periods."""
    published = Table.read(test_data / "lightcurves_rrlyr/periods.csv", format="ascii.csv")
    counts = dict.fromkeys(("exact", "alias", "listed", "tried"), 0)
    with tarfile.open(test_data / "lightcurves_rrlyr/stripe82_rrlyr_lightcurves.tgz") as archive:
        for row in published[::every]:
            file = archive.extractfile(f"{row['Num']}.csv")
            curve = np.genfromtxt(
                io.TextIOWrapper(file), delimiter=",", names=True, dtype=None, encoding="ascii"
            )
            good = curve["magerr"] > 0
            # The published errors leave out about 0.03 mag of calibration.
            error = np.hypot(curve["magerr"][good], 0.03)
            series = make_series(curve["time"][good], curve["mag"][good], error, curve["band"][good])
            search = search_periods(series, 0.1, 10.0)
            truth, width = 1 / row["Per"], 1.5 / series.span_day
            found = [1 / p.period_day for p in search.peaks]
            counts["tried"] += 1
            counts["exact"] += abs(found[0] - truth) < width
            counts["alias"] += abs(found[0] - truth) >= width and describe_alias(found[0], truth, width) != ""
            counts["listed"] += min(abs(f - truth) for f in found) < width
    return Score(**counts)


def test_published_periods_of_rr_lyrae_stars_are_found(test_data):
    score = score_rr_lyrae(test_data, every=12)
    assert score.tried == 20
    assert score.exact >= 0.9 * score.tried, score
    assert score.listed == score.tried, score


@pytest.mark.soak
def test_published_periods_of_all_rr_lyrae_stars_are_found(test_data):
    score = score_rr_lyrae(test_data, every=1)
    assert score.tried == 233
    assert score.exact >= 0.92 * score.tried, score
    assert score.exact + score.alias == score.tried, score


def test_the_planet_of_a_tess_light_curve_is_found(test_data):
    (path,) = (test_data / "lightcurves_transit").glob("*.fits")
    with fits.open(path) as hdus:
        table = hdus[1].data
        good = table["QUALITY"] == 0
        columns = (np.asarray(table[n][good], float) for n in ("TIME", "PDCSAP_FLUX", "PDCSAP_FLUX_ERR"))
        best = search_boxes(make_series(*columns, np.full(good.sum(), "T"), relative=True)).peaks[0]
    # WASP-126 b: 3.28880 days (Maxted et al. 2016, A&A 591, A55).
    assert best.period_day == pytest.approx(3.28880, abs=3 * best.period_error_day)
    assert best.period_error_day < 0.001
    assert 0.005 < best.fit < 0.008
