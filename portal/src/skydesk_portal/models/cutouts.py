"""What can be asked of the cut-out service (SODA 1.0): which image, where, how much, in which form."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs

from skydesk_portal.exceptions import MultiValuedError, TooLargeError, UsageError
from skydesk_portal.models.datasets import DatasetId, parse_dataset_id, split_identifier
from skydesk_portal.models.regions import Region, parse_region

__all__ = [
    "POLARIZATIONS",
    "CutoutDetail",
    "CutoutFormat",
    "CutoutRequest",
    "PictureStyle",
    "TractId",
    "describe_unknown",
    "find_number",
    "parse_cutout",
    "parse_cutouts",
    "parse_detail",
    "parse_format",
    "parse_interval",
    "parse_style",
]

POLARIZATIONS = ("I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA")
"""States that POL may name (ObsCore 1.1)."""

_KNOWN = (
    "ID", "CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL", "CUTOUTDETAIL", "MODE", "RESPONSEFORMAT", "FORMAT",
    "STRETCH", "LIMITS", "SIZE", "NORTHUP", "MOSAIC", "RUNID", "UPLOAD", "MAXREC", "PHASE", "REQUEST", "VERSION",
)  # fmt: skip
_MOST_RESULTS = 1000
_MOST_PICTURE_PIXELS = 4096


@dataclass(frozen=True)
class TractId:
    """All patches of one tract in one band, as one image.

    Parameters
    ----------
    release
        Name of the release.
    dataset_type
        Dataset type of the coadds, such as ``deep_coadd``.
    tract
        Number of the tract.
    band
        Name of the band.
    """

    release: str
    dataset_type: str
    tract: int
    band: str

    @property
    def text(self) -> str:
        """The identifier as `parse_cutouts` reads it."""
        return (
            f"ivo://skydesk/{self.release}?repo={self.release}&type={self.dataset_type}"
            f"&tract={self.tract}&band={self.band}"
        )


class CutoutDetail(StrEnum):
    """How much of an image a cut-out carries."""

    IMAGE = "Image"
    MASKED_IMAGE = "MaskedImage"
    EXPOSURE = "Exposure"


class CutoutFormat(StrEnum):
    """In which form a cut-out comes."""

    FITS = "fits"
    FITS_COMPRESSED = "fits.fz"
    PNG = "png"
    JPEG = "jpeg"

    @property
    def media_type(self) -> str:
        """Media type of the file."""
        return f"image/{self.value}" if self.is_picture else "application/fits"

    @property
    def extension(self) -> str:
        """Ending of the file's name."""
        return "jpg" if self is CutoutFormat.JPEG else self.value

    @property
    def is_picture(self) -> bool:
        """Whether it is for looking at, not for measuring."""
        return self in {CutoutFormat.PNG, CutoutFormat.JPEG}


_FORMATS = {
    "fits": CutoutFormat.FITS,
    "application/fits": CutoutFormat.FITS,
    "image/fits": CutoutFormat.FITS,
    "fits.fz": CutoutFormat.FITS_COMPRESSED,
    "application/fits;compression=tile": CutoutFormat.FITS_COMPRESSED,
    "image/fits;compression=tile": CutoutFormat.FITS_COMPRESSED,
    "png": CutoutFormat.PNG,
    "image/png": CutoutFormat.PNG,
    "jpeg": CutoutFormat.JPEG,
    "jpg": CutoutFormat.JPEG,
    "image/jpeg": CutoutFormat.JPEG,
}


@dataclass(frozen=True)
class PictureStyle:
    """How pixel values become grey.

    Parameters
    ----------
    stretch
        ``asinh``, ``linear``, ``sqrt`` or ``log``.
    limits
        ``zscale``, ``minmax``, a percentage of the pixels to keep, such as 99.5, or the two pixel values.
    size_px
        Longest side of the picture; `None` for one pixel each.
    north_up
        Turn the picture so that north is up and east left.
    """

    stretch: str = "asinh"
    limits: str | float | tuple[float, float] = "zscale"
    size_px: int | None = None
    north_up: bool = False


@dataclass(frozen=True)
class CutoutRequest:
    """One cut-out: what, where, how much, in which form.

    Parameters
    ----------
    dataset
        One image, or all patches of a tract in one band.
    region
        Where; `None` for the whole image.
    band_m, time_mjd
        The image must overlap this interval of wavelengths in metres or of
        MJD (UTC).
    polarizations
        The image must have one of these states; empty means any.
    detail, form, style
        How much of the image, in which form, and how a picture looks.
    mosaic
        Go on over the borders of a coadd's patch.
    """

    dataset: DatasetId | TractId
    region: Region | None
    band_m: tuple[float, float] | None = None
    time_mjd: tuple[float, float] | None = None
    polarizations: frozenset[str] = frozenset()
    detail: CutoutDetail = CutoutDetail.IMAGE
    form: CutoutFormat = CutoutFormat.FITS
    style: PictureStyle = PictureStyle()
    mosaic: bool = False

    @property
    def name(self) -> str:
        """Name for the file."""
        if isinstance(self.dataset, TractId):
            tract = self.dataset
            what = f"{tract.dataset_type}-{tract.tract}-{tract.band}"
        else:
            what = str(self.dataset.uuid)
        return f"cutout-{self.dataset.release}-{what}.{self.form.extension}"


