"""What goes on beside the page while somebody brushes: counting for a brush that is being drawn, and preparing brushes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from time import monotonic
from typing import Any

import panel as pn

from skydesk_portal.exceptions import PortalError
from skydesk_portal.log import get_logger
from skydesk_portal.services.brushing import Brush, Coordinator, Preparation
from skydesk_portal.services.brushing_cube import CubeStopped

__all__ = ["PREPARED_ROWS", "BrushPreparer", "DrawnBrush"]

PREPARED_ROWS = 2_000_000
"""From so many rows on brushes are prepared; below, going through all of them is quick enough."""

_TOLD_S = 0.4


@cache
def _counting() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="drawn")


@cache
def _preparing() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="prepare")


def _report(job: Future[None]) -> None:
    if (error := job.exception()) is not None:
        get_logger().error("brushing failed beside the page", exc_info=error)


class DrawnBrush:
    """Follows a brush while it is drawn.

    One region is counted at a time, beside the page; of those that arrive meanwhile only the last one is.

    Parameters
    ----------
    show
        Called under the page's lock when everything is counted.
    """

    def __init__(self, show: Callable[[], None]) -> None:
        self._show = show
        self._wanted: tuple[Coordinator, str, Brush, Any, Any] | None = None
        self._is_busy = False
        self._is_wanted = False
        self._document: Any = None

    def follow(self, coordinator: Coordinator, name: str, region: Brush, x: Any, y: Any) -> None:
        """Count what a region holds, unless another one arrives first."""
        self._wanted, self._is_wanted = (coordinator, name, region, x, y), True
        self._document = pn.state.curdoc
        if not self._is_busy:
            self._begin()

    def stop(self) -> None:
        """Show no more of it: the brush is complete, or gone."""
        self._wanted, self._is_wanted = None, False

    def _begin(self) -> None:
        assert self._wanted is not None
        wanted, document = self._wanted, self._document
        self._wanted, self._is_busy = None, True

        def work() -> None:
            coordinator, name, region, x, y = wanted
            try:
                coordinator.brush(name, region, x, y)
                coordinator.count_all()
            except PortalError:
                pass  # a lasso that has no three corners yet
            finally:
                document.add_next_tick_callback(self._end)

        _counting().submit(work).add_done_callback(_report)

    def _end(self) -> None:
        self._is_busy = False
        if self._is_wanted:
            self._show()
        if self._wanted is not None:
            self._begin()


class BrushPreparer:
    """Prepares the brushes of the view that somebody is about to brush, beside the page.

    Parameters
    ----------
    tell
        Told under the page's lock which view is being prepared and how far that is, from 0 to 1; empty at the end.
    """

    def __init__(self, tell: Callable[[str, float], None]) -> None:
        self._tell = tell
        self._wanted: Preparation | None = None

    def prepare(self, coordinator: Coordinator, name: str) -> None:
        """Prepare a view's brushes, unless they are; what was being prepared for another one is given up."""
        if coordinator.rows < PREPARED_ROWS or (self._wanted is not None and self._wanted.name == name):
            return
        plan = coordinator.plan(name)
        if plan is None:
            return
        self._wanted = plan
        document = pn.state.curdoc
        told_s = 0.0

        def tell(view: str, part: float) -> None:
            document.add_next_tick_callback(lambda: self._tell(view, part))

        def go_on(part: float) -> bool:
            nonlocal told_s
            if monotonic() - told_s > _TOLD_S and self._wanted is plan:
                told_s = monotonic()
                tell(name, part)
            return self._wanted is plan

        def work() -> None:
            try:
                if self._wanted is plan:
                    coordinator.adopt(plan, plan.build(go_on))
            except CubeStopped:
                return
            except OSError as error:
                get_logger().warning("brushes are not prepared", error=str(error))
            finally:
                if self._wanted is plan:
                    self._wanted = None
                    tell("", 1.0)

        _preparing().submit(work).add_done_callback(_report)

    def stop(self) -> None:
        """Give up what is being prepared."""
        self._wanted = None
