"""What a header says about an observation, and the same facts as Butler records and as ObservationInfo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import astropy.units as u
import numpy as np
from astro_metadata_translator import ObservationInfo
from astropy.coordinates import Angle, SkyCoord
from astropy.io import fits
from astropy.time import Time
from pydantic import BaseModel, ConfigDict

from skydesk_core.errors import DataError

__all__ = ["HeaderCards", "Observation", "make_observation_info", "night_of", "read_observation"]

_TYPES = ("science", "bias", "dark", "flat")


class HeaderCards(BaseModel):
    """Which card of a header holds which fact.

    Attributes
    ----------
    time
        Begin of the exposure, ISO 8601; a trailing UTC offset is honoured.
    time_scale
        ``utc`` or ``tai``.
    exposure
        Exposure time, seconds.
    dark
        Dark time, seconds; the exposure time without it.
    filter
        Filter; without it the camera's only one.
    ra, dec
        Pointing, ICRS.
    ra_unit
        ``deg`` or ``hour``; a sexagesimal string is always in hours.
    rotation
        Position angle of the image's +y axis, degrees.
    type
        Kind of frame; without it everything is ``science``.
    detector
        Number of the detector; 0 without it.
    sequence
        Counter within the night; without it the second of the night.
    target
        What was observed.
    zenith
        Zenith angle, degrees.
    azimuth
        Azimuth, degrees.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str
    time_scale: Literal["utc", "tai"] = "utc"
    exposure: str
    dark: str | None = None
    filter: str | None = None
    ra: str
    dec: str
    ra_unit: Literal["deg", "hour"] = "deg"
    rotation: str | None = None
    type: str | None = None
    detector: str | None = None
    sequence: str | None = None
    target: str | None = None
    zenith: str | None = None
    azimuth: str | None = None


@dataclass(frozen=True)
class Observation:
    """The facts about one raw file that the registry needs.

    Attributes
    ----------
    begin
        Begin of the exposure.
    exposure_s, dark_s
        Exposure and dark time.
    filter
        The filter as the header names it.
    kind
        ``science``, ``bias``, ``dark`` or ``flat``.
    ra_deg, dec_deg, rotation_deg
        Pointing (ICRS) and position angle of +y; None when not on sky.
    detector
        Number of the detector.
    day_obs
        Night, ``YYYYMMDD`` of the UTC date 12 hours before the begin.
    seq_num
        Counter within the night.
    target
        What was observed.
    zenith_deg, azimuth_deg
        Horizontal position, if known.
    """

    begin: Time
    exposure_s: float
    dark_s: float
    filter: str
    kind: str
    ra_deg: float | None
    dec_deg: float | None
    rotation_deg: float
    detector: int
    day_obs: int
    seq_num: int
    target: str
    zenith_deg: float | None
    azimuth_deg: float | None

    @property
    def exposure_id(self) -> int:
        """Identifier of the exposure, equal to that of its visit."""
        return self.day_obs * 100000 + self.seq_num


def _need(header: fits.Header, card: str, path: str) -> Any:
    if card not in header or isinstance(header[card], fits.card.Undefined):
        raise DataError(f"{path}: header has no card {card}")
    return header[card]


def _number(header: fits.Header, card: str, path: str) -> float:
    value = _need(header, card, path)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DataError(f"{path}: card {card} is not a number: {value!r}") from None
    if not np.isfinite(number):
        raise DataError(f"{path}: card {card} is not a number: {value!r}")
    return number


def _find_number(header: fits.Header, card: str | None, path: str) -> float | None:
    return None if card is None or card not in header else _number(header, card, path)


def _time(header: fits.Header, cards: HeaderCards, path: str) -> Time:
    text = str(_need(header, cards.time, path)).strip()
    match = re.fullmatch(r"(.+T[\d:.]+)(Z|[+-]\d\d:?\d\d)?", text)
    try:
        if match is None:
            return Time(text, scale=cards.time_scale)
        zone = match[2]
        if zone in (None, "Z"):
            return Time(match[1], scale=cards.time_scale)
        sign = -1 if zone[0] == "-" else 1
        digits = zone[1:].replace(":", "")
        offset = sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return Time(match[1], scale=cards.time_scale) - offset
    except ValueError:
        raise DataError(f"{path}: card {cards.time} is not a time: {text!r}") from None


def _angle(header: fits.Header, card: str, unit: str, path: str) -> float:
    value = _need(header, card, path)
    try:
        if isinstance(value, str) and re.search(r"[: ]", value.strip()):
            return float(Angle(value, unit=u.hourangle if unit != "dec" else u.deg).deg)
        return float(value) * (15.0 if unit == "hour" else 1.0)
    except ValueError:
        raise DataError(f"{path}: card {card} is not an angle: {value!r}") from None


