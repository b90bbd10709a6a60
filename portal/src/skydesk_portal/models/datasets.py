"""Names of published images and what can be asked of them."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.regions import Region, parse_region

__all__ = ["CutoutDetail", "CutoutRequest", "DatasetFacts", "DatasetId", "parse_cutout", "parse_dataset_id"]


@dataclass(frozen=True)
class DatasetId:
    """One dataset of a release."""

    release: str
    uuid: uuid.UUID

    @property
    def text(self) -> str:
        """The identifier as ObsCore and DataLink publish it."""
        return f"ivo://skydesk/{self.release}?repo={self.release}&id={self.uuid}"


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset without opening it."""

    id: DatasetId
    dataset_type: str
    storage_class: str
    data_id: dict[str, str | int]
    path: str
    size: int


def parse_dataset_id(text: str) -> DatasetId:
    """Read an identifier of a dataset.

    Parameters
    ----------
    text
        ``ivo://skydesk/RELEASE?repo=RELEASE&id=UUID`` or ``butler://RELEASE/UUID``.

    Returns
    -------
    DatasetId
        Release and dataset.

    Raises
    ------
    UsageError
        If the text is no such identifier.
    """
    parts = urlsplit(text.strip())
    query = parse_qs(parts.query)
    release, given = "", ""
    if parts.scheme == "ivo":
        release, given = (query.get("repo") or [""])[0], (query.get("id") or [""])[0]
    elif parts.scheme == "butler":
        release, given = parts.netloc, parts.path.strip("/")
    try:
        found = uuid.UUID(given)
    except ValueError:
        found = None
    if found is None or not re.fullmatch(r"[\w.-]{1,64}", release):
        raise UsageError(
            f"ID {text[:100]!r} is not an identifier such as ivo://skydesk/RELEASE?repo=RELEASE&id=UUID"
        )
    return DatasetId(release, found)


class CutoutDetail(StrEnum):
    """How much of an image a cut-out carries."""

    IMAGE = "Image"
    MASKED_IMAGE = "MaskedImage"
    EXPOSURE = "Exposure"


@dataclass(frozen=True)
class CutoutRequest:
    """One cut-out: what, where, how much."""

    dataset: DatasetId
    region: Region
    detail: CutoutDetail = CutoutDetail.IMAGE


def parse_cutout(parameters: list[tuple[str, str]]) -> CutoutRequest:
    """Read the parameters of a SODA request.

    Parameters
    ----------
    parameters
        Names in any case and their values.

    Returns
    -------
    CutoutRequest
        The request.

    Raises
    ------
    UsageError
        If a parameter is missing, wrong or given too often.
    """
    ids = [value for name, value in parameters if name.upper() == "ID"]
    if len(ids) != 1:
        raise UsageError("give exactly one ID" if ids else "parameter ID is missing")
    stencils = []
    for name, value in parameters:
        match name.upper():
            case "CIRCLE" | "POLYGON":
                stencils.append(f"{name.upper()} {value}")
            case "POS":
                stencils.append(value)
            case "BAND" | "TIME" | "POL":
                raise UsageError(
                    f"{name.upper()} does not apply: images have neither a spectral nor a time axis"
                )
    if len(stencils) != 1:
        raise UsageError("give exactly one of CIRCLE, POLYGON and POS")
    region = parse_region(stencils[0])
    if region.radius_deg is not None and region.radius_deg <= 0:
        raise UsageError("the radius of CIRCLE must be larger than 0")
    wanted = next((value for name, value in parameters if name.upper() in {"CUTOUTDETAIL", "MODE"}), "Image")
    detail = next((d for d in CutoutDetail if d.lower() == wanted.strip().lower().replace("_", "")), None)
    if detail is None:
        raise UsageError(f"CUTOUTDETAIL={wanted[:30]} is none of {', '.join(CutoutDetail)}")
    form = next((value for name, value in parameters if name.upper() == "RESPONSEFORMAT"), "application/fits")
    if form.strip().lower() not in {"application/fits", "image/fits", "fits"}:
        raise UsageError(f"RESPONSEFORMAT={form[:40]} is not offered: application/fits")
    return CutoutRequest(parse_dataset_id(ids[0]), region, detail)
