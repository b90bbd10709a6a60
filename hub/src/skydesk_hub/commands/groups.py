"""``skydesk group``."""

from __future__ import annotations

import json
from typing import Any

import click

from skydesk_hub.commands.platform import find_layout
from skydesk_hub.errors import NotRunningError
from skydesk_hub.wire import call_supervisor

__all__ = ["group"]


@click.group()
def group() -> None:
    """Put people into groups, which releases, tables, repositories and quotas are given to."""


def change(operation: str, **wish: Any) -> dict[str, Any]:
    """Ask the running platform for a change, or make it while the platform is not running.

    Parameters
    ----------
    operation
        ``group_add`` or ``group_remove``.
    **wish
        Its arguments.

    Returns
    -------
    dict
        The group as it is, or as it was before it was removed.

    Raises
    ------
    UserError
        When a name is unknown or cannot be used.
    """
    layout = find_layout(None)
    try:
        told: dict[str, Any] = call_supervisor(layout.control_socket, operation, **wish)
    except NotRunningError:
        from skydesk_hub.identity.groups import GroupStore
        from skydesk_hub.identity.store import Store
        from skydesk_hub.layout import prepare_home

        store = GroupStore(Store(prepare_home(layout.root).identity_db))
        name, users = wish["name"], wish["users"]
        if operation == "group_add":
            changed = store.put_group(name, users, wish["description"])
        else:
            changed = store.take_out(name, users) if users else store.remove_group(name)
        told = changed.describe()
    return told


def show(found: dict[str, Any]) -> str:
    """Return a group in one line.

    Parameters
    ----------
    found
        As the platform tells it.
    """
    members = ", ".join(found["members"]) or "nobody yet"
    return f"{found['name']}: {members}" + (f" ({found['description']})" if found["description"] else "")


@group.command("add")
@click.argument("name")
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option("--description", help="What the group is for.")
def add_group(name: str, users: tuple[str, ...], description: str | None) -> None:
    """Make group NAME unless there is one, and put each USER into it.

    It counts at once, for tokens and sessions that exist already, too.
    """
    click.echo(show(change("group_add", name=name, users=list(users), description=description)))


@group.command("remove")
@click.argument("name")
@click.argument("users", nargs=-1, metavar="[USER]...")
def remove_group(name: str, users: tuple[str, ...]) -> None:
    """Take each USER out of group NAME; without USER remove the group itself.

    It counts at once. What was shared with a group that is removed is shared
    with nobody, until there is a group of that name again.
    """
    found = change("group_remove", name=name, users=list(users))
    click.echo(show(found) if users else f"group {name} removed; it had {len(found['members'])} members")


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_groups(as_json: bool) -> None:
    """List the groups with their members."""
    layout = find_layout(None)
    found: list[dict[str, Any]] = []
    try:
        found = call_supervisor(layout.control_socket, "group_list")
    except NotRunningError:
        if layout.identity_db.exists():
            from skydesk_hub.identity.groups import GroupStore
            from skydesk_hub.identity.store import Store

            found = [one.describe() for one in GroupStore(Store(layout.identity_db)).list_groups()]
    if as_json:
        click.echo(json.dumps({"version": 1, "groups": found}, indent=1))
        return
    for one in found:
        click.echo(show(one))
