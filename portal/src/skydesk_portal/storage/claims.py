"""Space that files on their way have been promised, shared by the processes of one machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from skydesk_portal.exceptions import FileSpaceError
from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["Claim", "ClaimStore"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS claims"
    " (id TEXT PRIMARY KEY, owner TEXT NOT NULL, bytes INTEGER NOT NULL, process TEXT NOT NULL, ended REAL)"
)
_STEP_BYTES = 64_000_000
_KEEP_S = 600.0


def _mark(process: str) -> str:
    """Return number and start of a process, which no other ever has; empty if there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    return f"{text.split(' ', 1)[0]} {text.rpartition(')')[2].split()[19]}"


class ClaimStore:
    """Promises of space; one of a file that is complete counts until the folder has been measured again.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def set(self, name: str, owner: str, size_bytes: int, free_bytes: int, measured_s: float) -> bool:
        """Promise space, or more of it, unless all promises together would be too much.

        Parameters
        ----------
        name
            Of the promise.
        owner
            Whose quota it is.
        size_bytes
            How much in all.
        free_bytes, measured_s
            How much was free, and when that was measured (Unix time).

        Returns
        -------
        bool
            Whether it fits.
        """
        with self._database.change() as connection:
            # Two uploads must not both find the last place free.
            connection.execute("DELETE FROM claims WHERE ended < ?", (time.time() - _KEEP_S,))
            taken = 0
            for other, size, process, ended in connection.execute(
                "SELECT id, bytes, process, ended FROM claims WHERE owner = ?", (owner,)
            ).fetchall():
                if other == name:
                    continue
                if ended is None and _mark(process.partition(" ")[0]) != process:
                    # What a process wrote that has died since vanished with it.
                    connection.execute("DELETE FROM claims WHERE id = ?", (other,))
                elif ended is None or ended >= measured_s:
                    taken += size
            if taken + size_bytes > free_bytes:
                return False
            connection.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, NULL)",
                (name, owner, size_bytes, _mark("self")),
            )
        return True

    def end(self, name: str, size_bytes: int | None) -> None:
        """End a promise: the file is complete and has so many bytes, or there is none (`None`)."""
        with self._database.connect() as connection:
            if size_bytes is None:
                connection.execute("DELETE FROM claims WHERE id = ? AND ended IS NULL", (name,))
            else:
                connection.execute(
                    "UPDATE claims SET bytes = ?, ended = ? WHERE id = ?", (size_bytes, time.time(), name)
                )


class Claim:
    """The space of one file on its way.

    Parameters
    ----------
    ask
        Promises a number of bytes in all; tells whether they fit.
    end
        Ends the promise, with the size of the file or `None`.
    """

    def __init__(self, ask: Callable[[int], bool], end: Callable[[int | None], None]) -> None:
        self._ask, self._end = ask, end
        self._promised = -1

    def take(self, size_bytes: int) -> None:
        """Have at least so many bytes promised.

        Raises
        ------
        FileSpaceError
            If they do not fit into the quota beside everything else that is on its way.
        """
        if size_bytes <= self._promised:
            return
        # In large steps as long as there is plenty: each is a transaction.
        for wanted in (size_bytes + _STEP_BYTES if self._promised >= 0 else size_bytes, size_bytes):
            if self._ask(wanted):
                self._promised = wanted
                return
        raise FileSpaceError("there is no space left for this file in your quota")

    def end(self, size_bytes: int | None) -> None:
        """Give back what was not needed; all of it with `None`."""
        self._end(size_bytes)
