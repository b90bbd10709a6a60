"""The page behind the search box: a choice where there is one, and help where nothing was found."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, UsageError
from skydesk_portal.ui.archives_panel import ArchivesPanel
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.routes_find import address_of
from skydesk_portal.ui.shell import PageRequest, notice

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build", "search_form"]

_FORMS = (
    ("Position, ICRS", "53.13 -28.10", "3:32:31.2 -28:06:00", "03h32m31.2s -28d06m00s", "IAU J033231.2-280600"),
    ("Galactic, ecliptic", "gal 223.57 -54.43", "l=223.57 b=-54.43", "ecl 41.0 -45.1"),
    ("Identifier", "123456789", "object 123", "DIA object 123", "source 123"),
    ("Alert", "alert 123", "LSST-AP-DS-123"),
    ("Visit", "visit 2026041300012", "2026041300012,42", "visit 2026041300012 detector 42"),
    ("Tract and patch", "9813-42", "tract 9813 patch 42"),
    ("Name", "a moving object of the release", "any object, where a name service is set"),
)  # fmt: skip


def search_form(text: str = "") -> str:
    """Return the search box of a page as HTML."""
    return (
        f"<form class='find' action='{PREFIX}/go' method='get' role='search'>"
        "<label for='find-q'>Find a position, an identifier or a name</label>"
        f"<input id='find-q' name='q' type='search' value='{escape(text)}' maxlength='200' autocomplete='off' "
        "spellcheck='false' placeholder='53.13 -28.10'> <button type='submit'>Find</button></form>"
    )


def _help() -> str:
    def written(what: str, example: str) -> str:
        return escape(example) if what == "Name" else f"<code>{escape(example)}</code>"

    rows = "".join(
        f"<tr><th scope='row'>{what}</th><td>{', '.join(written(what, e) for e in examples)}</td></tr>"
        for what, *examples in _FORMS
    )
    return f"<details class='panel'><summary>What can be typed</summary><table class='plain'>{rows}</table></details>"


def _listing(services: PortalServices, request: PageRequest, text: str) -> str:
    found = services.find.find(request.identity, text, request.query.get("release"))
    remarks = "".join(f"<div class='notice' role='status'>{escape(remark)}</div>" for remark in found.remarks)
    if not found.places:
        return remarks
    items = "".join(
        f"<li><a href='{escape(address_of(place))}'>{escape(place.title)}</a> "
        f"<span class='soft'>{escape(place.detail)}</span></li>"
        for place in found.places
    )
    count = len(found.places)
    heading = f"{escape(text)} can be {count} things" if count > 1 else f"Found for {escape(text)}"
    return f"<h2>{heading}</h2><ul class='choices'>{items}</ul>{remarks}"


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking, and for what.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    text = request.query.get("q", "").strip()
    parts: list[Viewable] = [pn.pane.HTML(f"<h1>Find</h1>{search_form(text)}", sizing_mode="stretch_width")]
    if text:
        try:
            if "read:tap" not in request.identity.scopes:
                raise ForbiddenError("your token does not have the scope read:tap, which the search takes")
            parts.append(pn.pane.HTML(_listing(services, request, text), sizing_mode="stretch_width"))
        except (UsageError, ForbiddenError) as error:
            parts.append(notice(f"{escape(str(error)[:1].upper() + str(error)[1:])}.", "error"))
    parts.append(pn.pane.HTML(_help(), sizing_mode="stretch_width"))
    if services.archives.names:
        parts.append(ArchivesPanel(services, request).view)
    return pn.Column(*parts, sizing_mode="stretch_width")
