"""Registered FITS cameras as importable classes: ``skydesk_core.instrument.registered.NAME``."""

from __future__ import annotations

from skydesk_core.home import get_home
from skydesk_core.instrument.fits_camera import (
    FitsCamera,
    find_camera_path,
    make_fits_camera,
    read_camera_file,
)


def __getattr__(name: str) -> type[FitsCamera]:
    """Return the class of a camera that ``skydesk camera add`` registered.

    Raises
    ------
    AttributeError
        If no camera of that name is registered in the home folder.
    """
    path = None if name.startswith("_") else find_camera_path(get_home(), name)
    if path is None:
        raise AttributeError(f"no registered camera {name}")
    return type(make_fits_camera(read_camera_file(path)))
