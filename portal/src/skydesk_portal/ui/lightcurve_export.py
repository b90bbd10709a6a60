"""Taking a light curve away from its page: files, and code that reads the same data."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import panel as pn

from skydesk_portal.models.photometry import Photometry
from skydesk_portal.services.lightcurve_export import write_curves, write_python
from skydesk_portal.services.lightcurves import LightCurve

__all__ = ["ExportPanel"]

_COPY = "navigator.clipboard.writeText(text.value_input ?? text.value); source.label = 'Copied';"
_FORMS = (("CSV", "csv", "csv"), ("VOTable", "votable/td", "vot"), ("Parquet", "parquet", "parquet"))


class ExportPanel:
    """Offers what is shown as files and as code.

    Parameters
    ----------
    get_curves
        Gives all light curves in the plot.
    """

    def __init__(self, get_curves: Callable[[], list[Photometry]]) -> None:
        self._get_curves = get_curves
        self._name = "lightcurve"
        self._saves = [
            pn.widgets.FileDownload(
                label=label, callback=lambda f=form: io.BytesIO(write_curves(self._get_curves(), f)),
                filename=f"lightcurve.{ending}", width=120,
            )
            for label, form, ending in _FORMS
        ]  # fmt: skip
        self.adql, self.python = (
            pn.widgets.TextAreaInput(
                name=name, value="", sizing_mode="stretch_width", rows=rows, max_length=20_000
            )
            for name, rows in (("ADQL", 3), ("Python", 12))
        )
        parts: list[Any] = []
        for area, name in ((self.adql, "Copy as ADQL"), (self.python, "Copy as Python")):
            button = pn.widgets.Button(name=name, width=140)
            button.jscallback(args={"text": area}, clicks=_COPY)
            parts += [area, button]
        text = "<p class='soft'>The picture is saved by the plot's own tool. The address of this page opens the same view.</p>"
        self.view = pn.Column(
            pn.Row(*self._saves),
            pn.pane.HTML(text, sizing_mode="stretch_width"),
            *parts,
            sizing_mode="stretch_width",
        )

    def show(self, curve: LightCurve, url: str, period_day: float | None, epoch_mjd: float) -> None:
        """Show the code of a light curve, folded if it has a period."""
        self.adql.value = curve.adql
        self.python.value = write_python(curve, url, period_day, epoch_mjd)
        for save in self._saves:
            save.filename = f"{curve.kind}-{curve.object_id}.{save.filename.rsplit('.', 1)[-1]}"
