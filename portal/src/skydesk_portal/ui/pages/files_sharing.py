"""Whom a person lets read the own Butler repository, and which repositories others let the person read."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError
from skydesk_portal.services.sharing import OWN_PREFIX
from skydesk_portal.ui.shell import PageRequest, notice

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build_sharing", "split_names"]


def split_names(text: str) -> list[str]:
    """Return the names in a text, separated by commas or blanks."""
    return [name for name in re.split(r"[,;\s]+", text) if name]


def build_sharing(services: PortalServices, request: PageRequest) -> Viewable:
    """Build the view.

    Parameters
    ----------
    services
        What the pages work with.
    request
        Who is looking.
    """
    who, sharing = request.identity, services.sharing
    label = OWN_PREFIX + who.name
    readers = sharing.get_readers(who, label)
    users = pn.widgets.TextInput(name="Users, with commas", value=", ".join(readers.users), width=360)
    groups = pn.widgets.TextInput(name="Groups, with commas", value=", ".join(readers.groups), width=360)
    save = pn.widgets.Button(name="Save", button_type="primary", width=100, align="end")
    message = pn.Column(sizing_mode="stretch_width", margin=0)

    def store(_event: Any) -> None:
        try:
            now = sharing.set_readers(who, label, split_names(users.value), split_names(groups.value))
        except PortalError as error:
            message.objects = [notice(f"{escape(str(error))}.", "error")]
            return
        users.value, groups.value = ", ".join(now.users), ", ".join(now.groups)
        named = [*now.users, *(f"group {name}" for name in now.groups)]
        text = (
            f"{', '.join(named)} may read your repository."
            if named
            else "Nobody else may read your repository."
        )
        message.objects = [notice(escape(text), "info")]

    save.on_click(store)
    readable = "".join(f"<li><code>{escape(name)}</code></li>" for name in sharing.list_labels(who))
    exists = label in sharing.list_roots()
    state = "" if exists else " It does not exist yet: your first batch run makes it."
    about = (
        f"<div class='panel'><h2>Your Butler repository</h2><p class='soft'>What your pipelines made lies in "
        f"<code>{escape(label)}</code>.{state} The people and groups named here may read it through the remote Butler.</p></div>"
    )
    others = f"<div class='panel'><h2>Repositories that you may read</h2><ul>{readable}</ul></div>"
    return pn.Column(
        pn.pane.HTML(about, sizing_mode="stretch_width"),
        message,
        pn.FlexBox(users, groups, save, align_items="end", sizing_mode="stretch_width"),
        pn.pane.HTML(others, sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )
