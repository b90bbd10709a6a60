"""The clients people use, and nothing else: pyvo and lsst-rsp."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import pyvo
import requests
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from lsst.rsp import RSPDiscovery
from pyvo.dal.adhoc import DatalinkResults, SodaQuery

from tests.support.services import ANN, JOE, LiveServices

CENTER = (53.13, -28.1)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # pyvo warns of parts of UWS that it does not know itself.
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def discovery(live_services: LiveServices) -> RSPDiscovery:
    return RSPDiscovery("demo", discovery_url=f"{live_services.url}/repertoire", token=ANN)


def session(token: str) -> requests.Session:
    made = requests.Session()
    made.headers["Authorization"] = f"Bearer {token}"
    return made


def test_discovery_lists_the_release_before_anybody_signs_in(live_services: LiveServices) -> None:
    assert RSPDiscovery.list_datasets(discovery_url=f"{live_services.url}/repertoire") == ["demo"]


@pytest.mark.requirement("DMS-API-REQ-0007")
def test_pyvo_queries_sync(discovery: RSPDiscovery) -> None:
    tap = discovery.get_tap_client()
    found = tap.search(
        "SELECT objectId, coord_ra, coord_dec FROM demo.Object WHERE CONTAINS(POINT('ICRS', coord_ra, coord_dec),"
        f" CIRCLE('ICRS', {CENTER[0]}, {CENTER[1]}, 0.01)) = 1"
    ).to_table()
    assert len(found) > 50
    apart = SkyCoord(found["coord_ra"], found["coord_dec"], unit="deg").separation(
        SkyCoord(*CENTER, unit="deg")
    )
    assert apart.max() <= 0.01 * u.deg
    assert "demo.Object" in tap.tables
    assert "objectId" in [column.name for column in tap.tables["demo.Object"].columns]
    assert len(tap.examples) >= 2
    assert len(tap.search(tap.examples[0]["QUERY"])) > 0


@pytest.mark.requirement("DMS-API-REQ-0008")
def test_pyvo_queries_async_with_an_upload(discovery: RSPDiscovery, worker: LiveServices) -> None:
    tap = discovery.get_tap_client()
    mine = Table({"n": [1, 2], "ra": [CENTER[0], CENTER[0] + 0.003], "dec": [CENTER[1], CENTER[1]]})
    job = tap.submit_job(
        "SELECT u.n, COUNT(*) AS found FROM TAP_UPLOAD.mine u, demo.Object o"
        " WHERE 1 = CONTAINS(POINT(o.coord_ra, o.coord_dec), CIRCLE(u.ra, u.dec, 0.005)) GROUP BY u.n ORDER BY u.n",
        uploads={"mine": mine},
    )
    job.run().wait(timeout=60)
    job.raise_if_error()
    result = job.fetch_result().to_table()
    assert result["n"].tolist() == [1, 2]
    for n, ra in zip(mine["n"], mine["ra"], strict=True):
        cone = tap.search(
            f"SELECT COUNT(*) AS c FROM demo.Object WHERE DISTANCE(coord_ra, coord_dec, {ra}, {CENTER[1]}) <= 0.005"
        )
        assert result["found"][n - 1] == cone[0]["c"]
    again = discovery.get_tap_job(job.url)
    assert again.phase == "COMPLETED"
    assert job.job_id in [listed.jobid for listed in tap.get_job_list()]
    job.delete()


def test_pyvo_is_told_what_is_wrong(discovery: RSPDiscovery, live_services: LiveServices) -> None:
    with pytest.raises(pyvo.dal.DALQueryError, match="did you mean `coord_ra`"):
        discovery.get_tap_client().search("SELECT coord_raa FROM demo.Object")
    with pytest.raises(pyvo.dal.DALQueryError, match="does not have the scope read:tap"):
        pyvo.dal.TAPService(f"{live_services.url}/api/tap", session=session(JOE)).search("SELECT 1")


@pytest.mark.requirement("DMS-API-REQ-0016")
@pytest.mark.requirement("DMS-API-REQ-0017")
@pytest.mark.requirement("DMS-API-REQ-0018")
@pytest.mark.requirement("DMS-API-REQ-0028")
def test_images_are_found_linked_and_cut_out(discovery: RSPDiscovery, live_services: LiveServices) -> None:
    sia = discovery.get_sia_client()
    everything = sia.search(maxrec=100)
    here = sia.search(pos=(*CENTER, 0.001))
    assert 0 < len(here) <= len(everything)
    assert len(sia.search(pos=(10.0, 10.0, 0.1))) == 0
    coadds = sia.search(calib_level=3, pos=(*CENTER, 0.001))
    assert {row["dataproduct_subtype"] for row in coadds} <= {
        "lsst.deep_coadd",
        "lsst.template_coadd",
        "lsst.difference_image",
    }
    red = sia.search(band=(600e-9 * u.m, 650e-9 * u.m))
    assert {row["lsst_band"] for row in red} == {"r"}
    row = next(row for row in here if row["dataproduct_subtype"] == "lsst.visit_image")
    links = discovery.get_datalink_results(row)
    assert isinstance(links, DatalinkResults)
    whole = next(links.bysemantics("#this", include_narrower=False))
    # A signed link needs no token.
    content = requests.get(whole.access_url, timeout=60).content
    assert len(content) == whole.content_length
    query = SodaQuery.from_resource(links, links.get_adhocservice_by_id("cutout-sync"), session=session(ANN))
    query.circle = (CENTER[0], CENTER[1], 0.002)
    with fits.open(io.BytesIO(query.execute_stream().read())) as hdus:
        image, header = hdus[0].data.copy(), hdus[0].header.copy()
    # The cut-out's own coordinates lead to the pixels of the whole image.
    wcs = WCS(header)
    x, y = wcs.world_to_pixel(SkyCoord(*CENTER, unit="deg"))
    assert abs(x - (image.shape[1] - 1) / 2) < 2
    assert abs(y - (image.shape[0] - 1) / 2) < 2
    with live_services.factory.create_release_store().list_all()[0].get_butler() as butler:
        from uuid import UUID

        from lsst.images import Box

        ref = butler.get_dataset(UUID(header["DATASETI"]))
        full = butler.get(ref)
    x0, y0 = int(-header["LTV1"]), int(-header["LTV2"])
    box = Box.factory[y0 : y0 + image.shape[0], x0 : x0 + image.shape[1]]
    np.testing.assert_array_equal(image, full.image[box].array)
    assert header["BUNIT"] == "nJy"
    sky = full.sky_projection.as_astropy(box)
    for px, py in ((0, 0), (image.shape[1] - 1, 0), (image.shape[1] - 1, image.shape[0] - 1)):
        ra, dec = np.degrees(sky.pixel_to_world_values(px, py))
        assert wcs.pixel_to_world(px, py).separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.01


def test_the_environment_form_of_lsst_rsp_works(
    live_services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTERNAL_INSTANCE_URL", live_services.url)
    monkeypatch.setenv("ACCESS_TOKEN", ANN)
    monkeypatch.setenv("RSP_SITE_TYPE", "science")
    from lsst.rsp import get_tap_service
    from lsst.rsp.service import get_siav2_service

    assert get_tap_service("tap").search("SELECT COUNT(*) AS n FROM demo.Object")[0]["n"] == 2000
    assert len(get_siav2_service("demo").search(maxrec=3)) == 3
