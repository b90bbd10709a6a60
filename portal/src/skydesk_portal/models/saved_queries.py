"""Definitions of queries that people save, share and carry as files."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from skydesk_portal.exceptions import TooLargeError, UsageError

__all__ = ["QueryDefinition", "SavedQuery"]

FORMAT = "skydesk-query"
VERSION = 1
MOST_BYTES = 2_000_000
_LONGEST_NAME = 100
_LONGEST_ABOUT = 2000
_LONGEST_QUERY = 200_000
_UPLOAD = re.compile(r"[A-Za-z]\w{0,63}\Z", re.ASCII)


@dataclass(frozen=True)
class QueryDefinition:
    """All that is needed to ask a query again.

    Parameters
    ----------
    name, description
        What its author calls it and says about it.
    query
        The ADQL.
    uploads
        Tables that come with it, by their name in ``TAP_UPLOAD``.

    Raises
    ------
    UsageError
        If the name is empty or something is too long.
    TooLargeError
        If the tables that come with it are too large to be kept.
    """

    name: str
    query: str
    description: str = ""
    uploads: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > _LONGEST_NAME or not self.name.isprintable():
            raise UsageError(f"the name of a saved query has 1 to {_LONGEST_NAME} printable characters")
        if len(self.description) > _LONGEST_ABOUT:
            raise UsageError(f"the description of a saved query has at most {_LONGEST_ABOUT} characters")
        if not self.query.strip() or len(self.query) > _LONGEST_QUERY:
            raise UsageError(f"a saved query has 1 to {_LONGEST_QUERY:,} characters")
        for name in self.uploads:
            if not _UPLOAD.match(name):
                raise UsageError(f"{name[:40]!r} cannot be the name of an uploaded table")
        if (size := sum(map(len, self.uploads.values()))) > MOST_BYTES:
            raise TooLargeError(
                f"tables that come with a saved query have at most {MOST_BYTES:,} bytes, these have {size:,}: "
                "keep them as your tables"
            )

    def to_document(self) -> dict[str, Any]:
        """Return the definition as JSON values, the form of its file."""
        uploads = {name: base64.b64encode(content).decode() for name, content in self.uploads.items()}
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "description": self.description,
            "query": self.query,
            "uploads": uploads,
        }

    def write(self) -> bytes:
        """Return the file."""
        return json.dumps(self.to_document(), indent=2, ensure_ascii=False).encode()

    @classmethod
    def read(cls, content: bytes) -> QueryDefinition:
        """Read a file that `write` wrote.

        Raises
        ------
        UsageError
            If it is none, or one of a newer version.
        """
        if len(content) > 2 * MOST_BYTES + _LONGEST_QUERY:
            raise TooLargeError("this file is larger than the definition of any query")
        try:
            document = json.loads(content)
        except ValueError as error:
            raise UsageError("this is no file of a saved query: it is not JSON") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise UsageError("this is no file of a saved query: the field format is missing")
        if document.get("version") != VERSION:
            raise UsageError(
                f"this file of a saved query is of version {document.get('version')}, known is {VERSION}"
            )
        return cls.from_document(document)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> QueryDefinition:
        """Read the values that `to_document` gives.

        Raises
        ------
        UsageError
            If one of them is wrong.
        """
        name, query, about = texts = tuple(document.get(key, "") for key in ("name", "query", "description"))
        uploads = document.get("uploads") or {}
        if not all(isinstance(text, str) for text in texts) or not isinstance(uploads, dict):
            raise UsageError("name, query and description of a saved query are texts, uploads tables by name")
        try:
            tables = {str(n): base64.b64decode(str(c), validate=True) for n, c in uploads.items()}
        except (binascii.Error, ValueError) as error:
            raise UsageError("a table that comes with a saved query is not base64") from error
        return cls(name, query, about, tables)


@dataclass(frozen=True)
class SavedQuery:
    """A query that somebody has saved.

    Parameters
    ----------
    id, owner
        Its identifier and whose it is.
    definition
        What is asked.
    changed
        When it was saved last, UTC.
    users, groups
        Who else may read it.
    """

    id: str
    owner: str
    definition: QueryDefinition
    changed: datetime = field(default_factory=lambda: datetime.now(UTC))
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
