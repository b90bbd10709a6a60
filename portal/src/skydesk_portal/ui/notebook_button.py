"""The button "Open in notebook": a page's code becomes a notebook in the person's lab, which nothing runs by itself.

The wish comes over the page's own session, whose token the gate has signed: a link that somebody sends cannot make one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import panel as pn
import param
from panel.custom import JSComponent

from skydesk_portal.exceptions import PortalError
from skydesk_portal.ui.gate import PREFIX

if TYPE_CHECKING:
    from skydesk_portal.services.notebooks import NotebookService
    from skydesk_portal.ui.shell import PageRequest

__all__ = ["NotebookButton"]

type Code = tuple[str, Sequence[str]]


class NotebookButton(JSComponent):
    """Writes what a page shows, as code, into a new notebook and opens it in JupyterLab.

    Parameters
    ----------
    notebooks
        Writes the notebook.
    request
        Who is looking.
    page
        Name of the page in the address, such as ``catalogs``.
    code
        Gives the title and the cells of code at the moment of the click; whatever comes from the person or the address has
        to be a literal in it. Its errors are shown.
    """

    label = param.String(default="Open in notebook", doc="What the button says.")
    help = param.String(
        default="Write the code of this view into a new notebook of your lab and open it; nothing is run by itself",
        doc="What the button says when one points at it.",
    )
    asked = param.Integer(default=0, doc="How often it was pressed.")
    answer = param.Dict(
        default={}, doc="Serial number of the wish with path and address of the notebook, or the error."
    )

    _bundle = "assets/notebook.bundle.js"

    def __init__(
        self,
        notebooks: NotebookService,
        request: PageRequest,
        page: str,
        code: Callable[[], Code],
        **params: Any,
    ) -> None:
        super().__init__(**{"margin": (5, 10), **params})
        self._notebooks = notebooks
        self._request = request
        self._page = page
        self._code = code
        self.param.watch(self._write, "asked")

    async def _write(self, event: Any) -> None:
        try:
            title, cells = self._code()
            made = await asyncio.to_thread(
                self._notebooks.write, self._request.identity, title, cells, self._source()
            )
        except PortalError as error:
            self.answer = {"serial": event.new, "error": f"No notebook was written: {error}."}
            return
        self.answer = {"serial": event.new, "address": made.address, "path": made.path}

    def _source(self) -> str:
        """Return the address of the page as the browser has it."""
        told = self._request.view.address if self._request.view is not None else None
        if told is not None:
            return told
        search = (pn.state.location.search if pn.state.location else "") or ""
        return f"{PREFIX}/{self._page}{search}"
