"""The Alerts page: the stream of a release with filters, and each alert as it was raised."""

from __future__ import annotations

import asyncio
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import ForbiddenError, NotFoundError, PortalError, UsageError
from skydesk_portal.models.alerts import parse_alert_id
from skydesk_portal.services.alert_filters import choices, filter_query, list_filters
from skydesk_portal.services.alert_packets import MOST_PACKETS, read_avro
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.pages.alert_subscriptions import SubscriptionsView
from skydesk_portal.ui.pages.alerts_sheet import column_words, show_packet
from skydesk_portal.ui.preview import LARGEST_BYTES
from skydesk_portal.ui.sections import page_views
from skydesk_portal.ui.shell import PageRequest, no_release, notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.words import describe_bytes

if TYPE_CHECKING:
    from skydesk_portal.services.tap import QueryResult
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_ROWS = 10_000
_SCOPE = "read:alertdb"
_VIEWS = {"Stream": "alerts", "Subscriptions": "alerts?view=subscriptions"}


class _Stream:
    """The alerts of one release that pass a filter."""

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.services, self.request = services, request
        self.catalog = services.queries.catalog_for(request.identity)
        wanted = request.query.get("release") or request.preferences.release
        self.release = pn.widgets.Select(
            name="Release", options=releases, value=wanted if wanted in releases else releases[0], width=130
        )
        self.filter = pn.widgets.Select(name="Filter", width=430)
        self.condition = pn.widgets.TextInput(
            name="Condition (ADQL on DiaSource)",
            placeholder="snr > 10 AND band = 'r'",
            sizing_mode="stretch_width",
        )
        self.apply = pn.widgets.Button(name="Apply", button_type="primary", width=100, align="end")
        self.name = pn.widgets.TextInput(name="Name", width=180)
        self.save = pn.widgets.Button(name="Save filter", width=110, align="end")
        self.forget = pn.widgets.Button(name="Forget filter", width=120, align="end", visible=False)
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.chosen = pn.pane.HTML("", sizing_mode="stretch_width")
        self.table = ResultTable(self.pick)
        self.result: QueryResult | None = None
        self.failed = False
        self.conditions: dict[str, str] = {}
        self.offered = ""
        self.offer(request.query.get("filter", ""))
        self.release.param.watch(self.on_release, "value")
        self.filter.param.watch(self.on_filter, "value")
        self.apply.on_click(self.on_apply)
        self.condition.param.watch(self.on_apply, "value")
        self.save.on_click(lambda _e: self.keep())
        self.forget.on_click(lambda _e: self.drop())

    def offer(self, wanted: str) -> None:
        """Offer the filters of the chosen release."""
        own = self.services.preferences.find(self.request.identity).alert_filters
        options = choices(list_filters(self.catalog, self.release.value), own)
        self.conditions = options
        self.offered = next(
            (name for name in options if wanted and name.startswith(wanted)), next(iter(options))
        )
        self.filter.param.update(options=list(options), value=self.offered)
        self.forget.visible = self.offered.startswith("own: ")
        self.condition.value = options[self.offered]

    async def on_release(self, _event: Any) -> None:
        """Show the alerts of another release."""
        self.offer(self.filter.value)
        await self.load()

    async def on_filter(self, event: Any) -> None:
        """Fill in and apply the chosen filter."""
        if event.new == self.offered:
            return  # chosen by the page itself
        self.offered = event.new
        self.forget.visible = str(event.new).startswith("own: ")
        self.condition.value = self.conditions.get(event.new, "")
        await self.load()

    async def on_apply(self, _event: Any) -> None:
        """Apply what was typed."""
        await self.load()

    async def load(self) -> None:
        """Show the alerts that pass the filter."""
        table = self.catalog.find_table(f"{self.release.value}.DiaSource")
        self.chosen.object = ""
        self.apply.loading = True
        try:
            if table is None:
                raise NotFoundError(f"release {self.release.value} has no table DiaSource")
            query = filter_query(table, self.condition.value, _ROWS)
            self.result = await asyncio.to_thread(
                self.services.queries.run_query, self.request.identity, query, _ROWS
            )
        except PortalError as error:
            self.message.objects = [notice(f"The filter cannot be applied: {escape(str(error))}.", "error")]
            self.failed = True
            return
        finally:
            self.apply.loading = False
        rows = self.result.table.num_rows
        more = f"the newest {rows:,}" if rows == _ROWS else f"{rows:,} alerts"
        if self.failed:
            self.message.objects, self.failed = [], False
        self.table.show(
            self.result.table, self.result.columns, f"Alerts of release {self.release.value}: {more}"
        )

    def pick(self, row: int) -> None:
        """Offer the pages of the chosen alert."""
        if self.result is None:
            return
        values = self.result.table.slice(row, 1).to_pylist()[0]
        release, number = self.release.value, values["diaSourceId"]
        links = f"<a class='open' href='{PREFIX}/alerts?{urlencode({'release': release, 'id': number})}'>Open alert {number}</a>"
        if values.get("diaObjectId"):
            address = urlencode({"release": release, "diaobject": values["diaObjectId"]})
            links += f"<a class='open second' href='{PREFIX}/lightcurves?{address}'>Light curve</a>"
        self.chosen.object = f"<div class='links'>{links}</div>"

    def keep(self) -> None:
        """Save the condition under the name that was typed."""
        name, condition = self.name.value.strip(), self.condition.value.strip()
        table = self.catalog.find_table(f"{self.release.value}.DiaSource")
        try:
            if table is None:
                raise NotFoundError(f"release {self.release.value} has no table DiaSource")
            if not name:
                raise UsageError("type a name for the filter")
            self.services.queries.check(self.request.identity, filter_query(table, condition, 1))
            own = dict(self.services.preferences.find(self.request.identity).alert_filters)
            self.services.preferences.change(self.request.identity, alert_filters={**own, name: condition})
        except PortalError as error:
            self.message.objects = [notice(f"The filter is not saved: {escape(str(error))}.", "error")]
            return
        self.offer(f"own: {name}")
        self.name.value = ""
        self.message.objects = [notice(f"The filter {escape(name)} is saved.", "info")]

    def drop(self) -> None:
        """Forget the chosen own filter."""
        name = str(self.filter.value).removeprefix("own: ")
        own = dict(self.services.preferences.find(self.request.identity).alert_filters)
        own.pop(name, None)
        try:
            self.services.preferences.change(self.request.identity, alert_filters=own)
        except PortalError as error:
            self.message.objects = [notice(f"{escape(str(error))}.", "error")]
            return
        self.offer("")
        self.message.objects = [notice(f"The filter {escape(name)} is forgotten.", "info")]


