"""The revocation epoch: a counter in a file that moves whenever the hub takes away or changes a right.

Services keep what they learned about a token and forget it all when the
counter moves, so a revoked token is refused within milliseconds without a
question to the hub per request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyterhub import orm
from sqlalchemy import event, inspect
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from skydesk_hub.epoch import Counter

__all__ = ["install_epoch"]

WATCHED = (orm.APIToken, orm.User, orm.Group, orm.Role, orm.Service)
UNIMPORTANT = {"last_activity"}


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
    bump = Counter(path).bump
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
