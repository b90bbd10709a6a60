"""The revocation epoch: a counter in a file that moves whenever the hub takes away or changes a right.

Services keep what they learned about a token and forget it all when the
counter moves, so a revoked token is refused within milliseconds without a
question to the hub per request.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub import orm
from sqlalchemy import event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

__all__ = ["install_epoch"]

WATCHED = (orm.APIToken, orm.User, orm.Group, orm.Role, orm.Service)
UNIMPORTANT = {"last_activity"}


def open_counter(path: Path) -> Callable[[], None]:
    """Open the counter's file and return the function that moves it on.

    Parameters
    ----------
    path
        The file, 8 bytes, mode 0600.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(handle, 8)
    memory = mmap.mmap(handle, 8)
    os.close(handle)

    def bump() -> None:
        memory[:8] = struct.pack("<Q", struct.unpack("<Q", memory[:8])[0] + 1)

    return bump


def matters(thing: Any) -> bool:
    """Say whether a changed row changes anybody's rights.

    Parameters
    ----------
    thing
        An ORM object of the hub.
    """
    if not isinstance(thing, WATCHED):
        return False
    changed = {attribute.key for attribute in inspect(thing).attrs if attribute.history.has_changes()}
    return bool(changed - UNIMPORTANT)


def install_epoch(path: Path) -> None:
    """Move the counter now and after every commit that deletes or changes rights.

    Parameters
    ----------
    path
        The counter's file.
    """
    bump = open_counter(path)
    bump()  # a hub that has just started may have forgotten anything

    @event.listens_for(Session, "after_flush")
    def note_changes(session: Session, _: UOWTransaction) -> None:
        if any(isinstance(gone, WATCHED) for gone in session.deleted) or any(
            matters(thing) for thing in session.dirty
        ):
            session.info["skydesk_bump"] = True

    @event.listens_for(Session, "do_orm_execute")
    def note_bulk(state: ORMExecuteState) -> None:
        if state.is_delete or state.is_update:
            state.session.info["skydesk_bump"] = True

    @event.listens_for(Session, "after_commit")
    def move(session: Session) -> None:
        if session.info.pop("skydesk_bump", False):
            bump()
