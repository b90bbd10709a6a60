"""The frame around every page: header, navigation, theme, and who is looking."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import panel as pn
from bokeh.document import Document
from bokeh.models import ImportedStyleSheet, InlineStyleSheet
from jinja2 import Template
from panel.io.resources import _env as page_environment
from panel.theme.base import Design, Inherit
from panel.viewable import Viewable

from skydesk_portal.models.identity import Identity
from skydesk_portal.models.preferences import Preferences
from skydesk_portal.services.preferences import PreferenceService
from skydesk_portal.ui.bell import write_bell
from skydesk_portal.ui.gate import PREFIX, THEME_COOKIE, read_identity
from skydesk_portal.ui.library_files import library_version

if TYPE_CHECKING:
    from skydesk_portal.ui.page_view import PageView

__all__ = ["PageRequest", "SkydeskDesign", "asset_text", "frame", "no_release", "notice", "read_request"]

NAVIGATION = (
    ("home", "Home", f"{PREFIX}/"),
    ("images", "Images", f"{PREFIX}/images"),
    ("skymap", "Sky map", f"{PREFIX}/skymap"),
    ("imagesearch", "Image search", f"{PREFIX}/imagesearch"),
    ("catalogs", "Catalogs", f"{PREFIX}/catalogs"),
    ("lightcurves", "Light curves", f"{PREFIX}/lightcurves"),
    ("alerts", "Alerts", f"{PREFIX}/alerts"),
    ("jobs", "Jobs", f"{PREFIX}/jobs"),
    ("files", "Files", f"{PREFIX}/files"),
    ("lab", "Lab", "/nb/"),
)


@cache
def asset_text(name: str) -> str:
    """Read a text file that belongs to the pages."""
    return (files("skydesk_portal.ui") / "static" / name).read_text(encoding="utf-8")


_WIDGETS_CSS = asset_text("widgets.css")
_sheets: WeakKeyDictionary[Document, InlineStyleSheet] = WeakKeyDictionary()


class SkydeskDesign(Design):
    """Gives Panel's widgets the platform's look, in light and dark alike."""

    modifiers = {Viewable: {"stylesheets": [Inherit, _WIDGETS_CSS]}}  # noqa: RUF012 - Panel's interface

    @classmethod
    def _patch_modifiers(
        cls, doc: Document | None, modifiers: dict[str, Any], cache: dict[str, ImportedStyleSheet]
    ) -> None:
        """Let the parts of a page share one style sheet: as text each would carry 8 kB to the browser, 600 kB a page."""
        super()._patch_modifiers(doc, modifiers, cache)
        if doc is not None and "stylesheets" in modifiers:
            shared = _sheets.get(doc)
            if shared is None:
                shared = _sheets[doc] = InlineStyleSheet(css=_WIDGETS_CSS)
            modifiers["stylesheets"] = [
                shared if sheet == _WIDGETS_CSS else sheet for sheet in modifiers["stylesheets"]
            ]


class _Frame(pn.Template):
    """The template of every page."""

    def __repr__(self) -> str:
        # Panel writes the whole page into its representation each time something is added to it.
        return type(self).__name__


@cache
def _page_template() -> Template:
    """Compile the template once."""
    template: Template = page_environment.from_string(asset_text("page.html"))
    return template


@dataclass(frozen=True)
class PageRequest:
    """What the browser asked for when it opened a page.

    Parameters
    ----------
    identity
        Who is looking.
    query
        Values of the address, the last one of each name.
    dark
        Whether the page is dark.
    preferences
        What the person prefers.
    view
        The page as the person's programs see it.
    """

    identity: Identity
    query: dict[str, str]
    dark: bool
    preferences: Preferences = field(default_factory=Preferences)
    view: PageView | None = None

    def number(self, name: str) -> float | None:
        """Return a value of the address as a number; None when it is missing or no number."""
        try:
            return float(self.query[name])
        except (KeyError, ValueError):
            return None


def read_request(preferences: PreferenceService) -> PageRequest:
    """Read the request of the page session that is being built.

    Parameters
    ----------
    preferences
        Knows what people prefer.

    Returns
    -------
    PageRequest
        Identity, address and theme.

    Raises
    ------
    AuthenticationError
        If the request did not come through the gate.
    """
    headers = {k.lower(): v for k, v in (pn.state.headers or {}).items()}
    identity = read_identity(headers.get("x-skydesk-identity"))
    search = pn.state.location.search if pn.state.location else ""
    query = {k: v[-1] for k, v in parse_qs((search or "").lstrip("?")).items()}
    wishes = preferences.find(identity)
    theme = wishes.theme or (pn.state.cookies or {}).get(THEME_COOKIE)
    if not query and wishes.release:
        query["release"] = wishes.release  # an address without fields leaves the choice to the person
    return PageRequest(identity, query, theme == "dark", wishes)


def frame(
    active: str, title: str, content: Viewable, request: PageRequest, narrow: bool = False
) -> pn.Template:
    """Put a page's content into the frame.

    Parameters
    ----------
    active
        Key of the page in the navigation.
    title
        What the browser's tab says.
    content
        The page.
    request
        Who is looking.
    narrow
        Whether the content has a limited width, for reading.

    Returns
    -------
    panel.Template
        The whole page.
    """
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    template = _Frame(_page_template(), location=True)
    template.add_panel("content", content)
    if request.view is not None:
        template.add_panel("link", request.view.link)
    variables: dict[str, Any] = {
        "page_title": title,
        "navigation": NAVIGATION,
        "active": active,
        "user": request.identity.name,
        "prefix": PREFIX,
        "narrow": narrow,
        "bell": write_bell(),
        # The guide has a section for each page; a title is its anchor as the documentation makes it.
        "help": "home" if active == "home" else title.lower().replace(" ", "-"),
        "theme": request.preferences.theme,
        "text_percent": request.preferences.text_percent,
        "library_version": library_version,
        "session": context.id if context is not None else "",
    }
    for key, value in variables.items():
        template.add_variable(key, value)
    return template


def notice(text: str, kind: str = "notice") -> pn.pane.HTML:
    """Make a box that says something in a sentence; the text is HTML."""
    role = "alert" if kind == "error" else "status"
    return pn.pane.HTML(f'<div class="{kind}" role="{role}">{text}</div>', sizing_mode="stretch_width")


def no_release() -> pn.Column:
    """Say that there is nothing to look at yet, and who can change that."""
    text = (
        "There is no release yet. Whoever runs this platform makes one with <code>skydesk demo build</code>, "
        "or from own images with <code>skydesk publish</code>."
    )
    return pn.Column(notice(text), sizing_mode="stretch_width")
