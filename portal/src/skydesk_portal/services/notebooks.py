"""Notebooks that the pages leave in a person's home folder, for the person to open in the lab and to run there."""

from __future__ import annotations

import io
import json
import re
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from skydesk_portal.exceptions import FileConflictError, ForbiddenError, TooLargeError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.files import FilesService

__all__ = ["FOLDER", "NotebookService", "WrittenNotebook", "make_notebook"]

FOLDER = ("notebooks", "from-portal")
"""Where the notebooks lie below the home folder."""

MAX_CODE_BYTES = 200_000
"""Length of the code that one notebook takes at most."""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")
_LAB = "/nb/hub/user-redirect/lab/tree/"


@dataclass(frozen=True)
class WrittenNotebook:
    """A notebook that lies in a home folder.

    Parameters
    ----------
    path
        Below the home folder, without a slash in front.
    """

    path: str

    @property
    def address(self) -> str:
        """Address on this platform that starts the person's lab if need be and opens the notebook there."""
        return _LAB + quote(self.path)


def make_notebook(title: str, cells: Sequence[str], source: str, when: datetime) -> dict[str, Any]:
    """Put code into a notebook (nbformat 4.5) of which nothing has been run.

    Parameters
    ----------
    title
        What it is about, one line; shown as text, whatever is in it.
    cells
        The code, one text a cell.
    source
        Address of the page that the code reproduces.
    when
        Now.

    Returns
    -------
    dict
        The notebook's document.
    """
    heading = _MARKDOWN.sub(r"\\\1", " ".join(title.split()))
    link = quote(source, safe="/:?&=%,;+@!~*'$-._#").replace("(", "%28").replace(")", "%29")
    note = (
        f"# {heading}\n\n"
        f"Made from [this page of the Portal](<{link}>) on {when:%Y-%m-%d %H:%M} UTC. "
        "Nothing has been run yet: read the code, then run the cells."
    )
    first: dict[str, Any] = {
        "cell_type": "markdown",
        "id": secrets.token_hex(4),
        "metadata": {},
        "source": note,
    }
    rest: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": secrets.token_hex(4),
            "metadata": {},
            "outputs": [],
            "source": text.strip("\n"),
        }
        for text in cells
    ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {
        "cells": [first, *rest],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


class NotebookService:
    """Writes notebooks into home folders; it never runs one.

    Parameters
    ----------
    files
        The files of people.
    url
        Public base address, for the link back to the page.
    """

    def __init__(self, files: FilesService, url: str) -> None:
        self._files = files
        self._url = url.rstrip("/")

    def write(
        self, identity: Identity, title: str, cells: Sequence[str], source: str, when: datetime | None = None
    ) -> WrittenNotebook:
        """Write code into a new notebook in the caller's own home folder.

        Parameters
        ----------
        identity
            The caller.
        title
            What it is about; names the file.
        cells
            The code, one text a cell.
        source
            Path and query of the page that the code reproduces.
        when
            Now; for tests.

        Returns
        -------
        WrittenNotebook
            Where it lies. A file that exists is never replaced.

        Raises
        ------
        ForbiddenError
            If the caller may not write files or use notebooks.
        TooLargeError
            If there is too much code.
        FileSpaceError
            If it does not fit into the quota.
        """
        for scope in ("write:files", "exec:notebook"):
            if scope not in identity.scopes:
                raise ForbiddenError(f"your account or token does not have the scope {scope}")
        if sum(len(text.encode()) for text in cells) > MAX_CODE_BYTES:
            raise TooLargeError(f"a notebook from the Portal takes at most {MAX_CODE_BYTES:,} bytes of code")
        moment = when or datetime.now(UTC)
        document = make_notebook(title, cells, f"{self._url}{source}", moment)
        content = json.dumps(document, indent=1, ensure_ascii=False).encode()
        home = self._files.open_home(identity)
        for depth in range(1, len(FOLDER) + 1):
            with suppress(FileConflictError):  # it is there already
                home.make_folder(FOLDER[:depth])
        taken = set(home.list_names(FOLDER))
        stem = f"{_slug(title)}-{moment:%Y%m%d-%H%M%S}"
        name = next(n for n in _candidates(stem) if n not in taken)
        path = "/".join((*FOLDER, name))
        self._files.write_all(identity, f"/{identity.name}/{path}", io.BytesIO(content), len(content))
        return WrittenNotebook(path)


def _slug(title: str) -> str:
    """Return a file name's worth of a title: lower-case letters, digits and dashes."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "notebook"


def _candidates(stem: str) -> Sequence[str]:
    return [f"{stem}.ipynb", *(f"{stem}-{secrets.token_hex(3)}.ipynb" for _ in range(3))]
