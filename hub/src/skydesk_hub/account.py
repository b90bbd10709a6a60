"""The account the platform runs as: how root gives itself up and which folders stay reachable."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from skydesk_hub.errors import ConfigError, HomeError

__all__ = [
    "Account",
    "choose_account",
    "drop_to",
    "find_isolation_gap",
    "hand_over",
    "hand_over_if_owned",
    "needed_folders",
]

DEFAULT_NAME = "skydesk"
DEFAULT_UID = 990
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Account:
    """An operating system account without a password of its own.

    Parameters
    ----------
    uid, gid
        Its numbers.
    name
        Its name; a bare uid is called ``skydesk``.
    """

    uid: int
    gid: int
    name: str


def choose_account(run_as: str | int | None) -> Account | None:
    """Choose the account that root drops to.

    Parameters
    ----------
    run_as
        The setting: a name, a uid, ``root``, or None for the default.

    Returns
    -------
    Account or None
        None when nothing is dropped: not started by root, or root is wanted.

    Raises
    ------
    ConfigError
        When a named account does not exist.
    """
    if os.geteuid() != 0 or str(run_as) in ("root", "0"):
        return None
    if run_as is None:
        try:
            entry = pwd.getpwnam(DEFAULT_NAME)
        except KeyError:
            taken = {account.pw_uid for account in pwd.getpwall()}
            uid = next(uid for uid in range(DEFAULT_UID, 100, -1) if uid not in taken)
            return Account(uid, uid, DEFAULT_NAME)
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    if str(run_as).isdigit():
        uid = int(run_as)
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return Account(uid, uid, DEFAULT_NAME)
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)
    try:
        entry = pwd.getpwnam(str(run_as))
    except KeyError as error:
        raise ConfigError(f"hub.run_as: no account {run_as!r} on this machine") from error
    return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)


def needed_folders(home: Path) -> list[Path]:
    """Return the folders a process of the platform has to reach.

    Parameters
    ----------
    home
        The home folder.

    Returns
    -------
    list of pathlib.Path
        The environment, the interpreter behind it, the packages installed
        editable, and the home folder; existing ones only.
    """
    wanted = [Path(sys.prefix), Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent.parent]
    wanted += [Path(entry) for entry in sys.path if entry]
    wanted += [Path(sys.prefix).parent / name for name in ("tutorials", "docs")]
    wanted.append(home)
    kept: list[Path] = []
    for folder in sorted({Path(os.path.abspath(p)) for p in wanted if p.is_dir()}):
        if not any(folder.is_relative_to(other) for other in kept):
            kept.append(folder)
    return kept


def find_closed_parent(folder: Path, account: Account) -> Path | None:
    """Return the topmost ancestor (or the folder itself) that the account cannot enter.

    Parameters
    ----------
    folder
        An absolute path.
    account
        The account that has to reach it.
    """
    for part in [*reversed(folder.parents), folder]:
        info = part.stat()
        bit = (
            stat.S_IXUSR
            if info.st_uid == account.uid
            else stat.S_IXGRP
            if info.st_gid == account.gid
            else stat.S_IXOTH
        )
        if not info.st_mode & bit:
            return part
    return None


def call(name: str, *arguments: object) -> None:
    """Call a C library function and turn its error number into an exception.

    Parameters
    ----------
    name
        The function.
    *arguments
        Its arguments.

    Raises
    ------
    OSError
        When it returns a negative number.
    """
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def bind_back(folders: Iterable[Path], account: Account) -> None:
    """Make folders under closed parents reachable, in a mount namespace of this process only.

    An empty file system covers each closed parent and the wanted folders are
    bound onto their own paths inside it, so nothing else of the parent shows.

    Parameters
    ----------
    folders
        Absolute paths that the account has to reach.
    account
        The account.
    """
    closed: dict[Path, list[Path]] = {}
    for folder in folders:
        if parent := find_closed_parent(folder, account):
            if parent == folder:
                raise HomeError(f"{folder}: account {account.name} ({account.uid}) may not enter it")
            closed.setdefault(parent, []).append(folder)
    if not closed:
        return
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    for parent, inside in closed.items():
        handles = [(folder, os.open(folder, os.O_PATH | os.O_DIRECTORY)) for folder in inside]
        call("mount", b"tmpfs", os.fsencode(parent), b"tmpfs", 0, b"mode=755,size=1m")
        for folder, handle in handles:
            folder.mkdir(parents=True, exist_ok=True)
            call(
                "mount", f"/proc/self/fd/{handle}".encode(), os.fsencode(folder), None, MS_BIND | MS_REC, None
            )
            os.close(handle)


def drop_to(account: Account, folders: Iterable[Path]) -> None:
    """Give up root for good: groups, user, capabilities, and the way back.

    Parameters
    ----------
    account
        The account to become.
    folders
        Folders that must stay reachable.

    Raises
    ------
    HomeError
        When a folder cannot be made reachable.
    """
    bind_back(folders, account)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.environ.update(USER=account.name, LOGNAME=account.name)


def hand_over(root: Path, account: Account) -> int:
    """Give folders and unshared files of the home folder to the account.

    Files with several hard links are left alone: one of their names may lie
    outside, in the operator's own data.

    Parameters
    ----------
    root
        The home folder.
    account
        The new owner.

    Returns
    -------
    int
        Number of entries that changed hands.
    """
    changed = 0
    for folder, names, files in os.walk(root):
        for name in [".", *files, *(n for n in names if os.path.islink(os.path.join(folder, n)))]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            if info.st_uid == account.uid or (stat.S_ISREG(info.st_mode) and info.st_nlink > 1):
                continue
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
            changed += 1
    return changed


def hand_over_if_owned(root: Path) -> None:
    """Give new files to the account that owns the home folder, when that is not root.

    Parameters
    ----------
    root
        The home folder, which need not exist.
    """
    if not root.is_dir():
        return
    info = root.stat()
    if info.st_uid != 0:
        hand_over(root, Account(info.st_uid, info.st_gid, DEFAULT_NAME))


def find_isolation_gap() -> str | None:
    """Say why labs cannot be isolated here, or None when they can.

    Several people are served only when bubblewrap starts a sandbox from an
    unprivileged account: inside a sandbox started by root, root's rights over
    the kernel's settings remain.
    """
    if os.geteuid() == 0:
        return "the platform runs as root (setting hub.run_as)"
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap (bwrap) is not installed"
    probe = [
        bwrap,
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--disable-userns",
        "--ro-bind",
        "/",
        "/",
    ]
    probe += ["--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys", "--dev", "/dev", "--", "/bin/true"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return "bubblewrap did not answer"
    return (
        None
        if done.returncode == 0
        else f"bubblewrap cannot make a sandbox: {done.stderr.strip().splitlines()[-1:]}"
    )
