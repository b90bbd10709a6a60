"""The properties that people gave to their nodes, in SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from skydesk_portal.storage.threaded import ThreadedFile

__all__ = ["NodePropertyStore"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS node_properties"
    " (path TEXT NOT NULL, uri TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (path, uri)) WITHOUT ROWID"
)


class NodePropertyStore:
    """Keeps properties by the path of their node.

    Parameters
    ----------
    file
        The database; made if it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._database = ThreadedFile(file, _SCHEMA)

    def get_all(self, path: str) -> dict[str, str]:
        """Return the properties of a node by their identifiers.

        Parameters
        ----------
        path
            ``/NAME/…``.
        """
        rows = self._database.connect().execute(
            "SELECT uri, value FROM node_properties WHERE path = ?", (path,)
        )
        return dict(rows.fetchall())

    def get_of_children(self, path: str) -> dict[str, dict[str, str]]:
        """Return the properties of everything directly in a container, by path."""
        prefix = path.rstrip("/") + "/"
        rows = self._database.connect().execute(
            "SELECT path, uri, value FROM node_properties WHERE path > ? AND path < ? AND instr(substr(path, ?), '/') = 0",
            (prefix, prefix + chr(0x10FFFF), len(prefix) + 1),
        )
        found: dict[str, dict[str, str]] = {}
        for where, uri, value in rows:
            found.setdefault(where, {})[uri] = value
        return found

    def set_all(self, path: str, properties: Mapping[str, str | None]) -> None:
        """Set properties of a node; `None` removes one."""
        with self._database.connect() as connection:
            for uri, value in properties.items():
                if value is None:
                    connection.execute("DELETE FROM node_properties WHERE path = ? AND uri = ?", (path, uri))
                else:
                    connection.execute(
                        "INSERT OR REPLACE INTO node_properties (path, uri, value) VALUES (?, ?, ?)",
                        (path, uri, value),
                    )

    def remove(self, path: str) -> None:
        """Forget the properties of a node and of everything below it."""
        with self._database.connect() as connection:
            connection.execute(
                "DELETE FROM node_properties WHERE path = ? OR (path > ? AND path < ?)",
                (path, path + "/", path + "/" + chr(0x10FFFF)),
            )

    def move(self, source: str, target: str) -> None:
        """Let the properties of a node and of everything below it follow it to another place."""
        self.remove(target)
        with self._database.connect() as connection:
            connection.execute(
                "UPDATE node_properties SET path = ? || substr(path, ?)"
                " WHERE path = ? OR (path > ? AND path < ?)",
                (target, len(source) + 1, source, source + "/", source + "/" + chr(0x10FFFF)),
            )
