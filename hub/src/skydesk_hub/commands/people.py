"""``skydesk user`` and ``skydesk token``."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from skydesk_hub.commands.platform import find_layout
from skydesk_hub.errors import NotRunningError, UserError
from skydesk_hub.wire import call_supervisor

__all__ = ["token", "user"]

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_duration(text: str) -> int:
    """Return a duration such as ``90s``, ``15m``, ``1h``, ``7d`` in seconds.

    Parameters
    ----------
    text
        The duration.

    Raises
    ------
    click.BadParameter
        When it is none.
    """
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if not match or int(match[1]) == 0:
        raise click.BadParameter(f"{text!r} is not a duration such as 30m, 1h or 7d", param_hint="--expires")
    return int(match[1]) * UNITS_S[match[2]]


@click.group()
def user() -> None:
    """Add, list, disable users and set their quotas."""


@user.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make the person an administrator.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of making a link."
)
def add_user(name: str, admin: bool, password_stdin: bool) -> None:
    """Add user NAME; prints a one-time link unless a password is given."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    layout = find_layout(None)
    try:
        link = call_supervisor(layout.control_socket, "user_add", name=name, admin=admin, password=password)
    except NotRunningError:
        add_offline(name, admin, password)
        return
    click.echo(f"user {name} added" + (f"; the password is set at {link}" if link else ""))


def add_offline(name: str, admin: bool, password: str | None) -> None:
    """Add a user while the platform is not running.

    Parameters
    ----------
    name, admin, password
        As on the command line.

    Raises
    ------
    UserError
        When the name cannot be used or no password is given: a link needs the running platform.
    """
    from skydesk_hub.identity.store import Store
    from skydesk_hub.layout import prepare_home

    if password is None:
        raise UserError("skydesk is not running: start it for a one-time link, or give --password-stdin")
    layout = prepare_home(find_layout(None).root)
    Store(layout.identity_db).add_user(name, admin=admin, password=password)
    click.echo(f"user {name} added")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_users(as_json: bool) -> None:
    """List the users."""
    layout = find_layout(None)
    people: list[dict[str, Any]]
    try:
        people = call_supervisor(layout.control_socket, "user_list")
    except NotRunningError:
        from skydesk_hub.identity.store import Store

        people = (
            [u.describe() for u in Store(layout.identity_db).list_users()]
            if layout.identity_db.exists()
            else []
        )
    if as_json:
        click.echo(json.dumps({"version": 1, "users": people}, indent=1))
        return
    for person in people:
        marks = [mark for mark in ("admin", "disabled") if person[mark]]
        marks += [] if person["has_password"] else ["no password yet"]
        marks += [f"in {', '.join(person['groups'])}"] if person["groups"] else []
        click.echo(f"{person['name']:<32} {', '.join(marks)}".rstrip())


@user.command("disable")
@click.argument("name")
def disable_user(name: str) -> None:
    """Disable user NAME: sign-in, sessions, tokens and lab end; files stay."""
    call_supervisor(find_layout(None).control_socket, "user_disable", timeout_s=30, name=name)
    click.echo(f"user {name} disabled")


def _read_figures(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    figures = {}
    for text in given:
        service, _, number = text.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", service) or not re.fullmatch(r"[0-9]{1,9}", number):
            raise click.BadParameter(f"{text!r} is not SERVICE=NUMBER such as tap=100", context, option)
        figures[service] = int(number)
    return figures


@user.command("quota")
@click.argument("name")
@click.option("--memory-mib", type=click.IntRange(512), help="Memory of the person's lab.")
@click.option(
    "--requests",
    multiple=True,
    callback=_read_figures,
    metavar="SERVICE=N",
    help="Requests per minute to a service such as tap, or to each as default; 0 means no limit; may be repeated.",
)
@click.option(
    "--concurrent",
    multiple=True,
    callback=_read_figures,
    metavar="SERVICE=N",
    help="Queries, cut-outs or runs of a service at the same time; 0 means no limit; may be repeated.",
)
@click.option("--jobs", type=click.IntRange(0), help="Jobs of one service that are queued or running.")
@click.option("--kept-jobs", type=click.IntRange(0), help="Jobs that are kept.")
@click.option("--result-gib", type=click.FloatRange(0), help="Size of all results that are kept.")
@click.option("--show", is_flag=True, help="Change nothing, only print the quota as JSON.")
def set_quota(
    name: str,
    memory_mib: int | None,
    requests: dict[str, int],
    concurrent: dict[str, int],
    jobs: int | None,
    kept_jobs: int | None,
    result_gib: float | None,
    *,
    show: bool,
) -> None:
    """Set what user NAME may use; without an option everything is the platform's again.

    The memory counts from the lab's next start, the rest within a minute.
    What is set replaces the figures for the services that were set before.
    """
    kept = {"active": jobs, "kept": kept_jobs, "result_bytes": _to_bytes(result_gib)}
    services: dict[str, object] = {"api": requests, "concurrent": concurrent}
    services["jobs"] = {key: figure for key, figure in kept.items() if figure is not None}
    services = {key: figures for key, figures in services.items() if figures}
    wish: dict[str, Any] = {}
    if not show:
        # Whoever sets the one does not mean to take away the other.
        if memory_mib is not None or not services:
            wish["memory_mib"] = memory_mib
        if services or memory_mib is None:
            wish["services"] = services
    quota = call_supervisor(find_layout(None).control_socket, "user_quota", name=name, **wish)
    if show:
        click.echo(json.dumps({"version": 1, "name": name, **quota}, indent=1))
        return
    memory = f"{quota['memory_mib']} MiB" if quota["memory_mib"] else "the platform's setting"
    own = ", services " + json.dumps(quota["services"]) if quota["services"] else ""
    click.echo(f"user {name}: {memory}{own}")


def _to_bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * 2**30)


@click.group()
def token() -> None:
    """Make tokens for programs."""


@token.command("create")
@click.option("--user", "name", required=True, help="Whose token it is.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, help="A scope such as read:tap; may be repeated."
)
@click.option("--expires", help="Life time such as 30m, 1h, 7d; without it the token does not expire.")
@click.option("--note", help="What the list of tokens shows.")
def create_token(name: str, scopes: tuple[str, ...], expires: str | None, note: str | None) -> None:
    """Make a token and print it, the only time it can be seen."""
    listed = [part for scope in scopes for part in re.split(r"[,\s]+", scope) if part]
    life_s = parse_duration(expires) if expires else None
    made = call_supervisor(
        find_layout(None).control_socket,
        "token",
        timeout_s=30,
        user=name,
        scopes=listed,
        expires_in_s=life_s,
        note=note,
    )
    click.echo(made["token"])
