"""Where the state of one platform lies on disk; it knows paths only, never their contents."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from skydesk_core.errors import ConfigError

__all__ = ["HOME_VERSION", "Home", "ensure_home", "get_home"]

HOME_VERSION = 1
"""Version of the layout that this software reads and writes."""


@dataclass(frozen=True)
class Home:
    """The home folder of a platform and the places inside it.

    Parameters
    ----------
    root
        The folder that the setting ``SKYDESK_HOME`` names.
    """

    root: Path

    @property
    def butler(self) -> Path:
        """The operator's working Butler repository."""
        return self.root / "butler"

    @property
    def releases(self) -> Path:
        """The folder of published releases."""
        return self.root / "releases"

    @property
    def cameras(self) -> Path:
        """The folder of registered FITS camera descriptions."""
        return self.root / "cameras"

    @property
    def users(self) -> Path:
        """The folder with one folder per user."""
        return self.root / "users"

    @property
    def cache(self) -> Path:
        """The folder whose contents can be made again at any time."""
        return self.root / "cache"

    @property
    def config_file(self) -> Path:
        """The platform's configuration file, which need not exist."""
        return self.root / "config.yaml"


def get_home() -> Home:
    """Return the home folder that ``SKYDESK_HOME`` names, or the default.

    Returns
    -------
    Home
        ``$SKYDESK_HOME``; without it ``/var/lib/skydesk`` for root and the
        user's data directory (XDG base directory specification) otherwise.
    """
    if given := os.environ.get("SKYDESK_HOME"):
        return Home(Path(given).absolute())
    if os.geteuid() == 0:
        return Home(Path("/var/lib/skydesk"))
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Home(Path(data) / "skydesk")


def ensure_home(home: Home) -> None:
    """Make a home folder, or check that this software may write to it.

    Parameters
    ----------
    home
        The home.

    Raises
    ------
    ConfigError
        If the home was made by a newer version, or ``home.json`` is broken.
    """
    marker = home.root / "home.json"
    home.root.mkdir(parents=True, exist_ok=True)
    try:
        version = json.loads(marker.read_text(encoding="utf-8"))["version"]
    except FileNotFoundError:
        marker.write_text(json.dumps({"version": HOME_VERSION}) + "\n", encoding="utf-8")
        return
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{marker}: not a description of a home folder") from None
    if version > HOME_VERSION:
        raise ConfigError(f"{home.root} was made by a newer version of skydesk (home version {version})")