def find_number(name: str, text: str) -> float:
    """Read one number of a parameter; infinities are allowed.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or "_" in text:
        raise UsageError(f"{name}={text[:40]} is not a number")
    return value


def parse_interval(name: str, text: str) -> tuple[float, float]:
    """Read an interval of numbers; one number means itself.

    Raises
    ------
    UsageError
        If it is none.
    """
    words = text.replace("/", " ").split()
    numbers = [find_number(name, word) for word in words]
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise UsageError(f"{name}={text[:40]} is not an interval: low high")
    return numbers[0], numbers[1]


def _parse_id(text: str) -> DatasetId | TractId:
    parts = split_identifier(text)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.scheme != "ivo" or "tract" not in query:
        return parse_dataset_id(text)
    release, kind = query.get("repo", parts.path.strip("/")), query.get("type", "deep_coadd")
    band, tract = query.get("band", ""), query["tract"]
    if not (
        re.fullmatch(r"[\w.-]{1,64}", release)
        and re.fullmatch(r"\w{1,64}", kind)
        and re.fullmatch(r"\w{1,32}", band)
        and re.fullmatch(r"[0-9]{1,9}", tract)
    ):
        raise UsageError(
            f"ID {text[:120]!r} does not name a coadd such as "
            "ivo://skydesk/RELEASE?repo=RELEASE&type=deep_coadd&tract=0&band=r"
        )
    return TractId(release, kind, int(tract), band)


def _last(parameters: Sequence[tuple[str, str]], *names: str) -> str | None:
    found = [value for name, value in parameters if name.upper() in names and value.strip()]
    return found[-1].strip() if found else None


def _flag(name: str, text: str | None) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    found = words.get((text or "0").lower())
    if found is None:
        raise UsageError(f"{name}={(text or '')[:20]} is neither true nor false")
    return found


def parse_detail(parameters: Sequence[tuple[str, str]]) -> CutoutDetail:
    """Read CUTOUTDETAIL.

    Raises
    ------
    UsageError
        If its value is unknown.
    """
    wanted = _last(parameters, "CUTOUTDETAIL", "MODE") or "Image"
    detail = next((d for d in CutoutDetail if d.lower() == wanted.lower().replace("_", "")), None)
    if detail is None:
        raise UsageError(f"CUTOUTDETAIL={wanted[:30]} is none of {', '.join(CutoutDetail)}")
    return detail


def parse_format(parameters: Sequence[tuple[str, str]]) -> CutoutFormat:
    """Read RESPONSEFORMAT.

    Raises
    ------
    UsageError
        If its value is unknown.
    """
    wanted = _last(parameters, "RESPONSEFORMAT", "FORMAT") or "fits"
    found = _FORMATS.get(wanted.lower().replace(" ", ""))
    if found is None:
        raise UsageError(
            f"RESPONSEFORMAT={wanted[:40]} is not offered: application/fits, fits.fz, image/png, image/jpeg"
        )
    return found


def parse_style(parameters: Sequence[tuple[str, str]]) -> PictureStyle:
    """Read STRETCH, LIMITS, SIZE and NORTHUP, which say how a picture looks.

    Raises
    ------
    UsageError
        If one of them is wrong.
    """
    stretch = (_last(parameters, "STRETCH") or "asinh").lower()
    if stretch not in {"asinh", "linear", "sqrt", "log"}:
        raise UsageError(f"STRETCH={stretch[:20]} is none of asinh, linear, sqrt, log")
    text = (_last(parameters, "LIMITS") or "zscale").lower()
    limits: str | float = text
    if text not in {"zscale", "minmax"}:
        limits = find_number("LIMITS", text.removesuffix("%"))
        if not 0 < limits <= 100:
            raise UsageError(f"LIMITS={text[:20]} is none of zscale, minmax or a percentage")
    size = None
    if (asked := _last(parameters, "SIZE")) is not None:
        if not re.fullmatch(r"[0-9]{1,6}", asked) or not 8 <= int(asked) <= _MOST_PICTURE_PIXELS:
            raise UsageError(f"SIZE={asked[:20]} is not a number of pixels from 8 to {_MOST_PICTURE_PIXELS}")
        size = int(asked)
    return PictureStyle(stretch, limits, size, _flag("NORTHUP", _last(parameters, "NORTHUP")))


def _regions(parameters: Sequence[tuple[str, str]]) -> list[Region]:
    found = []
    for name, value in parameters:
        match name.upper():
            case "CIRCLE" | "POLYGON":
                found.append(parse_region(f"{name.upper()} {value}"))
            case "POS":
                if value.split()[:1] and value.split()[0].upper() not in {"CIRCLE", "POLYGON", "RANGE"}:
                    raise UsageError(f"POS={value[:40]} is none of CIRCLE, POLYGON and RANGE")
                found.append(parse_region(value))
    for region in found:
        if region.radius_deg is not None and region.radius_deg <= 0:
            raise UsageError("the radius of CIRCLE must be larger than 0")
    return found


def parse_cutouts(parameters: Sequence[tuple[str, str]]) -> list[CutoutRequest]:
    """Read the parameters of a SODA request; each combination of values is one cut-out.

    Parameters
    ----------
    parameters
        Names in any case and their values.

    Returns
    -------
    list of CutoutRequest
        At least one.

    Raises
    ------
    UsageError
        If a parameter is missing or wrong.
    TooLargeError
        If there are too many combinations.
    """
    given: dict[str, list[str]] = {}
    for name, value in parameters:
        if value.strip():
            given.setdefault(name.upper(), []).append(value.strip())
    if "ID" not in given:
        raise UsageError("parameter ID is missing")
    ids = [_parse_id(text) for text in given["ID"]]
    regions: Sequence[Region | None] = _regions(parameters) or [None]
    bands: Sequence[tuple[float, float] | None] = [
        parse_interval("BAND", v) for v in given.get("BAND", [])
    ] or [None]
    times: Sequence[tuple[float, float] | None] = [
        parse_interval("TIME", v) for v in given.get("TIME", [])
    ] or [None]
    states = frozenset(value.upper() for value in given.get("POL", []))
    if wrong := sorted(states - set(POLARIZATIONS)):
        raise UsageError(f"POL={wrong[0][:20]} is none of {', '.join(POLARIZATIONS)}")
    count = len(ids) * len(regions) * len(bands) * len(times)
    if count > _MOST_RESULTS:
        raise TooLargeError(
            f"{count} cut-outs are more than the {_MOST_RESULTS} of one request: /api/cutout/bulk makes any number"
        )
    detail, form, style = parse_detail(parameters), parse_format(parameters), parse_style(parameters)
    mosaic = _flag("MOSAIC", _last(parameters, "MOSAIC"))
    if detail is CutoutDetail.EXPOSURE and form.is_picture:
        raise UsageError("CUTOUTDETAIL=Exposure is an object that only FITS can hold")
    if detail is CutoutDetail.EXPOSURE and (mosaic or any(isinstance(d, TractId) for d in ids)):
        raise UsageError("a mosaic of patches has no PSF of its own: ask for Image or MaskedImage")
    return [
        CutoutRequest(dataset, region, band, time, states, detail, form, style, mosaic)
        for dataset, region, band, time in itertools.product(ids, regions, bands, times)
    ]


def describe_unknown(parameters: Sequence[tuple[str, str]]) -> str:
    """Say which parameters mean nothing here; they are ignored, as DALI 1.1 wants it.

    Parameters
    ----------
    parameters
        Names in any case and their values.

    Returns
    -------
    str
        A sentence with what was probably meant, in ASCII; empty if all are known.
    """
    told = []
    for name in dict.fromkeys(name for name, _ in parameters if name.upper() not in _KNOWN):
        close = difflib.get_close_matches(name.upper(), _KNOWN, 1)
        plain = re.sub(r"[^A-Za-z0-9_.-]", "?", name)[:40]
        told.append(
            f"parameter {plain} is not known and was ignored"
            + (f" (did you mean {close[0]}?)" if close else "")
        )
    return "; ".join(told[:5])


def parse_cutout(parameters: Sequence[tuple[str, str]]) -> CutoutRequest:
    """Read a SODA request for one cut-out, as the waiting form of the service takes it.

    Raises
    ------
    MultiValuedError
        If a parameter but POL has several values.
    UsageError
        If a parameter is missing or wrong.
    """
    names = [name.upper() for name, value in parameters if value.strip()]
    for group in (("ID",), ("CIRCLE", "POLYGON", "POS"), ("BAND",), ("TIME",)):
        if sum(names.count(name) for name in group) > 1:
            raise MultiValuedError(
                f"{' or '.join(group)} was given several times: that is what /api/cutout/async is for"
            )
    return parse_cutouts(parameters)[0]
