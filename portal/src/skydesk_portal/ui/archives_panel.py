"""Archives outside, on the page of the search box: what they have around a position, and their images in the viewer."""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, PortalError, UsageError
from skydesk_portal.services.fitsfiles import OWN_IMAGES
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.services.archives import ArchiveAnswer
    from skydesk_portal.ui.services import PortalServices

__all__ = ["ArchivesPanel"]


class ArchivesPanel:
    """The form, the answer as a table, and what can be done with a row.

    Parameters
    ----------
    services
        What the page works with.
    request
        Who is looking, and for what.
    """

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self._services, self._identity = services, request.identity
        self._answer: ArchiveAnswer | None = None
        self._row: dict[str, Any] = {}
        names = services.archives.names
        self.archive = pn.widgets.Select(name="Archive", options=names, width=220)
        self.position = pn.widgets.TextInput(
            name="Position",
            value=_position_of(request.query.get("q", "")),
            placeholder="53.13 -28.10",
            width=230,
        )
        self.radius = pn.widgets.FloatInput(name="Radius (arcsec)", value=60.0, start=0.1, step=10, width=140)
        self.search = pn.widgets.Button(name="Ask the archive", width=150, align="end")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self._pick)
        self.open = pn.widgets.Button(name="Open the image in the viewer", width=230, visible=False)
        self.found = pn.Column(
            self.table.view, self.open, sizing_mode="stretch_width", margin=0, visible=False
        )
        self.search.on_click(self._on_search)
        self.open.on_click(self._on_open)

    @property
    def view(self) -> Viewable:
        """The panel."""
        about = (
            "<h2>Archives outside</h2><p class='soft'>What other archives have around a position. The question goes to the "
            "archive's own service, your name does not.</p>"
        )
        form = pn.FlexBox(
            self.archive,
            self.position,
            self.radius,
            self.search,
            align_items="end",
            sizing_mode="stretch_width",
        )
        return pn.Column(
            pn.pane.HTML(about, sizing_mode="stretch_width"), form, self.message, self.found, sizing_mode="stretch_width",
        )  # fmt: skip

    def _say(self, error: PortalError) -> None:
        self.message.objects = [notice(f"{escape(str(error)[:1].upper() + str(error)[1:])}.", "error")]

    async def _on_search(self, _event: Any) -> None:
        self.search.loading, self.found.visible, self.open.visible = True, False, False
        name = self.archive.value
        try:
            if "read:tap" not in self._identity.scopes:
                raise ForbiddenError("your token does not have the scope read:tap, which the search takes")
            ra_deg, dec_deg = parse_position(self.position.value)
            radius_deg = float(self.radius.value or 0) / 3600
            self._answer = await asyncio.to_thread(
                self._services.archives.search, name, ra_deg, dec_deg, radius_deg
            )
        except PortalError as error:
            self._say(error)
            return
        finally:
            self.search.loading = False
        rows = self._answer.table.num_rows
        self.message.objects = [
            notice(
                f"{rows:,} rows of {escape(name)}." if rows else f"{escape(name)} has nothing there.", "info"
            )
        ]
        self.found.visible = rows > 0
        self.table.show(self._answer.table, self._answer.columns, f"Answer of {name}")

    def _pick(self, index: int) -> None:
        if self._answer is None:
            return
        self._row = self._answer.table.slice(index, 1).to_pylist()[0]
        self.open.visible = bool(self._answer.access and self._row[self._answer.access])

    async def _on_open(self, _event: Any) -> None:
        if self._answer is None or self._answer.access is None:
            return
        address, name = str(self._row[self._answer.access]), self.archive.value
        self.open.loading = True
        try:
            if "read:image" not in self._identity.scopes:
                raise ForbiddenError("your token does not have the scope read:image, which images take")
            files = self._services.images.files
            blocks = self._services.archives.fetch_image(name, address)
            told = await files.receive(self._identity, _name_of(address), blocks)
            if not told["first"]:
                raise UsageError("the file holds no image that can be shown")
        except PortalError as error:
            self._say(error)
            return
        finally:
            self.open.loading = False
        place = urlencode({"release": OWN_IMAGES, "id": told["first"]}, quote_via=quote)
        self.message.objects = [
            notice(
                f"{escape(told['name'])} of {escape(name)} is here: <a href='{PREFIX}/images?{place}'>open it</a>.",
                "info",
            )
        ]


def _name_of(address: str) -> str:
    last = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    return last[:80] if last.lower().endswith((".fits", ".fits.gz", ".fz", ".fit")) else "image.fits"


def _position_of(text: str) -> str:
    try:
        parse_position(text)
    except UsageError:
        return ""
    return text
