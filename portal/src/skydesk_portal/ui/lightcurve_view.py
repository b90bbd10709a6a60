"""What the address of the Light curves page says, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from skydesk_portal.services.lightcurves import FLUX_KINDS

__all__ = ["LightCurveView", "read_view", "write_view"]

_MOST_OTHERS = 8
_FIELDS = {"Object": "object", "DiaObject": "diaobject", "SSObject": "ssobject"}
"""Field of the address that names an object of each kind."""
_ID = re.compile(r"-?\d{1,19}")


@dataclass(frozen=True)
class LightCurveView:
    """A view of a light curve that can be opened again.

    Parameters
    ----------
    release, kind, object_id
        Which object; the identifier is empty if none is named.
    flux_kind
        One of `FLUX_KINDS`.
    others
        Identifiers of further objects of the same kind.
    magnitudes, folded
        Whether the axes are magnitude and phase.
    period_day, epoch_mjd
        How it is folded; None for what the page begins with.
    bands
        Bands that are drawn; None for all.
    flagged
        Whether flagged points are drawn.
    range_mjd
        Range of time whose stamps are shown.
    colours
        Colours that are drawn, as ``g - r``.
    bin_day
        Length of a bin of the colours.
    """

    release: str = ""
    kind: str = "Object"
    object_id: str = ""
    flux_kind: str = "direct"
    others: tuple[str, ...] = ()
    magnitudes: bool = False
    folded: bool = False
    period_day: float | None = None
    epoch_mjd: float | None = None
    bands: tuple[str, ...] | None = None
    flagged: bool = True
    range_mjd: tuple[float, float] | None = None
    colours: tuple[str, ...] = ()
    bin_day: float = 1.0


def _number(query: Mapping[str, str], name: str) -> float | None:
    try:
        found = float(query[name])
    except (KeyError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _words(query: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(w.strip()[:20] for w in query.get(name, "").split(",") if w.strip())


def read_view(query: Mapping[str, str]) -> LightCurveView:
    """Read a view from the fields of an address; malformed fields are ignored.

    Parameters
    ----------
    query
        Fields of the address.
    """
    kind = next((k for k in ("SSObject", "DiaObject") if query.get(_FIELDS[k])), "Object")
    text = query.get(_FIELDS[kind], "")
    # What moves has fluxes of detections only, and people compare it by magnitudes.
    usual, axis = ("dia", "mag") if kind == "SSObject" else ("direct", "flux")
    period, low, high, bin_day = (_number(query, n) for n in ("period", "from", "to", "bin"))
    fluxes = query.get("fluxes", "")
    return LightCurveView(
        release=query.get("release", ""),
        kind=kind,
        object_id=text if _ID.fullmatch(text) else "",
        flux_kind=fluxes if fluxes in FLUX_KINDS else usual,
        others=tuple(w for w in _words(query, "with") if _ID.fullmatch(w))[:_MOST_OTHERS],
        magnitudes=query.get("axis", axis) == "mag",
        folded=query.get("fold") == "1",
        period_day=period if period and period > 0 else None,
        epoch_mjd=_number(query, "epoch"),
        bands=_words(query, "bands") or None,
        flagged=query.get("flagged") != "0",
        range_mjd=(low, high) if low is not None and high is not None and low < high else None,
        colours=tuple(" - ".join(w.split("-", 1)) for w in _words(query, "colours") if w.count("-") == 1),
        bin_day=bin_day if bin_day and bin_day > 0 else 1.0,
    )


def write_view(view: LightCurveView) -> str:
    """Write the address's fields of a view, with the question mark; what is as usual is left out."""
    fields: dict[str, str] = {
        "release": view.release,
        _FIELDS[view.kind]: view.object_id,
    }
    moving = view.kind == "SSObject"
    if view.flux_kind != ("dia" if moving else "direct"):
        fields["fluxes"] = view.flux_kind
    if view.others:
        fields["with"] = ",".join(view.others)
    if view.magnitudes != moving:
        fields["axis"] = "mag" if view.magnitudes else "flux"
    if view.folded:
        fields["fold"] = "1"
    if view.period_day is not None:
        fields["period"] = f"{view.period_day:.12g}"
    if view.epoch_mjd is not None:
        fields["epoch"] = f"{view.epoch_mjd:.12g}"
    if view.bands is not None:
        fields["bands"] = ",".join(view.bands)
    if not view.flagged:
        fields["flagged"] = "0"
    if view.range_mjd is not None:
        fields["from"], fields["to"] = (f"{t:.11g}" for t in view.range_mjd)
    if view.colours:
        fields["colours"] = ",".join(c.replace(" ", "") for c in view.colours)
        if view.bin_day != 1.0:
            fields["bin"] = f"{view.bin_day:g}"
    return "?" + urlencode(fields, safe=",")
