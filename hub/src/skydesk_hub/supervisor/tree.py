"""Walks over the process table: adopted children, descendants, and the last sweep."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable

__all__ = ["become_subreaper", "find_children", "list_descendants", "reap_adopted", "sweep"]

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Let processes whose parent dies come to this process instead of init."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def read_parents() -> dict[int, int]:
    """Return parent process id by process id of everything that runs."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(name)] = int(fields[1])
    return parents


def find_children(pid: int) -> list[int]:
    """Return the direct children of a process.

    Parameters
    ----------
    pid
        The process.
    """
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return [child for child, parent in read_parents().items() if parent == pid]


def list_descendants(pid: int) -> list[int]:
    """Return every process below another one.

    Parameters
    ----------
    pid
        The topmost process; it is not part of the answer.
    """
    below: dict[int, list[int]] = {}
    for child, parent in read_parents().items():
        below.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        children = below.get(todo.pop(), [])
        found += children
        todo += children
    return found


def reap_adopted(own: Iterable[int]) -> None:
    """Collect dead children that others left to us, so that no zombie looks alive.

    Parameters
    ----------
    own
        Process ids somebody else in this process waits for.
    """
    for pid in set(find_children(os.getpid())) - set(own):
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def sweep(until_s: float) -> list[int]:
    """Kill and collect everything below this process.

    Parameters
    ----------
    until_s
        Monotonic time at which to give up.

    Returns
    -------
    list of int
        What is left; empty but for processes stuck in the kernel.
    """
    while left := list_descendants(os.getpid()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap_adopted(())
        if time.monotonic() > until_s:
            break
        time.sleep(0.02)
    return left
