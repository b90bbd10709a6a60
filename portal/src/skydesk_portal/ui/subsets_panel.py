"""Named subsets of a result: kept, combined, chosen again, made into tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn

from skydesk_portal.exceptions import ForbiddenError, PortalError, UsageError
from skydesk_portal.services.subsets import combine_subsets
from skydesk_portal.ui.shell import notice

if TYPE_CHECKING:
    from skydesk_portal.ui.result_panel import ResultPanel

__all__ = ["SubsetsPanel"]


class SubsetsPanel:
    """Keeps what is chosen under names.

    Parameters
    ----------
    panel
        The result.
    """

    def __init__(self, panel: ResultPanel) -> None:
        self._panel = panel
        self.name = pn.widgets.TextInput(name="Name of the subset", placeholder="bright", width=150)
        self.keep = pn.widgets.Button(name="Keep the chosen rows", width=160)
        self.combine = pn.widgets.TextInput(
            name="Combine subsets", placeholder="bright and not stars", width=240
        )
        self.choose = pn.widgets.Button(name="Choose the combination", width=180)
        self.known = pn.widgets.Select(name="Kept subsets", options=[""], width=150)
        self.forget = pn.widgets.Button(name="Forget the subset", width=150, disabled=True)
        self.table = pn.widgets.TextInput(name="Name of the table", placeholder="my_selection", width=150)
        self.save = pn.widgets.Button(name="Save the chosen rows as my table", width=240)
        self.listed = pn.pane.HTML("", sizing_mode="stretch_width")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.keep.on_click(self._on_keep)
        self.choose.on_click(self._on_choose)
        self.forget.on_click(self._on_forget)
        self.save.on_click(self._on_save)
        self.view = pn.Card(
            pn.FlexBox(
                self.name,
                self.keep,
                self.combine,
                self.choose,
                align_items="end",
                sizing_mode="stretch_width",
            ),
            pn.FlexBox(
                self.known, self.forget, self.table, self.save, align_items="end", sizing_mode="stretch_width"
            ),
            self.listed,
            self.message,
            title="Subsets: keep, combine, save",
            collapsed=True,
            sizing_mode="stretch_width",
        )

    def fill(self) -> None:
        """List the subsets of the result."""
        store, result = self._panel.services.results.store, self._panel.result
        names = store.list_subsets(result)
        sizes = {name: int(store.read_subset(result, name).sum()) for name in names}
        self.known.param.update(options=["", *names], value="")
        self.forget.disabled = not names
        listed = ", ".join(f"<code>{escape(name)}</code> ({sizes[name]:,})" for name in names)
        self.listed.object = (
            f"<p class='soft'>Subsets: {listed}.</p>" if names else "<p class='soft'>No subset yet.</p>"
        )

    def _tell(self, text: str, kind: str = "info") -> None:
        self.message.objects = [notice(escape(text), kind)]

    def _on_keep(self, _event: Any) -> None:
        panel = self._panel
        chosen = panel.views.coordinator.chosen
        if chosen is None:
            chosen = np.ones(panel.result.rows, np.uint8)
        try:
            panel.services.results.store.keep_subset(panel.result, self.name.value.strip(), chosen)
        except PortalError as error:
            self._tell(str(error), "error")
            return
        self._tell(f"{int(chosen.sum()):,} rows are kept as {self.name.value.strip()}.")
        self.fill()

    def _on_choose(self, _event: Any) -> None:
        panel = self._panel
        text = self.combine.value.strip()
        if not text:
            panel.views.set_mask("subset", None)
            return
        try:
            mask = combine_subsets(
                text, lambda name: panel.services.results.store.read_subset(panel.result, name)
            )
        except PortalError as error:
            self._tell(str(error), "error")
            return
        self._tell(f"{text}: {int(mask.sum()):,} rows.")
        panel.views.set_mask("subset", mask)

    def _on_forget(self, _event: Any) -> None:
        if self.known.value:
            self._panel.services.results.store.remove_subset(self._panel.result, self.known.value)
            self.fill()

    def _on_save(self, _event: Any) -> None:
        panel = self._panel
        assert panel.explorer is not None
        chosen = panel.views.coordinator.chosen
        rows = None if chosen is None else np.flatnonzero(chosen)
        name = self.table.value.strip()
        try:
            if "write:files" not in panel.identity.scopes:
                raise ForbiddenError("own tables need a sign-in or a token with the scope write:files")
            if not name:
                raise UsageError("the table needs a name")
            made = panel.services.tables.create_table(
                panel.identity, name, panel.services.results.rows_of(panel.explorer, panel.rows.shown, rows)
            )
        except PortalError as error:
            self._tell(str(error), "error")
            return
        full = made.to_info().full_name
        self._tell(f"{made.rows:,} rows are your table {full}; queries can use it from now on.")
