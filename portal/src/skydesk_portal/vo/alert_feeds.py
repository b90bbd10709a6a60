"""Alerts of a subscription as an Atom feed (RFC 4287) and as a JSON Feed (version 1.1)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree import ElementTree

if TYPE_CHECKING:
    from skydesk_portal.models.alert_subscriptions import Subscription
    from skydesk_portal.services.alert_subscriptions import FeedEntry

__all__ = ["ATOM", "JSON_FEED", "write_atom", "write_json_feed"]

ATOM = "application/atom+xml"
"""Media type of the one."""

JSON_FEED = "application/feed+json"
"""Media type of the other."""

_NAMESPACE = "http://www.w3.org/2005/Atom"


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _name(subscription: Subscription, entry: FeedEntry) -> str:
    d = entry.delivery
    return f"urn:skydesk:alert:{subscription.id}:{d.seq}:{quote(d.release)}:{d.alert_id}"


def _title(entry: FeedEntry) -> str:
    row = entry.row
    snr = "" if row.snr is None else f", signal to noise {row.snr:.1f}"
    return f"Alert {row.alert_id}: band {row.band or '?'}{snr}"


def _words(entry: FeedEntry) -> str:
    row = entry.row
    flux = "" if row.psf_flux is None else f"; flux {row.psf_flux:.6g} nJy"
    again = "; sent again for practice" if entry.delivery.kind == "replay" else ""
    return (
        f"Release {entry.delivery.release}; RA {row.ra:.6f} deg, Dec {row.dec:.6f} deg; "
        f"MJD {row.midpoint_mjd_tai:.6f} TAI{flux}{again}"
    )


def _page(entry: FeedEntry, url: str) -> str:
    return f"{url}/portal/app/alerts?release={quote(entry.delivery.release)}&id={entry.row.alert_id}"


def _packet(entry: FeedEntry, url: str) -> str:
    return f"{url}/api/alerts?ID={entry.row.alert_id}&RELEASE={quote(entry.delivery.release)}"


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, f"{{{_NAMESPACE}}}{tag}", attributes)
    made.text = text or None
    return made


def write_atom(subscription: Subscription, entries: Sequence[FeedEntry], url: str) -> bytes:
    """Write an Atom feed.

    Parameters
    ----------
    subscription
        Whose alerts they are.
    entries
        The alerts, the newest first.
    url
        Public base address.
    """
    ElementTree.register_namespace("", _NAMESPACE)
    feed = ElementTree.Element(f"{{{_NAMESPACE}}}feed")
    _add(feed, "id", f"urn:skydesk:alerts:{subscription.id}")
    _add(feed, "title", f"Alerts: {subscription.wish.name}")
    newest = max((e.delivery.at_s for e in entries), default=subscription.created_s)
    _add(feed, "updated", _instant(newest))
    _add(_add(feed, "author"), "name", "skydesk")
    _add(feed, "link", rel="alternate", href=f"{url}/portal/app/alerts?view=subscriptions")
    for entry in entries:
        made = _add(feed, "entry")
        _add(made, "id", _name(subscription, entry))
        _add(made, "title", _title(entry))
        _add(made, "updated", _instant(entry.delivery.at_s))
        _add(made, "link", rel="alternate", href=_page(entry, url))
        _add(made, "link", rel="enclosure", href=_packet(entry, url), type="application/x-avro-ocf")
        _add(made, "summary", _words(entry))
    found: bytes = ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True)
    return found


def write_json_feed(subscription: Subscription, entries: Sequence[FeedEntry], url: str) -> bytes:
    """Write a JSON Feed; parameters are those of `write_atom`."""
    items = [
        {
            "id": _name(subscription, entry),
            "url": _page(entry, url),
            "title": _title(entry),
            "content_text": _words(entry),
            "date_published": _instant(entry.delivery.at_s),
            "attachments": [{"url": _packet(entry, url), "mime_type": "application/x-avro-ocf"}],
            "_skydesk": {
                # 64-bit numbers are text in JSON.
                "alert_id": str(entry.row.alert_id),
                "release": entry.delivery.release,
                "ra_deg": entry.row.ra,
                "dec_deg": entry.row.dec,
                "midpoint_mjd_tai": entry.row.midpoint_mjd_tai,
                "band": entry.row.band,
                "snr": entry.row.snr,
            },
        }
        for entry in entries
    ]
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": f"Alerts: {subscription.wish.name}",
        "home_page_url": f"{url}/portal/app/alerts?view=subscriptions",
        "items": items,
    }
    return json.dumps(feed, allow_nan=False).encode()
