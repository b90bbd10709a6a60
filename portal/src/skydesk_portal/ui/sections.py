"""Links between the views of one page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import panel as pn

from skydesk_portal.ui.gate import PREFIX

__all__ = ["page_views"]


def page_views(heading: str, views: Mapping[str, str], current: str) -> pn.pane.HTML:
    """Make the heading of a page with links to its views.

    Parameters
    ----------
    heading
        The heading.
    views
        Addresses below the Portal by name.
    current
        Name of the view that is shown.
    """
    links = " ".join(
        f"<a href='{PREFIX}/{address}'{' aria-current=page' if name == current else ''}>{escape(name)}</a>"
        for name, address in views.items()
    )
    return pn.pane.HTML(
        f"<h1>{escape(heading)}</h1><nav class='views' aria-label='Views of {escape(heading)}'>{links}</nav>",
        sizing_mode="stretch_width",
    )
