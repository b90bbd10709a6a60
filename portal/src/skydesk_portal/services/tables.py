"""Tables that people keep: made from files, results and queries, indexed, shared, dropped and restored."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from skydesk_portal.adql import translate
from skydesk_portal.config import PortalConfig
from skydesk_portal.exceptions import (
    FileConflictError,
    ForbiddenError,
    NotFoundError,
    QueryError,
    QuotaError,
    TooLargeError,
    UsageError,
)
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import Catalog, ColumnInfo, SchemaInfo, TableInfo
from skydesk_portal.models.tap import TapRequest
from skydesk_portal.models.user_tables import UserTable, find_position, schema_of
from skydesk_portal.services.tap import TapService
from skydesk_portal.services.uploads import UploadService
from skydesk_portal.storage.tables import SqliteTableStore
from skydesk_portal.storage.tables_files import PartWriter, read_batches
from skydesk_portal.vo.uploads import check_names, read_table
from skydesk_portal.vo.votable import arrow_type, to_declared

__all__ = ["TableService"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}\Z")
_MOST_PARTS = 24
_MOST_SHARES = 200
_MOST_TABLES = 1000
_LONGEST_TEXT = 4000

type Rows = tuple[Sequence[ColumnInfo], Iterable[pa.RecordBatch]]


class TableService:
    """Everything people may do with their tables.

    Parameters
    ----------
    store
        What is known of the tables.
    folder
        Folder with one folder of files per user.
    config
        Limits.
    tap
        Answers the queries that tables are made from.
    uploads
        Reads results and files by address.
    """

    def __init__(
        self,
        store: SqliteTableStore,
        folder: Path,
        config: PortalConfig,
        tap: TapService,
        uploads: UploadService,
    ) -> None:
        self.store = store
        self._folder = folder
        self._config = config
        self._tap = tap
        self._uploads = uploads

    # Looking

    def list_tables(self, identity: Identity) -> list[UserTable]:
        """Return the tables that a caller may read."""
        return self.store.list_visible(identity.name, identity.groups)

    def list_dropped(self, identity: Identity) -> list[UserTable]:
        """Return the caller's tables that can be restored."""
        return self.store.list_dropped(identity.name)

    def get_table(self, identity: Identity, name: str) -> UserTable:
        """Return a table that the caller may read.

        Parameters
        ----------
        identity
            The caller.
        name
            Name, with its schema unless the table is the caller's own.

        Returns
        -------
        UserTable
            The table.

        Raises
        ------
        NotFoundError
            If there is none for this caller, which is also the answer for another's.
        """
        schema, _, table = name.rpartition(".")
        found = self.store.find_visible(
            identity.name, identity.groups, schema or schema_of(identity.name), table
        )
        if found is None:
            raise NotFoundError(f"you have no table {name[:80]!r}")
        return found

    def usage_of(self, identity: Identity) -> tuple[int, int]:
        """Return how many bytes a caller's tables take, and how many they may."""
        return self.store.used_bytes(identity.name), self._config.tables_bytes

    # Rows

    def create_table(
        self,
        identity: Identity,
        name: str,
        rows: Rows,
        *,
        description: str = "",
        position: tuple[str, str] | None = None,
        replace_old: bool = False,
    ) -> UserTable:
        """Make a table, or give one new rows and columns.

        Parameters
        ----------
        identity
            The caller, who will own it.
        name
            Its name, with or without the caller's schema.
        rows
            Columns and rows.
        description
            In the owner's words.
        position
            Columns of right ascension and declination in degrees; found by
            their UCD or name if not given.
        replace_old
            Put it in the place of a table of that name.

        Returns
        -------
        UserTable
            The table.

        Raises
        ------
        FileConflictError
            If there is a table of that name.
        QuotaError
            If there is no room for it.
        UsageError
            If the name or the columns cannot be used.
        """
        own = self._own_name(identity, name)
        old = self.store.find_visible(identity.name, (), schema_of(identity.name), own)
        if old is not None and not replace_old:
            raise FileConflictError(f"you have a table {own} already: replace it, append to it or drop it")
        if old is None and len(self.store.list_visible(identity.name, ())) >= _MOST_TABLES:
            raise QuotaError(f"you have {_MOST_TABLES} tables already, which is the most that is kept")
        # Strings may be longer in rows that are appended later.
        columns = tuple(replace(c, arraysize="*") if c.datatype == "char" else c for c in rows[0])
        _check_columns(columns)
        place = _check_position(columns, position) if position else find_position(columns)
        writer = self._write(identity, columns, rows[1], place, None, old)
        now = datetime.now(UTC)
        made = UserTable(
            id=old.id if old else secrets.token_hex(10),
            owner=identity.name,
            name=own,
            version=old.version + 1 if old else 1,
            columns=columns,
            parts=tuple(writer.parts),
            rows=writer.rows,
            size_bytes=writer.size_bytes,
            created=old.created if old else now,
            changed=now,
            description=_check_text(description) or (old.description if old else ""),
            ra_column=place[0] if place else None,
            dec_column=place[1] if place else None,
            has_index=writer.has_index,
            users=old.users if old else (),
            groups=old.groups if old else (),
        )
        self._let_go(old)
        done = self.store.add(made) if old is None else self.store.change(made, old.version)
        if not done:
            writer.discard()
            raise FileConflictError(f"the table {own} has been changed by another request meanwhile")
        return made

    def read_content(self, what: str, content: bytes, target: UserTable | None = None) -> Rows:
        """Read columns and rows of a file in any of the formats taken, to be appended to a table if one is given."""
        texts = {c.name.lower() for c in target.columns if c.datatype == "char"} if target else set()
        columns, table = read_table(what, content, self._uploads.limit_bytes, texts)
        return columns, table.to_batches()

    def read_address(self, identity: Identity, address: str) -> Rows:
        """Read columns and rows of a result or a file of the caller."""
        content = self._uploads.read_address(identity, "the source", address)
        return self.read_content("the source", content)

    def run_query(
        self,
        identity: Identity,
        query: str,
        *,
        timeout_s: float,
        on_start: Callable[[Callable[[], None]], None] | None = None,
    ) -> Rows:
        """Return columns and rows of a query's answer while it is being made."""
        request = TapRequest(query, self._config.maximum_rows)
        stream = self._tap.open_stream(identity, request, timeout_s=timeout_s, on_start=on_start)

        def batches() -> Iterable[pa.RecordBatch]:
            for batch in stream.batches():
                yield to_declared(batch, stream.columns)
            if stream.overflow:
                raise TooLargeError(f"the query gives more than {self._config.maximum_rows} rows")

        return stream.columns, batches()

    def append_rows(self, identity: Identity, name: str, rows: Rows) -> UserTable:
        """Add rows to a table.

        Parameters
        ----------
        identity
            The owner.
        name
            The table.
        rows
            Columns, by name in any order, and rows; columns that are left out get nulls.

        Returns
        -------
        UserTable
            The table as it is now.

        Raises
        ------
        UsageError
            If a column is not one of the table's, or a value does not fit.
        """
        table = self._own_table(identity, name)
        given = {column.name.lower(): column.name for column in rows[0]}
        known = {column.name.lower() for column in table.columns}
        if strange := [given[key] for key in given if key not in known]:
            raise UsageError(f"the table {table.name} has no column {strange[0][:60]}")
        batches = (_fit(batch, given, table.columns) for batch in rows[1])
        if len(table.parts) >= _MOST_PARTS:
            # Many small files are slow to read: all rows are written anew.
            return self._rewrite(identity, table, batches)
        position = _position_of(table)
        writer = self._write(identity, table.columns, batches, position, table.sorted_by, None)
        now = datetime.now(UTC)
        added = replace(
            table,
            version=table.version + 1,
            parts=(*table.parts, *writer.parts),
            rows=table.rows + writer.rows,
            size_bytes=table.size_bytes + writer.size_bytes,
            changed=now,
            has_index=table.has_index and writer.has_index,
            unique=False,
        )
        return self._commit(added, table, writer)

    def _rewrite(
        self, identity: Identity, table: UserTable, more: Iterable[pa.RecordBatch] = (), **changes: Any
    ) -> UserTable:
        """Write all rows of a table anew, with more rows or another order."""
        changed = replace(table, **changes)

        def batches() -> Iterable[pa.RecordBatch]:
            yield from read_batches(self._folder / table.owner, table)
            yield from more

        writer = self._write(
            identity, table.columns, batches(), _position_of(changed), changed.sorted_by, table
        )
        made = replace(
            changed,
            version=table.version + 1,
            parts=tuple(writer.parts),
            rows=writer.rows,
            size_bytes=writer.size_bytes,
            changed=datetime.now(UTC),
            has_index=writer.has_index,
        )
        return self._commit(made, table, writer)

    def _let_go(self, table: UserTable | None) -> None:
        """Note on the files of a version that is about to go when that was; the sweeper counts from there."""
        if table is None:
            return
        for name in table.parts:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._folder / table.owner / name)

    def _commit(self, made: UserTable, old: UserTable, writer: PartWriter) -> UserTable:
        self._let_go(old)
        if not self.store.change(made, old.version):
            writer.discard()
            raise FileConflictError(f"the table {old.name} has been changed by another request meanwhile")
        return made

    def _write(
        self,
        identity: Identity,
        columns: Sequence[ColumnInfo],
        batches: Iterable[pa.RecordBatch],
        position: tuple[str, str] | None,
        sorted_by: str | None,
        old: UserTable | None,
    ) -> PartWriter:
        folder = self._folder / identity.name
        used, limit = self.usage_of(identity)
        free = limit - used + (old.size_bytes if old else 0)
        # Files of versions that are no more stay until no query can read them.
        present = sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0
        free = min(free, 2 * limit - present)
        figures = f"your tables take {used} of the {limit} bytes that they may"
        if free <= 0:
            raise QuotaError(f"{figures}: drop some for good first")
        writer = PartWriter(folder, columns, position=position, sorted_by=sorted_by, limit_bytes=free)
        try:
            writer.add_all(batches)
            writer.finish()
        except QuotaError as error:
            writer.discard()
            raise QuotaError(f"{figures}, and {error}") from error
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            writer.discard()
            raise UsageError("a value does not fit into its column") from error
        except BaseException:
            writer.discard()
            raise
        return writer

    # Everything else about a table

    def index_column(self, identity: Identity, name: str, column: str, *, unique: bool = False) -> UserTable:
        """Sort the rows of a table so that values of a column, or places on the sky, are found quickly.

        Parameters
        ----------
        identity
            The owner.
        name
            The table.
        column
            The column; one of the position's means the position.
        unique
            Refuse if two rows have the same value.

        Returns
        -------
        UserTable
            The table as it is now.

        Raises
        ------
        UsageError
            If there is no such column, or values repeat.
        """
        table = self._own_table(identity, name)
        found = next((c for c in table.columns if c.name.lower() == column.strip().lower()), None)
        if found is None or (found.arraysize not in (None, "", "1") and found.datatype != "char"):
            raise UsageError(f"the table {table.name} has no column {column[:60]!r} that can be indexed")
        if unique:
            values = [batch.column(found.name) for batch in read_batches(self._folder / table.owner, table)]
            every = pa.chunked_array(values, arrow_type(found)) if values else pa.chunked_array([[]])
            if pc.count_distinct(every, mode="all").as_py() != len(every):
                raise UsageError(f"values of {found.name} repeat: it cannot be a unique index")
        by_place = found.name in (table.ra_column, table.dec_column)
        return self._rewrite(identity, table, sorted_by=None if by_place else found.name, unique=unique)

    def describe_table(
        self,
        identity: Identity,
        name: str,
        *,
        description: str | None = None,
        columns: Mapping[str, Mapping[str, str]] | None = None,
        position: tuple[str, str] | None = None,
    ) -> UserTable:
        """Change what is said about a table, and which columns hold its position.

        Raises
        ------
        UsageError
            If a column is unknown.
        """
        table = self._own_table(identity, name)
        known = {column.name.lower(): i for i, column in enumerate(table.columns)}
        new = list(table.columns)
        for label, words in (columns or {}).items():
            if label.lower() not in known:
                raise UsageError(f"the table {table.name} has no column {label[:60]!r}")
            place = known[label.lower()]
            checked: dict[str, Any] = {key: _check_text(value) for key, value in words.items()}
            new[place] = replace(new[place], **checked)
        changes: dict[str, Any] = {"columns": tuple(new)}
        if description is not None:
            changes["description"] = _check_text(description)
        if position is not None:
            ra, dec = _check_position(new, position)
            return self._rewrite(
                identity, table, **changes, ra_column=ra, dec_column=dec, sorted_by=None, unique=False
            )
        made = replace(table, version=table.version + 1, changed=datetime.now(UTC), **changes)
        if not self.store.change(made, table.version):
            raise FileConflictError(f"the table {table.name} has been changed by another request meanwhile")
        return made

    def share_table(
        self, identity: Identity, name: str, users: Sequence[str], groups: Sequence[str]
    ) -> UserTable:
        """Say who may read a table besides its owner.

        Raises
        ------
        UsageError
            If a name cannot be one, or there are too many.
        """
        table = self._own_table(identity, name)
        if len(users) + len(groups) > _MOST_SHARES:
            raise UsageError(f"a table is shared with at most {_MOST_SHARES} users and groups")
        for who in (*users, *groups):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", who):
                raise UsageError(f"{who[:60]!r} is not a name of a user or a group")
        shared = replace(
            table,
            version=table.version + 1,
            users=tuple(sorted(set(users))),
            groups=tuple(sorted(set(groups))),
        )
        if not self.store.change(shared, table.version):
            raise FileConflictError(f"the table {table.name} has been changed by another request meanwhile")
        return shared

    def drop_table(self, identity: Identity, name: str, *, for_good: bool = False) -> UserTable:
        """Drop a table; it can be restored for a while unless it is dropped for good."""
        if for_good:
            waiting = self._dropped(identity, name)
            if waiting is not None:
                self._let_go(waiting)
                self.store.remove(waiting.id)
                return waiting
        table = self._own_table(identity, name)
        if for_good:
            self._let_go(table)
            self.store.remove(table.id)
        elif not self.store.set_dropped(table, datetime.now(UTC)):
            raise FileConflictError(f"the table {table.name} has been changed by another request meanwhile")
        return table

    def restore_table(self, identity: Identity, name: str) -> UserTable:
        """Bring back the table of a name that was dropped last.

        Raises
        ------
        NotFoundError
            If none was dropped.
        FileConflictError
            If there is another table of that name now.
        """
        table = self._dropped(identity, name)
        if table is None:
            raise NotFoundError(f"you have dropped no table {name[:80]!r} that could be restored")
        if not self.store.set_dropped(table, None):
            raise FileConflictError(f"there is another table {table.name} now: drop it first")
        return replace(table, dropped=None)

    def sweep(self) -> int:
        """Forget tables that were dropped long ago, and files that nobody needs; return how many files went."""
        now = datetime.now(UTC)
        for table in self.store.list_expired(now - timedelta(days=self._config.tables_undo_days)):
            self._let_go(table)
            self.store.remove(table.id)
        # A query that still runs may read files of a version that is no more; a writer has not named its files yet.
        youngest = now.timestamp() - self._config.execution_seconds - 3600
        if not self._folder.is_dir():
            return 0
        gone = 0
        needed = self.store.list_parts()
        for folder in self._folder.iterdir():
            for path in folder.iterdir() if folder.is_dir() else ():
                if path.name not in needed.get(folder.name, ()) and path.stat().st_mtime < youngest:
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone

    # Names

    def _own_name(self, identity: Identity, name: str) -> str:
        schema, _, table = name.rpartition(".")
        if schema and schema.lower() != schema_of(identity.name):
            raise ForbiddenError(f"your tables are in the schema {schema_of(identity.name)}")
        if not _NAME.match(table):
            raise UsageError(
                f"{table[:60]!r} cannot be the name of a table: letters, digits and _, a letter first"
            )
        probe = TableInfo("x", table, (ColumnInfo("a", "int"),), ("x",))
        try:
            translate(f"SELECT a FROM x.{table}", Catalog((SchemaInfo("x", tables=(probe,)),)))
        except QueryError as error:
            raise UsageError(f"{table[:60]!r} cannot be the name of a table: it is a word of ADQL") from error
        return table

    def _own_table(self, identity: Identity, name: str) -> UserTable:
        table = self.get_table(identity, name)
        if table.owner != identity.name:
            raise ForbiddenError(f"{table.full_name} is shared with you for reading only")
        return table

    def _dropped(self, identity: Identity, name: str) -> UserTable | None:
        schema, _, table = name.rpartition(".")
        if schema and schema.lower() != schema_of(identity.name):
            return None
        return next((t for t in self.list_dropped(identity) if t.name.lower() == table.lower()), None)


