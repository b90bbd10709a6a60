"""Downloads under way: how far each is, how long it will take, and word when it is complete."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from skydesk_portal.exceptions import NotFoundError
from skydesk_portal.models.identity import Identity
from skydesk_portal.services.notices import NoticeService

__all__ = ["Transfer", "TransferMonitor", "TransferState"]

_KEEP_S = 3600.0
_MOST = 50
_ID = re.compile(r"[0-9a-z]{8,32}\Z")


class TransferState(StrEnum):
    """How it stands with a download."""

    RUNNING = "running"
    COMPLETE = "complete"
    BROKEN = "broken off"


@dataclass(frozen=True)
class Transfer:
    """A download.

    Parameters
    ----------
    id, owner, name
        Identifier that the browser gave it, whose it is, name of the file.
    begun_s
        When it began, on the monitor's clock.
    total_bytes
        How large it is; `None` if that is not known.
    sent_bytes
        How much has been sent.
    updated_s
        When that was, on the monitor's clock.
    state
        How it stands.
    wanted
        Whether its owner wants to be told of its end.
    """

    id: str
    owner: str
    name: str
    begun_s: float
    total_bytes: int | None
    sent_bytes: int = 0
    updated_s: float = 0.0
    state: TransferState = TransferState.RUNNING
    wanted: bool = False

    @property
    def bytes_per_s(self) -> float | None:
        """Mean speed; `None` before there is any."""
        seconds = self.updated_s - self.begun_s
        return self.sent_bytes / seconds if seconds > 0 and self.sent_bytes else None

    @property
    def left_s(self) -> float | None:
        """How long it will take yet, at the mean speed; `None` if that is not known."""
        speed = self.bytes_per_s
        if self.total_bytes is None or speed is None:
            return None
        return max(0.0, (self.total_bytes - self.sent_bytes) / speed)


class TransferMonitor:
    """Knows the downloads of one process.

    Parameters
    ----------
    notices
        Tells people.
    clock
        Tells the time in seconds.
    """

    def __init__(self, notices: NoticeService, clock: Callable[[], float] = time.monotonic) -> None:
        self._notices = notices
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Transfer] = {}

    def begin(self, owner: str, transfer_id: str, name: str, total_bytes: int | None) -> bool:
        """Note that a download begins.

        Parameters
        ----------
        owner, transfer_id, name, total_bytes
            See `Transfer`.

        Returns
        -------
        bool
            Whether it is followed: not if the identifier is none, or one that is under way.
        """
        now = self._clock()
        with self._lock:
            mine = [key for key in self._known if key[0] == owner]
            for key in mine[: max(0, len(mine) - _MOST + 1)]:
                del self._known[key]
            for key in [k for k, t in self._known.items() if t.updated_s < now - _KEEP_S]:
                del self._known[key]
            before = self._known.get((owner, transfer_id))
            if not _ID.match(transfer_id) or (before and before.state is TransferState.RUNNING):
                return False
            self._known[owner, transfer_id] = Transfer(
                transfer_id, owner, name, now, total_bytes, updated_s=now
            )
        return True

    def count(self, owner: str, transfer_id: str, more_bytes: int) -> None:
        """Note that more of a download has been sent."""
        with self._lock:
            found = self._known.get((owner, transfer_id))
            if found is not None:
                sent = found.sent_bytes + more_bytes
                self._known[owner, transfer_id] = replace(found, sent_bytes=sent, updated_s=self._clock())

    def end(self, owner: str, transfer_id: str, state: TransferState) -> None:
        """Note that a download has ended, and tell its owner if that was wanted."""
        with self._lock:
            found = self._known.get((owner, transfer_id))
            if found is None:
                return
            self._known[owner, transfer_id] = replace(found, state=state)
        if found.wanted:
            complete = state is TransferState.COMPLETE
            self._notices.add(
                owner,
                f"transfer/{transfer_id}",
                f"The download of {found.name} is complete"
                if complete
                else f"The download of {found.name} was broken off after {found.sent_bytes:,} bytes",
                kind="info" if complete else "error",
            )

    def get(self, identity: Identity, transfer_id: str) -> Transfer:
        """Return a download of the caller.

        Raises
        ------
        NotFoundError
            If the caller has none such.
        """
        with self._lock:
            found = self._known.get((identity.name, transfer_id))
        if found is None:
            raise NotFoundError("there is no such download")
        return found

    def list_running(self, identity: Identity) -> list[Transfer]:
        """Return the downloads of the caller that are under way."""
        with self._lock:
            return [
                t
                for t in self._known.values()
                if t.owner == identity.name and t.state is TransferState.RUNNING
            ]

    def want(self, identity: Identity, transfer_id: str, *, wanted: bool) -> Transfer:
        """Note whether the caller wants to be told when a download ends.

        Raises
        ------
        NotFoundError
            If the caller has none such.
        """
        with self._lock:
            found = self._known.get((identity.name, transfer_id))
            if found is None:
                raise NotFoundError("there is no such download")
            found = replace(found, wanted=wanted)
            self._known[identity.name, transfer_id] = found
        return found
