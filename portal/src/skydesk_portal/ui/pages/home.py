"""The Portal's first page: what there is to look at, with one click to each kind of view."""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.health import check_services
from skydesk_portal.ui.pages.find import search_form
from skydesk_portal.ui.shell import PageRequest, no_release
from skydesk_portal.ui.words import describe_position

if TYPE_CHECKING:
    from skydesk_portal.pipeline import Release
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_SHOWN_TABLES = ("Object", "Source", "ForcedSource", "DiaObject", "DiaSource", "Visit")


def _card(services: PortalServices, request: PageRequest, release: Release) -> str:
    manifest = release.manifest
    name = quote(release.name)
    rows = {t.name: t.rows for t in manifest.tables}
    images = ", ".join(f"{t.count} {escape(t.dataset_type)}" for t in manifest.image_types)
    tables = ", ".join(f"{rows[t]:,} {t}" for t in _SHOWN_TABLES if t in rows)
    where = ""
    if manifest.center_deg:
        where = f"<dt>Centre</dt><dd>{describe_position(*manifest.center_deg, request.preferences.coordinates)}</dd>"
    picture = ""
    try:
        if services.images.list_images(request.identity, release.name):
            picture = (
                f"<a href='{PREFIX}/images?release={name}'><img src='{PREFIX}/preview/{name}.png' "
                f"alt='Colour picture of a coadd of release {escape(release.name)}' loading='lazy'></a>"
            )
    except PortalError:
        picture = ""  # the card is of use without its picture; the Images page says what is wrong
    query = quote(f"SELECT TOP 1000 * FROM {release.name}.Object")
    catalog = (
        f"<a class='open second' href='{PREFIX}/catalogs?query={query}'>Objects</a>"
        if "Object" in rows
        else ""
    )
    curves = (
        f"<a class='open second' href='{PREFIX}/lightcurves?release={name}'>Light curves</a>"
        if "ForcedSource" in rows
        else ""
    )
    sky = f"<a class='open second' href='{PREFIX}/skymap?release={name}'>Sky map</a>" if manifest.hips else ""
    return (
        f"<section class='card'>{picture}<div class='body'><h2>{escape(manifest.title or release.name)}</h2>"
        f"<dl class='facts'><dt>Release</dt><dd><code>{escape(release.name)}</code></dd>"
        f"<dt>Bands</dt><dd>{escape(' '.join(manifest.bands))}</dd>{where}"
        f"<dt>Images</dt><dd>{images}</dd><dt>Rows</dt><dd>{tables}</dd><dt>Made</dt><dd>{escape(str(manifest.created))[:10]}</dd></dl>"
        f"<div class='links'><a class='open' href='{PREFIX}/images?release={name}'>Images</a>"
        f"{sky}{catalog}{curves}</div></div></section>"
    )


def _announcements(services: PortalServices) -> pn.pane.HTML:
    boxes = "".join(f"<p class='notice'>{escape(text)}</p>" for text in services.config.announcements)
    html = f"<section aria-label='Announcements'>{boxes}</section>" if boxes else ""
    return pn.pane.HTML(html, sizing_mode="stretch_width")


def _status(services: PortalServices, request: PageRequest) -> pn.pane.HTML:
    """Say which services work; asked after the page is there, so that a slow one holds up nothing."""
    pane = pn.pane.HTML(
        "<h2>Services</h2><p class='soft' role='status'>Asking…</p>", sizing_mode="stretch_width"
    )

    async def ask() -> None:
        states = await asyncio.to_thread(check_services, services, request.identity)
        items = "".join(
            f"<li data-works='{'false' if s.trouble else 'true'}'><b>{escape(s.name)}</b> "
            f"{escape('unavailable: ' + s.trouble) if s.trouble else 'works'}</li>"
            for s in states
        )
        pane.object = f"<h2>Services</h2><div role='status'><ul class='services'>{items}</ul></div>"

    pn.state.onload(ask)
    return pane


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    parts: list[Viewable] = [_announcements(services)]
    releases = services.releases.list_visible(request.identity)
    if not releases:
        return pn.Column(*parts, no_release(), _status(services, request), sizing_mode="stretch_width")
    cards = "".join(_card(services, request, release) for release in releases)
    intro = (
        "<h1>Portal</h1><p class='soft'>Look at images, query catalogs and follow light curves. "
        "Click a source on an image for its row and its light curve; click a row to see it on the image; "
        "click an epoch to open the visit it was measured on.</p>"
    )
    return pn.Column(
        *parts,
        pn.pane.HTML(intro + search_form(), sizing_mode="stretch_width"),
        pn.pane.HTML(f"<div class='cards'>{cards}</div>", sizing_mode="stretch_width"),
        _status(services, request),
        sizing_mode="stretch_width",
    )
