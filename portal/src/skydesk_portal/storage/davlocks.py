"""The locks that WebDAV clients hold, in SQLite: a restart of the process ends none."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["LockTable"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS dav_locks (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def _encode(value: object) -> object:
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    raise TypeError(f"a lock cannot hold {type(value).__name__}")


def _decode(found: dict[str, Any]) -> Any:
    return found["bytes"].encode("latin-1") if set(found) == {"bytes"} else found


class LockTable(MutableMapping[str, Any]):
    """Locks by token, and tokens by path, as the WebDAV library keeps them.

    Values that were read are copies: whoever changes one puts it back.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def __getitem__(self, key: str) -> Any:
        """Return a value."""
        query = "SELECT value FROM dav_locks WHERE key = ?"
        row = self._database.connect().execute(query, (key,)).fetchone()
        if row is None:
            raise KeyError(key)
        return json.loads(row[0], object_hook=_decode)

    def __setitem__(self, key: str, value: Any) -> None:
        """Keep a value."""
        with self._database.connect() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO dav_locks VALUES (?, ?)", (key, json.dumps(value, default=_encode))
            )

    def __delitem__(self, key: str) -> None:
        """Forget a value."""
        with self._database.connect() as connection:
            if connection.execute("DELETE FROM dav_locks WHERE key = ?", (key,)).rowcount == 0:
                raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        """Go through the keys as they are now."""
        return iter([row[0] for row in self._database.connect().execute("SELECT key FROM dav_locks")])

    def __len__(self) -> int:
        """Return the number of values."""
        return int(self._database.connect().execute("SELECT COUNT(*) FROM dav_locks").fetchone()[0])
