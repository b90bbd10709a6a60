"""Without a sandbox there is no ``/etc/nublado``: ``lsst-rsp`` is pointed to the lab's own folder instead.

A start-up file of IPython installs this in every kernel; ``lsst.rsp`` itself is
imported only when the person does so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

__all__ = ["install", "write_start_file"]


def write_start_file(home: Path, mounts: Path) -> None:
    """Write IPython's start-up file into a person's home folder.

    Parameters
    ----------
    home
        The home folder.
    mounts
        The folder with ``discovery/v1.json`` and ``secrets/token``.
    """
    folder = home / ".ipython" / "profile_default" / "startup"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Written by skydesk at each start of this lab.",
        "from skydesk_hub.lab.local_discovery import install",
        f"install({str(mounts)!r})",
        "del install",
    ]
    (folder / "00-skydesk.py").write_text("\n".join(lines) + "\n")


class Adjuster(Loader):
    """Loads a module as usual and then sets where it looks for its files.

    Parameters
    ----------
    loader
        The usual loader.
    mounts
        The folder with the files.
    """

    def __init__(self, loader: Loader, mounts: Path) -> None:
        self.loader, self.mounts = loader, mounts

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as usual."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module and change its paths."""
        self.loader.exec_module(module)
        discovery, token = self.mounts / "discovery" / "v1.json", self.mounts / "secrets" / "token"
        if hasattr(module, "_DISCOVERY_PATH"):
            module._DISCOVERY_PATH = discovery  # type: ignore[attr-defined]  # the package has no setting for it
        for kind in vars(module).values():
            if isinstance(kind, type) and "_DISCOVERY_PATH" in vars(kind):
                kind._DISCOVERY_PATH = discovery  # type: ignore[attr-defined]
            if isinstance(kind, type) and "_TOKEN_PATH" in vars(kind):
                kind._TOKEN_PATH = token  # type: ignore[attr-defined]


class Finder(MetaPathFinder):
    """Finds the two modules of ``lsst.rsp`` that hard-code their paths.

    Parameters
    ----------
    mounts
        The folder with the files.
    """

    def __init__(self, mounts: Path) -> None:
        self.mounts = mounts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the usual answer with our loader, for these two modules only."""
        if fullname not in ("lsst.rsp._services", "lsst.rsp._discovery"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Adjuster(spec.loader, self.mounts)
        return spec


def install(mounts: str) -> None:
    """Point ``lsst.rsp`` of this process to a folder.

    Parameters
    ----------
    mounts
        The folder with ``discovery/v1.json`` and ``secrets/token``.
    """
    sys.meta_path.insert(0, Finder(Path(mounts)))
