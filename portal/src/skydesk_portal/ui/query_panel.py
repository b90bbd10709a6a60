"""The left part and the top of the Catalogs page: a form, the schema, a field for ADQL, what a query would cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import panel as pn

from skydesk_portal.exceptions import PortalError, QueryError, TooLargeError, UsageError
from skydesk_portal.models.saved_queries import QueryDefinition
from skydesk_portal.models.tables import TableInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.services.completion import complete_query
from skydesk_portal.services.explorer import find_position_columns
from skydesk_portal.ui.adql_form import QueryForm, read_adql, write_adql, write_times, write_visits
from skydesk_portal.ui.components import SkyQuery
from skydesk_portal.ui.region_inputs import RegionInputs
from skydesk_portal.ui.saved_queries import SavedQueriesPanel
from skydesk_portal.ui.schema_browser import ColumnDictionary, SchemaBrowser
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.words import describe_bytes, describe_seconds
from skydesk_portal.vo.uploads import read_upload

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["UPLOAD_NAME", "QueryPanel", "explain_query_error"]

MAX_TOP = 100_000_000
UPLOAD_NAME = "mine"
"""Name under which the file that comes with a query is a table: ``TAP_UPLOAD.mine``."""

_UPLOAD_BYTES = 32_000_000
_ABOUT_UPLOAD = "<p class='soft'>CSV, VOTable, FITS, parquet or ECSV; the query calls it <code>TAP_UPLOAD.mine</code>.</p>"
_ABOUT_TIMES = (
    "<p class='soft'>Dates are UTC; numbers MJD (TAI), behind <code>JD</code> UTC, behind <code>BJD</code> barycentric "
    "(TDB) for light from where is searched.</p>"
)
_FIRST_TABLE = "Object"
_FIRST_COLUMNS = 12
_PAUSE_S = 0.4
_TIMES = ("midpointMjdTai", "expMidptMJD", "t_min")


def _find_time(info: TableInfo) -> str | None:
    """Return the column of times in MJD that a table is searched by."""
    names = {c.name for c in info.columns}
    return next((n for n in _TIMES if n in names), None)


def first_columns(info: TableInfo) -> list[str]:
    """Return the columns chosen before anybody has chosen: identifiers, position, time, band, fluxes and magnitudes."""
    names = [c.name for c in info.columns]
    wanted = ("objectId", "sourceId", "diaSourceId", "diaObjectId", "visit", "visitId", "detector",
              info.ra_column, info.dec_column,
              "band", "expMidptMJD", "midpointMjdTai", "psfFlux", "psfFluxErr", "dataset_type", "obs_id", "t_min")  # fmt: skip
    first = [n for n in wanted if n in names]
    first += [n for n in names if n.endswith(("_psfMag", "_psfFlux", "_extendedness")) and n not in first]
    return first[:_FIRST_COLUMNS] if len(first) > 2 else []


def explain_query_error(adql: str, error: PortalError) -> str:
    """Say what is wrong with a query and show the place."""
    text = escape(str(error))
    lines = adql.splitlines()
    if isinstance(error, QueryError) and error.line and error.column and error.line <= len(lines):
        pointer = " " * (error.column - 1) + "▲"
        text += f"<pre>{escape(lines[error.line - 1])}\n{pointer}</pre>"
    return text


class QueryPanel:
    """What one person asks.

    Parameters
    ----------
    services
        What the page works with.
    request
        Who is looking.
    on_run
        Called when the query shall run.
    """

    def __init__(self, services: PortalServices, request: PageRequest, on_run: Callable[[], None]) -> None:
        self.services = services
        self.identity = request.identity
        self._on_run = on_run
        self._serial = 0
        self.brought: dict[str, bytes] = {}
        self.catalog = services.queries.catalog_for(request.identity)
        names = [t.full_name for t in self.catalog.iter_tables()]
        wanted = request.query.get("release")
        objects = [n for n in names if n.endswith(f".{_FIRST_TABLE}")]
        first = next((n for n in objects if not wanted or n.startswith(f"{wanted}.")), names[0])
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.table = pn.widgets.Select(name="Table", options=names, value=first, **stretch)
        self.columns = pn.widgets.MultiSelect(name="Columns (none chosen: all)", size=9, **stretch)
        self.region = RegionInputs(services, request.identity, self._release)
        self.begin = pn.widgets.TextInput(
            name="Not before (UTC, MJD, JD or BJD)", placeholder="60623.5", **stretch
        )
        self.end = pn.widgets.TextInput(
            name="Not after (UTC, MJD, JD or BJD)", placeholder="2024-11-09T12:00:00", **stretch
        )
        self.about_times = pn.pane.HTML(_ABOUT_TIMES, **stretch)
        self.constraints = pn.widgets.TextAreaInput(
            name="Constraints, one a line", placeholder="r_psfFlux > 1000", rows=3, **stretch
        )
        self.images = pn.widgets.TextAreaInput(
            name="Constraints on their visits, one a line", placeholder="airmass < 1.2", rows=2, **stretch
        )
        self.top = pn.widgets.IntInput(
            name="Rows at most", value=10000, start=1, end=MAX_TOP, step=1000, **stretch
        )
        self.write = pn.widgets.Button(name="Write ADQL from the form", **stretch)
        self.about = pn.pane.HTML("", **stretch)
        self.upload = pn.widgets.FileInput(
            name="A table of your own to join", accept=".csv,.vot,.xml,.fits,.parquet,.ecsv", **stretch
        )
        self.match_arcsec = pn.widgets.FloatInput(
            name="Match within (arcsec)", value=1.0, start=0.001, step=0.5, **stretch
        )
        self.match = pn.widgets.Button(name="Write a cross-match with it", disabled=True, **stretch)
        self.adql = SkyQuery(margin=(0, 5), **stretch)
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.schema = SchemaBrowser(self.refresh_catalog, self.use_table)
        self.dictionary = ColumnDictionary()
        self.saved = SavedQueriesPanel(services, request.identity, self._read_query, self.open_definition)
        self.describe_table()
        self._file = ""
        whole = f"SELECT * FROM TAP_UPLOAD.{UPLOAD_NAME}" if request.query.get("file") else ""
        self.adql.text = request.query.get("query") or whole or write_adql(self.form())
        self.table.param.watch(self._on_table, "value")
        self.write.on_click(self.on_write)
        self.upload.param.watch(self._on_upload, "value")
        self.match.on_click(self._on_match)
        self.adql.param.watch(self._on_text, "text")
        self.adql.param.watch(self._on_wish, "wish")
        self.form_view = pn.Column(
            self.table, self.about, self.columns, self.region.view, self.begin, self.end, self.about_times,
            self.constraints, self.images, self.top, self.write,
            pn.Card(
                pn.pane.HTML(_ABOUT_UPLOAD),
                self.upload, self.match_arcsec, self.match, title="Join a table of your own", collapsed=True, **stretch,
            ),
            self.dictionary.card, self.schema.card, self.saved.card, width=310, css_classes=["panel"],
        )  # fmt: skip

    def refresh_catalog(self) -> Any:
        """Return the tables that may be queried now; own ones may have come meanwhile."""
        self.catalog = self.services.queries.catalog_for(self.identity)
        return self.catalog

    @property
    def uploads(self) -> dict[str, bytes]:
        """The tables that come with the query, of those that it names."""
        text = self.adql.text.lower()
        own = {UPLOAD_NAME: self.upload.value} if self.upload.value else {}
        files = {**self.brought, **self.region.uploads, **own}
        return {name: content for name, content in files.items() if f"tap_upload.{name}" in text}

    @property
    def file(self) -> str:
        """Path in the home folder of the file that is the query's table; empty if none is."""
        return self._file if UPLOAD_NAME in self.uploads and not self.upload.value else ""

    @property
    def addresses(self) -> dict[str, str]:
        """Addresses by which programs name the files of the home folder that come with the query."""
        return {UPLOAD_NAME: f"vos:{self.identity.name}/{quote(self.file)}"} if self.file else {}

    def bring_file(self, path: str) -> None:
        """Let a file of the home folder come with the query, as ``TAP_UPLOAD.mine``.

        Parameters
        ----------
        path
            Its path below the home folder.

        Raises
        ------
        PortalError
            If it cannot be read or is larger than what comes with a query.
        """
        files = self.services.files
        files.check_scope(self.identity)
        with files.open_for(self.identity, f"/{self.identity.name}/{path.lstrip('/')}") as content:
            if content.size_bytes > _UPLOAD_BYTES:
                raise TooLargeError(
                    f"{content.name} has {describe_bytes(content.size_bytes)}, and a table that comes with a query has at most "
                    f"{describe_bytes(_UPLOAD_BYTES)}: make a table of it by a program, then ask that"
                )
            self.brought[UPLOAD_NAME] = content.stream.read()
        self._file = path.lstrip("/")

    def _release(self) -> str:
        return str(self.table.value).partition(".")[0]

    def _read_query(self) -> tuple[str, dict[str, bytes]]:
        return self.adql.text, self.uploads

    def open_definition(self, definition: QueryDefinition) -> None:
        """Write a saved query into the field; the tables that come with it are those of the query from now on."""
        self.region.uploads.clear()
        self.brought, self._file = dict(definition.uploads), ""
        if UPLOAD_NAME in self.brought:
            self.upload.clear()
        self.adql.text = definition.query

    def info(self) -> TableInfo:
        """Return the chosen table."""
        found = self.catalog.find_table(self.table.value)
        if found is None:
            raise UsageError(f"there is no table {self.table.value!r}")
        return found

    def describe_table(self) -> None:
        """Fill the column list of the chosen table."""
        info = self.info()
        labels = {f"{c.name} [{c.unit}]" if c.unit else c.name: c.name for c in info.columns}
        self.columns.param.update(options=labels, value=first_columns(info))
        rows = f"{info.rows:,} rows, " if info.rows is not None else ""
        has_time = _find_time(info) is not None
        self.begin.visible = self.end.visible = self.about_times.visible = has_time
        self.images.visible = self._find_visits(info) is not None
        self.region.offer_maps()
        self.dictionary.show(info)
        self.about.object = (
            f"<p class='soft'>{escape(info.description)} ({rows}{len(info.columns)} columns)</p>"
        )

    def form(self) -> QueryForm:
        """Return what the form holds."""
        info = self.info()
        cone, shape = self.region.read()
        position = (info.ra_column, info.dec_column) if info.ra_column and info.dec_column else None
        lines = tuple(line.strip() for line in self.constraints.value.splitlines() if line.strip())
        time = _find_time(info)
        if time is not None and self.begin.visible:
            lines = (
                *lines,
                *write_times(time, self.begin.value, self.end.value, self.region.find_position()),
            )
        visits = self._find_visits(info)
        conditions = [line.strip() for line in self.images.value.splitlines() if line.strip()]
        if visits is not None and conditions:
            lines = (*lines, write_visits(*visits, conditions))
        return QueryForm(
            info.full_name, tuple(self.columns.value), position, cone, lines, self.top.value, shape=shape
        )

    def _find_visits(self, info: TableInfo) -> tuple[str, str, str] | None:
        """Return the column of a table that names visits, the table of visits and its column; None without."""
        visits = self.catalog.find_table(f"{info.schema}.Visit")
        if visits is None or info.full_name == visits.full_name:
            return None
        names = {c.name for c in info.columns}
        own = next((n for n in ("visit", "visitId") if n in names), None)
        key = next((n for n in ("visit", "visitId") if n in {c.name for c in visits.columns}), None)
        return (own, visits.full_name, key) if own and key else None

    def use_table(self, name: str) -> None:
        """Take a table that was found in the schema into the form."""
        if name not in self.table.options:
            self.table.options = [t.full_name for t in self.catalog.iter_tables()]
        self.table.value = name

    def _on_table(self, _event: Any) -> None:
        self.describe_table()
        self.constraints.value = self.images.value = ""
        self.on_write(None)

    def on_write(self, _event: Any) -> None:
        """Write the ADQL that the form means."""
        try:
            self.adql.text = write_adql(self.form())
            self.message.objects = []
        except PortalError as error:
            self.say(error)

    def on_read(self, _event: Any) -> None:
        """Fill the form from the ADQL, when it says no more than the form can."""
        form = read_adql(self.adql.text)
        found = self.catalog.find_table(form.table) if form else None
        if form is None or found is None:
            self.message.objects = [notice("This query says more than the form can hold; it runs as it is.")]
            return
        text = self.adql.text
        self.table.value = found.full_name
        names = {c.name.lower(): c.name for c in found.columns}
        self.columns.value = [names[c.lower()] for c in form.columns if c.lower() in names]
        self.begin.value = self.end.value = self.images.value = ""
        self.region.show(form)
        self.constraints.value = "\n".join(form.constraints)
        if form.top:
            self.top.value = min(form.top, MAX_TOP)
        self.adql.text = text
        self.message.objects = []

    def say(self, error: PortalError) -> None:
        """Say what is wrong with the query."""
        self.message.objects = [notice(explain_query_error(self.adql.text, error), "error")]

    # A table of one's own

    def _on_upload(self, event: Any) -> None:
        self.match.disabled = not event.new
        if event.new and len(event.new) > _UPLOAD_BYTES:
            self.upload.clear()
            self.message.objects = [
                notice(
                    f"A table that comes with a query has at most {_UPLOAD_BYTES // 1_000_000} MB: "
                    "keep it as one of your tables.",
                    "error",
                )
            ]

    def _on_match(self, _event: Any) -> None:
        info = self.info()
        try:
            own = read_upload(UPLOAD_NAME, self.upload.value, _UPLOAD_BYTES)
            place = find_position_columns([c.name for c in own.columns])
            if place is None:
                raise UsageError(
                    "your table has no columns ra and dec (or coord_ra and coord_dec) to match by"
                )
            if not (info.ra_column and info.dec_column):
                raise UsageError(f"{info.full_name} has no position, so nothing can be matched by it")
        except PortalError as error:
            self.message.objects = [notice(escape(str(error)), "error")]
            return
        mine = f"POINT('ICRS', m.{place[0]}, m.{place[1]})"
        theirs = f"POINT('ICRS', t.{info.ra_column}, t.{info.dec_column})"
        chosen = ", ".join(f"t.{name}" for name in self.columns.value) or "t.*"
        self.adql.text = (
            f"SELECT m.*, {chosen}, 3600 * DISTANCE({mine}, {theirs}) AS separation_arcsec\n"
            f"FROM TAP_UPLOAD.{UPLOAD_NAME} AS m JOIN {info.full_name} AS t\n"
            f"  ON DISTANCE({mine}, {theirs}) < {float(self.match_arcsec.value or 1.0) / 3600:.11g}"
        )
        self.message.objects = []

    # While one types

    async def _on_text(self, event: Any) -> None:
        self._serial += 1
        serial = self._serial
        await asyncio.sleep(_PAUSE_S)
        # Whoever types on is not told about half a word.
        if serial == self._serial:
            await self.validate(event.new)

    async def validate(self, text: str) -> None:
        """Say below the field whether the query would be accepted."""
        if not text.strip():
            self.adql.diagnosis = {"text": "", "kind": ""}
            return
        try:
            await asyncio.to_thread(self._check, text)
        except PortalError as error:
            self.adql.diagnosis = {"text": str(error), "kind": "error"}
        else:
            self.adql.diagnosis = {"text": "This query can run.", "kind": "good"}

    def _check(self, text: str) -> None:
        uploads = self.uploads
        request = TapRequest(text, uploads=tuple((name, f"param:{name}") for name in uploads))
        self.services.queries.prepare(self.identity, request, files=uploads)

    def _on_wish(self, event: Any) -> None:
        if event.new.get("run"):
            self._on_run()
            return
        before = str(event.new.get("before", ""))
        start, found = complete_query(before, self.adql.text, self.catalog)
        listed = [{"text": s.text, "detail": s.detail} for s in found]
        self.adql.answer = {"before": before, "start": start, "suggestions": listed}

    async def on_estimate(self, _event: Any) -> None:
        """Say what the query would cost."""
        uploads = self.uploads
        request = TapRequest(self.adql.text, uploads=tuple((name, f"param:{name}") for name in uploads))
        try:
            found = await asyncio.to_thread(self.services.estimates.estimate, self.identity, request, uploads)
        except PortalError as error:
            self.say(error)
            return
        about = "" if found.exact else "about "
        rows = "an unknown number of rows" if found.rows is None else f"{about}{found.rows:,} rows"
        size = "" if found.result_bytes is None else f", {about}{describe_bytes(found.result_bytes)}"
        reads = [
            f"{escape(t.name)}: {t.scanned_rows:,} rows, {describe_bytes(t.scanned_bytes or 0)}"
            for t in found.tables
            if t.scanned_rows is not None
        ]
        time = "" if found.seconds is None else f", in about {describe_seconds(found.seconds)}"
        text = f"This query gives {rows}{size}{time}."
        text += f" It reads {'; '.join(reads)}." if reads else ""
        text += "".join(f"<br>{escape(w[0].upper() + w[1:])}." for w in found.warnings)
        self.message.objects = [notice(text, "info")]
