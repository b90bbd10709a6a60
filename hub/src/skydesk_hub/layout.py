"""Where the hub keeps its state inside the home folder, and the checks of that folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skydesk_hub.errors import HomeError

__all__ = ["HOME_VERSION", "Layout", "default_home", "find_releases", "is_open_to", "prepare_home"]

HOME_VERSION = 1
SOCKET_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path, less the closing zero
LONGEST_SOCKET = len("/run/labs/") + 31 + len("/s/lab.sock")
FREE_BYTES_NEEDED = 64 << 20


@dataclass(frozen=True)
class Layout:
    """The home folder and the places of the hub inside it.

    Parameters
    ----------
    root
        The home folder, absolute.
    """

    root: Path

    @property
    def run(self) -> Path:
        """The folder of sockets, status and revocation epoch (mode 0700)."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """The folder with one log file per process."""
        return self.root / "logs"

    @property
    def users(self) -> Path:
        """The folder with one folder per user."""
        return self.root / "users"

    @property
    def releases(self) -> Path:
        """The folder of published releases."""
        return self.root / "releases"

    @property
    def config_file(self) -> Path:
        """The platform's configuration file, which need not exist."""
        return self.root / "config.yaml"

    @property
    def secrets_file(self) -> Path:
        """The file (mode 0600) with every key and token of the platform."""
        return self.root / "secrets.json"

    @property
    def identity_db(self) -> Path:
        """The database of users, sessions and one-time links."""
        return self.root / "identity.sqlite"

    @property
    def hub_db(self) -> Path:
        """The database of JupyterHub."""
        return self.root / "hub.sqlite"

    @property
    def control_socket(self) -> Path:
        """The supervisor's private socket."""
        return self.run / "supervisor.sock"

    @property
    def status_file(self) -> Path:
        """The last status the supervisor has written, as JSON."""
        return self.run / "status.json"

    @property
    def epoch_file(self) -> Path:
        """The 8-byte counter that moves whenever a right is taken away."""
        return self.run / "epoch"

    def socket(self, name: str) -> Path:
        """Return the path of a service's unix socket.

        Parameters
        ----------
        name
            The service's name.
        """
        return self.run / f"{name}.sock"


def default_home() -> Path:
    """Return the home folder that applies when none is named.

    Returns
    -------
    pathlib.Path
        ``$SKYDESK_HOME``; without it ``/var/lib/skydesk`` for root and the
        user's data directory (XDG base directory specification) otherwise.
    """
    if given := os.environ.get("SKYDESK_HOME"):
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/skydesk")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "skydesk"


def prepare_home(root: Path) -> Layout:
    """Make the home folder if needed and check that this version can use it.

    Parameters
    ----------
    root
        The home folder.

    Returns
    -------
    Layout
        The places inside it.

    Raises
    ------
    HomeError
        When it is not a folder, belongs to a newer version, cannot be
        written, has too long a path for unix sockets, or its disk is full.
    """
    root = root.absolute()
    if len(os.fsencode(root)) + LONGEST_SOCKET > SOCKET_PATH_LIMIT:
        raise HomeError(
            f"{root}: path too long for unix sockets, at most {SOCKET_PATH_LIMIT - LONGEST_SOCKET} bytes are possible"
        )
    if root.exists() and not root.is_dir():
        raise HomeError(f"{root}: not a folder")
    layout = Layout(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        check_version(root)
        free = shutil.disk_usage(root).free
        if free < FREE_BYTES_NEEDED:
            raise HomeError(
                f"{root}: the disk is full ({free >> 20} MiB free, {FREE_BYTES_NEEDED >> 20} MiB needed)"
            )
        for folder in (
            layout.logs,
            layout.users,
            layout.releases,
            root / "results",
            root / "cache" / "numba",
        ):
            folder.mkdir(parents=True, exist_ok=True)
        layout.run.mkdir(mode=0o700, exist_ok=True)
        layout.run.chmod(0o700)
        if not (root / "home.json").exists():
            (root / "home.json").write_text(json.dumps({"version": HOME_VERSION}) + "\n")
    except OSError as error:
        raise HomeError(f"{error.filename or root}: {error.strerror}") from error
    return layout


def check_version(root: Path) -> None:
    """Refuse a home folder that a newer version of skydesk has written.

    Parameters
    ----------
    root
        The home folder.

    Raises
    ------
    HomeError
        When the version is newer or ``home.json`` cannot be read.
    """
    path = root / "home.json"
    if not path.exists():
        return
    try:
        version = json.loads(path.read_text())["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(f"{path}: not a version file of skydesk") from error
    if not isinstance(version, int) or version > HOME_VERSION:
        raise HomeError(
            f"{path}: home folder of version {version}, this skydesk knows up to version {HOME_VERSION}"
        )


def find_releases(root: Path, groups: Iterable[str] | None = None) -> list[str]:
    """Return the names of the published releases, sorted.

    Parameters
    ----------
    root
        The home folder.
    groups
        Only those that a member of these groups may read; None for all.
    """
    folder = root / "releases"
    if not folder.is_dir():
        return []
    manifests = [p for p in folder.glob("*/manifest.json") if not p.parent.name.startswith(".")]
    return sorted(p.parent.name for p in manifests if groups is None or is_open_to(p, groups))


def is_open_to(manifest: Path, groups: Iterable[str]) -> bool:
    """Say whether a member of some groups may read a release; one that cannot be understood is closed.

    Parameters
    ----------
    manifest
        The release's manifest.
    groups
        Names of groups.
    """
    try:
        allowed = json.loads(manifest.read_text())["access_groups"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(allowed, list) and (
        not allowed or "*" in allowed or not set(allowed).isdisjoint(groups)
    )
