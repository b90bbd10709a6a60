"""Long work on people's tables, done by workers: indexes, and tables made from queries."""

from __future__ import annotations

from pathlib import Path

from skydesk_portal.exceptions import UsageError
from skydesk_portal.models.jobs import Job
from skydesk_portal.services.execution import owner_of
from skydesk_portal.services.tables import TableService
from skydesk_portal.uws.runner import JobContext

__all__ = ["TableExecutor"]


class TableExecutor:
    """Does the jobs on people's tables.

    ``TABLE`` names the table. With ``INDEX`` (and ``UNIQUE``) its rows are
    sorted by a column; with ``QUERY`` it is made from the answer, or gets
    more rows if ``APPEND`` is true.
    """

    def __init__(self, tables: TableService) -> None:
        self._tables = tables

    def execute(self, job: Job, context: JobContext) -> list[tuple[str, Path, str]]:
        """Do a job.

        Raises
        ------
        PortalError
            If it is not possible or is stopped.
        """
        identity = owner_of(job)
        name, index, query = (job.find_value(word) for word in ("TABLE", "INDEX", "QUERY"))
        if not name or not (index or query):
            raise UsageError("give TABLE, and either INDEX or QUERY")
        if index:
            unique = (job.find_value("UNIQUE") or "false").lower() == "true"
            table = self._tables.index_column(identity, name, index, unique=unique)
        else:
            rows = self._tables.run_query(identity, query or "", timeout_s=0, on_start=context.on_stop)
            if (job.find_value("APPEND") or "false").lower() == "true":
                table = self._tables.append_rows(identity, name, rows)
            else:
                table = self._tables.create_table(identity, name, rows)
        # Told to stop only after the rows were in their place: given back now, the job would add them twice.
        context.report(table=table.full_name, rows=table.rows)
        return []