def _check_columns(columns: Sequence[ColumnInfo]) -> None:
    if not columns:
        raise UsageError("a table needs columns")
    check_names([column.name for column in columns])


def _check_text(text: str) -> str:
    if len(text) > _LONGEST_TEXT or not text.replace("\n", " ").replace("\t", " ").isprintable():
        raise UsageError(f"a description has at most {_LONGEST_TEXT} printable characters")
    return text


def _check_position(columns: Sequence[ColumnInfo], position: tuple[str, str]) -> tuple[str, str]:
    out = []
    for name in position:
        found = next((c for c in columns if c.name.lower() == name.lower()), None)
        if found is None or found.arraysize or found.datatype not in {"float", "double"}:
            raise UsageError(f"{name[:60]!r} is not a column of angles in degrees")
        out.append(found.name)
    return out[0], out[1]


def _position_of(table: UserTable) -> tuple[str, str] | None:
    return (table.ra_column, table.dec_column) if table.ra_column and table.dec_column else None


def _fit(batch: pa.RecordBatch, given: Mapping[str, str], columns: Sequence[ColumnInfo]) -> pa.RecordBatch:
    """Bring rows into the order and the types of a table."""
    arrays = []
    for column in columns:
        kind = arrow_type(column)
        name = given.get(column.name.lower())
        array = pa.nulls(batch.num_rows, kind) if name is None else batch.column(name)
        if array.type != kind:
            if pa.types.is_string(kind) and not pa.types.is_string(array.type):
                raise UsageError(f"column {column.name} holds strings, the new rows have numbers there")
            try:
                array = pc.cast(array, kind)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise UsageError(f"a value does not fit into the column {column.name}") from error
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])
