"""The Catalogs page: a form or ADQL, a paged table, a plot, and the way to images and light curves."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError, QueryError, UsageError
from skydesk_portal.models.jobs import JobKind
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.services.snippets import query_cells
from skydesk_portal.ui.adql_form import Cone, QueryForm, read_adql, write_adql
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.notebook_button import NotebookButton
from skydesk_portal.ui.positions import parse_position
from skydesk_portal.ui.scatter import ScatterPlot
from skydesk_portal.ui.shell import PageRequest, no_release, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.services.tap import QueryResult
    from skydesk_portal.ui.app import PortalServices

__all__ = ["MAX_ROWS", "build", "find_position_columns"]

MAX_ROWS = 200_000
"""Rows that the page holds at most; more is what downloads and jobs are for."""

_FIRST_TABLE = "Object"
_FIRST_COLUMNS = 12


def find_position_columns(names: list[str]) -> tuple[str, str] | None:
    """Return the right ascension and declination columns among column names."""
    for ra, dec in (("coord_ra", "coord_dec"), ("ra", "dec"), ("s_ra", "s_dec")):
        if ra in names and dec in names:
            return ra, dec
    return None


def _first_columns(info: TableInfo) -> list[str]:
    """Columns chosen before anybody has chosen: identifiers, position, time, band, fluxes and magnitudes."""
    names = [c.name for c in info.columns]
    wanted = ("objectId", "sourceId", "diaSourceId", "diaObjectId", "visit", "visitId", "detector",
              info.ra_column, info.dec_column,
              "band", "expMidptMJD", "midpointMjdTai", "psfFlux", "psfFluxErr", "dataset_type", "obs_id", "t_min")  # fmt: skip
    first = [n for n in wanted if n in names]
    first += [n for n in names if n.endswith(("_psfMag", "_psfFlux", "_extendedness")) and n not in first]
    return first[:_FIRST_COLUMNS] if len(first) > 2 else []


class _Page:
    """One person's query and its result."""

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self.services = services
        self.request = request
        self.catalog = services.queries.catalog_for(request.identity)
        names = [t.full_name for t in self.catalog.iter_tables()]
        wanted = request.query.get("release")
        first = next(
            (
                n
                for n in names
                if n.endswith(f".{_FIRST_TABLE}") and (not wanted or n.startswith(f"{wanted}."))
            ),
            names[0],
        )
        self.result: QueryResult | None = None
        self.table = pn.widgets.Select(name="Table", options=names, value=first, sizing_mode="stretch_width")
        self.columns = pn.widgets.MultiSelect(
            name="Columns (none chosen: all)", size=9, sizing_mode="stretch_width"
        )
        self.position = pn.widgets.TextInput(
            name="Around (RA Dec)", placeholder="53.13 -28.10", sizing_mode="stretch_width"
        )
        self.radius = pn.widgets.FloatInput(
            name="Radius (arcsec)", value=60.0, start=0.01, step=10, sizing_mode="stretch_width"
        )
        self.constraints = pn.widgets.TextAreaInput(
            name="Constraints, one a line",
            placeholder="r_psfFlux > 1000",
            rows=3,
            sizing_mode="stretch_width",
        )
        self.top = pn.widgets.IntInput(
            name="Rows at most", value=10000, start=1, end=MAX_ROWS, step=1000, sizing_mode="stretch_width"
        )
        self.write = pn.widgets.Button(name="Write ADQL from the form", sizing_mode="stretch_width")
        self.about = pn.pane.HTML("", sizing_mode="stretch_width")
        self.adql = pn.widgets.TextAreaInput(
            name="ADQL", rows=6, sizing_mode="stretch_width", max_length=100_000
        )
        self.run = pn.widgets.Button(name="Run", button_type="primary", width=110)
        self.read = pn.widgets.Button(name="Fill the form from ADQL", width=190)
        self.submit = pn.widgets.Button(name="Run as a job", width=130)
        self.notebook = NotebookButton(
            services.notebooks, request, "catalogs", lambda: ("Query", query_cells(self.adql.value))
        )
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.actions = pn.pane.HTML("", sizing_mode="stretch_width")
        self.rows = ResultTable(self.pick_row)
        self.plot = ScatterPlot(request.dark, self.pick_point)
        self.body = pn.Column(
            self.actions, self.rows.view, self.plot.view, sizing_mode="stretch_width", visible=False
        )
        self.describe_table()
        self.adql.value = request.query.get("query") or write_adql(self.form())
        self.table.param.watch(self.on_table, "value")
        self.write.on_click(self.on_write)
        self.read.on_click(self.on_read)
        self.run.on_click(self.on_run)
        self.submit.on_click(self.on_submit)

    def info(self) -> TableInfo:
        """Return the chosen table."""
        found = self.catalog.find_table(self.table.value)
        if found is None:
            raise UsageError(f"there is no table {self.table.value!r}")
        return found

    def describe_table(self) -> None:
        """Fill the column list of the chosen table."""
        info = self.info()
        shown = [c for c in info.columns if not c.name.startswith("hp")]
        labels = {f"{c.name} [{c.unit}]" if c.unit else c.name: c.name for c in shown}
        self.columns.param.update(options=labels, value=_first_columns(info))
        rows = f"{info.rows:,} rows, " if info.rows is not None else ""
        self.about.object = f"<p class='soft'>{escape(info.description)} ({rows}{len(shown)} columns)</p>"

    def form(self) -> QueryForm:
        """Return what the form holds."""
        info = self.info()
        cone = None
        if self.position.value.strip():
            cone = Cone(*parse_position(self.position.value), float(self.radius.value))
        position = (info.ra_column, info.dec_column) if info.ra_column and info.dec_column else None
        lines = tuple(line.strip() for line in self.constraints.value.splitlines() if line.strip())
        return QueryForm(info.full_name, tuple(self.columns.value), position, cone, lines, self.top.value)

    def on_table(self, _event: Any) -> None:
        """Follow the choice of a table."""
        self.describe_table()
        self.constraints.value = ""
        self.on_write(None)

    def on_write(self, _event: Any) -> None:
        """Write the form as ADQL."""
        try:
            self.adql.value = write_adql(self.form())
            self.message.objects = []
        except UsageError as error:
            self.message.objects = [notice(escape(str(error)), "error")]

    def on_read(self, _event: Any) -> None:
        """Fill the form from the ADQL, when it says no more than the form can."""
        form = read_adql(self.adql.value)
        found = self.catalog.find_table(form.table) if form else None
        if form is None or found is None:
            self.message.objects = [notice("This query says more than the form can hold; it runs as it is.")]
            return
        text = self.adql.value
        self.table.value = found.full_name
        names = {c.name.lower(): c.name for c in found.columns}
        self.columns.value = [names[c.lower()] for c in form.columns if c.lower() in names]
        self.position.value = f"{form.cone.ra_deg} {form.cone.dec_deg}" if form.cone else ""
        if form.cone:
            self.radius.value = form.cone.radius_arcsec
        self.constraints.value = "\n".join(form.constraints)
        if form.top:
            self.top.value = min(form.top, MAX_ROWS)
        self.adql.value = text
        self.message.objects = []

    async def on_run(self, _event: Any) -> None:
        """Run the ADQL."""
        adql = self.adql.value
        self.run.loading = True
        started = time.perf_counter()
        try:
            found = await asyncio.to_thread(
                self.services.queries.run_query, self.request.identity, adql, maxrec=MAX_ROWS
            )
        except PortalError as error:
            self.message.objects = [notice(_explain(adql, error), "error")]
            return
        finally:
            self.run.loading = False
        self.present(adql, found, time.perf_counter() - started)

    def present(self, adql: str, found: QueryResult, seconds: float) -> None:
        """Show a result."""
        self.result = found
        rows = found.table.num_rows
        more = (
            f"; only the first {MAX_ROWS:,} are here, download or run a job for all" if found.overflow else ""
        )
        self.message.objects = [notice(f"{rows:,} rows in {seconds:.2f} s{more}.", "info")]
        self.rows.show(found.table, found.columns, "Result of the query")
        self.plot.show(found.table, found.columns)
        self.show_actions(adql, None)
        self.body.visible = True
        if pn.state.location and len(adql) < 1500:
            pn.state.location.search = f"?query={quote(adql)}"

    def show_actions(self, adql: str, row: int | None) -> None:
        """Offer downloads, and for a chosen row its image and light curve."""
        if self.request.view and self.result:
            chosen_rows = self.result.table.slice(row or 0, 0 if row is None else 1)
            self.request.view.select(chosen_rows, self.result.columns, "Row of the query's result")
        base = f"{PREFIX}/download?{urlencode({'query': adql})}"
        parts = [
            f"<a class='open second' href='{base}&format={k}'>{n}</a>"
            for k, n in (("csv", "CSV"), ("votable", "VOTable"), ("parquet", "Parquet"))
        ]
        tap = f"/api/tap/sync?{urlencode({'LANG': 'ADQL', 'QUERY': adql})}"
        parts.append(
            f"<a class='open second' href='{escape(tap)}' title='For programs: needs a token'>TAP address</a>"
        )
        chosen = "" if row is None else self.row_links(row)
        self.actions.object = f"<div class='links'>{''.join(parts)}{chosen}</div>"

    def row_links(self, row: int) -> str:
        """Links for one row of the result."""
        if self.result is None:
            return ""
        values = self.result.table.slice(row, 1).to_pylist()[0]
        release = self.release_of(values)
        links = []
        position = find_position_columns(list(values))
        if position and values[position[0]] is not None:
            where = urlencode(
                {"release": release, "ra": f"{values[position[0]]:.7f}", "dec": f"{values[position[1]]:.7f}"}
            )
            kind = f"&kind=deep_coadd&src={'DiaObject' if values.get('diaObjectId') else 'Object'}"
            if values.get("visit") is not None and values.get("detector") is not None:
                kind = f"&visit={values['visit']}&detector={values['detector']}&kind=visit_image&src=Source"
            links.append(
                f"<a class='open' href='{PREFIX}/images?{where}{kind}'>Show row {row + 1:,} on the image</a>"
            )
        for column, key in (("objectId", "object"), ("diaObjectId", "diaobject")):
            if values.get(column):
                links.append(
                    f"<a class='open' href='{PREFIX}/lightcurves?release={release}&{key}={values[column]}'>Light curve</a>"
                )
                break
        return "".join(links)

    def release_of(self, values: dict[str, Any]) -> str:
        """Release that a row belongs to: by its own words, else by the table in the query."""
        if values.get("obs_collection"):
            return str(values["obs_collection"])
        names = [r.name for r in self.services.releases.list_visible(self.request.identity)]
        text = self.adql.value.lower()
        return next((n for n in names if f"{n.lower()}." in text), names[0] if names else "")

    def pick_row(self, row: int) -> None:
        """Answer to the choice of a row."""
        self.plot.mark(row)
        self.show_actions(self.adql.value, row)

    def pick_point(self, row: int) -> None:
        """Answer to a click on a point."""
        self.rows.mark(row)
        self.show_actions(self.adql.value, row)

    async def on_submit(self, _event: Any) -> None:
        """Hand the query to the workers."""
        adql = self.adql.value
        parameters = [("LANG", "ADQL"), ("QUERY", adql), ("REQUEST", "doQuery")]
        try:
            await asyncio.to_thread(self.services.queries.check, self.request.identity, adql)
            job = await asyncio.to_thread(
                partial(
                    self.services.jobs.create_job,
                    self.request.identity,
                    kind=JobKind.TAP,
                    parameters=parameters,
                    run=True,
                )
            )
        except PortalError as error:
            self.message.objects = [notice(_explain(adql, error), "error")]
            return
        self.message.objects = [
            notice(f"Job {job.id} is queued; follow it on the <a href='{PREFIX}/jobs'>Jobs</a> page.", "info")
        ]


def _explain(adql: str, error: PortalError) -> str:
    """Say what is wrong with a query and show the place."""
    text = escape(str(error))
    lines = adql.splitlines()
    if isinstance(error, QueryError) and error.line and error.column and error.line <= len(lines):
        pointer = " " * (error.column - 1) + "▲"
        text += f"<pre>{escape(lines[error.line - 1])}\n{pointer}</pre>"
    return text


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
    if not services.releases.list_visible(request.identity):
        return no_release()
    page = _Page(services, request)
    form = pn.Column(
        page.table, page.about, page.columns, page.position, page.radius, page.constraints, page.top, page.write,
        width=300, css_classes=["panel"], sizing_mode="fixed",
    )  # fmt: skip
    form.sizing_mode = None
    right = pn.Column(
        page.adql,
        pn.FlexBox(
            page.run, page.submit, page.read, page.notebook, align_items="center", sizing_mode="stretch_width"
        ),
        page.message,
        page.body,
        sizing_mode="stretch_width",
    )
    if request.query.get("query"):
        pn.state.onload(partial(page.on_run, None))
    return pn.Row(form, right, sizing_mode="stretch_width")
