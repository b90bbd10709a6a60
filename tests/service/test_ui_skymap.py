"""The tiles of the sky map: for whoever may see images, without a word for what has no data."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits

from tests.support.pages import ANNA_TOKEN

BASE = "/portal/app/hips/maps/deep_coadd/band_r"


def test_tiles_are_those_of_the_release_and_are_kept(pages_client, pages_home):
    folder = pages_home / "releases/maps/hips/deep_coadd/band_r"
    file = next(folder.glob("Norder3/Dir*/Npix*.fits"))
    answer = pages_client.get(f"{BASE}/{file.relative_to(folder)}")
    assert answer.content == file.read_bytes()
    again = pages_client.get(
        f"{BASE}/{file.relative_to(folder)}", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304


def test_a_tile_without_data_is_empty_and_no_error(pages_client):
    picture = pages_client.get(f"{BASE}/Norder3/Dir0/Npix0.png")
    assert (picture.status_code, picture.content) == (204, b"")
    with fits.open(io.BytesIO(pages_client.get(f"{BASE}/Norder3/Dir0/Npix0.fits").content)) as tile:
        assert tile[0].data.shape == (512, 512)
        assert np.isnan(tile[0].data).all()


def test_nothing_else_of_a_release_can_be_asked_for(pages_client):
    for path in (
        "%2e%2e/%2e%2e/%2e%2e/release.json",
        "Norder3/%2e%2e/%2e%2e/%2e%2e/properties",
        "Norder3/Dir0/Npix0.txt",
        "secret",
    ):
        assert pages_client.get(f"{BASE}/{path}").status_code == 404, path
    assert pages_client.get("/portal/app/hips/none/deep_coadd/band_r/properties").status_code == 404


def test_it_takes_the_scope_of_images(pages_client):
    refused = pages_client.get(f"{BASE}/properties", headers={"Authorization": "Bearer token-without-images"})
    assert refused.status_code == 403
    assert "read:image" in refused.json()["detail"]
    assert ANNA_TOKEN not in refused.text
