"""HiPS and coverage maps of releases: which there are, and their files."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.releases import ReleaseStore

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release

__all__ = ["HipsFile", "HipsMap", "HipsService", "make_empty_tile"]

_TILE = re.compile(r"Norder(\d{1,2})/Dir(\d{1,20})/Npix(\d{1,20})\.(fits|png)\Z", re.ASCII)
_ALLSKY = re.compile(r"Norder3/Allsky\.(fits|png)\Z", re.ASCII)
_MOC = re.compile(r"Moc\.(fits|json|txt)\Z", re.ASCII)
_TILE_WIDTH = 512
_PAGES = {"properties": "properties", "": "index.html", "index.html": "index.html"}
_MEDIA_TYPES = {
    "fits": "application/fits",
    "png": "image/png",
    "json": "application/json",
    "txt": "text/plain",
    "html": "text/html; charset=utf-8",
}
_LISTED = (
    "creator_did",
    "obs_title",
    "obs_collection",
    "hips_release_date",
    "hips_status",
    "hips_order",
    "hips_tile_format",
    "hips_frame",
    "dataproduct_type",
    "moc_sky_fraction",
)
"""Keywords that the list of HiPS repeats for each of them."""


@dataclass(frozen=True)
class HipsFile:
    """One file ready to be sent.

    Parameters
    ----------
    etag
        Changes whenever the content does.
    media_type
        Its media type.
    path
        Where it lies, for files that are sent as they are.
    text
        The content, for those that are made.
    """

    etag: str
    media_type: str
    path: Path | None = None
    text: str | None = None

    def read(self) -> bytes:
        """Read the content.

        Raises
        ------
        NotFoundError
            If there is no such file: HiPS tiles without data do not exist.
        """
        if self.text is not None:
            return self.text.encode()
        assert self.path is not None, "a file has a path or a text"
        try:
            return self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError("there is no such tile") from error


@dataclass(frozen=True)
class HipsMap:
    """What one needs to know of a HiPS to look at it.

    Parameters
    ----------
    release, name
        Its release and its name there, ``deep_coadd/band_r``.
    title
        What it shows.
    bands
        One band, or red, green and blue.
    order
        Finest HEALPix order of its tiles.
    formats
        Endings of its tiles.
    ra_deg, dec_deg, fov_deg
        Where to look first (ICRS), and how much of the sky.
    cuts
        Values of black and white, in ``unit``; none for colour pictures.
    unit
        Unit of the pixels.
    """

    release: str
    name: str
    title: str
    bands: tuple[str, ...]
    order: int
    formats: tuple[str, ...]
    ra_deg: float
    dec_deg: float
    fov_deg: float
    cuts: tuple[float, float] | None
    unit: str


def _read_properties(file: Path) -> dict[str, str]:
    """Read keywords and values (HiPS 1.0, section 4.4.1)."""
    pairs = [line.partition("=") for line in file.read_text(encoding="utf-8").splitlines()]
    return {key.strip(): value.strip() for key, _, value in pairs}


@lru_cache(maxsize=1)
def make_empty_tile() -> bytes:
    """Make a FITS tile without data, for viewers that take a tile which does not exist for a mistake."""
    from astropy.io import fits

    buffer = io.BytesIO()
    fits.PrimaryHDU(np.full((_TILE_WIDTH, _TILE_WIDTH), np.nan, np.float32)).writeto(buffer)
    return buffer.getvalue()


@lru_cache(maxsize=64)
def _convert_moc(path: Path, stamp: str, ending: str) -> str:
    """Write a MOC as JSON or ASCII; the stamp keeps a release that replaced another apart."""
    from mocpy import MOC

    form = "json" if ending == "json" else "ascii"
    return str(MOC.load(str(path), format="fits").to_string(format=form)).strip() + "\n"


class HipsService:
    """Finds HiPS, their tiles and coverage maps in releases.

    Parameters
    ----------
    releases
        The releases.
    url
        Public base address.
    """

    def __init__(self, releases: ReleaseStore, url: str) -> None:
        self._releases = releases
        self._url = url

    def _get_release(self, identity: Identity, name: str) -> Release:
        found = self._releases.find(identity, name)
        if found is None:
            raise NotFoundError(f"there is no release {name!r}")
        return found

    def _address(self, release: Release, name: str) -> str:
        return f"{self._url}/api/hips/v2/{release.name}/{name}"

    def list_sets(self, identity: Identity, release: str | None = None) -> str:
        """Write the list of HiPS.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release; all that the caller may read without one.

        Returns
        -------
        str
            One record of ``key = value`` lines for each HiPS, separated by empty lines (HiPS 1.0, section 5.2).

        Raises
        ------
        NotFoundError
            If the caller sees no release of that name.
        """
        chosen = (
            self._releases.list_visible(identity)
            if release is None
            else [self._get_release(identity, release)]
        )
        records = []
        for found in chosen:
            for entry in found.manifest.hips:
                known = _read_properties(found.path / "hips" / entry.name / "properties")
                record = {key: known[key] for key in _LISTED if key in known}
                record["hips_service_url"] = self._address(found, entry.name)
                records.append("".join(f"{key:<21}= {value}\n" for key, value in record.items()))
        return "\n".join(records)

    def list_maps(self, identity: Identity) -> list[HipsMap]:
        """Describe the HiPS of all releases that the caller may read."""
        maps = []
        for release in self._releases.list_visible(identity):
            for entry in release.manifest.hips:
                known = _read_properties(release.path / "hips" / entry.name / "properties")
                low, _, high = known.get("hips_pixel_cut", "").partition(" ")
                maps.append(
                    HipsMap(
                        release=release.name,
                        name=entry.name,
                        title=entry.title,
                        bands=entry.bands,
                        order=entry.order,
                        formats=entry.formats,
                        ra_deg=float(known.get("hips_initial_ra", 0)),
                        dec_deg=float(known.get("hips_initial_dec", 0)),
                        fov_deg=float(known.get("hips_initial_fov", 60)),
                        cuts=(float(low), float(high)) if high else None,
                        unit=known.get("data_unit", ""),
                    )
                )
        return maps

    def find_file(self, identity: Identity, release: str, path: str) -> HipsFile:
        """Find a file of a release's maps by its address.

        Parameters
        ----------
        identity
            The caller.
        release
            Name of the release.
        path
            What follows the release in the address: ``Moc.fits`` (also ``.json`` and ``.txt``), or the name of a HiPS
            with one of its files behind it. Nothing else is ever looked up.

        Returns
        -------
        HipsFile
            The file; reading it may show that it does not exist.

        Raises
        ------
        NotFoundError
            If this can be no file of the release's maps, or the caller sees no such release.
        """
        found = self._get_release(identity, release)
        etag = hashlib.sha256(f"{found.manifest.checksums_sha256}/{path}".encode()).hexdigest()[:24]
        stamp = f'"{etag}"'
        if match := _MOC.match(path):
            return self._moc(found, "survey.fits", match[1], stamp)
        parts = path.split("/", 2)
        name, rest = "/".join(parts[:2]), parts[2] if len(parts) > 2 else ""
        known = {entry.name for entry in found.manifest.hips}
        if match := _MOC.match(rest):
            return self._moc(found, f"{name}.fits", match[1], stamp)
        if name not in known:
            raise NotFoundError("there is no such map in the release")
        folder = found.path / "hips" / name
        if rest == "properties":
            text = (folder / "properties").read_text(encoding="utf-8")
            address = self._address(found, name)
            more = {"hips_service_url": address, "moc_access_url": f"{address}/Moc.fits"}
            text += "".join(f"{key:<21}= {value}\n" for key, value in more.items())
            return HipsFile(stamp, "text/plain; charset=utf-8", text=text)
        if rest in _PAGES:
            return HipsFile(stamp, _MEDIA_TYPES["html"], folder / "index.html")
        if match := _ALLSKY.match(rest) or _TILE.match(rest):
            # What the pattern matched consists of numbers and fixed words: it cannot leave the folder.
            return HipsFile(stamp, _MEDIA_TYPES[rest.rpartition(".")[2]], folder / match[0])
        raise NotFoundError("there is no such file in a HiPS")

    def _moc(self, release: Release, file: str, ending: str, stamp: str) -> HipsFile:
        files = {
            entry.file.removeprefix("moc/"): release.path / entry.file for entry in release.manifest.mocs
        }
        for entry in release.manifest.hips:
            files.setdefault(f"{entry.name}.fits", release.path / "hips" / entry.name / "Moc.fits")
        if file not in files:
            raise NotFoundError("there is no such coverage map in the release")
        if ending == "fits":
            return HipsFile(stamp, _MEDIA_TYPES["fits"], files[file])
        return HipsFile(stamp, _MEDIA_TYPES[ending], text=_convert_moc(files[file], stamp, ending))
