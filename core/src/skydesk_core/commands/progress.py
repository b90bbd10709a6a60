"""A progress line on the terminal: what is being made, how much is done, how long is left."""

from __future__ import annotations

import sys
import time

import click

__all__ = ["ProgressLine", "format_seconds"]

WIDTH = 24


def format_seconds(seconds: float) -> str:
    """Write a duration as people say it."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    minutes, rest = divmod(round(seconds), 60)
    return f"{round(seconds)} s" if seconds < 90 else f"{minutes} min {rest} s"


class ProgressLine:
    """One line that changes on a terminal; a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = 0.0
        self._stage = ""
        self._open = False

    def update(self, stage: str, fraction: float, remaining_s: float | None) -> None:
        """Show the state.

        Parameters
        ----------
        stage
            What is being made; details follow after a colon.
        fraction
            Part that is done, 0 to 1.
        remaining_s
            Expected time to go, if known.
        """
        now = time.monotonic()
        pause = 0.1 if self._live else 5.0
        step = stage.partition(":")[0]
        if now - self._last < pause and step == self._stage and fraction < 1:
            return
        self._last, self._stage = now, step
        full = round(WIDTH * min(max(fraction, 0.0), 1.0))
        bar = "█" * full + "░" * (WIDTH - full)
        left = "" if remaining_s is None else f", about {format_seconds(remaining_s)} left"
        text = f"{bar} {100 * fraction:3.0f} %  {stage}{left}"
        if self._live:
            click.echo("\r\x1b[2K" + text, nl=False, err=True)
            self._open = True
        else:
            click.echo(text, err=True)

    def close(self) -> None:
        """End the line."""
        if self._open:
            click.echo(err=True)
            self._open = False
