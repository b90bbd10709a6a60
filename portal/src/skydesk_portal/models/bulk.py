"""What can be asked of the service of bulk cut-outs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.cutouts import (
    CutoutDetail,
    CutoutFormat,
    PictureStyle,
    TractId,
    find_number,
    parse_detail,
    parse_format,
    parse_interval,
    parse_style,
)
from skydesk_portal.models.tap import list_uploads

__all__ = ["BulkRequest", "ImageWork", "Positions", "StampRow", "parse_bulk"]

_LARGEST_ARCSEC = 600.0
_ROLES = ("RACOL", "DECCOL", "IDCOL", "SIZECOL")


@dataclass(frozen=True)
class BulkRequest:
    """Which cut-outs of which images, at positions from a table.

    Parameters
    ----------
    query
        ADQL whose rows are the positions; empty if an upload is the table itself.
    uploads
        Name and source of uploaded tables.
    columns
        Column of each role (``RACOL DECCOL IDCOL SIZECOL``) where it was named.
    release
        Name of the release; `None` if there is only one to choose.
    dataset_types, bands
        Which images; no bands means all.
    time_mjd
        Interval of MJD (UTC) that images must overlap.
    size_arcsec
        Side of the cut-outs where the table has no size.
    detail, form, style
        As for single cut-outs.
    """

    query: str
    uploads: tuple[tuple[str, str], ...]
    columns: dict[str, str]
    release: str | None
    dataset_types: tuple[str, ...]
    bands: tuple[str, ...]
    time_mjd: tuple[float, float] | None
    size_arcsec: float
    detail: CutoutDetail
    form: CutoutFormat
    style: PictureStyle


@dataclass(frozen=True)
class Positions:
    """The positions of a job, one array each.

    Parameters
    ----------
    ids
        The caller's identifiers, the row's number where there is none.
    ra_deg, dec_deg
        ICRS; NaN where the table has none.
    size_arcsec
        Side of the cut-out.
    """

    ids: Sequence[str]
    ra_deg: NDArray[np.float64]
    dec_deg: NDArray[np.float64]
    size_arcsec: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class ImageWork:
    """All cut-outs of one image.

    Parameters
    ----------
    dataset_id, dataset_type, band, visit, detector, tract, patch
        The image.
    rows
        Positions that lie on it, or may do.
    mosaic
        The tract whose other patches fill what lies beyond this one.
    """

    dataset_id: UUID
    dataset_type: str
    band: str
    visit: int | None
    detector: int | None
    tract: int | None
    patch: int | None
    rows: NDArray[np.int64]
    mosaic: TractId | None = None


@dataclass(frozen=True)
class StampRow:
    """One row of the index: a cut-out, or why there is none."""

    row: int
    id: str
    ra: float | None
    dec: float | None
    dataset_type: str
    band: str
    status: str
    message: str = ""
    file_name: str | None = None
    dataset_id: str | None = None
    visit: int | None = None
    detector: int | None = None
    tract: int | None = None
    patch: int | None = None
    x: float | None = None
    y: float | None = None
    width: int | None = None
    height: int | None = None


def _words(parameters: Sequence[tuple[str, str]], name: str, pattern: str) -> tuple[str, ...]:
    found: list[str] = []
    for key, value in parameters:
        if key.upper() == name:
            found += [word for word in re.split(r"[\s,]+", value.strip()) if word]
    for word in found:
        if not re.fullmatch(pattern, word):
            raise UsageError(f"{name}={word[:40]} cannot be a name")
    return tuple(dict.fromkeys(found))


def parse_bulk(parameters: Sequence[tuple[str, str]]) -> BulkRequest:
    """Read the parameters of a bulk request.

    Parameters
    ----------
    parameters
        Names in any case and their values.

    Returns
    -------
    BulkRequest
        The request.

    Raises
    ------
    UsageError
        If a parameter is missing or wrong.
    """
    values = {name.upper(): value.strip() for name, value in parameters if value.strip()}
    uploads = tuple(list_uploads(parameters))
    query = values.get("QUERY", "")
    if not query and len(uploads) != 1:
        raise UsageError("give the positions as UPLOAD=name,param:FILE or as QUERY=SELECT … (one of them)")
    size = find_number("SIZE", values.get("SIZE", "10"))
    if not 0 < size <= _LARGEST_ARCSEC:
        raise UsageError(f"SIZE={size:g} is not between 0 and {_LARGEST_ARCSEC:g} arcseconds")
    # SIZE is an angle here, the pictures keep their pixels.
    others = [(name, value) for name, value in parameters if name.upper() != "SIZE"]
    detail, form = parse_detail(others), parse_format(others)
    if detail is CutoutDetail.EXPOSURE and form.is_picture:
        raise UsageError("CUTOUTDETAIL=Exposure is an object that only FITS can hold")
    release = values.get("RELEASE")
    if release is not None and not re.fullmatch(r"[\w.-]{1,64}", release):
        raise UsageError(f"RELEASE={release[:40]} cannot be a name")
    return BulkRequest(
        query,
        uploads,
        {role: values[role] for role in _ROLES if role in values},
        release,
        _words(parameters, "TYPE", r"\w{1,64}") or ("deep_coadd",),
        _words(parameters, "BANDS", r"\w{1,32}"),
        parse_interval("TIME", values["TIME"]) if "TIME" in values else None,
        size,
        detail,
        form,
        parse_style(others),
    )
