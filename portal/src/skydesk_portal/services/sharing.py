"""Which Butler repositories there are, and who may read which."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from skydesk_portal.exceptions import NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.pipeline.releases import ReleaseStore
from skydesk_portal.storage.sharing import ShareStore

__all__ = ["OWN_PREFIX", "RepositoryReaders", "SharingService", "check_reader_names"]

OWN_PREFIX = "u-"
"""What the labels of people's own repositories begin with."""

_USER = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}\Z")
_MOST_READERS = 500


def check_reader_names(users: Collection[str], groups: Collection[str]) -> None:
    """Refuse what cannot be the name of a user or a group, and too many.

    Raises
    ------
    UsageError
        If a name is none, or there are too many.
    """
    for pattern, names, kind in ((_USER, users, "user"), (_GROUP, groups, "group")):
        for name in names:
            if not pattern.match(name):
                raise UsageError(f"{name[:40]!r} is not the name of a {kind}")
    if len(users) + len(groups) > _MOST_READERS:
        raise UsageError(f"something is shared with at most {_MOST_READERS} users and groups")


@dataclass(frozen=True)
class RepositoryReaders:
    """Who may read a repository beside its owner.

    Parameters
    ----------
    label
        Label of the repository.
    users, groups
        Names, sorted.
    """

    label: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class SharingService:
    """Knows all repositories and who may read them.

    Parameters
    ----------
    releases
        The releases, each with a repository of its name.
    users
        The folder with one folder per user.
    store
        Keeps who shares with whom.
    """

    def __init__(self, releases: ReleaseStore, users: Path, store: ShareStore) -> None:
        self._releases, self._users, self._store = releases, users, store

    def list_roots(self) -> dict[str, Path]:
        """Return the root folder of every repository, by label."""
        found = {release.name: release.path / "butler" for release in self._releases.list_all()}
        if self._users.is_dir():
            for folder in self._users.iterdir():
                if _USER.match(folder.name) and (folder / "butler" / "butler.yaml").exists():
                    found[OWN_PREFIX + folder.name] = folder / "butler"
        return found

    def check(self, identity: Identity, label: str) -> None:
        """Refuse a repository that is not the caller's to read.

        Raises
        ------
        NotFoundError
            If there is none of that label, or none that the caller may know of.
        """
        if label.startswith(OWN_PREFIX):
            allowed = self._may_read(identity, label.removeprefix(OWN_PREFIX)) and label in self.list_roots()
        else:
            allowed = self._releases.find(identity, label) is not None
        if not allowed:
            raise NotFoundError(f"there is no Butler repository {label[:40]!r}")

    def _may_read(self, identity: Identity, owner: str) -> bool:
        if owner == identity.name:
            return True
        users, groups = self._store.get_readers(owner)
        return identity.name in users or bool(groups & identity.groups)

    def list_labels(self, identity: Identity) -> list[str]:
        """Return the labels of the repositories that a caller may read, releases first."""
        roots = self.list_roots()
        owners = [identity.name, *self._store.list_owners(identity.name, identity.groups)]
        own = dict.fromkeys(OWN_PREFIX + owner for owner in owners)
        visible = [release.name for release in self._releases.list_visible(identity)]
        return visible + [label for label in own if label in roots]

    def get_readers(self, identity: Identity, label: str) -> RepositoryReaders:
        """Return whom the caller shares a repository with.

        Raises
        ------
        NotFoundError
            If it is not the caller's.
        """
        users, groups = self._store.get_readers(self._owner(identity, label))
        return RepositoryReaders(label, tuple(sorted(users)), tuple(sorted(groups)))

    def set_readers(
        self, identity: Identity, label: str, users: Iterable[str], groups: Iterable[str]
    ) -> RepositoryReaders:
        """Say whom the caller shares a repository with; nobody else keeps access.

        Parameters
        ----------
        identity
            The owner.
        label
            Label of the owner's repository; it need not exist yet.
        users, groups
            Names.

        Returns
        -------
        RepositoryReaders
            As it is now.

        Raises
        ------
        NotFoundError
            If it is not the caller's.
        UsageError
            If a name is none, or there are too many.
        """
        owner, people, teams = self._owner(identity, label), set(users), set(groups)
        check_reader_names(people, teams)
        self._store.set_readers(owner, people - {owner}, teams)
        return self.get_readers(identity, label)

    def _owner(self, identity: Identity, label: str) -> str:
        if label != OWN_PREFIX + identity.name:
            raise NotFoundError(f"you have no repository {label[:40]!r}")
        return identity.name
