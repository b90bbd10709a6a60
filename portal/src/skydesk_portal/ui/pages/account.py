"""The Account page: who one is, what one may do and use, and what one prefers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.models.preferences import COORDINATES, TEXT_PERCENT, THEMES
from skydesk_portal.models.quota import Quota
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.usage import usage_bar
from skydesk_portal.ui.words import describe_bytes

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_SCOPES = {
    "read:tap": "query catalogs",
    "read:image": "read images and cut-outs",
    "read:alertdb": "read alerts",
    "exec:notebook": "use the lab",
    "exec:portal": "use these pages",
    "exec:batch": "run pipelines",
    "write:files": "read and write own files and tables",
    "user:token": "make tokens",
}
_THEMES = {"as the browser": "", "light": "light", "dark": "dark"}


def _about(request: PageRequest) -> str:
    who = request.identity
    scopes = "".join(
        f"<li><code>{escape(s)}</code>{f': {_SCOPES[s]}' if s in _SCOPES else ''}</li>"
        for s in sorted(who.scopes)
    )
    missing = ", ".join(f"<code>{s}</code>" for s in _SCOPES if s not in who.scopes)
    without = f"<p class='soft'>Not granted: {missing}.</p>" if missing else ""
    groups = ", ".join(escape(g) for g in sorted(who.groups)) or "none"
    admin = "<dt>Role</dt><dd>administrator</dd>" if who.admin else ""
    return (
        f"<div class='panel'><h2>Who you are</h2><dl class='facts'><dt>Name</dt><dd>{escape(who.name)}</dd>{admin}"
        f"<dt>Groups</dt><dd>{groups}</dd></dl><h3>What you may do</h3><ul>{scopes}</ul>{without}</div>"
    )


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _usage(services: PortalServices, request: PageRequest) -> str:
    who = request.identity
    quota = services.limits.quota_for(who)
    bars: list[str] = []

    def add(name: str, read: Any) -> None:
        try:
            bars.extend(usage_bar(*row) for row in read())
        except PortalError as error:
            bars.append(f"<p class='soft'>{escape(name)}: not available now ({escape(str(error))})</p>")

    def jobs() -> list[tuple[Any, ...]]:
        used = services.jobs.store.measure(who.name)
        return [
            ("Jobs under way, of one service", used.active, quota.active_jobs, _count),
            ("Jobs kept", used.jobs, quota.kept_jobs, _count),
            ("Results of jobs", used.result_bytes, quota.result_bytes, describe_bytes),
        ]

    add(
        "Home folder",
        lambda: [
            ("Home folder", services.files.measure_bytes(who), services.files.limit_bytes, describe_bytes)
        ],
    )
    add("Own tables", lambda: [("Own tables", *services.tables.usage_of(who), describe_bytes)])
    add("Jobs", jobs)
    return f"<div class='panel'><h2>Quotas and usage</h2>{''.join(bars)}{_limits(quota)}</div>"


def _limits(quota: Quota) -> str:
    def figure(value: int) -> str:
        return f"{value:,}" if value else "no limit"

    names = list(dict.fromkeys([*quota.requests_per_minute, *quota.concurrent]))
    rows = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{figure(quota.requests_for(name))}</td>"
        f"<td>{figure(quota.concurrent_for(name))}</td></tr>"
        for name in names
    )
    return (
        "<table class='plain'><caption class='soft'>Requests to services</caption><thead><tr><th scope='col'>Service</th>"
        f"<th scope='col'>A minute</th><th scope='col'>At once</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _preferences(services: PortalServices, request: PageRequest) -> Viewable:
    now = request.preferences
    names = [release.name for release in services.releases.list_visible(request.identity)]
    theme = pn.widgets.Select(name="Theme", options=_THEMES, value=now.theme, width=170)
    text = pn.widgets.Select(
        name="Size of text", options={f"{n} %": n for n in TEXT_PERCENT}, value=now.text_percent, width=130
    )
    release = pn.widgets.Select(
        name="Release to begin with", options={"the newest": "", **{n: n for n in names}},
        value=now.release if now.release in names else "", width=190,
    )  # fmt: skip
    coordinates = pn.widgets.Select(
        name="Positions in", options=list(COORDINATES), value=now.coordinates, width=150
    )
    save = pn.widgets.Button(name="Save", button_type="primary", width=100, align="end")
    message = pn.Column(sizing_mode="stretch_width", margin=0)
    if "saved" in request.query:
        message.objects = [notice("Your preferences are saved; they hold in every browser.", "info")]
    assert set(_THEMES.values()) == set(THEMES), "every theme has words"

    def store(_event: Any) -> None:
        try:
            services.preferences.change(
                request.identity,
                theme=theme.value,
                text_percent=text.value,
                release=release.value,
                coordinates=coordinates.value,
            )
        except PortalError as error:
            message.objects = [notice(f"The preferences are not saved: {escape(str(error))}.", "error")]
            return
        if pn.state.location:
            # The frame around the page is made anew in the chosen look.
            pn.state.location.reload = True
            pn.state.location.search = f"?saved={2 if request.query.get('saved') == '1' else 1}"

    save.on_click(store)
    return pn.Column(
        pn.pane.HTML("<h2>Preferences</h2>", sizing_mode="stretch_width"),
        message,
        pn.FlexBox(theme, text, release, coordinates, save, align_items="end", sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )


def build(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the page.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.

    Returns
    -------
    panel.viewable.Viewable
        The page's content.
    """
    return pn.Column(
        pn.pane.HTML(f"<h1>Account</h1>{_about(request)}", sizing_mode="stretch_width"),
        _preferences(services, request),
        pn.pane.HTML(_usage(services, request), sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )
