"""Put a simulated survey into a Butler repository: camera, defects, skymap, truth, reference catalog."""

from __future__ import annotations

from astropy.table import Table
from lsst.daf.butler import Butler, Timespan

from skydesk_core.instrument.ingest import register_instrument
from skydesk_core.instrument.simcam import SimCam
from skydesk_core.orbitcat import load_orbit_table
from skydesk_core.repo import register_dataset_types
from skydesk_core.sim.detector import make_detector_model
from skydesk_core.sim.movers import make_known_orbits
from skydesk_core.sim.scene import BANDS
from skydesk_core.sim.survey import Survey
from skydesk_core.sim.truth import make_truth_tables
from skydesk_core.skymap import make_skymap, register_skymap

__all__ = ["register_survey"]


def _put_defects(butler: Butler, survey: Survey) -> None:
    run = "SimCam/calib/defects"
    butler.collections.register(run)
    camera = SimCam.describe()
    for detector in survey.detectors:
        if (
            butler.find_dataset("defects", instrument="SimCam", detector=detector, collections=run)
            is not None
        ):
            continue
        model = make_detector_model(camera, detector, BANDS, survey.settings.seed)
        ref = butler.put(model.defects, "defects", run=run, instrument="SimCam", detector=detector)
        butler.registry.certify("SimCam/calib", [ref], Timespan(None, None))


def _put_truth(butler: Butler, survey: Survey, skymap: str, run: str) -> None:
    butler.collections.register(run)
    tables: dict[str, Table] = make_truth_tables(survey)
    register_dataset_types(butler, tables)
    for name, table in tables.items():
        place = (
            {"instrument": "SimCam"}
            if name in ("truth_source", "truth_dia", "truth_orbit")
            else {"skymap": skymap, "tract": 0}
        )
        if butler.find_dataset(name, collections=run, **place) is None:
            butler.put(table, name, run=run, **place)


def register_survey(butler: Butler, survey: Survey, skymap: str, truth_run: str) -> None:
    """Register everything about a survey that is not a raw file; harmless when repeated.

    Parameters
    ----------
    butler
        A writeable Butler.
    survey
        The survey.
    skymap
        Name of the skymap to make.
    truth_run
        RUN collection for the truth tables.
    """
    register_instrument(butler, SimCam())
    _put_defects(butler, survey)
    s = survey.settings
    scale = SimCam.describe().scale_arcsec
    register_skymap(
        butler, make_skymap(skymap, s.ra_deg, s.dec_deg, scale, survey.patches, survey.patch_pixels)
    )
    _put_truth(butler, survey, skymap, truth_run)
    load_orbit_table(butler, make_known_orbits(survey.scene.movers, s.seed, s.mjd_start))
