"""The registered camera files of a home folder, and those that come with skydesk."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from skydesk_core.errors import NotFoundError, UsageError
from skydesk_core.home import Home
from skydesk_core.instrument.fits_camera import CameraFile, read_camera_file

__all__ = ["add_camera", "choose_instrument", "find_camera_file", "list_cameras"]


def find_camera_file(name: str) -> Path:
    """Find a camera file by path, or one that comes with skydesk by name.

    Raises
    ------
    NotFoundError
        If there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    folder = Path(str(importlib.resources.files("skydesk_core"))) / "cameras"
    packaged = folder / f"{name.lower()}.yaml"
    if "/" not in name and packaged.is_file():
        return packaged
    known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise NotFoundError(f"no camera file {name}: neither a file nor one of {known}")


def add_camera(home: Home, name: str) -> CameraFile:
    """Check a camera file and register it in the home folder.

    Parameters
    ----------
    home
        The home.
    name
        Path, or name of one that comes with skydesk.

    Returns
    -------
    CameraFile
        What the file holds.

    Raises
    ------
    DataError
        If the file is wrong; the message names the key.
    NotFoundError
        If there is no such file.
    UsageError
        If it has the name of the built-in camera.
    """
    path = find_camera_file(name)
    camera = read_camera_file(path)
    if camera.name == "SimCam":
        raise UsageError(f"{path}: key name: SimCam is the name of the built-in camera")
    home.cameras.mkdir(parents=True, exist_ok=True)
    target = home.cameras / f"{camera.name}.yaml"
    partial = target.with_suffix(".part")
    partial.write_bytes(path.read_bytes())
    os.replace(partial, target)
    return camera


def list_cameras(home: Home) -> list[str]:
    """Return the names of the registered cameras."""
    return sorted(p.stem for p in home.cameras.glob("*.yaml"))


def choose_instrument(home: Home, name: str | None) -> str:
    """Return the instrument that a command means.

    Parameters
    ----------
    home
        The home.
    name
        What the caller said, or None.

    Raises
    ------
    UsageError
        If nothing was said and there is no single registered camera.
    """
    if name is not None:
        return name
    cameras = list_cameras(home)
    if len(cameras) == 1:
        return cameras[0]
    known = ", ".join([*cameras, "SimCam"])
    raise UsageError(f"--instrument is needed; known: {known}")
