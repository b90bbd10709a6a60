"""Long answers take turns, so that short ones do not wait for them and the first of many ends soon."""

from __future__ import annotations

import asyncio
import time

__all__ = ["Turn", "Turns"]

_SHORT_BYTES = 4_000_000
"""An answer up to this size never waits."""

_SLOW_S = 0.25
"""A part that takes longer to be taken by the client than this: the client is the slow one, not this process."""


class Turns:
    """The places for long answers of one process.

    Parameters
    ----------
    places
        Long answers that are made at the same time.
    """

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)

    async def take(self) -> None:
        """Wait for a place; who came first gets the next one."""
        await self._places.acquire()

    def give_back(self) -> None:
        """Let the next one in."""
        self._places.release()


class Turn:
    """The part that one answer takes in that; used as a context manager.

    A client that reads slowly costs this process little: it gives its place back and goes on without one.

    Parameters
    ----------
    turns
        The places of the process.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._bytes = 0
        self._holds = False
        self._slow = False
        self._since = 0.0

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave()

    def begin_sending(self) -> None:
        """Note that a part is handed to the client now."""
        self._since = time.monotonic()

    async def has_sent(self, size_bytes: int) -> None:
        """Note that the client took the part, and wait if this answer has become a long one.

        Parameters
        ----------
        size_bytes
            Size of the part.
        """
        self._bytes += size_bytes
        if time.monotonic() - self._since > _SLOW_S:
            self._slow = True
            self._leave()
        elif not self._holds and not self._slow and self._bytes > _SHORT_BYTES:
            await self._turns.take()
            self._holds = True

    def _leave(self) -> None:
        if self._holds:
            self._holds = False
            self._turns.give_back()
