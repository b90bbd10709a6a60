"""Saved queries on the Catalogs page: keep the query that is written, open one again, share it, carry it as a file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

import panel as pn

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.saved_queries import QueryDefinition, SavedQuery
from skydesk_portal.ui.confirm import Confirmation
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.pages.files_sharing import split_names
from skydesk_portal.ui.shell import notice

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.ui.services import PortalServices

__all__ = ["SavedQueriesPanel"]

_NONE = "(choose)"


class SavedQueriesPanel:
    """The list of saved queries, and what can be done with the chosen one.

    Parameters
    ----------
    services
        What the page works with.
    identity
        Who is looking.
    read
        Returns the query that is written, and the tables that come with it.
    on_open
        Called with a definition that is to be written into the page.
    """

    def __init__(
        self,
        services: PortalServices,
        identity: Identity,
        read: Callable[[], tuple[str, dict[str, bytes]]],
        on_open: Callable[[QueryDefinition], None],
    ) -> None:
        self._saved, self._identity = services.saved, identity
        self._read, self._on_open = read, on_open
        stretch: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self.choice = pn.widgets.Select(name="Saved query", options={_NONE: ""}, **stretch)
        self.about = pn.pane.HTML("", **stretch)
        self.open = pn.widgets.Button(name="Open", width=80)
        self.file = pn.widgets.FileDownload(
            callback=self._write_file, filename="query.json", label="Save as a file", width=130
        )
        self.remove = pn.widgets.Button(name="Remove…", width=90)
        self.users = pn.widgets.TextInput(name="Shared with users", placeholder="ada, grace", **stretch)
        self.groups = pn.widgets.TextInput(name="Shared with groups", **stretch)
        self.share = pn.widgets.Button(name="Share", width=100)
        self.name = pn.widgets.TextInput(name="Save the query as", max_length=100, **stretch)
        self.description = pn.widgets.TextInput(name="Description", max_length=2000, **stretch)
        self.save = pn.widgets.Button(name="Save the query", width=150)
        self.own_file = pn.widgets.FileInput(name="Open a query from a file", accept=".json", **stretch)
        self.message = pn.Column(margin=0, **stretch)
        self.confirm = Confirmation()
        self.chosen_view = pn.Column(
            self.about, pn.FlexBox(self.open, self.file, self.remove), self.confirm.view, visible=False, margin=0, **stretch
        )  # fmt: skip
        self.sharing_view = pn.Column(self.users, self.groups, self.share, visible=False, margin=0, **stretch)
        self.choice.param.watch(lambda _e: self._describe(), "value")
        self.open.on_click(lambda _e: self._do(self._open_chosen))
        self.remove.on_click(lambda _e: self._ask_remove())
        self.share.on_click(lambda _e: self._do(self._share))
        self.save.on_click(lambda _e: self._do(self._save))
        self.own_file.param.watch(self._on_file, "value")
        self.card = pn.Card(
            self.message, self.choice, self.chosen_view, self.sharing_view, self.name, self.description, self.save,
            self.own_file, title="Saved queries", collapsed=True, **stretch,
        )  # fmt: skip
        self.card.param.watch(lambda event: self.refresh() if not event.new else None, "collapsed")

    def say(self, text: str, kind: str = "info") -> None:
        """Say something in a sentence; the text is HTML."""
        self.message.objects = [notice(text, kind)]

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except PortalError as error:
            self.say(f"{escape(str(error)[:1].upper() + str(error)[1:])}.", "error")

    def refresh(self, chosen: str = "") -> None:
        """Read the list again."""
        found = self._saved.list_queries(self._identity)
        options = {_NONE: ""}
        for query in found:
            name = query.definition.name
            options[name if query.owner == self._identity.name else f"{name} (of {query.owner})"] = query.id
        wanted = chosen or self.choice.value
        self.choice.param.update(options=options, value=wanted if wanted in options.values() else "")
        self._describe()

    def _find(self) -> SavedQuery | None:
        return self._saved.get(self._identity, self.choice.value) if self.choice.value else None

    def _describe(self) -> None:
        try:
            found = self._find()
        except PortalError as error:
            found = None
            self.say(escape(str(error)), "error")
        self.chosen_view.visible = found is not None
        is_own = found is not None and found.owner == self._identity.name
        self.sharing_view.visible = self.remove.visible = is_own
        if found is None:
            return
        definition = found.definition
        address = f"{PREFIX}/catalogs?saved={found.id}"
        tables = ", ".join(sorted(definition.uploads))
        more = (
            f" With its {'tables' if len(definition.uploads) > 1 else 'table'} {escape(tables)}."
            if tables
            else ""
        )
        self.about.object = (
            f"<p>{escape(definition.description)}</p><p class='soft'>Of {escape(found.owner)}, saved "
            f"{found.changed:%Y-%m-%d %H:%M} UTC.{more} <a href='{address}'>Address for those who may read it</a></p>"
        )
        self.users.value, self.groups.value = ", ".join(found.users), ", ".join(found.groups)
        self.name.value, self.description.value = definition.name, definition.description
        self.file.filename = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', definition.name)[:60] or 'query'}.json"

    def open_saved(self, query_id: str) -> None:
        """Open a query by its identifier, as an address names it."""

        def work() -> None:
            self.card.collapsed = False
            found = self._saved.get(self._identity, query_id)
            self.refresh(found.id)
            self._open_chosen()

        self._do(work)

    def _open_chosen(self) -> None:
        found = self._find()
        if found is None:
            raise UsageError("choose a saved query")
        self._on_open(found.definition)
        self.say(f"{escape(found.definition.name)} is in the ADQL field: run it.")

    def _write_file(self) -> io.BytesIO:
        found = self._find()
        if found is None:
            raise UsageError("choose a saved query")
        return io.BytesIO(found.definition.write())

    def _save(self) -> None:
        query, uploads = self._read()
        name = " ".join(self.name.value.split())
        definition = QueryDefinition(name, query, self.description.value.strip(), uploads)
        saved = self._saved.save(self._identity, definition)
        self.refresh(saved.id)
        self.say(f"The query is saved as {escape(name)}.")

    def _share(self) -> None:
        users, groups = split_names(self.users.value), split_names(self.groups.value)
        found = self._saved.share(self._identity, self.choice.value, users, groups)
        named = [*found.users, *(f"group {name}" for name in found.groups)]
        who = f"{', '.join(named)} may open" if named else "nobody else may open"
        self.refresh(found.id)
        self.say(f"Now {escape(who)} {escape(found.definition.name)}.")

    def _ask_remove(self) -> None:
        name = self.name.value
        self.confirm.ask(f"Remove the saved query {name}?", "Remove it", lambda: self._do(self._remove))

    def _remove(self) -> None:
        self._saved.remove(self._identity, self.choice.value)
        self.refresh()
        self.say("The query is removed.")

    def _on_file(self, event: Any) -> None:
        if event.new:

            def work() -> None:
                definition = QueryDefinition.read(event.new)
                self._on_open(definition)
                self.name.value, self.description.value = definition.name, definition.description
                self.say(f"{escape(definition.name)} is in the ADQL field: run it.")

            self._do(work)
