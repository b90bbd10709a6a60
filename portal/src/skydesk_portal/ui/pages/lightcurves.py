"""The Light curves page: forced photometry of one object, in time or folded."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.services.lightcurves import LightCurve, LightCurveService, find_period
from skydesk_portal.services.snippets import light_curve_cells
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.lightcurve_plot import LightCurvePlot
from skydesk_portal.ui.notebook_button import NotebookButton
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.shell import PageRequest, no_release, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.ui.app import PortalServices

__all__ = ["build"]

_FEW_EPOCHS = 30


class _Page:
    """One person's view of one light curve at a time."""

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.request = request
        self.curves = LightCurveService(services.queries)
        self.curve: LightCurve | None = None
        wanted = request.query.get("release", "")
        self.release = pn.widgets.Select(
            name="Release", options=releases, value=wanted if wanted in releases else releases[0], width=130
        )
        self.target = pn.widgets.TextInput(
            name="Object ID or position (RA Dec)", placeholder="53.13 -28.10", width=280
        )
        self.kind = pn.widgets.Select(
            name="Objects", options={"on coadds": "Object", "on differences": "DiaObject"}, width=140
        )
        self.flux = pn.widgets.Select(name="Fluxes", options=["direct", "difference"], width=120)
        self.show = pn.widgets.Button(name="Show", button_type="primary", width=80, align="end")
        self.search = pn.widgets.Button(name="Find the period", width=140, align="end")
        self.notebook = NotebookButton(
            services.notebooks, request, "lightcurves", self.as_python, align="end"
        )
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.about = pn.pane.HTML("", sizing_mode="stretch_width")
        self.picked = pn.pane.HTML("", sizing_mode="stretch_width")
        self.plot: LightCurvePlot | None = None
        self.drawing = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self.pick_row)
        self.body = pn.Column(
            self.about,
            self.drawing,
            self.picked,
            self.table.view,
            sizing_mode="stretch_width",
            visible=False,
        )
        self.show.on_click(self.on_show)
        self.target.param.watch(self.on_show, "value")
        self.flux.param.watch(self.on_show, "value")
        self.search.on_click(self.on_search)

    def as_python(self) -> tuple[str, tuple[str, ...]]:
        """Return a title and the code that reads and plots what is shown."""
        curve = self.curve
        if curve is None:
            raise UsageError("no light curve is shown")
        cells = light_curve_cells(curve.release, curve.kind, curve.object_id, curve.flux_kind)
        return f"Light curve of {curve.kind} {curve.object_id}", cells

    def suggest(self) -> None:
        """Offer light curves of the chosen release to begin with."""
        text = "Type an object ID or a position, or click a source on an image or a row of the Object table."
        try:
            found = self.curves.list_suggestions(self.request.identity, self.release.value)
        except PortalError as error:
            self.message.objects = [notice(f"{text} Suggestions are not to be had now: {error}.", "info")]
            return
        if found:
            what = (
                "Detected most often on difference images"
                if found[0][0] == "DiaObject"
                else "The brightest objects"
            )
            links = "".join(
                f"<li><a href='{PREFIX}/lightcurves?release={self.release.value}&{kind.lower()}={number}'>"
                f"{kind} {number}</a> <span class='soft'>RA {ra_deg:.4f}° Dec {dec_deg:.4f}°</span></li>"
                for kind, number, ra_deg, dec_deg in found
            )
            text += f"<p>{what}:</p><ul>{links}</ul>"
        self.message.objects = [notice(text, "info")]

    async def on_show(self, _event: Any) -> None:
        """Read what was typed and show its light curve."""
        text = self.target.value.strip()
        if not text:
            self.message.objects = [notice("Type an object ID or a position.")]
            return
        await self.load(text, self.kind.value)

    async def load(self, text: str, kind: str) -> None:
        """Show the light curve of an identifier or of the object at a position."""
        who, release = self.request.identity, self.release.value
        self.show.loading = True
        try:
            if text.isdigit():
                object_id = int(text)
            else:
                kind = "Object"
                object_id = await asyncio.to_thread(
                    self.curves.find_object, who, release, *parse_position(text)
                )
            curve = await asyncio.to_thread(
                self.curves.get_curve, who, release, object_id, kind, self.flux.value
            )
        except PortalError as error:
            self.message.objects = [notice(f"{error}.", "error")]
            self.body.visible = False
            return
        finally:
            self.show.loading = False
        self.message.objects = []
        self.present(curve)

    def present(self, curve: LightCurve) -> None:
        """Show a light curve that has been read."""
        self.curve = curve
        self.kind.value = curve.kind
        self.target.param.update(value_input=str(curve.object_id))
        points = ", ".join(f"{(curve.array('band') == b).sum()} in {b}" for b in curve.bands)
        here = f"release={curve.release}&ra={curve.ra_deg:.7f}&dec={curve.dec_deg:.7f}"
        self.about.object = (
            f"<h2>{curve.kind} {curve.object_id}</h2>"
            f"<p class='soft'>RA {curve.ra_deg:.6f}°, Dec {curve.dec_deg:.6f}° · {curve.table.num_rows} epochs: {points} · "
            f"<a href='{PREFIX}/images?{here}&kind=deep_coadd&src=Object'>show on the coadd</a></p>"
        )
        self.picked.object = (
            "<p class='soft'>Choose a point or a row to open the visit image it was measured on.</p>"
        )
        self.plot = LightCurvePlot(curve, self.request.dark, self.pick)
        controls = pn.FlexBox(
            *self.plot.controls, self.search, self.notebook, align_items="end", sizing_mode="stretch_width"
        )
        self.drawing.objects = [controls, self.plot.view]
        unit = next((c.unit for c in curve.columns if c.name == "flux"), "nJy") or "nJy"
        self.table.show(
            curve.table,
            curve.columns,
            f"Light curve of {curve.kind} {curve.object_id} ({curve.flux_kind} fluxes in {unit})",
        )
        self.body.visible = True
        if pn.state.location:
            key = "object" if curve.kind == "Object" else "diaobject"
            pn.state.location.search = f"?release={curve.release}&{key}={curve.object_id}"

    def pick(self, index: int) -> None:
        """Answer to a click on a point."""
        self.table.mark(index)
        self.describe(index)

    def pick_row(self, index: int) -> None:
        """Answer to the choice of a row."""
        if self.plot:
            self.plot.mark(index)
        self.describe(index)

    def describe(self, index: int) -> None:
        """Say which epoch was chosen and link to its images."""
        curve = self.curve
        if curve is None:
            return
        if self.request.view:
            self.request.view.select(curve.table.slice(index, 1), curve.columns, "Epoch of the light curve")
        row = curve.table.slice(index, 1).to_pylist()[0]
        link = (
            f"{PREFIX}/images?release={curve.release}&visit={row['visit']}&detector={row['detector']}"
            f"&ra={curve.ra_deg:.7f}&dec={curve.dec_deg:.7f}"
        )
        self.picked.object = (
            f"<p><b>MJD {row['mjd']:.5f}</b>, band {row['band']}: {row['flux']:.5g} ± {row['fluxErr']:.2g} nJy &nbsp; "
            f"<a class='open' href='{link}&kind=visit_image'>Visit {row['visit']}, detector {row['detector']}</a> "
            f"<a class='open second' href='{link}&kind=difference_image'>Difference image</a></p>"
        )

    async def on_search(self, _event: Any) -> None:
        """Find the best period and fold at it."""
        curve = self.curve
        if curve is None or self.plot is None:
            return
        good = ~curve.array("flag").astype(bool)
        arrays = [curve.array(n)[good] for n in ("mjd", "flux", "fluxErr", "band")]
        self.search.loading = True
        try:
            period, power = await asyncio.to_thread(find_period, *arrays)
        except UsageError as error:
            self.message.objects = [notice(f"{error}.")]
            return
        finally:
            self.search.loading = False
        self.plot.fold(period)
        few = " With so few epochs an alias is as likely." if good.sum() < _FEW_EPOCHS else ""
        text = f"Best period {period:.6g} d (multi-band Lomb–Scargle power {power:.2f}, {good.sum()} epochs).{few}"
        self.message.objects = [notice(text, "info")]


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
    page = _Page(services, request, releases)
    query = request.query
    bar = pn.FlexBox(
        page.release,
        page.target,
        page.kind,
        page.flux,
        page.show,
        align_items="end",
        sizing_mode="stretch_width",
    )
    ra_deg, dec_deg = request.number("ra"), request.number("dec")
    if query.get("object") or query.get("diaobject"):
        kind = "Object" if query.get("object") else "DiaObject"
        text = query.get("object") or query.get("diaobject") or ""
        pn.state.onload(partial(page.load, text, kind))
    elif ra_deg is not None and dec_deg is not None:
        pn.state.onload(partial(page.load, f"{ra_deg} {dec_deg}", "Object"))
    else:
        page.suggest()
        page.release.param.watch(lambda _event: page.suggest(), "value")
    return pn.Column(bar, page.message, page.body, sizing_mode="stretch_width")
