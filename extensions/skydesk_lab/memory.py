"""How much memory a process and all below it take, each shared page counted once between its sharers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["MemoryUsage", "measure_tree"]


@dataclass(frozen=True)
class MemoryUsage:
    """Memory of a tree of processes."""

    pss_bytes: int
    """Proportional set size of all processes together, in bytes."""

    processes: int
    """Number of processes that were counted."""


def measure_tree(pid: int) -> MemoryUsage:
    """Measure a process and all its descendants.

    Parameters
    ----------
    pid
        Process id of the root of the tree.

    Returns
    -------
    MemoryUsage
        A process that ends while it is looked at counts as nothing.

    Raises
    ------
    psutil.NoSuchProcess
        Raised if the root itself does not exist.
    """
    root = psutil.Process(pid)
    sizes = [_find_pss(process) for process in [root, *root.children(recursive=True)]]
    known = [size for size in sizes if size is not None]
    return MemoryUsage(pss_bytes=sum(known), processes=len(known))


def _find_pss(process: psutil.Process) -> int | None:
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
        return int(process.memory_info().rss)
    except (PermissionError, FileNotFoundError):
        pass
    except (ProcessLookupError, psutil.NoSuchProcess):
        return None
    try:
        # Without smaps_rollup (other systems, hardened kernels) the resident size is the nearest figure there is.
        return int(process.memory_info().rss)
    except psutil.Error:
        return None
