"""Rows, light curves and cutouts of a platform, over its public services."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pyvo
import requests
from astropy.io import fits

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Platform", "PlatformError"]

TOKEN_FILE = Path("/etc/nublado/secrets/token")
TIMEOUT_S = 120.0


class PlatformError(Exception):
    """The platform refused a request or is not configured; the message says which."""

    code = "platform"


class Platform:
    """A running skydesk (or Rubin Science Platform) as one user sees it.

    Parameters
    ----------
    url
        Base URL of the platform; without it ``EXTERNAL_INSTANCE_URL`` of the environment.
    token
        Access token; without it ``ACCESS_TOKEN`` of the environment or the token file of the lab.

    Raises
    ------
    PlatformError
        Raised if neither the argument nor the environment gives a URL or a token.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None) -> None:
        self.url = (url or os.environ.get("EXTERNAL_INSTANCE_URL", "")).rstrip("/")
        if not self.url:
            raise PlatformError("no platform: give url= or set EXTERNAL_INSTANCE_URL")
        # The lab reaches the platform under another name than the person's browser.
        self.public_url = self.url if url else os.environ.get("SKYDESK_PUBLIC_URL", self.url).rstrip("/")
        self.token = token or os.environ.get("ACCESS_TOKEN") or _read_token_file()
        if not self.token:
            raise PlatformError("no token: give token= or set ACCESS_TOKEN")
        self.release = os.environ.get("SKYDESK_RELEASE", "demo")

    def get_tap(self) -> pyvo.dal.TAPService:
        """Return a TAP client (IVOA TAP 1.1) that is signed in.

        Returns
        -------
        pyvo.dal.TAPService
            A service on ``/api/tap`` of the platform.
        """
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.token}"
        return pyvo.dal.TAPService(f"{self.url}/api/tap", session=session)

    def query(self, adql: str, *, limit: int | None = None) -> Table:
        """Run an ADQL query and wait for its rows.

        Parameters
        ----------
        adql
            The query.
        limit
            Greatest number of rows; without it the service's own limit holds.

        Returns
        -------
        astropy.table.Table
            One row a result row, with the units that the service names.

        Raises
        ------
        pyvo.dal.DALQueryError
            Raised if the service refuses the query; its message is the service's.
        """
        return self.get_tap().search(adql, maxrec=limit).to_table()

    def light_curve(
        self, object_id: int | str, *, release: str | None = None, difference: bool = False
    ) -> Table:
        """Get the forced photometry of one object, sorted by time.

        Parameters
        ----------
        object_id
            ``objectId`` of the table Object, or ``diaObjectId`` of DiaObject if ``difference`` is set.
        release
            Name of the release; without it the one that the lab is configured for.
        difference
            Whether to take the forced photometry at the place of a DiaObject.

        Returns
        -------
        astropy.table.Table
            Columns ``visit``, ``band``, ``mjd`` (mid exposure, MJD, TAI), ``flux_njy``, ``flux_err_njy`` (PSF flux on
            the visit image), ``diff_njy``, ``diff_err_njy`` (PSF flux on the difference image) and ``flag``.
        """
        schema = release or self.release
        table, column = (
            ("ForcedSourceOnDiaObject", "diaObjectId") if difference else ("ForcedSource", "objectId")
        )
        return self.query(
            "SELECT f.visit, f.band, v.expMidptMJD AS mjd, f.psfFlux AS flux_njy, f.psfFluxErr AS flux_err_njy, "
            "f.psfDiffFlux AS diff_njy, f.psfDiffFluxErr AS diff_err_njy, f.psfFlux_flag AS flag "
            f"FROM {schema}.{table} AS f JOIN {schema}.Visit AS v ON f.visit = v.visit "
            f"WHERE f.{column} = {int(object_id)} ORDER BY mjd"
        )

    def cutout(
        self,
        ra_deg: float,
        dec_deg: float,
        *,
        radius_arcsec: float = 20.0,
        dataset_type: str = "deep_coadd",
        band: str | None = None,
        release: str | None = None,
    ) -> fits.HDUList:
        """Cut a circle out of the image of a kind that contains a place on the sky.

        Parameters
        ----------
        ra_deg, dec_deg
            Centre of the circle in degrees, ICRS.
        radius_arcsec
            Radius of the circle in arcseconds.
        dataset_type
            Kind of image, for example ``deep_coadd`` or ``visit_image``.
        band
            Band of the image; without it the first that covers the place is taken.
        release
            Name of the release; without it the one that the lab is configured for.

        Returns
        -------
        astropy.io.fits.HDUList
            The cutout with image, mask and variance (SODA 1.0).

        Raises
        ------
        PlatformError
            Raised if no image of this kind covers the place, or if the cutout service refuses.
        """
        where = f"dataset_type = '{dataset_type}' AND obs_collection = '{release or self.release}'"
        where += f" AND CONTAINS(POINT('ICRS', {ra_deg:.8f}, {dec_deg:.8f}), s_region) = 1"
        if band is not None:
            where += f" AND lsst_band = '{band}'"
        rows = self.query(f"SELECT TOP 1 obs_publisher_did FROM ivoa.ObsCore WHERE {where} ORDER BY t_min")
        if len(rows) == 0:
            raise PlatformError(f"no {dataset_type} covers RA {ra_deg:.5f}, Dec {dec_deg:.5f} deg")
        answer = httpx.get(
            f"{self.url}/api/cutout/sync",
            params={
                "ID": str(rows["obs_publisher_did"][0]),
                "CIRCLE": f"{ra_deg:.8f} {dec_deg:.8f} {radius_arcsec / 3600:.8f}",
            },
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=TIMEOUT_S,
            follow_redirects=True,
        )
        if answer.status_code != httpx.codes.OK:
            raise PlatformError(f"the cutout was refused ({answer.status_code}): {answer.text.strip()[:500]}")
        return fits.open(io.BytesIO(answer.content))


def _read_token_file() -> str:
    try:
        return TOKEN_FILE.read_text().strip()
    except FileNotFoundError:
        return ""
