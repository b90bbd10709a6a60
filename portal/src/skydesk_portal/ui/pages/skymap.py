"""The Sky map page: the whole sky with the maps (HiPS) of the releases, their coverage, and cells to search in."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import UsageError
from skydesk_portal.ui.components import SkyMap
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.shell import PageRequest, no_release, notice

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking, and at what.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    if not services.releases.list_visible(request.identity):
        return no_release()
    maps = [asdict(found) for found in services.hips.list_maps(request.identity)]
    if not maps:
        text = "No release has a map of the sky: publish one with coadds and without <code>--no-hips</code>."
        return pn.Column(notice(text), sizing_mode="stretch_width")
    view = SkyMap(maps=maps, sizing_mode="stretch_both", min_height=480)
    position = pn.widgets.TextInput(
        name="Position", placeholder="53.13 -28.10 or 3h32m30s -28d06m", width=300
    )
    find = pn.widgets.Button(name="Go there", button_type="primary", width=100, align="end")
    message = pn.Column(sizing_mode="stretch_width", margin=0)

    def search(_event: object) -> None:
        if not position.value.strip():
            return
        try:
            view.look_at(*parse_position(position.value))
            message.objects = []
        except UsageError as error:
            message.objects = [notice(escape(str(error)), "error")]

    find.on_click(search)
    position.param.watch(search, "value")
    bar = pn.FlexBox(position, find, align_items="end", sizing_mode="stretch_width", margin=(0, 0, 10, 0))
    return pn.Column(bar, message, view, sizing_mode="stretch_both")
