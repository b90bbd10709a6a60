"""The subscriptions of the Alerts page: subscribe, watch what is delivered, pause, end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import panel as pn
import pyarrow as pa

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.alert_subscriptions import (
    EVERY_RELEASE,
    Delivery,
    DeliveryNote,
    Subscription,
    SubscriptionState,
    SubscriptionWish,
)
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.ui.confirm import Confirmation
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["SubscriptionsView"]

_REFRESH_MS = 3000
_ANY, _OWN = "every release", "a condition of my own"
_HERE, _FILES = "this page and its feeds", "also as Avro files into alerts/ of my files"
_REPLAYED = {"10 alerts": 10, "100 alerts": 100, "1000 alerts": 1000}
_LAST = 1000


def _columns(*columns: tuple[str, str, str]) -> tuple[ColumnInfo, ...]:
    return tuple(
        ColumnInfo(name, kind, "*" if kind == "char" else None, description=text)
        for name, kind, text in columns
    )


_LIST = _columns(
    ("name", "char", "What you called it"),
    ("release", "char", "Release whose alerts it is about"),
    ("filter", "char", "Which of them"),
    ("state", "char", "Whether alerts are delivered"),
    ("seen", "long", "Alerts that passed by"),
    ("sent", "long", "Alerts that were delivered"),
    ("failed", "long", "Alerts that could not be judged or delivered everywhere"),
    ("problem", "char", "What went wrong last"),
)
_LOG = _columns(
    ("time", "char", "When (UTC)"),
    ("release", "char", "Release of the alerts"),
    ("kind", "char", "Just published, or sent again"),
    ("seen", "long", "Alerts that passed by"),
    ("sent", "long", "Alerts that were delivered"),
    ("failed", "long", "Alerts that could not be"),
    ("reason", "char", "Why not"),
    ("file", "char", "File in your storage"),
)
_ALERTS = _columns(
    ("alert", "char", "Identifier of the alert, which is that of its DIA source"),
    ("release", "char", "Release of the alert"),
    ("delivered", "char", "When (UTC)"),
    ("kind", "char", "Just published, or sent again"),
)


def _table(columns: tuple[ColumnInfo, ...], rows: list[tuple[Any, ...]]) -> pa.Table:
    kinds = {"char": pa.string(), "long": pa.int64()}
    return pa.table(
        {c.name: pa.array([row[n] for row in rows], kinds[c.datatype]) for n, c in enumerate(columns)}
    )


def _instant(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _describe_filter(wish: SubscriptionWish) -> str:
    return wish.filter or wish.condition or "all"


class SubscriptionsView:
    """The form, the list of subscriptions, and what was delivered to the chosen one.

    Parameters
    ----------
    services
        What the page works with.
    request
        Who is looking.
    releases
        Names of the releases that have alerts, the newest first.
    """

    def __init__(self, services: PortalServices, request: PageRequest, releases: list[str]) -> None:
        self.services, self.who = services, request.identity
        self.service = services.subscriptions
        self.found: list[Subscription] = []
        self.chosen: str | None = request.query.get("subscription")
        self._shown: object = None
        self._watched: object = None
        self._delivered: list[Delivery] = []
        self.supplied: dict[str, str] = {}
        self.own = dict(request.preferences.alert_filters)
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.name = pn.widgets.TextInput(name="Name of the subscription", width=220)
        self.release = pn.widgets.Select(name="Alerts of", options=[_ANY, *releases], width=150)
        self.filter = pn.widgets.Select(name="Filter", width=400)
        self.condition = pn.widgets.TextInput(
            name="Condition (ADQL on DiaSource)", placeholder="snr > 10 AND band = 'r'", sizing_mode="stretch_width"
        )  # fmt: skip
        self.packets = pn.widgets.Select(name="Deliver to", options=[_HERE, _FILES], width=330)
        self.webhook = pn.widgets.TextInput(
            name="Also tell this address (https)", width=400, visible=self.service.webhooks.enabled
        )
        self.subscribe = pn.widgets.Button(name="Subscribe", button_type="primary", align="end")
        self.table = ResultTable(self.pick)
        self.details = pn.pane.HTML("", sizing_mode="stretch_width")
        self.pause = pn.widgets.Button(name="Pause")
        self.again = pn.widgets.Select(name="Try it with the newest", options=_REPLAYED, value=100, width=150)
        self.replay = pn.widgets.Button(name="Send them again", align="end")
        self.renew = pn.widgets.Button(name="New feed addresses", align="end")
        self.end = pn.widgets.Button(name="End it…", align="end")
        self.confirm = Confirmation()
        self.alerts = ResultTable(self.open_alert)
        self.link = pn.pane.HTML("", sizing_mode="stretch_width")
        self.log = ResultTable()
        self.pause.align = "end"
        self.sheet = pn.Column(
            self.details,
            pn.FlexBox(self.pause, self.again, self.replay, self.renew, self.end, align_items="end"),
            self.confirm.view,
            self.alerts.view,
            self.link,
            self.log.view,
            sizing_mode="stretch_width",
            margin=0,
            visible=False,
        )
        self._listen()
        self.offer()

    def _listen(self) -> None:
        self.release.param.watch(lambda _e: self.offer(), "value")
        self.filter.param.watch(lambda _e: self.fill_in(), "value")
        self.subscribe.on_click(lambda _e: self.act(self.add))
        self.pause.on_click(lambda _e: self.act(self.switch))
        self.replay.on_click(lambda _e: self.act(self.send_again))
        self.renew.on_click(lambda _e: self.act(self.renew_feed))
        self.end.on_click(lambda _e: self.ask_end())

    @property
    def view(self) -> pn.Column:
        """Everything, for the page."""
        form = pn.Column(
            pn.FlexBox(self.name, self.release, self.filter, align_items="end", sizing_mode="stretch_width"),
            self.condition,
            pn.FlexBox(
                self.packets, self.webhook, self.subscribe, align_items="end", sizing_mode="stretch_width"
            ),
            css_classes=["panel"],
            sizing_mode="stretch_width",
        )
        return pn.Column(form, self.message, self.table.view, self.sheet, sizing_mode="stretch_width")

    def start(self) -> None:
        """Show what there is, and go on doing so."""
        self.refresh()
        if pn.state.curdoc:
            # The document's own timer: Panel's starts itself again and again off the server's loop (100 % of a core).
            pn.state.curdoc.add_periodic_callback(self.refresh, _REFRESH_MS)

    def wanted_release(self) -> str:
        """Return the release that is chosen in the form."""
        return EVERY_RELEASE if self.release.value == _ANY else str(self.release.value)

    def offer(self) -> None:
        """Offer the filters of the chosen release."""
        supplied = []
        try:
            supplied = self.service.list_filters(self.who, self.wanted_release())
        except PortalError as error:
            self.say(str(error), "error")
        self.supplied = {f"{f.name}: {f.description}": f.name for f in supplied}
        options = [*self.supplied, *(f"own: {name}" for name in self.own), _OWN]
        value = self.filter.value if self.filter.value in options else options[0]
        self.filter.param.update(options=options, value=value)
        self.fill_in()

    def fill_in(self) -> None:
        """Let the condition be typed where no supplied filter is chosen."""
        chosen = str(self.filter.value)
        self.condition.visible = chosen not in self.supplied
        if chosen.startswith("own: "):
            self.condition.value = self.own[chosen.removeprefix("own: ")]

    def say(self, text: str, kind: str = "notice") -> None:
        """Say something in a sentence."""
        self.message.objects = [notice(escape(text), kind)] if text else []

    def act(self, action: Callable[[], None]) -> None:
        """Do something; say what went wrong."""
        try:
            action()
        except PortalError as error:
            text = str(error)
            self.say(f"{text[:1].upper()}{text[1:]}.", "error")

    def add(self) -> None:
        """Subscribe to what the form says."""
        if not self.name.value.strip():
            raise UsageError("type a name for the subscription")
        supplied = self.supplied.get(str(self.filter.value), "")
        if not supplied and not self.condition.value.strip():
            raise UsageError("type a condition, or choose the filter that lets every alert through")
        wish = SubscriptionWish(
            self.name.value,
            self.wanted_release(),
            supplied,
            "" if supplied else self.condition.value,
            self.packets.value == _FILES,
            self.webhook.value.strip() if self.webhook.visible else "",
        )
        made = self.service.create(self.who, wish)
        self.name.value = ""
        self.chosen = made.id
        self.refresh()
        self.say(f"You are subscribed: {made.wish.name}. New alerts appear here and at the bell.", "info")

    def refresh(self) -> None:
        """Read the subscriptions again; draws only what has changed."""
        try:
            self.found = self.service.list_subscriptions(self.who)
        except PortalError as error:
            self.say(f"The subscriptions are not available now: {error}.", "error")
            return
        ids = [s.id for s in self.found]
        rows = [
            (
                s.wish.name,
                _ANY if s.wish.release == EVERY_RELEASE else s.wish.release,
                _describe_filter(s.wish),
                str(s.state),
                s.seen,
                s.sent,
                s.failed,
                s.error,
            )
            for s in self.found
        ]
        if (ids, rows) != self._shown:
            words = "Your subscriptions" if rows else "You have no subscriptions yet"
            self.table.show(_table(_LIST, rows), _LIST, words, "refreshes by itself")
            self._shown = (ids, rows)
            self._mark()
        self.watch()

    def _mark(self) -> None:
        index = next((n for n, s in enumerate(self.found) if s.id == self.chosen), None)
        self.table.mark(index, turn=False)

    def pick(self, row: int) -> None:
        """Show the chosen subscription."""
        self.chosen = self.found[row].id
        self.confirm.close()
        self.link.object = ""
        if pn.state.location:
            pn.state.location.update_query(subscription=self.chosen)
        self.watch()

    def current(self) -> Subscription | None:
        """Return the chosen subscription."""
        return next((s for s in self.found if s.id == self.chosen), None)

    def watch(self) -> None:
        """Show what was delivered to the chosen subscription; draws only what has changed."""
        found = self.current()
        self.sheet.visible = found is not None
        known = None if found is None else replace(found, groups=())
        if found is None or known == self._watched:
            self._watched = known
            return
        self._watched = known
        self.details.object = self._describe(found)
        self.pause.name = "Pause" if found.state is SubscriptionState.ACTIVE else "Go on"
        self._delivered = self.service.list_deliveries(self.who, found.id, _LAST)
        self._draw(found, self.service.list_notes(self.who, found.id, _LAST))

    def _draw(self, found: Subscription, notes: list[DeliveryNote]) -> None:
        alerts = [(str(d.alert_id), d.release, _instant(d.at_s), d.kind) for d in self._delivered]
        more = (
            f"the newest {_LAST:,} of {found.sent:,} alerts"
            if len(alerts) == _LAST
            else f"{len(alerts):,} alerts"
        )
        self.alerts.show(_table(_ALERTS, alerts), _ALERTS, f"Delivered to {found.wish.name}: {more}")
        log = [
            (_instant(n.at_s), n.release, n.kind, n.seen, n.sent, n.failed, n.reason, n.file) for n in notes
        ]
        self.log.show(_table(_LOG, log), _LOG, f"Delivery log of {found.wish.name}")

    def _describe(self, found: Subscription) -> str:
        links = "".join(
            f"<a class='open second' href='{escape(self.service.describe_feed(found, form))}'>{name}</a>"
            for form, name in (("atom", "Atom feed"), ("json", "JSON feed"))
        )
        if found.wish.to_files:
            links += f"<a class='open second' href='{PREFIX}/files?path=alerts'>Files</a>"
        error = f"<div class='error' role='alert'>{escape(found.error)}</div>" if found.error else ""
        hook = f"<dt>Tells</dt><dd>{escape(found.wish.webhook)}</dd>" if found.wish.webhook else ""
        return (
            f"<div class='panel'><h2>{escape(found.wish.name)}</h2>{error}<dl class='facts'>"
            f"<dt>Filter</dt><dd><code>{escape(_describe_filter(found.wish))}</code></dd>"
            f"<dt>Alerts</dt><dd>{found.seen:,} seen, {found.sent:,} sent, {found.failed:,} failed</dd>{hook}"
            f"<dt>Since</dt><dd>{_instant(found.created_s)} UTC</dd></dl><div class='links'>{links}</div>"
            "<p class='soft'>Whoever has the address of a feed can read it.</p></div>"
        )

    def open_alert(self, row: int) -> None:
        """Offer the page of a delivered alert."""
        one = self._delivered[row]
        address = urlencode({"release": one.release, "id": one.alert_id})
        link = f"<a class='open' href='{PREFIX}/alerts?{address}'>Open alert {one.alert_id}</a>"
        self.link.object = f"<div class='links'>{link}</div>"

    def switch(self) -> None:
        """Pause the chosen subscription, or let it go on."""
        found = self.current()
        if found is not None:
            active = found.state is SubscriptionState.ACTIVE
            wanted = SubscriptionState.PAUSED if active else SubscriptionState.ACTIVE
            self.service.set_state(self.who, found.id, wanted)
            words = "pauses; what is issued meanwhile waits" if active else "goes on"
            self.say(f"{found.wish.name} {words}.", "info")
            self.refresh()

    def send_again(self) -> None:
        """Send the newest alerts of the release to the chosen subscription again."""
        found = self.current()
        if found is not None:
            count = self.service.replay(self.who, found.id, int(self.again.value))
            self.say(
                f"{count:,} alerts pass by {found.wish.name} again; what passes its filter appears below.",
                "info",
            )

    def renew_feed(self) -> None:
        """Give the feeds of the chosen subscription new addresses."""
        found = self.current()
        if found is not None:
            self.service.renew_feed(self.who, found.id)
            self.say("The feeds have new addresses; the old ones work no more.", "info")
            self.refresh()

    def ask_end(self) -> None:
        """Ask before the chosen subscription is ended."""
        found = self.current()
        if found is None:
            return

        def end() -> None:
            self.service.remove(self.who, found.id)
            self.chosen = None
            self.refresh()
            self.say(f"{found.wish.name} has ended.", "info")

        self.confirm.ask(
            f"End the subscription {found.wish.name} and forget its log? Files in your storage stay.",
            "End it",
            lambda: self.act(end),
        )
