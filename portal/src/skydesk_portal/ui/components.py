"""The parts of the pages that run in the browser: image view, query editor, paged table, slider, coordinates and upload."""

from __future__ import annotations

from typing import Any

import param
from panel.custom import JSComponent

from skydesk_portal.ui.gate import PREFIX

__all__ = ["SkyCoordinates", "SkyImage", "SkyMap", "SkyQuery", "SkyRange", "SkyTable", "SkyUpload"]


class SkyCoordinates(JSComponent):
    """Coordinates under the pointer and distances below a plot whose axes say a place on the sky."""

    frame = param.String(default="ICRS", doc="``ICRS``, ``galactic`` or ``ecliptic``.")
    turned = param.Boolean(default=False, doc="Whether the latitude is the horizontal axis.")
    centre = param.Number(default=0.0, doc="Longitude in the middle of its axis, degrees.")
    at = param.List(default=[], doc="Where the pointer is, in the plot's axes; empty for nowhere.")
    tapped = param.List(default=[], doc="What was clicked last.")
    ends = param.List(default=[], doc="Ends of the distance, in the plot's axes.")
    picked = param.List(default=[], doc="What was clicked last while no distance was measured.")

    _bundle = "assets/skycoordinates.bundle.js"


class SkyImage(JSComponent):
    """The image workspace; pixels come over HTTP from the tile routes, never through Panel's websocket."""

    base = param.String(default=PREFIX, doc="Where the tile routes begin.")
    wanted = param.Dict(
        default={},
        doc="What to show: release, id, optionally ra and dec in degrees, and a serial number that makes each wish new; "
        "`linked` where a link in the viewer made the wish.",
    )

    _bundle = "assets/skyimage.bundle.js"

    def show(
        self, release: str, dataset_id: str, ra_deg: float | None = None, dec_deg: float | None = None
    ) -> None:
        """Show an image, around a position when one is given.

        Parameters
        ----------
        release, dataset_id
            Release and Butler identifier (UUID).
        ra_deg, dec_deg
            ICRS degrees.
        """
        wish: dict[str, Any] = {
            "release": release,
            "id": dataset_id,
            "serial": int(self.wanted.get("serial", 0)) + 1,
        }
        if ra_deg is not None and dec_deg is not None:
            wish |= {"ra": ra_deg, "dec": dec_deg}
        self.wanted = wish


class SkyMap(JSComponent):
    """The whole sky with the HiPS of the releases; tiles come over plain HTTP."""

    base = param.String(default=PREFIX, doc="Where the routes of the tiles begin.")
    maps = param.List(default=[], doc="What there is, in the form that ``viewer/src/skymap.ts`` declares.")
    wanted = param.Dict(default={}, doc="Where to look: ra and dec in degrees (ICRS), and a serial number.")

    _bundle = "assets/skymap.bundle.js"

    def look_at(self, ra_deg: float, dec_deg: float) -> None:
        """Move to a position (ICRS)."""
        self.wanted = {"ra": ra_deg, "dec": dec_deg, "serial": int(self.wanted.get("serial", 0)) + 1}


class SkyTable(JSComponent):
    """A table of which only one page is in the browser; turning and sorting come back as wishes."""

    page = param.Dict(
        default={}, doc="The visible page in the form that ``viewer/src/pagetable.ts`` declares as ``Page``."
    )
    request = param.Dict(default={}, doc="Wish of the reader: first row and sorting.")
    picked = param.Dict(default={}, doc="Row of the page that was chosen.")
    ticked = param.Dict(
        default={},
        doc="``rows``: those of the page that were ticked (true) or are so no more, by their place; and a serial number.",
    )

    _bundle = "assets/skytable.bundle.js"


class SkyUpload(JSComponent):
    """Sends files over plain HTTP with progress; Panel hears only that one has arrived."""

    base = param.String(default=PREFIX, doc="Where the file routes begin.")
    folder = param.String(default="", doc="Folder below the home folder that files go to, ``/a/b``.")
    finished = param.Dict(default={}, doc="Name of the file that arrived last, and a serial number.")

    _bundle = "assets/skyupload.bundle.js"


class SkyQuery(JSComponent):
    """A field for ADQL that completes names and says what is wrong while one types."""

    text = param.String(default="", doc="The query.")
    rows = param.Integer(default=7, doc="Lines that are visible.")
    address = param.String(
        default="", doc="What the page's address says after its path; replaces what it said before."
    )
    wish = param.Dict(
        default={}, doc="Place of the cursor where suggestions are wanted, with the text there."
    )
    answer = param.Dict(
        default={}, doc="Suggestions in the form that ``viewer/src/query.ts`` declares as ``Answer``."
    )
    diagnosis = param.Dict(
        default={}, doc="What is said below the field, as ``Diagnosis`` in ``viewer/src/query.ts``."
    )

    _bundle = "assets/skyquery.bundle.js"


class SkyRange(JSComponent):
    """The browser's own slider, with a name and a way back to 0; the handle of Panel's has no name."""

    label = param.String(default="", doc="Its name.")
    start = param.Number(default=0.0, doc="Lowest value.")
    end = param.Number(default=1.0, doc="Highest value.")
    step = param.Number(default=0.01, doc="Step of the keys and of dragging.")
    value = param.Number(default=0.0, doc="What is chosen.")

    _bundle = "assets/skyrange.bundle.js"
