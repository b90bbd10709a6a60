"""The Light curves page: photometry of one object and of others beside it, in time or folded."""

from __future__ import annotations

import asyncio
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
import pyarrow as pa
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.services.lightcurve_colours import (
    COLOUR_COLUMNS,
    list_pairs,
    make_colour_curve,
    tabulate_colours,
)
from skydesk_portal.services.lightcurve_stamps import STAMPS, find_stamps
from skydesk_portal.services.lightcurves import FLUX_KINDS, LightCurve, LightCurveService
from skydesk_portal.services.movingobjects import MOVING_FLUXES, MovingObjectService
from skydesk_portal.services.snippets import light_curve_cells
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.lightcurve_export import ExportPanel
from skydesk_portal.ui.lightcurve_external import ExternalPanel
from skydesk_portal.ui.lightcurve_periods import PeriodPanel
from skydesk_portal.ui.lightcurve_plot import LightCurvePlot
from skydesk_portal.ui.lightcurve_stamps import image_address, render_strip, render_triplet
from skydesk_portal.ui.lightcurve_view import LightCurveView, read_view, write_view
from skydesk_portal.ui.notebook_button import NotebookButton
from skydesk_portal.ui.phasecurve_plot import draw_phase_curve
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.shell import PageRequest, no_release, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_MOST_STAMPS = 24
_STAMP_SIZES = {"10″": 10.0, "20″": 20.0, "40″": 40.0, "80″": 80.0}


