"""Groups of people: releases, tables and repositories are shared with them, quotas are granted to them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skydesk_hub.errors import UserError
from skydesk_hub.identity.store import BUILT_IN, Store

__all__ = ["Group", "GroupStore", "Unknown"]

NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
LONGEST_DESCRIPTION = 200
FIRST_NUMBER = 2000


@dataclass(frozen=True)
class Group:
    """A group.

    Parameters
    ----------
    id
        Its number, never given to another group.
    name
        Its name.
    description
        What it is for.
    members
        Names of users, sorted.
    """

    id: int
    name: str
    description: str
    members: tuple[str, ...]

    def describe(self) -> dict[str, object]:
        """Return what lists show."""
        return {"name": self.name, "description": self.description, "members": list(self.members)}


@dataclass(frozen=True)
class Unknown:
    """A name that nobody has.

    Parameters
    ----------
    kind
        ``user`` or ``group``.
    name
        The name.
    meant
        A name like it that somebody has, None if there is none.
    """

    kind: str
    name: str
    meant: str | None


class GroupStore:
    """The groups, kept with the users.

    Parameters
    ----------
    store
        The users.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def list_groups(self) -> list[Group]:
        """Return all groups by name, without those that everybody of a kind is in."""
        with self.store.connect() as db:
            rows = db.execute("SELECT id, name, description FROM groups ORDER BY name").fetchall()
            members = db.execute("SELECT group_id, name FROM members ORDER BY name").fetchall()
        return [
            Group(row[0], row[1], row[2], tuple(name for owner, name in members if owner == row[0]))
            for row in rows
        ]

    def number_groups(self) -> dict[str, int]:
        """Return the number of every group, by name; those that everybody of a kind is in come first."""
        built_in = {name: FIRST_NUMBER + index for index, name in enumerate(BUILT_IN)}
        return built_in | {group.name: FIRST_NUMBER + 9 + group.id for group in self.list_groups()}

    def get_group(self, name: str) -> Group:
        """Return a group.

        Parameters
        ----------
        name
            Its name.

        Raises
        ------
        UserError
            When there is none of that name.
        """
        groups = {group.name: group for group in self.list_groups()}
        if name not in groups:
            raise UserError(f"no group {name!r}{_suggest(name, groups)}")
        return groups[name]

    def put_group(self, name: str, users: Iterable[str] = (), description: str | None = None) -> Group:
        """Make a group unless there is one of that name, and put people into it.

        Parameters
        ----------
        name
            Its name.
        users
            Who belongs to it from now on, beside those who do.
        description
            What it is for; None leaves that as it is.

        Raises
        ------
        UserError
            When the name cannot be used or a user does not exist; nothing is changed then.
        """
        if name in BUILT_IN:
            raise UserError(f"group {name!r} is the platform's own: nobody is put into it by hand")
        if not NAME.fullmatch(name):
            raise UserError(f"group name {name!r}: a lower case letter, then at most 30 of a-z 0-9 - _")
        if description is not None and len(description) > LONGEST_DESCRIPTION:
            raise UserError(f"the description of a group has at most {LONGEST_DESCRIPTION} characters")
        wanted = sorted(set(users))
        if missing := self.find_unknown(wanted, ()):
            raise UserError(f"no user {missing[0].name!r}{_meant(missing[0].meant)}")
        with self.store.connect() as db:
            db.execute("INSERT OR IGNORE INTO groups (name, description) VALUES (?, '')", (name,))
            if description is not None:
                db.execute("UPDATE groups SET description = ? WHERE name = ?", (description, name))
            (number,) = db.execute("SELECT id FROM groups WHERE name = ?", (name,)).fetchone()
            db.executemany("INSERT OR IGNORE INTO members VALUES (?, ?)", [(number, user) for user in wanted])
        return self.get_group(name)

    def take_out(self, name: str, users: Sequence[str]) -> Group:
        """Take people out of a group.

        Parameters
        ----------
        name
            The group.
        users
            Who.

        Raises
        ------
        UserError
            When there is no such group or somebody is not in it; nothing is changed then.
        """
        group = self.get_group(name)
        for user in users:
            if user not in group.members:
                raise UserError(f"user {user!r} is not in group {name!r}{_suggest(user, group.members)}")
        with self.store.connect() as db:
            db.executemany(
                "DELETE FROM members WHERE group_id = ? AND name = ?", [(group.id, user) for user in users]
            )
        return self.get_group(name)

    def remove_group(self, name: str) -> Group:
        """Remove a group and return what it was; what was shared with it is shared with nobody.

        Parameters
        ----------
        name
            The group.

        Raises
        ------
        UserError
            When there is none of that name.
        """
        group = self.get_group(name)
        with self.store.connect() as db:
            db.execute("DELETE FROM members WHERE group_id = ?", (group.id,))
            db.execute("DELETE FROM groups WHERE id = ?", (group.id,))
        return group

    def find_unknown(self, users: Iterable[str], groups: Iterable[str]) -> list[Unknown]:
        """Return the names that nobody has.

        Parameters
        ----------
        users, groups
            Names.
        """
        people = [user.name for user in self.store.list_users()]
        teams = [*BUILT_IN, *(group.name for group in self.list_groups())]
        return [
            Unknown(kind, name, _closest(name, known))
            for kind, names, known in (("user", users, people), ("group", groups, teams))
            for name in names
            if name not in known
        ]


def _closest(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name.lower(), known, 1)), None)


def _meant(name: str | None) -> str:
    return f": did you mean {name!r}?" if name else ""


def _suggest(name: str, known: Iterable[str]) -> str:
    return _meant(_closest(name, known))
