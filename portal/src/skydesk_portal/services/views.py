"""Open pages of people, which their programs may steer and whose selections they may read; kept in memory only.

A view is known by its owner and a short name. Another person's view does not exist for a caller. The pages' own sessions
deliver the commands and announce what became of them; this module knows neither Panel nor HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from skydesk_portal.exceptions import BusyError, NotFoundError, UsageError
from skydesk_portal.models.identity import Identity
from skydesk_portal.models.tables import ColumnInfo
from skydesk_portal.models.views import MAX_SELECTED, Command, Selection

__all__ = ["OpenView", "ViewRegistry"]

MAX_VIEWS = 32
"""Views that one person can have; the oldest gives way."""

ANSWER_S = 20.0
"""How long a page has time to follow a command."""

MAX_WAIT_S = 25.0
"""How long a request may wait for a selection."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")


@dataclass
class OpenView:
    """A page that somebody has open.

    Parameters
    ----------
    owner, name
        Who has it open, and its short name.
    page
        Which page it is, such as ``images``.
    address
        Path and query that restore it.
    deliver
        Hands a command to the browser; called from any thread.
    is_connected
        Tells whether a browser is there.
    """

    owner: str
    name: str
    page: str
    address: str
    deliver: Callable[[dict[str, Any]], None]
    is_connected: Callable[[], bool]
    opened: datetime = field(default_factory=lambda: datetime.now(UTC))
    used: int = 0
    selection: Selection | None = None

    def describe(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        found = self.selection
        return {
            "name": self.name,
            "page": self.page,
            "address": self.address,
            "opened": self.opened.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "selection": {"serial": found.serial, "rows": found.total, "caption": found.caption}
            if found
            else None,
        }


@dataclass
class _Waiter:
    """Somebody who waits on an event loop for something that happens in any thread."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str | None = None

    def wake(self, problem: str | None = None) -> None:
        self.problem = problem
        self.loop.call_soon_threadsafe(self.event.set)


class ViewRegistry:
    """The views of everybody in this process.

    Parameters
    ----------
    answer_s
        How long a page has time to follow a command, in seconds.
    """

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._views: dict[tuple[str, str], OpenView] = {}
        self._numbers = itertools.count(1)
        self._pending: dict[tuple[str, str], tuple[int, _Waiter]] = {}
        self._watchers: dict[tuple[str, str], list[_Waiter]] = {}

    def attach(
        self,
        owner: str,
        wanted: str,
        page: str,
        address: str,
        deliver: Callable[[dict[str, Any]], None],
        is_connected: Callable[[], bool],
    ) -> OpenView:
        """Note that a page is open.

        Parameters
        ----------
        owner
            Who has it open.
        wanted
            The name it had before it was loaded again, or that a program chose; a free one is found if it is not usable.
        page, address, deliver, is_connected
            As for `OpenView`.

        Returns
        -------
        OpenView
            The view. A view of the same name is the one before the page was loaded again, and ends.
        """
        with self._lock:
            name = wanted if _NAME.match(wanted) else self._free_name(owner, page)
            view = OpenView(owner, name, page, address, deliver, is_connected, used=next(self._numbers))
            self._views[owner, name] = view
            own = sorted((v for v in self._views.values() if v.owner == owner), key=lambda v: v.used)
            for old in own[:-MAX_VIEWS]:
                del self._views[owner, old.name]
            pending = self._pending.pop((owner, name), None)
        if pending:
            pending[1].wake()
        return view

    def _free_name(self, owner: str, page: str) -> str:
        return next(n for n in (f"{page}-{k}" for k in itertools.count(1)) if (owner, n) not in self._views)

    def detach(self, view: OpenView) -> None:
        """Forget a view, unless its name belongs to a newer page by now."""
        with self._lock:
            if self._views.get((view.owner, view.name)) is view:
                del self._views[view.owner, view.name]
                watchers = self._watchers.pop((view.owner, view.name), [])
            else:
                watchers = []
        for watcher in watchers:
            watcher.wake()

    def list_views(self, identity: Identity) -> list[OpenView]:
        """Return the views of the caller that a browser shows, the one used last in front."""
        with self._lock:
            own = [v for v in self._views.values() if v.owner == identity.name]
        return sorted((v for v in own if v.is_connected()), key=lambda v: v.used, reverse=True)

    def get_view(self, identity: Identity, name: str) -> OpenView:
        """Return a view of the caller.

        Raises
        ------
        NotFoundError
            If the caller has no such page open.
        """
        with self._lock:
            view = self._views.get((identity.name, name))
        if view is None or not view.is_connected():
            raise NotFoundError(f"you have no page open that is called {name!r}")
        return view

    async def send(self, identity: Identity, name: str, command: Command) -> OpenView:
        """Let a page follow a command, and wait until it has.

        Parameters
        ----------
        identity
            The caller.
        name
            Name of the view.
        command
            What to do.

        Returns
        -------
        OpenView
            The view as it is afterwards; it may be another page by then.

        Raises
        ------
        BusyError
            If the page has not answered in time, or another command is on its way.
        NotFoundError
            If the caller has no such page open.
        UsageError
            If the page says that it cannot do this.
        """
        view, key = self.get_view(identity, name), (identity.name, name)
        waiter = _Waiter(asyncio.get_running_loop())
        with self._lock:
            if key in self._pending:
                raise BusyError(f"the page {name!r} still follows another command")
            serial = view.used = next(self._numbers)
            self._pending[key] = (serial, waiter)
        try:
            view.deliver({"serial": serial, **command.model_dump(mode="json")})
            await asyncio.wait_for(waiter.event.wait(), self._answer_s)
        except TimeoutError as error:
            raise BusyError(f"the page {name!r} does not answer") from error
        finally:
            with self._lock:
                if self._pending.get(key, (0, None))[0] == serial:
                    del self._pending[key]
        if waiter.problem is not None:
            raise UsageError(waiter.problem)
        return self.get_view(identity, name)

    def answer(self, view: OpenView, serial: int, problem: str | None) -> None:
        """Note that a page has followed a command in place, or why it could not."""
        key = (view.owner, view.name)
        with self._lock:
            pending = self._pending.get(key)
            if pending is None or pending[0] != serial:
                return
            del self._pending[key]
        pending[1].wake(problem)

    def select(
        self, view: OpenView, table: pa.Table, columns: Sequence[ColumnInfo], caption: str
    ) -> Selection:
        """Note which rows are selected in a page, and tell whoever waits for it.

        Parameters
        ----------
        view
            The page.
        table, columns
            The rows and what their columns are.
        caption
            What they are, in a few words.

        Returns
        -------
        Selection
            What programs get.
        """
        with self._lock:
            serial = next(self._numbers)
            kept = table.slice(0, MAX_SELECTED)
            selection = Selection(serial, kept, tuple(columns), caption, table.num_rows)
            view.selection, view.used = selection, serial
            watchers = self._watchers.pop((view.owner, view.name), [])
        for watcher in watchers:
            watcher.wake()
        return selection

    async def wait_selection(
        self, identity: Identity, name: str, after: int = 0, seconds: float = 0.0
    ) -> Selection | None:
        """Return the selection of a page, waiting for a new one if there is none yet.

        Parameters
        ----------
        identity
            The caller.
        name
            Name of the view.
        after
            Serial number of the selection that is known already.
        seconds
            How long to wait, at most `MAX_WAIT_S`.

        Returns
        -------
        Selection or None
            The selection; `None` if there is none newer than ``after``.

        Raises
        ------
        NotFoundError
            If the caller has no such page open, or it was closed meanwhile.
        """
        view = self.get_view(identity, name)
        if seconds > 0 and (view.selection is None or view.selection.serial <= after):
            waiter = _Waiter(asyncio.get_running_loop())
            with self._lock:
                watchers = self._watchers.setdefault((identity.name, name), [])
                # A selection may have come between the first look and here.
                if view.selection is None or view.selection.serial <= after:
                    watchers.append(waiter)
                else:
                    waiter.event.set()
            try:
                await asyncio.wait_for(waiter.event.wait(), min(seconds, MAX_WAIT_S))
            except TimeoutError:
                return None
            finally:
                self._forget(identity.name, name, waiter)
            view = self.get_view(identity, name)
        found = view.selection
        return found if found is not None and found.serial > after else None

    def _forget(self, owner: str, name: str, waiter: _Waiter) -> None:
        with self._lock:
            watchers = self._watchers.get((owner, name), [])
            if waiter in watchers:
                watchers.remove(waiter)
            if not watchers:
                self._watchers.pop((owner, name), None)
