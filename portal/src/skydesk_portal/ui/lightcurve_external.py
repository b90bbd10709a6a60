"""Bringing own photometry to the Light curves page: a file, and which of its columns means what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html import escape
from typing import Any

import panel as pn
import pyarrow as pa

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.photometry import Photometry
from skydesk_portal.services.lightcurve_external import (
    TIME_KINDS,
    VALUE_KINDS,
    ColumnMapping,
    guess_mapping,
    map_photometry,
    read_photometry,
)
from skydesk_portal.ui.shell import notice

__all__ = ["ExternalPanel"]

_NONE = "(none)"


class ExternalPanel:
    """Reads files with photometry and hands on what it made of them.

    Parameters
    ----------
    on_change
        Called when the photometry has changed.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.curves: list[Photometry] = []
        self._on_change = on_change
        self._table: pa.Table | None = None
        self._name = ""
        self.file = pn.widgets.FileInput(
            name="File with photometry",
            accept=".csv,.tsv,.txt,.dat,.vot,.xml,.votable,.fits,.gz,.parquet",
            width=280,
        )
        self.time, self.value, self.error, self.band = (
            pn.widgets.Select(name=f"Column of the {role}", options=[], width=170)
            for role in ("time", "value", "error", "band")
        )
        self.value_kind = pn.widgets.Select(name="Values are", options=list(VALUE_KINDS), width=150)
        self.time_kind = pn.widgets.Select(name="Times are", options=list(TIME_KINDS), width=130)
        self.number = pn.widgets.IntInput(name="Light curve no.", value=1, start=1, width=110)
        self.add = pn.widgets.Button(name="Add to the plot", button_type="primary", width=140, align="end")
        self.remove = pn.widgets.Button(name="Remove all", width=110, align="end")
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self._mapping = pn.FlexBox(
            self.time, self.time_kind, self.value, self.value_kind, self.error, self.band, self.number, self.add,
            self.remove, align_items="end", sizing_mode="stretch_width", visible=False,
        )  # fmt: skip
        text = (
            "<p class='soft'>CSV, TSV, VOTable, FITS table, parquet or SNANA text, up to 20 MB. The file stays in this page; "
            "calibration and light travel time are taken as they are.</p>"
        )
        self.view = pn.Column(
            pn.pane.HTML(text, sizing_mode="stretch_width"), self.file, self._mapping,
            self.message, sizing_mode="stretch_width",
        )  # fmt: skip
        self.file.param.watch(self._read, "value")
        self.add.on_click(self._add)
        self.remove.on_click(self._clear)

    async def _read(self, _event: Any) -> None:
        if not self.file.value:
            return
        self._name = str(self.file.filename or "file")[-60:]
        try:
            table = await asyncio.to_thread(read_photometry, self._name, self.file.value)
        except PortalError as error:
            self._table, self._mapping.visible = None, False
            self.message.objects = [notice(f"{escape(str(error))}.", "error")]
            return
        self._table = table
        guess = guess_mapping(table.column_names)
        for widget, found in (
            (self.time, guess.time), (self.value, guess.value), (self.error, guess.error), (self.band, guess.band)
        ):  # fmt: skip
            widget.options = [_NONE, *table.column_names]
            widget.value = found or _NONE
        self.value_kind.value, self.time_kind.value = guess.value_kind, guess.time_kind
        self._mapping.visible = True
        text = f"{escape(self._name)}: {table.num_rows:,} rows. Check the columns, then add them to the plot."
        self.message.objects = [notice(text, "info")]

    def _add(self, _event: Any) -> None:
        if self._table is None:
            return
        time, value, error, band = (
            "" if w.value == _NONE else str(w.value) for w in (self.time, self.value, self.error, self.band)
        )
        mapping = ColumnMapping(time, value, error, band, self.value_kind.value, self.time_kind.value)
        label = self._name if self.number.value == 1 else f"{self._name} no. {self.number.value}"
        try:
            curve = map_photometry(label, self._table, mapping, int(self.number.value or 1))
        except PortalError as error:
            self.message.objects = [notice(f"{escape(str(error)[:1].upper() + str(error)[1:])}.", "error")]
            return
        self.curves = [c for c in self.curves if c.label != label] + [curve]
        skipped = (
            ""
            if curve.mjd.size == self._table.num_rows
            else " (rows without time, value or error are left out)"
        )
        self.message.objects = [
            notice(f"Added {curve.mjd.size:,} points of {escape(label)}{skipped}.", "info")
        ]
        self._on_change()

    def _clear(self, _event: Any) -> None:
        if self.curves:
            self.curves = []
            self.message.objects = []
            self._on_change()