def _back(text: str, address: str) -> pn.pane.HTML:
    return pn.pane.HTML(
        f"<nav class='trail' aria-label='Back'><a href='{escape(address)}'>{text}</a></nav>",
        sizing_mode="stretch_width",
    )


def _one(services: PortalServices, request: PageRequest) -> Viewable:
    """Show the alert that the address names."""
    number = parse_alert_id(request.query["id"])
    release, packet = services.alerts.get_packet(request.identity, number, request.query.get("release"))
    words = column_words(services.queries.catalog_for(request.identity), [release])
    back = _back(f"All alerts of release {escape(release)}", f"{PREFIX}/alerts?release={release}")
    return pn.Column(back, show_packet(packet, words, request, release), sizing_mode="stretch_width")


def _file(services: PortalServices, request: PageRequest) -> Viewable:
    """Show an alert of a file of the reader's own."""
    path, who = request.query["file"], request.identity
    services.files.check_scope(who)
    with services.files.open_for(who, f"/{who.name}/{path}") as content:
        if content.size_bytes > LARGEST_BYTES:
            raise UsageError(
                f"{path} is larger than the {describe_bytes(LARGEST_BYTES)} that are read for a look"
            )
        data = content.stream.read()
    packets = read_avro(data)
    given = request.query.get("n", "0")
    n = min(int(given), len(packets) - 1) if given.isdecimal() else 0
    options = {f"{i + 1}: alert {p.alert_id}": i for i, p in enumerate(packets)}
    choice = pn.widgets.Select(name=f"Alerts in {path}", options=options, value=n, width=330)
    names = services.alerts.list_releases(who)
    words = column_words(services.queries.catalog_for(who), names)
    body = pn.Column(show_packet(packets[n], words, request, None), sizing_mode="stretch_width", margin=0)

    def turn(event: Any) -> None:
        body.objects = [show_packet(packets[event.new], words, request, None)]
        if pn.state.location:
            pn.state.location.update_query(n=event.new)

    choice.param.watch(turn, "value")
    folder = path.rpartition("/")[0]
    parts: list[Viewable] = [_back("Files", f"{PREFIX}/files?{urlencode({'path': folder})}"), choice, body]
    if len(packets) == MOST_PACKETS:
        parts.insert(1, notice(f"Only the first {MOST_PACKETS} alerts of the file are read."))
    return pn.Column(*parts, sizing_mode="stretch_width")


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
    heading = pn.pane.HTML("<h1>Alerts</h1>", sizing_mode="stretch_width")
    try:
        if request.query.get("file"):
            return pn.Column(heading, _file(services, request), sizing_mode="stretch_width")
        if _SCOPE not in request.identity.scopes:
            raise ForbiddenError(f"your token does not have the scope {_SCOPE}, which alerts take")
        if request.query.get("id"):
            return pn.Column(heading, _one(services, request), sizing_mode="stretch_width")
    except PortalError as error:
        text = f"{escape(str(error)[:1].upper() + str(error)[1:])}."
        return pn.Column(
            heading,
            notice(text, "error"),
            _back("All alerts", f"{PREFIX}/alerts"),
            sizing_mode="stretch_width",
        )
    if not services.releases.list_visible(request.identity):
        return no_release()
    releases = services.alerts.list_releases(request.identity)
    if not releases:
        return pn.Column(
            heading,
            notice("No release has alerts. A release gets them when it is published."),
            sizing_mode="stretch_width",
        )
    if request.query.get("view") == "subscriptions":
        subscriptions = SubscriptionsView(services, request, releases)
        subscriptions.start()
        return pn.Column(
            page_views("Alerts", _VIEWS, "Subscriptions"), subscriptions.view, sizing_mode="stretch_width"
        )
    stream = _Stream(services, request, releases)
    pn.state.onload(stream.load)
    bar = pn.FlexBox(stream.release, stream.filter, align_items="end", sizing_mode="stretch_width")
    own = pn.FlexBox(
        stream.apply, stream.name, stream.save, stream.forget, align_items="end", sizing_mode="stretch_width"
    )
    return pn.Column(
        page_views("Alerts", _VIEWS, "Stream"),
        bar,
        stream.condition,
        own,
        stream.message,
        stream.table.view,
        stream.chosen,
        sizing_mode="stretch_width",
    )
