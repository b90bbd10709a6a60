"""Who makes a request and what the caller may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SCOPES", "Identity", "UnknownName"]

SCOPES = (
    "read:tap",
    "read:image",
    "read:alertdb",
    "exec:notebook",
    "exec:portal",
    "exec:batch",
    "write:files",
    "user:token",
)
"""Scopes of ordinary users, with the names that the Rubin Science Platform uses."""


@dataclass(frozen=True)
class Identity:
    """A signed-in person or service.

    Parameters
    ----------
    name
        User name.
    scopes
        What the token in hand allows.
    groups
        Groups of the user, which releases are shared with.
    admin
        Whether the user administers the platform.
    quota
        Figures that an administrator set for this user alone, as user-info
        answers give them; empty means the platform's.
    """

    name: str
    scopes: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    admin: bool = False
    quota: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def may_read(self, access_groups: frozenset[str]) -> bool:
        """Tell whether something shared with these groups is open to the caller.

        Parameters
        ----------
        access_groups
            Names of groups; empty or with ``*`` means everybody.

        Returns
        -------
        bool
            `True` if the caller may read it.
        """
        return not access_groups or "*" in access_groups or self.admin or bool(access_groups & self.groups)


@dataclass(frozen=True)
class UnknownName:
    """A name that no user or group has.

    Parameters
    ----------
    kind
        ``user`` or ``group``.
    name
        The name.
    meant
        A name like it that somebody has, `None` if there is none.
    """

    kind: str
    name: str
    meant: str | None