def night_of(mjd: float) -> int:
    """Return the night of a time (MJD, TAI) as ``YYYYMMDD``, see `Observation`."""
    return _night(Time(mjd, format="mjd", scale="tai"))[0]


def _night(begin: Time) -> tuple[int, int]:
    # A night keeps one date from noon to noon UTC, as in Rubin's day_obs.
    local: datetime = begin.utc.to_datetime(timezone=UTC) - timedelta(hours=12)
    return int(local.strftime("%Y%m%d")), local.hour * 3600 + local.minute * 60 + local.second


def read_observation(
    header: fits.Header, cards: HeaderCards, path: str, *, types: dict[str, str], rotation_deg: float = 0.0
) -> Observation:
    """Read the facts about an observation from a header.

    Parameters
    ----------
    header
        The FITS header.
    cards
        Which card holds what.
    path
        Name of the file, for error messages.
    types
        Kind of frame for each value of the card ``type``, lower case.
    rotation_deg
        Position angle of +y if no card tells it.

    Returns
    -------
    Observation
        The facts.

    Raises
    ------
    DataError
        If a needed card is missing or cannot be read; names file and card.
    """
    kind = "science"
    if cards.type is not None:
        text = str(_need(header, cards.type, path)).strip().lower()
        kind = types.get(text, text)
        if kind not in _TYPES:
            raise DataError(f"{path}: card {cards.type} holds an unknown kind of frame: {text!r}")
    begin = _time(header, cards, path)
    exposure_s = _number(header, cards.exposure, path)
    if exposure_s < 0:
        raise DataError(f"{path}: card {cards.exposure} is negative: {exposure_s}")
    ra_deg = dec_deg = None
    if kind == "science":
        ra_deg = _angle(header, cards.ra, cards.ra_unit, path)
        dec_deg = _angle(header, cards.dec, "dec", path)
        if not (0 <= ra_deg <= 360 and -90 <= dec_deg <= 90):
            raise DataError(f"{path}: cards {cards.ra}, {cards.dec} are not a position: {ra_deg}, {dec_deg}")
    day_obs, second = _night(begin)
    seq_num = int(_number(header, cards.sequence, path)) if cards.sequence else second
    if not 0 <= seq_num < 100000:
        raise DataError(f"{path}: card {cards.sequence} is out of range: {seq_num}")
    rotation = _find_number(header, cards.rotation, path)
    dark_s = _find_number(header, cards.dark, path)
    return Observation(
        begin=begin.tai,
        exposure_s=exposure_s,
        dark_s=exposure_s if dark_s is None else dark_s,
        filter=str(_need(header, cards.filter, path)).strip() if cards.filter else "",
        kind=kind,
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        rotation_deg=rotation_deg if rotation is None else rotation,
        detector=int(_number(header, cards.detector, path)) if cards.detector else 0,
        day_obs=day_obs,
        seq_num=seq_num,
        target=str(header.get(cards.target, "")).strip() if cards.target else "",
        zenith_deg=_find_number(header, cards.zenith, path),
        azimuth_deg=_find_number(header, cards.azimuth, path),
    )


def make_observation_info(exposure: Any, detector: int) -> ObservationInfo:
    """Make the description of an observation that a VisitImage carries.

    Parameters
    ----------
    exposure
        Dimension record of the exposure.
    detector
        Number of the detector.

    Returns
    -------
    astro_metadata_translator.ObservationInfo
        Times in TAI, pointing in ICRS.
    """
    known: dict[str, Any] = {}
    if exposure.tracking_ra is not None:
        known["tracking_radec"] = SkyCoord(exposure.tracking_ra * u.deg, exposure.tracking_dec * u.deg)
        known["boresight_rotation_angle"] = Angle(exposure.sky_angle * u.deg)
        known["boresight_rotation_coord"] = "sky"
    if exposure.zenith_angle is not None:
        known["boresight_airmass"] = float(1 / np.cos(np.deg2rad(exposure.zenith_angle)))
    return ObservationInfo.makeObservationInfo(
        instrument=exposure.instrument,
        telescope=exposure.instrument,
        physical_filter=exposure.physical_filter,
        exposure_id=exposure.id,
        visit_id=exposure.id,
        observation_id=exposure.obs_id,
        observation_type=exposure.observation_type,
        observing_day=exposure.day_obs,
        observation_counter=exposure.seq_num,
        detector_num=detector,
        object=exposure.target_name,
        datetime_begin=exposure.timespan.begin,
        datetime_end=exposure.timespan.end,
        exposure_time=exposure.exposure_time * u.s,
        dark_time=exposure.dark_time * u.s,
        **known,
    )
