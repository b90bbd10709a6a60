"""Stamps on the Light curves page: the triplet of one epoch, a strip of a range of time."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from skydesk_portal.services.lightcurve_stamps import STAMPS
from skydesk_portal.services.lightcurves import LightCurve
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.lightcurve_routes import stamp_address

__all__ = ["Epoch", "image_address", "render_strip", "render_triplet"]

type Epoch = dict[str, Any]
"""One row of a light curve."""

_STYLE = (
    "<style>.epochs{display:flex;flex-wrap:wrap;gap:10px;margin:6px 0}.epochs figure{margin:0;width:180px}"
    ".epochs a{display:block;position:relative;line-height:0}"
    ".epochs img{width:180px;height:180px;object-fit:contain;background:#000;border-radius:4px;image-rendering:pixelated}"
    ".epochs a::after{content:'';position:absolute;left:50%;top:50%;width:26px;height:26px;margin:-14px 0 0 -14px;"
    "border:1.5px solid #ffb000;border-radius:50%}"
    ".epochs .none{width:180px;height:180px;display:flex;align-items:center;justify-content:center;text-align:center;"
    "border:1px dashed currentColor;border-radius:4px;box-sizing:border-box;padding:8px}"
    ".epochs figcaption{font-size:12px;line-height:1.35;margin-top:3px}</style>"
)


def image_address(curve: LightCurve, epoch: Epoch, kind: str) -> str:
    """Return the address of the page with an image of an epoch."""
    ra_deg, dec_deg = curve.place(epoch)
    track = f"&moving={curve.object_id}" if curve.moves else ""
    return (
        f"{PREFIX}/images?release={curve.release}&visit={epoch['visit']}&detector={epoch['detector']}"
        f"&ra={ra_deg:.7f}&dec={dec_deg:.7f}&kind={kind}{track}"
    )


def _stamp(
    curve: LightCurve,
    epoch: Epoch,
    kind: str,
    dataset_id: str | None,
    size: float,
    words: str,
    like: tuple[str, tuple[float, float]] | None = None,
) -> str:
    caption = f"<figcaption>{escape(words)}</figcaption>"
    if dataset_id is None:
        return f"<figure><div class='none soft'>no {STAMPS[kind].replace('_', ' ')}</div>{caption}</figure>"
    ra_deg, dec_deg = curve.place(epoch)
    source = stamp_address(curve.release, dataset_id, (ra_deg, dec_deg), size, like)
    page = (
        image_address(curve, epoch, STAMPS[kind])
        if kind != "template"
        else (f"{PREFIX}/images?release={curve.release}&id={dataset_id}&ra={ra_deg:.7f}&dec={dec_deg:.7f}")
    )
    return (
        f"<figure><a href='{page}'><img src='{source}' loading='lazy' alt='{escape(words)}: {size:g} arcsec around "
        f"{escape(curve.label)}, north up'></a>{caption}</figure>"
    )


def render_triplet(curve: LightCurve, epoch: Epoch, stamps: dict[str, str], size_arcsec: float) -> str:
    """Write the stamps of an epoch as HTML.

    Parameters
    ----------
    curve
        The light curve.
    epoch
        Its row.
    stamps
        From `find_stamps`.
    size_arcsec
        Width of a stamp.
    """
    parts = [_stamp(curve, epoch, kind, stamps.get(kind), size_arcsec, kind) for kind in STAMPS]
    return f"{_STYLE}<div class='epochs' data-stamps='triplet'>{''.join(parts)}</div>"


def render_strip(
    curve: LightCurve,
    epochs: Sequence[tuple[Epoch, dict[str, str]]],
    kind: str,
    size_arcsec: float,
    left_out: int,
) -> str:
    """Write one stamp of each of several epochs as HTML, in the order of time, all with one range of brightness.

    Parameters
    ----------
    curve
        The light curve.
    epochs
        Rows with their stamps.
    kind
        Key of `STAMPS`.
    size_arcsec
        Width of a stamp.
    left_out
        How many more epochs the range holds.
    """
    first = next(((s[kind], curve.place(epoch)) for epoch, s in epochs if kind in s), None)
    parts = [
        _stamp(curve, epoch, kind, stamps.get(kind), size_arcsec,
               f"{epoch['band']}, MJD {epoch['mjd']:.4f}: {epoch['flux']:.4g} ± {epoch['fluxErr']:.2g} nJy", first)
        for epoch, stamps in epochs
    ]  # fmt: skip
    more = f"<p class='soft'>{left_out} more epochs lie in this range.</p>" if left_out else ""
    return f"{_STYLE}<div class='epochs' data-stamps='strip'>{''.join(parts)}</div>{more}"
