"""The Images page: choose an image, look at its pixels."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.services.fitsfiles import OWN_IMAGES
from skydesk_portal.services.focalplanes import parse_visit_id, visit_id
from skydesk_portal.services.imagecutouts import parse_cutout_id, whole_image
from skydesk_portal.services.imagerows import ImageRow, contains_position
from skydesk_portal.services.snippets import image_cells
from skydesk_portal.ui.components import SkyImage
from skydesk_portal.ui.image_transfer import ImageTransfer
from skydesk_portal.ui.notebook_button import NotebookButton
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.shell import PageRequest, no_release, notice

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_ORDER = ("deep_coadd", "visit_image", "difference_image", "template_coadd", "raw", "bias", "dark", "flat")
_BANDS = "ugrizy"
_ALL = "all"


def _place_of(row: ImageRow) -> str:
    """Return the words for the visit, the patch or the calibration that an image is of."""
    if row.tract is not None:
        return f"tract {row.tract}, patch {row.patch}"
    if row.visit is not None:
        # The title of a calibration exposure says at its end what it was taken for.
        purpose = row.title.rpartition(" ")[2]
        return f"{row.visit} {purpose}" if purpose.startswith("(") else f"visit {row.visit}"
    return row.title.removeprefix(f"{row.dataset_type} ")


def _kind_of_place(row: ImageRow) -> str:
    if row.visit is not None:
        return "Visit"
    return "Patch" if row.tract is not None else "Calibration"


def _best_start(rows: list[ImageRow]) -> ImageRow:
    """Image to begin with: in the middle of the release, in a band in the middle of the spectrum."""
    placed = [r for r in rows if r.ra_deg is not None and r.dec_deg is not None] or rows
    ra_deg = statistics.median(r.ra_deg or 0.0 for r in placed)
    dec_deg = statistics.median(r.dec_deg or 0.0 for r in placed)

    def rank(row: ImageRow) -> tuple[float, int]:
        away = math.hypot((row.ra_deg or 0.0) - ra_deg, (row.dec_deg or 0.0) - dec_deg)
        return round(away, 4), "rigzyu".find(row.band) if row.band in _BANDS else 99

    return min(placed, key=rank)


class _Chooser:
    """The row of lists from dataset type down to one image."""

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.services = services
        self.request = request
        self.view = SkyImage(sizing_mode="stretch_both", min_height=480)
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        first = request.query.get("release", "")
        self.release = pn.widgets.Select(
            name="Release", options=releases, value=first if first in releases else releases[0], width=130
        )
        self.kind = pn.widgets.Select(name="Kind", width=155)
        self.band = pn.widgets.Select(name="Band", width=80)
        self.place = pn.widgets.Select(name="Visit or patch", width=210)
        self.detector = pn.widgets.Select(name="Detector", width=90)
        self.before = pn.widgets.Button(
            name="◀", width=40, align="end", description="Previous visit or patch"
        )
        self.after = pn.widgets.Button(name="▶", width=40, align="end", description="Next visit or patch")
        self.position = pn.widgets.TextInput(name="Position (RA Dec)", placeholder="53.13 -28.10", width=180)
        self.side = pn.widgets.FloatInput(
            name="Cut-out (arcsec)",
            value=request.number("cutout"),
            start=0.0,
            step=5,
            placeholder="whole",
            width=110,
            description="Side of the cut-out around the position that Find shows; empty for the whole image",
        )
        self.find = pn.widgets.Button(name="Find", button_type="primary", width=70, align="end")
        self.notebook = NotebookButton(
            services.notebooks, request, "images", self.as_python, align="end", margin=(5, 10)
        )
        self.transfer = ImageTransfer(services, request.identity)
        self.view.param.watch(lambda e: self.transfer.follow(e.new), "wanted")
        self.view.param.watch(lambda e: self.follow(e.new), "wanted")
        self.rows: list[ImageRow] = []
        self._quiet = False

    def as_python(self) -> tuple[str, tuple[str, ...]]:
        """Return a title and the code that reads and shows the image."""
        shown = self.view.wanted
        if not shown:
            raise UsageError("no image is shown")
        title = f"{self.kind.value} {self.place.value}, band {self.band.value}"
        return title, image_cells(shown["release"], whole_image(shown["id"]))

    def wire(self) -> None:
        """Connect the lists; done after the first image is chosen."""
        self.release.param.watch(lambda _e: self.load(), "value")
        for widget in (self.kind, self.band, self.place, self.detector):
            widget.param.watch(lambda _e: self.narrow(), "value")
        self.before.on_click(lambda _e: self.step(-1))
        self.after.on_click(lambda _e: self.step(1))
        self.find.on_click(lambda _e: self.search())
        for typed in (self.position, self.side):
            typed.param.watch(lambda _e: self.search(), "value")

    def load(self, *, show: bool = True) -> None:
        """Read the images of the release and show the first one, or only fill the lists."""
        self.rows = list(self.services.images.list_images(self.request.identity, self.release.value))
        if not self.rows:
            self.message.objects = [notice(f"Release {self.release.value} has no images.")]
            return
        self.message.objects = []
        self.choose(_best_start(self.rows_of_kind(self.kinds()[0])), show=show)

    def kinds(self) -> list[str]:
        """Dataset types of the release, the ones people look at first in front."""
        found = {row.dataset_type for row in self.rows}
        return [k for k in _ORDER if k in found] + sorted(found - set(_ORDER))

    def rows_of_kind(self, kind: str) -> list[ImageRow]:
        """Images of a dataset type."""
        return [row for row in self.rows if row.dataset_type == kind]

    def narrow(self) -> None:
        """Follow a change in one of the lists to the image that fits best."""
        if self._quiet:
            return
        rows = self.rows_of_kind(self.kind.value)

        def score(row: ImageRow) -> tuple[bool, bool, bool]:
            return (
                row.band == self.band.value,
                _place_of(row) == self.place.value,
                row.detector == self.detector.value,
            )

        if self.kind.value != getattr(self, "_kind", None) or not rows:
            self.choose(max(rows or self.rows, key=score))
            return
        # Within one kind the place and detector lists are the finest choice, the band picks among places.
        here = [r for r in rows if r.band == self.band.value] or rows
        exact = [r for r in here if _place_of(r) == self.place.value]
        self.choose(max(exact or here, key=score), whole=self.detector.value == _ALL)

    def choose(
        self,
        row: ImageRow,
        ra_deg: float | None = None,
        dec_deg: float | None = None,
        *,
        show: bool = True,
        whole: bool = False,
    ) -> None:
        """Show an image, or the whole focal plane it belongs to, and make the lists agree with it."""
        self._quiet = True
        self._kind = row.dataset_type
        rows = self.rows_of_kind(row.dataset_type)
        bands = sorted({r.band for r in rows}, key=lambda b: (_BANDS.find(b) if b in _BANDS else 99, b))
        self.kind.param.update(options=self.kinds(), value=row.dataset_type)
        self.band.param.update(options=bands, value=row.band)
        here = [r for r in rows if r.band == row.band]
        self.place.param.update(
            name=_kind_of_place(row),
            options=list(dict.fromkeys(_place_of(r) for r in here)),
            value=_place_of(row),
        )
        detectors = sorted(
            {r.detector for r in here if _place_of(r) == _place_of(row) and r.detector is not None}
        )
        options: list[int | str | None] = [*detectors] or [None]
        if len(detectors) > 1:
            options.append(_ALL)
        value = _ALL if whole and _ALL in options else row.detector
        self.detector.param.update(options=options, value=value, visible=bool(detectors))
        self._quiet = False
        if whole and row.visit is not None:
            self.view.show(self.release.value, visit_id(row.dataset_type, row.visit), ra_deg, dec_deg)
        elif show:
            cutout = self.find_cutout(row, ra_deg, dec_deg)
            if cutout is not None:
                self.view.show(self.release.value, cutout)
            else:
                self.view.show(self.release.value, row.dataset_id, ra_deg, dec_deg)

    def find_cutout(self, row: ImageRow, ra_deg: float | None, dec_deg: float | None) -> str | None:
        """Name the cut-out around a position when one is wanted."""
        if not self.side.value or ra_deg is None or dec_deg is None:
            return None
        images = self.services.images
        release = images.get_release(self.request.identity, self.release.value)
        try:
            return images.cutouts.find(release, row.dataset_id, (ra_deg, dec_deg), self.side.value)
        except PortalError as error:
            self.message.objects = [notice(f"{escape(str(error))}; the whole image is shown.", "error")]
            return None

    def follow(self, wanted: dict[str, Any]) -> None:
        """Make the lists agree with an image that a link in the viewer has opened."""
        opened = wanted.get("linked") and wanted.get("release") == self.release.value
        shown = whole_image(str(wanted.get("id")))
        row = next((r for r in self.rows if r.dataset_id == shown), None) if opened else None
        if row is not None:
            self.choose(row, show=False)

    def step(self, by: int) -> None:
        """Go to the next or previous visit or patch of the same band."""
        places = self.place.options
        if self.place.value in places:
            self.place.value = places[(places.index(self.place.value) + by) % len(places)]

    def search(self) -> None:
        """Show the image of the chosen kind and band that contains the typed position."""
        if not self.position.value.strip():
            return
        try:
            position = parse_position(self.position.value)
            self.show_position(*position, self.kind.value, self.band.value, self.place.value)
        except UsageError as error:
            self.message.objects = [notice(str(error), "error")]

    def show_position(
        self, ra_deg: float, dec_deg: float, kind: str | None, band: str | None, place: str | None = None
    ) -> None:
        """Show an image that contains a position, preferably of a kind, a band and a visit."""
        inside = [r for r in self.rows if contains_position(r, ra_deg, dec_deg)]
        if not inside:
            self.message.objects = [
                notice(
                    f"No image of release {self.release.value} covers RA {ra_deg:.5f}°, Dec {dec_deg:.5f}°."
                )
            ]
            return
        self.message.objects = []
        order = {k: n for n, k in enumerate(self.kinds())}
        shrink = math.cos(math.radians(dec_deg))

        def rank(row: ImageRow) -> tuple[bool, bool, int, bool, bool, float]:
            # Patches overlap: the one whose middle is nearest shows most of the surroundings.
            away = math.hypot(((row.ra_deg or 0.0) - ra_deg) * shrink, (row.dec_deg or 0.0) - dec_deg)
            stays = row.visit is not None and _place_of(row) == place
            kind_order = order[row.dataset_type]
            return row.dataset_type != kind, row.band != band, kind_order, row.band != "r", not stays, away

        best = min(inside, key=rank)
        self.choose(best, ra_deg, dec_deg)

    def open_first(self) -> None:
        """Show what the address asks for."""
        query = self.request.query
        if query.get("release") == OWN_IMAGES and query.get("id"):
            self.load(show=False)
            self.view.show(OWN_IMAGES, query["id"])
            return
        if query.get("file") and not query.get("id"):
            self._open_own(query["file"])
            return
        self.rows = list(self.services.images.list_images(self.request.identity, self.release.value))
        ra_deg, dec_deg = self.request.number("ra"), self.request.number("dec")
        if visit := parse_visit_id(query.get("id", "")):
            of_visit = next((r for r in self.rows if (r.dataset_type, r.visit) == visit), None)
            if of_visit is not None:
                self.choose(of_visit, whole=True)
                return
        shown = query.get("id", "")
        wanted = next((r for r in self.rows if r.dataset_id == whole_image(shown)), None)
        if wanted is not None and parse_cutout_id(shown):
            self.choose(wanted, show=False)
            self.view.show(self.release.value, shown)
            return
        if wanted is None and query.get("visit"):
            wanted = self._find_visit(query)
        if wanted is not None:
            self.choose(wanted, ra_deg, dec_deg)
        elif ra_deg is not None and dec_deg is not None:
            self.load()
            self.show_position(ra_deg, dec_deg, query.get("kind"), query.get("band"))
        else:
            self.load()
            if query.get("id"):
                self.message.objects = [
                    notice("The image of this address is not in the release; the first one is shown.")
                ]

    def _open_own(self, path: str) -> None:
        """Show the first image of a file in the person's home folder; if there is none, say so and show another."""
        try:
            told = self.services.images.files.open_own(self.request.identity, path)
            if not told["first"]:
                raise UsageError(f"{told['name']} holds no image: the Files page shows its tables")
        except PortalError as error:
            self.load()
            self.message.objects = [notice(f"{escape(str(error))}.", "error")]
            return
        self.load(show=False)
        self.view.show(OWN_IMAGES, told["first"])

    def _find_visit(self, query: dict[str, str]) -> ImageRow | None:
        kind = query.get("kind", "visit_image")
        for row in self.rows_of_kind(kind):
            if str(row.visit) == query["visit"] and query.get("detector", str(row.detector)) == str(
                row.detector
            ):
                return row
        return None


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
    releases = [release.name for release in services.releases.list_visible(request.identity)]
    if not releases:
        return no_release()
    chooser = _Chooser(services, request, releases)
    chooser.open_first()
    chooser.wire()
    bar = pn.FlexBox(
        chooser.release, chooser.kind, chooser.band, chooser.place, chooser.detector, chooser.before, chooser.after,
        chooser.position, chooser.side, chooser.find,
        align_items="end", sizing_mode="stretch_width", margin=(0, 0, 10, 0),
    )  # fmt: skip
    foot = pn.Row(chooser.transfer.view, chooser.notebook, sizing_mode="stretch_width", margin=0)
    return pn.Column(bar, chooser.message, chooser.view, foot, sizing_mode="stretch_both")
