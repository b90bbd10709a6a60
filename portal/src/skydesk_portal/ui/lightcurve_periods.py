"""The period search on the Light curves page: what to try, the periodogram, its peaks, its window."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
import pyarrow as pa
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, HoverTool, LinearAxis, Range1d, Span

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.pipeline.errors import core_errors
from skydesk_portal.ui.plots import dress_legend, make_figure
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.pipeline.periods import PeriodSearch

__all__ = ["PeriodPanel", "reduce_curve", "run_search"]

_FEW_EPOCHS = 30
_DRAWN = 3000
_SINUSOIDS, _BOXES = "Lomb–Scargle, all bands", "box (transits, eclipses)"


def run_search(
    curve: Photometry, boxes: bool, shortest_day: float | None, longest_day: float | None
) -> PeriodSearch:
    """Search the points of a light curve that are not flagged.

    Parameters
    ----------
    curve
        Fluxes; bands share the relative variation.
    boxes
        Whether to look for boxes instead of sinusoids.
    shortest_day, longest_day
        Range of periods; None for what suits the data.

    Raises
    ------
    UsageError
        If there are too few points or the range cannot be searched.
    """
    # The kernels are compiled or loaded here, not when the page is imported.
    from skydesk_portal.pipeline.periods import make_series, search_boxes, search_periods

    good = ~curve.flag
    with core_errors():
        series = make_series(
            curve.mjd[good], curve.flux_njy[good], curve.error_njy[good], curve.band[good], relative=True
        )
        search = search_boxes if boxes else search_periods
        return search(series, shortest_day or None, longest_day or None)


def reduce_curve(x: Any, y: Any, count: int) -> tuple[Any, Any]:
    """Keep the highest value of each of ``count`` intervals, so that no peak is lost from a plot."""
    if len(x) <= count:
        return x, y
    edges = np.linspace(0, len(x), count + 1).astype(int)
    at = np.array([low + int(np.argmax(y[low:high])) for low, high in itertools.pairwise(edges)])
    return x[at], y[at]


class PeriodPanel:
    """Searches the light curve that the page shows.

    Parameters
    ----------
    dark
        Whether the page is dark.
    get_curve
        Gives the light curve, None if there is none.
    on_fold
        Called with a period in days and an epoch (MJD) or None.
    on_scale
        Called with the factor by which the period is to change.
    """

    def __init__(
        self,
        dark: bool,
        get_curve: Callable[[], Photometry | None],
        on_fold: Callable[[float, float | None], None],
        on_scale: Callable[[float], None],
    ) -> None:
        self._dark = dark
        self._get_curve = get_curve
        self._on_fold = on_fold
        self._search: PeriodSearch | None = None
        self.method = pn.widgets.Select(name="Method", options=[_SINUSOIDS, _BOXES], width=200)
        self.shortest = pn.widgets.FloatInput(
            name="Shortest (days)", value=None, start=0, placeholder="automatic", width=130
        )
        self.longest = pn.widgets.FloatInput(
            name="Longest (days)", value=None, start=0, placeholder="automatic", width=130
        )
        self.button = pn.widgets.Button(name="Find the period", button_type="primary", width=140, align="end")
        self.half = pn.widgets.Button(name="½ P", width=56, align="end")
        self.double = pn.widgets.Button(name="2 P", width=56, align="end")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.table = ResultTable(self._pick)
        self.save = pn.widgets.FileDownload(
            label="Periodogram (CSV)",
            callback=self._write,
            filename="periodogram.csv",
            width=180,
            align="end",
        )
        self._drawing = pn.Column(sizing_mode="stretch_width", margin=0)
        self._result = pn.Column(
            self._drawing, self.table.view, self.save, sizing_mode="stretch_width", visible=False
        )
        bar = pn.FlexBox(
            self.method, self.shortest, self.longest, self.button, self.half, self.double,
            align_items="end", sizing_mode="stretch_width",
        )  # fmt: skip
        self.view = pn.Column(bar, self.message, self._result, sizing_mode="stretch_width")
        self.button.on_click(self._run)
        self.half.on_click(lambda _event: on_scale(0.5))
        self.double.on_click(lambda _event: on_scale(2.0))

    def clear(self) -> None:
        """Forget the search of another light curve."""
        self._search = None
        self._result.visible = False
        self.message.objects = []

    async def _run(self, _event: Any) -> None:
        curve = self._get_curve()
        if curve is None:
            return
        boxes = self.method.value == _BOXES
        self.button.loading = True
        try:
            search = await asyncio.to_thread(
                run_search, curve, boxes, self.shortest.value, self.longest.value
            )
        except UsageError as error:
            self.message.objects = [notice(f"{str(error)[:1].upper()}{str(error)[1:]}.")]
            self._result.visible = False
            return
        finally:
            self.button.loading = False
        self._show(search)

    def _show(self, search: PeriodSearch) -> None:
        self._search = search
        if not search.peaks:
            self.message.objects = [notice("No peak stands out in this range of periods.")]
            self._result.visible = False
            return
        best = search.peaks[0]
        few = " With so few epochs an alias is as likely." if search.points < _FEW_EPOCHS else ""
        if search.method == "BLS":
            sure = f"depth {best.fit:.3g}, duration {24 * best.duration_day:.3g} h, middle at MJD {best.epoch_mjd:.4f}"
        else:
            sure = f"false-alarm probability {best.false_alarm:.2g} (Baluev 2008, white noise)"
        low, high = 1 / search.frequency_per_day[-1], 1 / search.frequency_per_day[0]
        self.message.objects = [
            notice(
                f"Best period {best.period_day:.8g} ± {best.period_error_day:.1g} d ({search.method}, power {best.power:.2f}, "
                f"{search.points} epochs): {sure}. {search.frequency_per_day.size:,} periods from {low:.4g} to {high:.4g} d "
                f"were tried.{few}",
                "info",
            )
        ]
        self._drawing.objects = [pn.pane.Bokeh(self._draw(search), sizing_mode="stretch_width", height=290)]
        self.table.show(*_peak_table(search))
        self._result.visible = True
        self._pick(0)

    def _draw(self, search: PeriodSearch) -> Any:
        plot = make_figure(self._dark, 290, "pan,wheel_zoom,box_zoom,reset,save,tap")
        line, ghost, mark = (
            ("#8ab4ff", "#6f7d8c", "#fdc900") if self._dark else ("#1f5fbf", "#8a95a1", "#b52626")
        )
        x, y = reduce_curve(search.frequency_per_day, search.power, _DRAWN)
        wx, wy = reduce_curve(search.frequency_per_day, search.window, _DRAWN)
        top = max(float(y.max()), *(level for _, level in search.levels), 1e-6) * 1.12
        # The window is 1 at its highest: drawn to half of the plot's height, it is compared by place, not by height.
        plot.line(wx, 0.5 * top * wy, line_color=ghost, line_dash="dotted", legend_label="window (scaled)")
        plot.line(x, y, line_color=line, legend_label="power")
        peaks = ColumnDataSource(
            {
                "x": [1 / p.period_day for p in search.peaks],
                "y": [p.power for p in search.peaks],
                "period": [p.period_day for p in search.peaks],
                "relation": [p.relation or ("best" if n == 0 else "") for n, p in enumerate(search.peaks)],
            }
        )
        dots = plot.scatter(
            "x", "y", source=peaks, marker="diamond", size=13, color=mark, legend_label="peaks: click to fold"
        )
        peaks.selected.on_change("indices", lambda _a, _o, new: self._pick(new[0]) if new else None)
        for probability, level in search.levels:
            plot.add_layout(
                Span(location=level, dimension="width", line_color=mark, line_dash="dashed", line_alpha=0.6)
            )
            plot.text(
                [x[-1]], [level], [f"{100 * probability:g} %"], text_align="right", text_baseline="bottom",
                text_font_size="11px", text_color=mark,
            )  # fmt: skip
        plot.add_tools(
            HoverTool(
                renderers=[dots],
                tooltips=[("period", "@period{0.0000000} d"), ("power", "@y{0.000}"), ("", "@relation")],
            )
        )
        upper = LinearAxis(
            axis_label="Period (days)",
            formatter=CustomJSTickFormatter(code="return tick > 0 ? (1 / tick).toPrecision(3) : ''"),
        )
        for name in (
            "axis_label_text_color",
            "major_label_text_color",
            "axis_line_color",
            "axis_label_text_font_style",
        ):
            setattr(upper, name, getattr(plot.xaxis[0], name))
        plot.xaxis.axis_label = "Frequency (1/day)"
        plot.add_layout(upper, "above")
        plot.yaxis.axis_label = "Power"
        plot.y_range = Range1d(0, top)
        dress_legend(plot.legend, self._dark)
        plot.legend.orientation = "horizontal"
        return plot

    def _pick(self, index: int) -> None:
        if self._search is not None and 0 <= index < len(self._search.peaks):
            peak = self._search.peaks[index]
            self.table.mark(index)
            self._on_fold(peak.period_day, peak.epoch_mjd if np.isfinite(peak.epoch_mjd) else None)

    def _write(self) -> io.StringIO:
        text = "frequency_per_day,power,window\n"
        if self._search is not None:
            s = self._search
            text += "".join(
                f"{f:.10g},{p:.6g},{w:.6g}\n"
                for f, p, w in zip(s.frequency_per_day, s.power, s.window, strict=True)
            )
        return io.StringIO(text)


def _peak_table(search: PeriodSearch) -> tuple[pa.Table, tuple[ColumnInfo, ...], str, str]:
    """Return the peaks as a table, the twin of the periodogram."""
    boxes = search.method == "BLS"
    fit = "depth" if boxes else "harmonicFit"
    columns = [
        (ColumnInfo("period", "double", unit="d"), [p.period_day for p in search.peaks]),
        (
            ColumnInfo("periodErr", "double", unit="d"),
            [float(f"{p.period_error_day:.2g}") for p in search.peaks],
        ),
        (
            ColumnInfo("power", "float", description="Share of the variance explained"),
            [p.power for p in search.peaks],
        ),
        (ColumnInfo(fit, "float"), [p.fit for p in search.peaks]),
    ]
    if boxes:
        columns.append((ColumnInfo("duration", "float", unit="d"), [p.duration_day for p in search.peaks]))
        columns.append(
            (ColumnInfo("epoch", "double", unit="d", description="MJD"), [p.epoch_mjd for p in search.peaks])
        )
    else:
        columns.append(
            (ColumnInfo("falseAlarm", "float"), [float(f"{p.false_alarm:.2g}") for p in search.peaks])
        )
    relation = ["best", *(p.relation for p in search.peaks[1:])]
    columns.append((ColumnInfo("relation", "char", arraysize="*", description="To the best one"), relation))
    table = pa.table({info.name: values for info, values in columns})
    note = "" if boxes else "ranked by fits of up to four harmonics"
    return table, tuple(info for info, _ in columns), f"Peaks of the periodogram ({search.method})", note
