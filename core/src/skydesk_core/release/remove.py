"""Removing a release: it disappears at once, its files afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from skydesk_core.home import Home
from skydesk_core.release.opened import get_release
from skydesk_core.release.writer import clean_leftovers

__all__ = ["remove_release"]


def remove_release(home: Home | Path | str, name: str) -> None:
    """Remove a release; files that the working repository shares stay there.

    Parameters
    ----------
    home
        The home, or its folder.
    name
        Name of the release.

    Raises
    ------
    NotFoundError
        If there is no such release.
    """
    release = get_release(home, name)
    hidden = release.path.parent / f".{name}.removing-{os.getpid()}"
    os.rename(release.path, hidden)
    shutil.rmtree(hidden)
    clean_leftovers(release.path.parent)
