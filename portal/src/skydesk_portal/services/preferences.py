"""Preferences of people: kept on the server, the same in every browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import structlog

from skydesk_portal.exceptions import PortalError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.preferences import Preferences, change_preferences
from skydesk_portal.storage.preferences import PreferenceStore

__all__ = ["PreferenceService"]

_NAMES = frozenset(f.name for f in fields(Preferences))


def _read(document: Mapping[str, Any]) -> Preferences:
    """Read a document; what an older or newer version has written otherwise counts as not said."""
    found = Preferences()
    for name in _NAMES & document.keys():
        try:
            found = change_preferences(found, {name: document[name]})
        except UsageError:
            continue
    return found


class PreferenceService:
    """Reads and changes preferences.

    Parameters
    ----------
    store
        Keeps them.
    """

    def __init__(self, store: PreferenceStore) -> None:
        self._store = store

    def find(self, identity: Identity) -> Preferences:
        """Return what a person prefers; the defaults where that cannot be read, for a page must open all the same."""
        try:
            return _read(self._store.find(identity.name))
        except PortalError as error:
            structlog.get_logger(__name__).warning("preferences are not used", error=str(error))
            return Preferences()

    def change(self, identity: Identity, **changes: Any) -> Preferences:
        """Change some of a person's preferences.

        Raises
        ------
        UsageError
            If a value is none of the preference.
        """
        now = Preferences()

        def apply(document: dict[str, Any]) -> dict[str, Any]:
            nonlocal now
            now = change_preferences(_read(document), changes)
            return asdict(now)

        self._store.change(identity.name, apply)
        return now
