"""A kept result on the Catalogs page: table, plots and what is chosen in them, kept and taken elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import numpy as np
import panel as pn
import pyarrow as pa
from numpy.typing import NDArray

from skydesk_portal.exceptions import PortalError, QueryError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.resultsets import ResultSet, ResultView
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.explorer import ResultExplorer, find_position_columns
from skydesk_portal.ui.catalog_state import CatalogState, read_region, write_region
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.linked import LinkedViews
from skydesk_portal.ui.photometry_presets import list_presets
from skydesk_portal.ui.result_table import KeptTable
from skydesk_portal.ui.result_transfer import ResultTransfer
from skydesk_portal.ui.row_sheet import write_sheet, write_statistics
from skydesk_portal.ui.shell import notice
from skydesk_portal.ui.subsets_panel import SubsetsPanel

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["ResultPanel"]

CHOSEN_SUBSET = "chosen"
"""Subset that downloads of the chosen rows are made from."""

_MOST_DESCRIBED = 40
_MOST_TOLD = 10_000
_MOST_LINKS = 12
_OBJECTS = (("objectId", "object"), ("diaObjectId", "diaobject"))
_ALL, _ONLY = "all rows", "chosen rows only"
_INSIDE, _OUTSIDE = "inside the brushes", "outside of them"
_FORMATS = (("csv", "CSV"), ("votable", "VOTable"), ("parquet", "Parquet"), ("fits", "FITS"))


class ResultPanel:
    """Everything below the query.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who is looking.
    dark
        Whether the page is dark.
    on_change
        Called when something that an address restores has changed.
    on_selected
        Called with the rows that are selected now, their columns and what they are.
    """

    def __init__(
        self,
        services: PortalServices,
        identity: Identity,
        dark: bool,
        on_change: Callable[[], None],
        on_selected: Callable[[pa.Table, Sequence[ColumnInfo], str], None],
    ) -> None:
        self.services = services
        self.identity = identity
        self.explorer: ResultExplorer | None = None
        self._changed = on_change
        self._selected = on_selected
        self._row: int | None = None
        self._restoring = False
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.actions = pn.pane.HTML("", sizing_mode="stretch_width")
        self.links = pn.pane.HTML("", sizing_mode="stretch_width")
        self.sheet = pn.pane.HTML("", sizing_mode="stretch_width")
        self.statistics = pn.pane.HTML("", sizing_mode="stretch_width")
        self.count = pn.pane.HTML("", sizing_mode="stretch_width")
        self.rows = KeptTable(self.pick, self._on_tick, self._on_conditions, self.say, self._order_columns)
        self.views = LinkedViews(dark, self.pick_point, self._on_chosen, self._on_change, self.say)
        self.subsets = SubsetsPanel(self)
        self.transfer = ResultTransfer(services, identity, lambda: (self.result.id, self.shown_view()))
        self._make_tools()
        self.body = pn.Column(
            self.actions, self.transfer.view, self.message, self._tools_view(), self.rows.view, self.links,
            self.sheet_card, self.count, self._choose_view(), self.views.view, sizing_mode="stretch_width", visible=False,
        )  # fmt: skip

    def _make_tools(self) -> None:
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.expression = pn.widgets.TextInput(
            name="Condition for rows (ADQL)",
            placeholder="g_psfFlux / r_psfFlux > 1.2 AND band IN ('g', 'r')",
            **stretch,
        )
        self.columns = pn.widgets.MultiChoice(
            name="Columns in this order (none: all)", placeholder="all columns", solid=False, **stretch
        )
        self.derived_name = pn.widgets.TextInput(name="New column", placeholder="g_r", width=130)
        self.derived_text = pn.widgets.TextInput(
            name="Its expression (ADQL)", placeholder="-2.5 * LOG10(g_psfFlux / r_psfFlux)", width=330
        )
        self.derive = pn.widgets.Button(name="Compute column", width=140)
        self.forget = pn.widgets.Select(name="Computed columns", options=[""], width=150)
        self.forget_button = pn.widgets.Button(name="Remove column", width=130, disabled=True)
        self.preset = pn.widgets.Select(name="Colours and magnitudes", options=["(choose)"], width=230)
        self.describe = pn.widgets.Button(name="Statistics of the shown columns", width=230)
        self.only = pn.widgets.Select(name="Table shows", options=[_ALL, _ONLY], width=160)
        self.invert = pn.widgets.Select(name="Rows are chosen", options=[_INSIDE, _OUTSIDE], width=170)
        self.clear = pn.widgets.Button(name="Choose all rows again", width=170)
        self.sheet_card = pn.Column(visible=False, css_classes=["panel"], **stretch)
        self.sheet_card.objects = [self.sheet]
        self.expression.param.watch(self._on_expression, "value")
        self.columns.param.watch(self._on_columns, "value")
        self.derive.on_click(self._on_derive)
        self.forget_button.on_click(self._on_forget)
        self.preset.param.watch(self._on_preset, "value")
        self.describe.on_click(self._on_describe)
        self.only.param.watch(self._on_only, "value")
        self.invert.param.watch(lambda event: self.views.invert(event.new == _OUTSIDE), "value")
        self.clear.on_click(self._on_clear)

    def _tools_view(self) -> Any:
        derive = pn.FlexBox(
            self.derived_name, self.derived_text, self.derive, self.forget, self.forget_button, align_items="end",
            sizing_mode="stretch_width",
        )  # fmt: skip
        return pn.Card(
            self.expression, self.columns, derive, pn.FlexBox(self.describe), self.statistics,
            title="Conditions, columns, statistics", collapsed=True, sizing_mode="stretch_width",
        )  # fmt: skip

    def _choose_view(self) -> Any:
        return pn.Column(
            pn.FlexBox(
                self.preset,
                self.clear,
                self.invert,
                self.only,
                align_items="end",
                sizing_mode="stretch_width",
            ),
            self.subsets.view,
            sizing_mode="stretch_width",
        )

    # Showing

    @property
    def result(self) -> ResultSet:
        """What is shown."""
        assert self.explorer is not None
        return self.explorer.result

    def show(self, result: ResultSet, state: CatalogState | None) -> None:
        """Show a result, as an address said if one is given."""
        before = self.explorer
        self.explorer = self.services.results.open(self.identity, result.id)
        if before is not None:
            before.close()
        self._restoring = True
        try:
            self._show(state or CatalogState(result.adql))
        finally:
            self._restoring = False
        self.body.visible = True

    def _show(self, state: CatalogState) -> None:
        assert self.explorer is not None
        self.message.objects = []
        self._row = None
        self.sheet_card.visible = False
        self.statistics.object = ""
        self.only.value, self.invert.value = _ALL, _INSIDE
        view, filters, expression = state.view, state.filters, state.expression
        try:
            self.explorer.derive(view.derived)
        except PortalError as error:
            view = ResultView()
            self.explorer.derive(())
            self.say(error)
        known = {c.name for c in self.explorer.columns}
        view = replace(
            view,
            columns=tuple(n for n in view.columns if n in known),
            sort=tuple(key for key in view.sort if key[0] in known),
        )
        try:
            self.rows.show(self.explorer, view, filters, expression)
        except PortalError as error:
            self.say(error)
            self.rows.show(self.explorer, view, {}, "")
        self.expression.value = self.rows.expression
        self._offer_columns()
        self.columns.value = list(view.columns)
        self.views.show(self.explorer, state.plots)
        self.subsets.fill()
        if self.rows.shown.filters:
            self._on_conditions()
        for plot, saved in zip(self.views.plots.values(), state.plots or (), strict=False):
            region = read_region(saved.get("b", ()))
            if region is not None and plot.figure is not None and isinstance(saved.get("b"), list):
                plot.choose(region)
        self._on_chosen(True)
        self.show_actions()

    def _offer_columns(self) -> None:
        assert self.explorer is not None
        names = [c.name for c in self.explorer.columns]
        self.columns.options = names
        derived = [name for name, _ in self.rows.shown.derived]
        self.forget.param.update(options=["", *derived], value="")
        self.forget_button.disabled = not derived
        self._presets = {p.title: p for p in list_presets(names)}
        self.preset.param.update(options=["(choose)", *self._presets], value="(choose)")

    def say(self, error: PortalError | None) -> None:
        """Say what cannot be done; the page goes on."""
        if error is None:
            self.message.objects = []
            return
        place = (
            f" (line {error.line}, column {error.column})"
            if isinstance(error, QueryError) and error.line
            else ""
        )
        text = str(error)
        if place:
            text = text.split(": ", 1)[-1]
        self.message.objects = [notice(escape(text) + place, "error")]

    def state(self, query: str) -> CatalogState:
        """Return what an address has to say."""
        plots = []
        for plot, saved in zip(self.views.plots.values(), self.views.states(), strict=True):
            plots.append(saved | ({"b": write_region(plot.region)} if plot.region is not None else {}))
        return CatalogState(query, self.rows.shown, self.rows.filters, self.rows.expression, tuple(plots))

    def _on_change(self) -> None:
        if not self._restoring:
            self._changed()

    # Columns and conditions

    def _on_conditions(self) -> None:
        """Follow a change of the table's conditions or order: the plots show the same rows."""
        assert self.explorer is not None
        filters = self.rows.shown.filters
        self.views.set_mask("conditions", self.explorer.matches(filters) if filters else None)
        self.show_actions()
        self._on_change()

    def _on_expression(self, event: Any) -> None:
        if self.explorer is None or self._restoring or event.new == self.rows.expression:
            return
        try:
            self.rows.set_expression(event.new)
            self.say(None)
        except PortalError as error:
            self.say(error)

    def _on_columns(self, event: Any) -> None:
        if self.explorer is not None and not self._restoring:
            self.rows.set_columns(tuple(event.new))
            self.show_actions()
            self._on_change()

    def _order_columns(self, names: tuple[str, ...]) -> None:
        """Follow columns that were dragged in the table: the list of columns says the same."""
        self.columns.value = list(names)

    def _on_derive(self, _event: Any) -> None:
        if self.derive_columns(((self.derived_name.value.strip(), self.derived_text.value.strip()),)):
            self.derived_name.value = self.derived_text.value = ""

    def derive_columns(self, more: tuple[tuple[str, str], ...]) -> bool:
        """Compute more columns; those that are there already in the same form stay."""
        assert self.explorer is not None
        have = self.rows.shown.derived
        wanted = (*have, *(item for item in more if item not in have))
        return self._set_derived(wanted)

    def _set_derived(self, wanted: tuple[tuple[str, str], ...]) -> bool:
        assert self.explorer is not None
        have = self.rows.shown.derived
        try:
            self.explorer.derive(wanted)
        except PortalError as error:
            self.explorer.derive(have)
            self.say(error)
            return False
        self._restoring = True
        try:
            self.rows.set_derived(wanted)
            self._offer_columns()
            self.columns.value = list(self.rows.shown.columns)
            self.expression.value = self.rows.expression
            self.views.update_columns()
        finally:
            self._restoring = False
        self.say(None)
        self.show_actions()
        self._on_change()
        return True

    def _on_forget(self, _event: Any) -> None:
        name = self.forget.value
        if name:
            self._set_derived(tuple(item for item in self.rows.shown.derived if item[0] != name))

    def _on_preset(self, event: Any) -> None:
        preset = self._presets.get(event.new)
        if preset is None:
            return
        if self.derive_columns(preset.derived):
            self.views.add(preset.plot)
        self.preset.value = "(choose)"

    def _on_describe(self, _event: Any) -> None:
        assert self.explorer is not None
        view = self.rows.shown
        names = list(view.columns or [c.name for c in self.explorer.columns])[:_MOST_DESCRIBED]
        chosen = self.views.coordinator.chosen
        try:
            parts = [
                write_statistics("All rows that fulfil the conditions", self.explorer.describe(names, view))
            ]
            if chosen is not None:
                self.explorer.choose(np.flatnonzero(chosen))
                parts.append(
                    write_statistics("Chosen rows", self.explorer.describe(names, view, chosen=True))
                )
            self.statistics.object = "".join(parts)
        except PortalError as error:
            self.say(error)

    # Choosing

    def _on_tick(self) -> None:
        mask = None
        if self.rows.ticked:
            mask = np.zeros(self.result.rows, np.uint8)
            mask[sorted(self.rows.ticked)] = 1
        self.views.set_mask("ticks", mask)

    def _on_chosen(self, is_complete: bool) -> None:
        """Show how many rows are chosen and which; what takes longer follows when the brush is complete."""
        if self.explorer is None:
            return
        rows, linked = self.result.rows, self.views.coordinator
        if not linked.restricts:
            self.count.object = (
                f"<p role='status'>All {rows:,} rows are chosen: draw a box or a lasso in any plot.</p>"
            )
        else:
            self.count.object = f"<p role='status'><b>{linked.number_chosen:,} of {rows:,} rows are chosen</b> in all views.</p>"
        # Conditions already keep rows out of the table: only brushes mark some of those it shows.
        marks = None if set(linked.brushes) <= {"conditions"} else linked
        self.rows.set_chosen(marks, is_complete=is_complete)
        if not is_complete:
            return
        if self.only.value == _ONLY:
            self._keep_chosen()
        else:
            self.show_links()
        if linked.restricts:
            self._tell(linked.list_chosen(_MOST_TOLD), linked.number_chosen, "chosen rows of the result")
        self._on_change()

    def _tell(self, numbers: NDArray[np.integer[Any]], count: int, caption: str) -> None:
        """Tell the person's programs which rows are selected, the first ones of very many."""
        assert self.explorer is not None
        if count > numbers.size:
            caption = f"the first {numbers.size:,} of {count:,} {caption}"
        self._selected(self.explorer.rows(numbers), self.explorer.columns, caption)

    def _keep_chosen(self) -> None:
        chosen = self.views.coordinator.chosen
        if chosen is not None:
            self.services.results.store.keep_subset(self.result, CHOSEN_SUBSET, chosen)
        self.show_actions()

    def _on_only(self, event: Any) -> None:
        if self.explorer is None:
            return
        self.rows.show_only_chosen(event.new == _ONLY)
        self._keep_chosen()

    def _on_clear(self, _event: Any) -> None:
        self.rows.clear_ticks()
        self.invert.value = _INSIDE
        conditions = self.rows.shown.filters
        self.views.clear()
        if conditions:
            self._on_conditions()

    # Rows

    def pick(self, number: int) -> None:
        """Show a row in full, and where it leads."""
        assert self.explorer is not None
        self._row = number
        self.sheet.object = write_sheet(number, self.explorer.columns, self.explorer.row(number))
        self.sheet_card.visible = True
        self.show_links()
        self._tell(np.array([number]), 1, "row of the result")

    def pick_point(self, number: int) -> None:
        """Answer to a click on a point of a plot."""
        self.rows.mark(number)
        self.pick(number)

    def shown_view(self) -> ResultView:
        """Return columns, rows and order of what the table shows."""
        if self.only.value == _ONLY and self.views.coordinator.restricts:
            return replace(self.rows.shown, subset=CHOSEN_SUBSET)
        return self.rows.shown

    def show_actions(self) -> None:
        """Offer what is shown as files."""
        view = self.shown_view()
        base = f"{PREFIX}/resultsets/{self.result.id}/download?"
        shown = json.dumps(view.to_dict(), separators=(",", ":"))
        parts = [
            f"<a class='open second' href='{escape(base + urlencode({'format': key, 'view': shown}))}'>{name}</a>"
            for key, name in _FORMATS
        ]
        parts.append(self._image_link(view))
        what = "the chosen rows" if view.subset else "what the table shows"
        self.actions.object = (
            f"<div class='links'><span class='soft'>Download {what}:</span>{''.join(parts)}</div>"
        )
        self.show_links()

    def _image_link(self, view: ResultView) -> str:
        """Link to the image on which the rows lie, with all of them drawn over it; empty without positions."""
        position = find_position_columns([c.name for c in self.result.columns])
        if position is None or self.explorer is None or self.result.rows == 0:
            return ""
        values = self.explorer.row(self._row or 0)
        parts = [("release", self._release_of(values)), ("kind", "deep_coadd"), ("result", self.result.id)]
        if values[position[0]] is not None and values[position[1]] is not None:
            parts += [(key, f"{values[name]:.7f}") for key, name in zip(("ra", "dec"), position, strict=True)]
        parts += [("where", text) for text in view.filters]
        parts += [("subset", view.subset)] if view.subset else []
        return f"<a class='open second' href='{escape(f'{PREFIX}/images?{urlencode(parts)}')}'>Show on an image</a>"

    def show_links(self) -> None:
        """Offer the image and the light curve of the picked row, and the light curves of a few chosen ones."""
        parts = "" if self._row is None else self._row_links(self._row)
        linked = self.views.coordinator
        if linked.restricts and 0 < linked.number_chosen <= _MOST_LINKS:
            parts += self._curve_links(linked.list_chosen(_MOST_LINKS))
        self.links.object = f"<div class='links'>{parts}</div>" if parts else ""

    def _curve_links(self, numbers: NDArray[np.int64]) -> str:
        """Links to the light curves of rows that are objects."""
        assert self.explorer is not None
        found = next((c for c in _OBJECTS if self.explorer.find_column(c[0]) is not None), None)
        if found is None:
            return ""
        column, key = found
        rows = [self.explorer.row(int(number)) for number in numbers]
        ids = dict.fromkeys(row[column] for row in rows if row[column])
        links = "".join(
            f"<a class='open second' href='{PREFIX}/lightcurves?"
            f"{urlencode({'release': self._release_of(rows[0]), key: i})}'>{i}</a>"
            for i in ids
        )
        return f"<span class='soft'>Light curves of the chosen rows:</span>{links}" if ids else ""

    def _row_links(self, number: int) -> str:
        assert self.explorer is not None
        values = self.explorer.row(number)
        release = self._release_of(values)
        links = []
        position = find_position_columns(list(values))
        if position and values[position[0]] is not None and values[position[1]] is not None:
            ra, dec = float(values[position[0]]), float(values[position[1]])
            where = urlencode({"release": release, "ra": f"{ra:.7f}", "dec": f"{dec:.7f}"})
            kind = f"&kind=deep_coadd&src={'DiaObject' if values.get('diaObjectId') else 'Object'}"
            if values.get("visit") is not None and values.get("detector") is not None:
                kind = f"&visit={values['visit']}&detector={values['detector']}&kind=visit_image&src=Source"
            links.append(
                f"<a class='open' href='{PREFIX}/images?{where}{kind}'>Show row {number + 1:,} on the image</a>"
            )
        for column, key in _OBJECTS:
            if values.get(column):
                address = urlencode({"release": release, key: values[column]})
                links.append(f"<a class='open' href='{PREFIX}/lightcurves?{address}'>Light curve</a>")
                break
        return "".join(links)

    def _release_of(self, values: dict[str, Any]) -> str:
        """Release that a row belongs to: by its own words, else by the table in the query."""
        if values.get("obs_collection"):
            return str(values["obs_collection"])
        names = [r.name for r in self.services.releases.list_visible(self.identity)]
        text = self.result.adql.lower()
        return next((n for n in names if f"{n.lower()}." in text), names[0] if names else "")

    def close(self) -> None:
        """Give the result back when the page is left."""
        self.views.stop()
        if self.explorer is not None:
            self.explorer.close()
            self.explorer = None
