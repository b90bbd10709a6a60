"""The Files page: the files, the tables and the repository of a person, and who else may read them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import panel as pn
import pyarrow as pa
from panel.viewable import Viewable

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.services.files import media_type_of
from skydesk_portal.storage.files import FileFacts, split_path
from skydesk_portal.ui.components import SkyUpload
from skydesk_portal.ui.confirm import Confirmation
from skydesk_portal.ui.gate import PREFIX
from skydesk_portal.ui.pages.files_sharing import build_sharing
from skydesk_portal.ui.pages.files_tables import TablesView
from skydesk_portal.ui.preview import LARGEST_BYTES, TABLE_SUFFIXES, preview_file
from skydesk_portal.ui.sections import page_views
from skydesk_portal.ui.shell import PageRequest, notice
from skydesk_portal.ui.tables import ResultTable
from skydesk_portal.ui.usage import usage_bar
from skydesk_portal.ui.words import describe_bytes, describe_download

if TYPE_CHECKING:
    from skydesk_portal.ui.services import PortalServices

__all__ = ["build"]

_FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fz")
_VIEWS = {"Files": "files", "Tables": "files?view=tables", "Sharing": "files?view=sharing"}
_COLUMNS = (
    ColumnInfo("name", "char", "*", description="Name; folders end with a slash"),
    ColumnInfo("size", "char", "*", description="Length of a file"),
    ColumnInfo("changed", "char", "*", description="Last change (UTC)"),
)


class _Page:
    """One folder and the file that was chosen in it."""

    def __init__(self, services: PortalServices, request: PageRequest) -> None:
        self.services, self.request = services, request
        self.folder: tuple[str, ...] = split_path(request.query.get("path", ""))
        self.facts: list[FileFacts] = []
        self.chosen: FileFacts | None = None
        self.message = pn.Column(sizing_mode="stretch_width", margin=0)
        self.trail = pn.pane.HTML("", sizing_mode="stretch_width")
        self.usage = pn.pane.HTML("", sizing_mode="stretch_width")
        self.upload = SkyUpload(sizing_mode="stretch_width")
        self.table = ResultTable(self.pick)
        self.details = pn.pane.HTML("", sizing_mode="stretch_width")
        self.forget = pn.widgets.Button(name="Forget uploaded images", visible=False)
        self.content = pn.Column(sizing_mode="stretch_width", margin=0)
        self.confirm = Confirmation()
        self.new_name = pn.widgets.TextInput(name="New folder", width=220)
        self.make = pn.widgets.Button(name="Make folder", width=120, align="end")
        self.name = pn.widgets.TextInput(name="New name", width=260)
        self.rename = pn.widgets.Button(name="Rename", width=100, align="end")
        self.delete = pn.widgets.Button(name="Delete…", width=100, align="end")
        self.show = pn.widgets.Button(name="Show content", width=120, align="end")
        self.to_table = pn.widgets.Button(name="Make a table of it", width=160, align="end")
        self.actions = pn.FlexBox(
            self.show, self.to_table, self.name, self.rename, self.delete,
            align_items="end", sizing_mode="stretch_width", visible=False,
        )  # fmt: skip
        self.upload.param.watch(lambda _e: self.arrived(), "finished")
        self.make.on_click(lambda _e: self.act(self.make_folder))
        self.rename.on_click(lambda _e: self.act(self.rename_chosen))
        self.delete.on_click(lambda _e: self.ask_delete())
        self.forget.on_click(lambda _e: self.act(self.forget_uploads))
        self.show.on_click(lambda _e: self.act(self.show_chosen))
        self.to_table.on_click(lambda _e: self.act(self.make_table))

    def path_of(self, *names: str) -> str:
        """Return the path of something in the folder that is shown, with its owner."""
        return "/" + "/".join([self.request.identity.name, *self.folder, *names])

    def refresh(self) -> None:
        """Read the folder again."""
        files, who = self.services.files, self.request.identity
        try:
            home, parts = files.locate(who, self.path_of())
            found = home.list_facts(parts)
            used = files.measure_bytes(who)
        except PortalError as error:
            self.say(f"This folder cannot be shown: {error}.", "error")
            self.facts = []
            return
        self.facts = sorted(found, key=lambda f: (not f.is_folder, f.name.lower()))
        rows = [
            {
                "name": f.name + ("/" if f.is_folder else ""),
                "size": "" if f.is_folder else describe_bytes(f.size_bytes),
                "changed": f"{datetime.fromtimestamp(f.modified_s, UTC):%Y-%m-%d %H:%M}",
            }
            for f in self.facts
        ]
        table = pa.Table.from_pylist(rows, schema=pa.schema([(c.name, pa.string()) for c in _COLUMNS]))
        inside = "/".join(self.folder)
        self.table.show(table, _COLUMNS, f"/{inside}: {len(rows)} entries" if rows else f"/{inside} is empty")
        self.upload.folder = f"/{inside}" if inside else ""
        self.trail.object = self.make_trail()
        uploaded = files.measure_more(who.name)
        name = (
            f"Home folder, with {describe_bytes(uploaded)} of uploaded images" if uploaded else "Home folder"
        )
        self.usage.object = usage_bar(name, used, files.limit_bytes, describe_bytes)
        self.forget.visible = uploaded > 0
        self.choose(None)

    def make_trail(self) -> str:
        """Make the links to the folders above this one."""
        steps = [("home", ())] + [(name, self.folder[: n + 1]) for n, name in enumerate(self.folder)]
        links = " / ".join(
            f"<a href='{PREFIX}/files?{urlencode({'path': '/'.join(parts)})}'>{escape(name)}</a>"
            for name, parts in steps
        )
        return f"<nav class='trail' aria-label='Folders'>{links}</nav>"

    def say(self, text: str, kind: str = "notice") -> None:
        """Say something in a sentence above the list."""
        self.message.objects = [notice(escape(text), kind)] if text else []

    def arrived(self) -> None:
        """Show a file that was uploaded."""
        self.say("")
        self.refresh()
        name = self.upload.finished.get("name")
        self.choose(next((f for f in self.facts if f.name == name), None))

    def pick(self, row: int) -> None:
        """Choose a file or folder."""
        self.choose(self.facts[row])

    def choose(self, facts: FileFacts | None) -> None:
        """Show what can be done with a file or folder."""
        self.chosen = facts
        self.content.objects = []
        self.confirm.close()
        self.actions.visible = facts is not None
        if facts is None:
            self.details.object = ""
            return
        self.name.value = facts.name
        self.show.visible = not facts.is_folder
        self.to_table.visible = not facts.is_folder and facts.name.lower().endswith(TABLE_SUFFIXES)
        self.details.object = self.describe(facts)
        self.table.mark(self.facts.index(facts), turn=True)

    def describe(self, facts: FileFacts) -> str:
        """Make the sheet of a file or folder."""
        inside = "/".join((*self.folder, facts.name))
        if facts.is_folder:
            address = f"{PREFIX}/files?{urlencode({'path': inside})}"
            links = f"<a class='open' href='{address}'>Open folder {escape(facts.name)}</a>"
            return f"<div class='panel'><h2>{escape(facts.name)}/</h2><div class='links'>{links}</div></div>"
        size = describe_download(facts.size_bytes)
        links = f"<a class='open' href='{PREFIX}/files/content/{quote(inside)}'>Download ({size})</a>"
        if facts.name.lower().endswith(".avro"):
            links += f"<a class='open second' href='{PREFIX}/alerts?{urlencode({'file': inside})}'>Open as alerts</a>"
        if facts.name.lower().endswith(TABLE_SUFFIXES):
            links += f"<a class='open second' href='{PREFIX}/catalogs?{urlencode({'file': inside})}'>Open as a table</a>"
        if facts.name.lower().endswith(_FITS_SUFFIXES):
            links += f"<a class='open second' href='{PREFIX}/images?{urlencode({'file': inside})}'>Open as an image</a>"
        elsewhere = f"vos://skydesk!files{self.path_of(facts.name)}"
        return (
            f"<div class='panel'><h2>{escape(facts.name)}</h2><dl class='facts'>"
            f"<dt>Size</dt><dd>{describe_bytes(facts.size_bytes)}</dd>"
            f"<dt>In the lab</dt><dd><code>/home/{escape(self.path_of(facts.name)[1:])}</code></dd>"
            f"<dt>In queries</dt><dd><code>{escape(elsewhere)}</code></dd></dl><div class='links'>{links}</div></div>"
        )

    def act(self, action: Callable[[], None]) -> None:
        """Do something; say what went wrong."""
        try:
            action()
        except PortalError as error:
            self.say(f"{str(error)[:1].upper()}{str(error)[1:]}.", "error")

    def make_folder(self) -> None:
        """Make the folder whose name was typed."""
        (name,) = _one_name(self.new_name.value)
        home, parts = self.services.files.locate(self.request.identity, self.path_of(name))
        home.make_folder(parts)
        self.new_name.value = ""
        self.say(f"The folder {name} was made.", "info")
        self.refresh()

    def rename_chosen(self) -> None:
        """Give the chosen file the name that was typed."""
        if self.chosen is None:
            return
        (name,) = _one_name(self.name.value)
        if any(f.name == name for f in self.facts):
            raise UsageError(
                f"there is something of the name {name!r} already: choose another, or delete that first"
            )
        self.services.files.move(self.request.identity, self.path_of(self.chosen.name), self.path_of(name))
        self.say(f"{self.chosen.name} is {name} now.", "info")
        self.refresh()
        self.choose(next((f for f in self.facts if f.name == name), None))

    def ask_delete(self) -> None:
        """Ask before something is deleted."""
        facts = self.chosen
        if facts is None:
            return
        what = (
            f"the folder {facts.name} with all that is in it" if facts.is_folder else f"the file {facts.name}"
        )
        self.confirm.ask(
            f"Delete {what}? It cannot be brought back.",
            "Delete it",
            lambda: self.act(lambda: self.remove(facts)),
        )

    def remove(self, facts: FileFacts) -> None:
        """Delete a file or folder."""
        self.services.files.remove(self.request.identity, self.path_of(facts.name))
        self.say(f"{facts.name} was deleted.", "info")
        self.refresh()

    def read_chosen(self) -> bytes:
        """Read the chosen file as far as it is shown."""
        if self.chosen is None:
            return b""
        with self.services.files.open_for(self.request.identity, self.path_of(self.chosen.name)) as content:
            return content.stream.read(LARGEST_BYTES + 1)

    def show_chosen(self) -> None:
        """Show the content of the chosen file."""
        if self.chosen is not None:
            name = self.chosen.name
            self.content.objects = [preview_file(self.read_chosen(), name, media_type_of(name))]

    def forget_uploads(self) -> None:
        """Forget the images that were uploaded for a look; files of the home folder stay."""
        count = self.services.images.files.forget_all(self.request.identity)
        self.say(f"{count} opened image files were forgotten; your files are all there.", "info")
        self.refresh()

    def make_table(self) -> None:
        """Make a table of the chosen file."""
        if self.chosen is None:
            return
        tables, who = self.services.tables, self.request.identity
        stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in self.chosen.name.rpartition(".")[0])
        rows = tables.read_content(self.chosen.name, self.read_chosen())
        made = tables.create_table(who, stem if stem[:1].isalpha() else f"t_{stem}", rows)
        self.message.objects = [
            notice(
                f"The table <a href='{PREFIX}/files?view=tables'>{escape(made.full_name)}</a> with {made.rows:,} rows was made.",
                "info",
            )
        ]


def _one_name(text: str) -> tuple[str]:
    """Return what was typed if it is one name, not a path."""
    parts = split_path(text.strip())
    if len(parts) != 1:
        raise UsageError("type one name without slashes")
    return parts


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
    services.files.check_scope(request.identity)
    view = request.query.get("view")
    if view == "tables":
        tables = TablesView(services, request)
        tables.refresh()
        return pn.Column(page_views("Files", _VIEWS, "Tables"), tables.view, sizing_mode="stretch_width")
    if view == "sharing":
        return pn.Column(
            page_views("Files", _VIEWS, "Sharing"),
            build_sharing(services, request),
            sizing_mode="stretch_width",
        )
    page = _Page(services, request)
    page.refresh()
    new = pn.FlexBox(page.new_name, page.make, align_items="end", sizing_mode="stretch_width")
    return pn.Column(
        page_views("Files", _VIEWS, "Files"), page.usage, page.forget, page.trail, page.message, page.table.view, page.details,
        page.actions, page.confirm.view, page.content, page.upload, new, sizing_mode="stretch_width",
    )  # fmt: skip
