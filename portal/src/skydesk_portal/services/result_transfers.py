"""Results of queries, sent into a person's storage or tables."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.storage.files import split_path

if TYPE_CHECKING:
    from skydesk_portal.models.resultsets import ResultView
    from skydesk_portal.models.user_tables import UserTable
    from skydesk_portal.services.files import FilesService
    from skydesk_portal.services.resultsets import ResultSetService
    from skydesk_portal.services.tables import TableService

__all__ = ["FORMATS", "ResultTransferService"]

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".vot": "votable", ".xml": "votable", ".parquet": "parquet", ".fits": "fits",
    ".json": "json",
}  # fmt: skip
"""Formats of files by the ending of their names."""


class ResultTransferService:
    """Sends what is shown of a result somewhere.

    Parameters
    ----------
    results, files, tables
        The kept results, and where they go.
    """

    def __init__(self, results: ResultSetService, files: FilesService, tables: TableService) -> None:
        self._results, self._files, self._tables = results, files, tables

    def to_file(self, identity: Identity, result_id: str, view: ResultView, path: str) -> int:
        """Write what is shown of a result into the caller's storage.

        Parameters
        ----------
        identity
            The caller.
        result_id
            The result.
        view
            Columns, rows and order.
        path
            Path below the home folder; its ending says the format, folders are made.

        Returns
        -------
        int
            Size of the file in bytes.

        Raises
        ------
        UsageError
            If the ending is none of `FORMATS`.
        FileSpaceError
            If it does not fit into the quota.
        """
        self._files.check_scope(identity)
        steps = split_path(path.strip())
        suffix = PurePosixPath(steps[-1]).suffix.lower() if steps else ""
        if suffix not in FORMATS:
            raise UsageError(f"the name of the file ends with one of {', '.join(FORMATS)}")
        _, _, parts = self._results.write(identity, result_id, view, FORMATS[suffix])
        try:
            home = self._files.open_home(identity)
            for depth in range(1, len(steps)):
                if home.find(steps[:depth]) is None:
                    home.make_folder(steps[:depth])
            pending = self._files.begin_write(identity, f"/{identity.name}/{'/'.join(steps)}")
            try:
                for part in parts:
                    pending.write(part)
                pending.commit()
            finally:
                pending.discard()
        finally:
            parts.close()
        self._files.note_change(identity)
        return pending.size_bytes

    def to_table(
        self, identity: Identity, result_id: str, view: ResultView, name: str, *, append: bool
    ) -> tuple[UserTable, int]:
        """Make a table of what is shown of a result, or append it to one.

        Parameters
        ----------
        identity, result_id, view
            See `to_file`.
        name
            Name of the table.
        append
            Whether the rows go into a table that is there.

        Returns
        -------
        tuple
            The table as it is now, and how many rows were added.

        Raises
        ------
        FileConflictError
            If there is a table of that name already.
        NotFoundError
            If there is none to append to.
        """
        self._files.check_scope(identity)
        before = self._tables.get_table(identity, name).rows if append else 0
        explorer = self._results.open(identity, result_id)
        try:
            explorer.derive(view.derived)
            chosen = None
            if view.subset:
                chosen = np.flatnonzero(self._results.store.read_subset(explorer.result, view.subset))
            rows = self._results.rows_of(explorer, view, chosen)
            make = self._tables.append_rows if append else self._tables.create_table
            made = make(identity, name, rows)
        finally:
            explorer.close()
        return made, made.rows - before