class _Page:
    """One person's view of light curves."""

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.request = request
        self.images = services.images
        self.curves = LightCurveService(services.queries)
        self.moving = MovingObjectService(services.queries)
        self.curve: LightCurve | None = None
        self.others: list[LightCurve] = []
        self.plot: LightCurvePlot | None = None
        self.drawn = False
        self.picked_row: int | None = None
        self.asked = 0
        self.brushed: tuple[float, float] | None = None
        self.wanted: LightCurveView | None = read_view(request.query)
        first = self.wanted.release if self.wanted.release in releases else releases[0]
        self.release = pn.widgets.Select(name="Release", options=releases, value=first, width=130)
        self.target = pn.widgets.TextInput(
            name="Object ID or position (RA Dec)", placeholder="53.13 -28.10", width=270
        )
        self.kind = pn.widgets.Select(
            name="Objects", options={"on coadds": "Object", "on differences": "DiaObject", "moving": "SSObject"},
            width=140,
            value=self.wanted.kind,
        )  # fmt: skip
        self.flux = pn.widgets.Select(
            name="Fluxes", options={text: key for key, text in FLUX_KINDS.items()}, width=180,
            value=self.wanted.flux_kind,
        )  # fmt: skip
        self.compare = pn.widgets.TextInput(
            name="Compare with (IDs)",
            placeholder="IDs of the same kind",
            width=220,
            value=" ".join(self.wanted.others),
        )
        self.show = pn.widgets.Button(name="Show", button_type="primary", width=80, align="end")
        self.colours = pn.widgets.CheckBoxGroup(name="Colours", options=[], inline=True)
        self.bin_day = pn.widgets.FloatInput(
            name="Bin of colours (days)", value=self.wanted.bin_day, start=0.001, width=150
        )
        self.stamp = pn.widgets.Select(name="Stamps", options=list(STAMPS), value="difference", width=120)
        self.size = pn.widgets.Select(name="Width", options=_STAMP_SIZES, value=20.0, width=90)
        self.notebook = NotebookButton(services.notebooks, request, "lightcurves", self.as_cells, align="end")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.about, self.picked, self.strip = (
            pn.pane.HTML("", sizing_mode="stretch_width") for _ in range(3)
        )
        self.drawing = pn.Column(sizing_mode="stretch_width", margin=0)
        self.choices = pn.FlexBox()
        self.table = ResultTable(self.pick_row)
        self.colour_table = ResultTable()
        self.colour_place = pn.Column(sizing_mode="stretch_width", margin=0)
        self.phase_place = pn.Column(sizing_mode="stretch_width", margin=0)
        self.periods = PeriodPanel(request.dark, self.get_primary, self.fold, self.scale)
        self.external = ExternalPanel(self.draw)
        self.export = ExportPanel(self.list_curves)
        self.body = self._lay_out()
        self.show.on_click(self.on_show)
        self.target.param.watch(self.on_show, "value")
        self.flux.param.watch(self.on_flux, "value")
        self.compare.param.watch(self.on_show, "value")
        self.colours.param.watch(self.on_colours, "value")
        self.bin_day.param.watch(self.on_colours, "value")
        self.stamp.param.watch(self.on_stamp_style, "value")
        self.size.param.watch(self.on_stamp_style, "value")

    def _lay_out(self) -> pn.Column:
        def card(title: str, content: Viewable, collapsed: bool) -> pn.Card:
            return pn.Card(
                content, title=title, collapsed=collapsed, sizing_mode="stretch_width", margin=(8, 0)
            )

        return pn.Column(
            pn.Row(self.about, self.notebook, sizing_mode="stretch_width"),
            self.drawing,
            self.phase_place,
            self.picked,
            pn.FlexBox(self.stamp, self.size, align_items="end", sizing_mode="stretch_width"),
            self.strip,
            card("Period search", self.periods.view, False),
            card("Own photometry", self.external.view, True),
            card("Export and code", self.export.view, True),
            self.table.view,
            self.colour_place,
            sizing_mode="stretch_width",
            visible=False,
        )

    def as_cells(self) -> tuple[str, tuple[str, ...]]:
        """Return a title and the code that reads and plots what is shown."""
        curve = self.curve
        if curve is None:
            raise UsageError("no light curve is shown")
        title = f"Light curve of {curve.kind} {curve.object_id}"
        if curve.flux_kind in ("direct", "difference"):
            return title, light_curve_cells(curve.release, curve.kind, curve.object_id, curve.flux_kind)
        # The lab's client reads forced fluxes only.
        return title, (self.export.python.value,)

    def suggest(self) -> None:
        """Offer light curves of the chosen release to begin with."""
        text = "Type an object ID or a position, or click a source on an image or a row of the Object table."
        try:
            found = self.curves.list_suggestions(self.request.identity, self.release.value)
            bodies = self.moving.list_suggestions(self.request.identity, self.release.value)
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
        moving = "".join(
            f"<li><a href='{PREFIX}/lightcurves?release={self.release.value}&ssobject={number}'>{escape(name)}</a> "
            f"<span class='soft'>{count} detections</span></li>"
            for number, name, count in bodies
        )
        text += f"<p>Moving objects:</p><ul>{moving}</ul>" if bodies else ""
        self.message.objects = [notice(text, "info")]

    def get_primary(self) -> Photometry | None:
        """Return the points of the light curve that the page is about."""
        return self.curve.photometry if self.curve else None

    def list_curves(self) -> list[Photometry]:
        """List all light curves in the plot, the page's own first."""
        own = [self.curve, *self.others] if self.curve else self.others
        return [c.photometry for c in own] + self.external.curves

    async def on_show(self, _event: Any) -> None:
        """Read what was typed and show its light curve."""
        text = self.target.value.strip() or (str(self.curve.object_id) if self.curve else "")
        if not text:
            self.message.objects = [notice("Type an object ID or a position.")]
            return
        await self.load(text, self.kind.value)

    async def on_flux(self, event: Any) -> None:
        """Read the light curve with other fluxes, unless it is shown with them."""
        if self.curve is None or self.curve.flux_kind != event.new:
            await self.on_show(event)

    async def load(self, text: str, kind: str) -> None:
        """Show the light curve of an identifier or of the object at a position."""
        self.show.loading = True
        self.asked += 1
        mine = self.asked
        try:
            curve, others = await asyncio.to_thread(self._read, text, kind, self.compare.value)
        except PortalError as error:
            if mine != self.asked:
                return
            self.message.objects = [notice(f"{error}.", "error")]
            self.body.visible = False
            return
        finally:
            self.show.loading = False
        if mine != self.asked:
            # Something else was asked for meanwhile: what was asked for last is shown.
            return
        with pn.io.hold():
            self.message.objects = []
            self.present(curve, others)

    def _read(self, text: str, kind: str, compare: str) -> tuple[LightCurve, list[LightCurve]]:
        who, release, flux = self.request.identity, self.release.value, self.flux.value
        if text.removeprefix("-").isdigit():
            object_id = int(text)
        elif kind == "SSObject":
            object_id = self.moving.find_object(who, release, text)
        else:
            kind = "Object"
            object_id = self.curves.find_object(who, release, *parse_position(text))
        if kind == "SSObject" and flux not in MOVING_FLUXES:
            flux = MOVING_FLUXES[0]

        def read(number: int) -> LightCurve:
            if kind == "SSObject":
                return self.moving.get_curve(who, release, number, flux)
            return self.curves.get_curve(who, release, number, kind, flux)

        words = [w for w in compare.replace(",", " ").split() if w.isdigit() and int(w) != object_id]
        return read(object_id), [read(int(w)) for w in dict.fromkeys(words[:8])]

    def present(self, curve: LightCurve, others: list[LightCurve]) -> None:
        """Show light curves that have been read."""
        if self.curve is None or self.curve.object_id != curve.object_id or self.curve.kind != curve.kind:
            self.periods.clear()
            self.picked_row = None
        self.curve, self.others = curve, others
        self.kind.value, self.flux.value = curve.kind, curve.flux_kind
        self.target.param.update(value_input=str(curve.object_id))
        points = ", ".join(f"{(curve.array('band') == b).sum()} in {b}" for b in curve.bands)
        here = f"release={curve.release}&ra={curve.ra_deg:.7f}&dec={curve.dec_deg:.7f}"
        place = f"RA {curve.ra_deg:.6f}°, Dec {curve.dec_deg:.6f}°"
        link = f"<a href='{PREFIX}/images?{here}&kind=deep_coadd&src=Object'>show on the coadd</a>"
        if curve.moves:
            epoch = curve.table.slice(curve.table.num_rows // 2, 1).to_pylist()[0]
            place = f"moving object {curve.object_id} · {place} on MJD {epoch['mjd']:.4f}"
            link = f"<a href='{image_address(curve, epoch, 'visit_image')}'>show its track on an image</a>"
        self.about.object = (
            f"<h2>{escape(curve.label)}</h2>"
            f"<p class='soft'>{place} · {curve.table.num_rows} epochs: {points} · {link}</p>"
        )
        self.picked.object = "<p class='soft'>Choose a point or a row to see its images.</p>"
        self.strip.object = (
            "<p class='soft'>Let dragging choose a time range to see the stamps of its epochs.</p>"
        )
        unit = next((c.unit for c in curve.columns if c.name == "flux"), "nJy") or "nJy"
        self.table.show(
            curve.table,
            curve.columns,
            f"Light curve of {curve.label} ({FLUX_KINDS[curve.flux_kind]} fluxes in {unit})",
        )
        self.draw()
        self.show_phases()
        self.body.visible = True

    def show_phases(self) -> None:
        """Draw the phase curve of a moving object."""
        curve = self.curve
        self.phase_place.objects = []
        if curve is None or not curve.moves:
            return
        try:
            bands = self.moving.get_phase_curve(self.request.identity, curve)
        except PortalError as error:
            self.phase_place.objects = [notice(f"The phase curve is not to be had now: {error}.")]
            return
        content = draw_phase_curve(bands, curve.label, self.request.dark)
        self.phase_place.objects = [
            pn.Card(content, title="Phase curve", sizing_mode="stretch_width", margin=(8, 0))
        ]

    def draw(self) -> None:
        """Draw all light curves, as the address or the plot before had them."""
        curve = self.curve
        if curve is None:
            return
        view = self.wanted or self.view()
        self.wanted = None
        self.drawn = False
        curves, plot = self.list_curves(), self.plot
        is_new = plot is None or not plot.update(curves)
        if plot is None or is_new:
            places = plot.places if plot is not None else ()
            self.close()
            plot = self.plot = LightCurvePlot(curves, self.request.dark, self.pick, self.brush, places)
        pairs = list_pairs(curve.bands) if curve.flux_kind in ("direct", "science") else []
        self._choose(plot, view)
        self.colours.param.update(options=pairs, value=[p for p in view.colours if p in pairs])
        plot.arrange()
        self.show_colours()
        self._place(plot, is_new, bool(pairs))
        self.drawn = True
        self.note_view()
        if view.range_mjd is not None:
            mjd = curve.array("mjd")
            inside = np.flatnonzero((mjd >= view.range_mjd[0]) & (mjd <= view.range_mjd[1]))
            self.brush([int(n) for n in inside], *view.range_mjd)

    @staticmethod
    def _choose(plot: LightCurvePlot, view: LightCurveView) -> None:
        """Set the plot's widgets."""
        if view.period_day is not None:
            plot.period.value = view.period_day
        if view.epoch_mjd is not None:
            plot.epoch.value = view.epoch_mjd
        if view.bands is not None and (bands := [b for b in plot.bands.options if b in view.bands]):
            plot.bands.value = bands
        plot.show_flagged = view.flagged
        plot.unit.value = "AB magnitude" if view.magnitudes else "flux"
        plot.against.value = "phase" if view.folded else "time"

    def _place(self, plot: LightCurvePlot, is_new: bool, has_colours: bool) -> None:
        """Put the plot and what changes it on the page."""
        choices = [*plot.choices, *([self.colours, self.bin_day] if has_colours else [])]
        if not is_new:
            if len(self.choices.objects) != len(choices):
                self.choices.objects = choices
            return
        self.choices = pn.FlexBox(*choices, align_items="end", sizing_mode="stretch_width")
        # Bokeh's models are complete before the page takes them up: later changes need the document's lock.
        controls = pn.FlexBox(*plot.controls, align_items="end", sizing_mode="stretch_width")
        self.drawing.objects = [controls, self.choices, plot.view]
        for widget in (plot.unit, plot.against, plot.period, plot.epoch, plot.bands, plot.flagged):
            widget.param.watch(self.note_view, "value")

    def on_return(self, _event: Any) -> None:
        """Arrange the points after the connection was away: the browser may have been given the plot anew."""
        if self.plot is not None:
            self.plot.arrange()
            if pn.state.location:
                # What was last written into the address may not have arrived, and the same once more would not be sent.
                pn.state.location.search = ""
            self.note_view()

    def view(self) -> LightCurveView:
        """Return what the page shows."""
        curve, plot = self.curve, self.plot
        if curve is None or plot is None:
            return LightCurveView(self.release.value)
        everything = len(plot.bands.value) == len(plot.bands.options)
        folded = plot.against.value == "phase"
        return LightCurveView(
            release=curve.release,
            kind=curve.kind,
            object_id=str(curve.object_id),
            flux_kind=curve.flux_kind,
            others=tuple(str(c.object_id) for c in self.others),
            magnitudes=plot.unit.value == "AB magnitude",
            folded=folded,
            period_day=plot.period.value if plot.period.value != 1.0 or folded else None,
            epoch_mjd=plot.epoch.value if folded else None,
            bands=None if everything else tuple(plot.bands.value),
            flagged=plot.show_flagged,
            range_mjd=self.brushed,
            colours=tuple(self.colours.value),
            bin_day=self.bin_day.value or 1.0,
        )

    def note_view(self, _event: Any = None) -> None:
        """Write the view into the address and into the code."""
        curve, plot = self.curve, self.plot
        if curve is None or plot is None or not self.drawn:
            return
        view = self.view()
        if pn.state.location:
            pn.state.location.search = write_view(view)
            place = pn.state.location
            port = f":{place.port}" if place.port else ""
            url = f"{place.protocol}//{place.hostname}{port}"
        else:
            url = ""
        self.export.show(curve, url, view.period_day if view.folded else None, view.epoch_mjd or 0.0)

    def close(self) -> None:
        """Give back what the page holds."""
        if self.plot is not None:
            self.plot.close()

    def on_colours(self, _event: Any) -> None:
        """Draw the colours that were chosen by hand."""
        self.show_colours()
        self.note_view()

    def show_colours(self) -> None:
        """Draw the colours that are chosen."""
        if self.curve is None or self.plot is None:
            return
        points = self.curve.photometry
        bin_day = self.bin_day.value or 1.0
        pairs = [pair.partition(" - ") for pair in self.colours.value]
        made = [make_colour_curve(points, first, second, bin_day) for first, _, second in pairs]
        self.plot.show_colours(made)
        self.colour_place.objects = [self.colour_table.view] if made else []
        if made:
            self.colour_table.show(
                tabulate_colours(made), COLOUR_COLUMNS, f"Colours in bins of {bin_day:g} days"
            )
        empty = [c.label for c in made if not c.mjd.size]
        if empty:
            text = f"No bin of {bin_day:g} days has good points in both bands of {', '.join(empty)}: make the bin longer."
            self.message.objects = [notice(text)]

    def fold(self, period_day: float, epoch_mjd: float | None) -> None:
        """Fold at a period of the search."""
        if self.plot:
            self.plot.fold(period_day, epoch_mjd)

    def scale(self, factor: float) -> None:
        """Fold at a multiple of the present period."""
        if self.plot and self.plot.period.value:
            self.plot.fold(self.plot.period.value * factor)

    def pick(self, index: int) -> None:
        """Answer to a click on a point."""
        self.table.mark(index)
        self.describe(index)

    def pick_row(self, index: int) -> None:
        """Answer to the choice of a row."""
        if self.plot:
            self.plot.mark(index)
        self.describe(index)

    def _stamps_of(self, row: dict[str, Any]) -> dict[str, str]:
        curve = self.curve
        assert curve is not None
        place = curve.place(row)
        try:
            return find_stamps(
                self.images,
                self.request.identity,
                curve.release,
                int(row["visit"]),
                int(row["detector"]),
                place,
            )
        except PortalError as error:
            self.message.objects = [notice(f"Stamps are not to be had now: {error}.")]
            return {}

    def describe(self, index: int) -> None:
        """Show the stamps of an epoch and link to its images."""
        curve = self.curve
        if curve is None or not 0 <= index < curve.table.num_rows:
            return
        self.picked_row = index
        self._tell(curve, [index], "Epoch of the light curve")
        row = curve.table.slice(index, 1).to_pylist()[0]
        self.picked.object = (
            f"<p><b>MJD {row['mjd']:.5f}</b>, band {row['band']}: {row['flux']:.5g} ± {row['fluxErr']:.2g} nJy"
            f"{', flagged' if row['flag'] else ''} &nbsp; "
            f"<a class='open' href='{image_address(curve, row, 'visit_image')}'>"
            f"Visit {row['visit']}, detector {row['detector']}</a> "
            f"<a class='open second' href='{image_address(curve, row, 'difference_image')}'>Difference image</a></p>"
            + render_triplet(curve, row, self._stamps_of(row), self.size.value)
        )

    def brush(self, rows: list[int], start_mjd: float, end_mjd: float) -> None:
        """Show the stamps of a range of time."""
        curve = self.curve
        if curve is None:
            return
        self.brushed = (start_mjd, end_mjd)
        epochs = curve.table.take(rows[:_MOST_STAMPS]).to_pylist() if rows else []
        title = f"<p><b>{len(rows)} epochs</b> from MJD {start_mjd:.4f} to {end_mjd:.4f}</p>"
        self.strip.object = title + render_strip(
            curve,
            [(e, self._stamps_of(e)) for e in epochs],
            self.stamp.value,
            self.size.value,
            len(rows) - len(epochs),
        )
        self._tell(curve, rows, "Epochs of the light curve")
        self.note_view()

    def _tell(self, curve: LightCurve, rows: list[int], caption: str) -> None:
        """Tell the person's programs which epochs are selected."""
        if self.request.view is not None:
            self.request.view.select(curve.table.take(pa.array(rows, pa.int64())), curve.columns, caption)

    def on_stamp_style(self, _event: Any) -> None:
        """Draw the stamps anew."""
        if self.picked_row is not None:
            self.describe(self.picked_row)
        if self.curve is not None and self.brushed is not None:
            mjd = self.curve.array("mjd")
            inside = np.flatnonzero((mjd >= self.brushed[0]) & (mjd <= self.brushed[1]))
            self.brush([int(n) for n in inside], *self.brushed)


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
    if pn.state.curdoc:
        pn.state.curdoc.on_event("client_reconnected", page.on_return)
    pn.state.on_session_destroyed(lambda _context: page.close())
    bar = pn.FlexBox(
        page.release,
        page.target,
        page.kind,
        page.flux,
        page.compare,
        page.show,
        align_items="end",
        sizing_mode="stretch_width",
    )
    ra_deg, dec_deg = request.number("ra"), request.number("dec")
    view = page.wanted
    if view is not None and view.object_id:
        pn.state.onload(partial(page.load, view.object_id, view.kind))
    elif ra_deg is not None and dec_deg is not None:
        pn.state.onload(partial(page.load, f"{ra_deg} {dec_deg}", "Object"))
    else:
        page.suggest()
        page.release.param.watch(lambda _event: page.suggest(), "value")
    return pn.Column(bar, page.message, page.body, sizing_mode="stretch_width")
