"""Saved queries: keep, share with users and groups, open."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from skydesk_portal.exceptions import ForbiddenError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.saved_queries import QueryDefinition, SavedQuery
from skydesk_portal.services.sharing import check_reader_names
from skydesk_portal.storage.saved_queries import SavedQueryStore

__all__ = ["SavedQueryService"]

MOST_QUERIES = 1000


class SavedQueryService:
    """Keeps queries that people save.

    Parameters
    ----------
    store
        Where they are kept.
    """

    def __init__(self, store: SavedQueryStore) -> None:
        self._store = store

    def save(self, identity: Identity, definition: QueryDefinition) -> SavedQuery:
        """Save a query; one of the caller's of the same name is replaced and stays shared.

        Raises
        ------
        UsageError
            If the caller has saved too many.
        """
        old = self._store.find_name(identity.name, definition.name)
        if old is None and self._store.count(identity.name) >= MOST_QUERIES:
            raise UsageError(f"you have saved {MOST_QUERIES:,} queries: remove some first")
        now = datetime.now(UTC)
        saved = (
            SavedQuery(secrets.token_hex(8), identity.name, definition, now)
            if old is None
            else replace(old, definition=definition, changed=now)
        )
        self._store.put(saved)
        return saved

    def list_queries(self, identity: Identity) -> list[SavedQuery]:
        """Return the caller's queries and those that others share with the caller."""
        return [
            self._seen_by(identity, query)
            for query in self._store.list_readable(identity.name, identity.groups)
        ]

    def get(self, identity: Identity, query_id: str) -> SavedQuery:
        """Return a query that the caller may read.

        Raises
        ------
        NotFoundError
            If there is none, which is also the answer for one that the caller may not know of.
        """
        found = self._store.find(query_id)
        if found is None or not self._may_read(identity, found):
            raise NotFoundError(f"there is no saved query {query_id[:40]!r}")
        return self._seen_by(identity, found)

    @staticmethod
    def _may_read(identity: Identity, query: SavedQuery) -> bool:
        shared = identity.name in query.users or bool(identity.groups & set(query.groups))
        return query.owner == identity.name or shared

    @staticmethod
    def _seen_by(identity: Identity, query: SavedQuery) -> SavedQuery:
        # With whom else a query is shared is the owner's business.
        return query if query.owner == identity.name else replace(query, users=(), groups=())

    def _get_own(self, identity: Identity, query_id: str) -> SavedQuery:
        found = self.get(identity, query_id)
        if found.owner != identity.name:
            raise ForbiddenError(
                f"{found.definition.name!r} belongs to {found.owner}: save a copy to change it"
            )
        return found

    def share(
        self, identity: Identity, query_id: str, users: Iterable[str], groups: Collection[str]
    ) -> SavedQuery:
        """Say who else may read one of the caller's queries; nobody else keeps access.

        Raises
        ------
        NotFoundError, ForbiddenError
            If it is not the caller's.
        UsageError
            If a name is none, or there are too many.
        """
        found = self._get_own(identity, query_id)
        people = sorted(set(users) - {identity.name})
        check_reader_names(people, groups)
        now = replace(found, users=tuple(people), groups=tuple(sorted(set(groups))))
        self._store.put(now)
        return now

    def remove(self, identity: Identity, query_id: str) -> None:
        """Forget one of the caller's queries.

        Raises
        ------
        NotFoundError, ForbiddenError
            If it is not the caller's.
        """
        self._store.remove(self._get_own(identity, query_id).id)
