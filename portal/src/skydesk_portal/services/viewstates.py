"""What lies over people's images and is too long for an address: kept under the person, found by a key in the address."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from skydesk_portal.exceptions import NotFoundError, TooLargeError, UsageError

if TYPE_CHECKING:
    from skydesk_portal.models.identity import Identity
    from skydesk_portal.storage.viewstates import ViewStateStore

__all__ = ["MAX_DOCUMENT_BYTES", "ViewStateService"]

MAX_DOCUMENT_BYTES = 4_000_000
"""Size of one packed document at most."""

_MOST_BYTES = 50_000_000
_DOCUMENT = re.compile(r"[A-Za-z0-9_-]+\Z")
_KEY = re.compile(r"[0-9a-f]{24}\Z")


class ViewStateService:
    """Keeps packed documents, in the form that ``viewer/src/overlaystate.ts`` writes and alone reads.

    Parameters
    ----------
    store
        Keeps them.
    """

    def __init__(self, store: ViewStateStore) -> None:
        self._store = store

    def keep(self, identity: Identity, document: str) -> str:
        """Keep a document.

        Parameters
        ----------
        identity
            Whose it is; nobody else can read it.
        document
            Base64 in the alphabet for addresses.

        Returns
        -------
        str
            Its key, the same for the same document.

        Raises
        ------
        TooLargeError, UsageError
            If it is too large, or something else than such a document.
        """
        if len(document) > MAX_DOCUMENT_BYTES:
            raise TooLargeError(
                f"what lies over the image takes more than {MAX_DOCUMENT_BYTES / 1e6:g} MB: leave out regions or coverage"
            )
        if not _DOCUMENT.match(document):
            raise UsageError("this is no packed document")
        key = hashlib.sha256(document.encode()).hexdigest()[:24]
        self._store.keep(identity.name, key, document, _MOST_BYTES)
        return key

    def get(self, identity: Identity, key: str) -> str:
        """Return one of the caller's documents.

        Raises
        ------
        NotFoundError
            If there is none (any more), which is also the answer for another's.
        """
        found = self._store.find(identity.name, key) if _KEY.match(key) else None
        if found is None:
            raise NotFoundError("it is kept no more, or belongs to the view of somebody else")
        return found
