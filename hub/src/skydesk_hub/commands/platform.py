"""``skydesk up``, ``down``, ``status`` and ``doctor``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import click

from skydesk_hub.errors import NotRunningError, ServiceError
from skydesk_hub.layout import Layout, default_home
from skydesk_hub.wire import call_supervisor

__all__ = ["doctor", "down", "status", "up"]

STOP_WITHIN_S = 8.0
home_option = click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Home folder (default: SKYDESK_HOME)."
)


def find_layout(home: Path | None) -> Layout:
    """Return the home folder a command works on.

    Parameters
    ----------
    home
        As given on the command line.
    """
    return Layout((home or default_home()).absolute())


@click.command()
@home_option
@click.option("--port", type=click.IntRange(0, 65535), help="Public port; 0 takes a free one.")
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file."
)
@click.option("--detach", is_flag=True, help="Return when everything is up.")
@click.option("--no-demo", is_flag=True, help="Do not build the demo release on the first start.")
def up(home: Path | None, port: int | None, config_file: Path | None, detach: bool, no_demo: bool) -> None:
    """Start the platform and stay in the foreground until Ctrl-C."""
    from skydesk_hub.account import choose_account, drop_to, hand_over, needed_folders
    from skydesk_hub.config import load_config
    from skydesk_hub.layout import prepare_home

    layout = prepare_home(find_layout(home).root)
    config_file = config_file.absolute() if config_file else None
    config = load_config(config_file or layout.config_file, required=config_file is not None)
    argv = [sys.executable, "-m", "skydesk_hub.supervisor", "--home", str(layout.root)]
    argv += ["--port", str(port)] if port is not None else []
    argv += ["--config", str(config_file)] if config_file else []
    argv += ["--no-demo"] if no_demo else []
    ready_read, ready_write = os.pipe() if detach else (-1, -1)
    child = os.fork() if detach else 0
    if child:
        os.close(ready_write)
        sys.exit(wait_ready(child, ready_read))
    if detach:
        os.setsid()
        os.close(ready_read)
        os.set_inheritable(ready_write, True)
        argv += ["--ready-fd", str(ready_write)]
    if account := choose_account(config.run_as):
        click.echo(f"root gives way to account {account.name} ({account.uid})")
        hand_over(layout.root, account)
        folders = needed_folders(layout.root)
        folders += [config_file.parent] if config_file else []
        drop_to(account, folders)
        os.environ["HOME"] = str(layout.root)
    os.environ["SKYDESK_HOME"] = str(layout.root)
    os.chdir(layout.root)
    sys.stdout.flush()
    os.execv(sys.executable, argv)  # noqa: S606  # the same interpreter, no shell


def wait_ready(child: int, ready: int) -> int:
    """Wait until a detached supervisor is up or has ended.

    Parameters
    ----------
    child
        Its process id.
    ready
        Descriptor it writes to once everything is up.

    Returns
    -------
    int
        The exit status for the caller.
    """

    def stop_child(*_: object) -> None:
        os.kill(child, signal.SIGTERM)

    signal.signal(signal.SIGINT, stop_child)
    signal.signal(signal.SIGTERM, stop_child)
    if os.read(ready, 1):
        return 0
    _, code = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(code) or 1


@click.command()
@home_option
def down(home: Path | None) -> None:
    """Stop the platform: services, labs and everything they started."""
    layout = find_layout(home)
    begun = time.monotonic()
    pid = int(call_supervisor(layout.control_socket, "stop")["pid"])
    while time.monotonic() - begun < STOP_WITHIN_S:
        if not is_running(pid):
            click.echo(f"stopped in {time.monotonic() - begun:.1f} s")
            return
        time.sleep(0.05)
    raise ServiceError(f"the supervisor (process {pid}) has not ended within {STOP_WITHIN_S:g} s")


def is_running(pid: int) -> bool:
    """Say whether a process exists and is not merely waiting to be collected.

    Parameters
    ----------
    pid
        The process.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@click.command()
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (version 1).")
def status(home: Path | None, as_json: bool) -> None:
    """Show every process with its health and address; exit 1 unless all are healthy."""
    layout = find_layout(home)
    try:
        state = call_supervisor(layout.control_socket, "status")
    except NotRunningError:
        if not as_json:
            raise
        from skydesk_hub.layout import find_releases

        state = {"version": 1, "url": None, "home": str(layout.root), "services": {}}
        state["releases"] = find_releases(layout.root)
    services = state["services"]
    if as_json:
        click.echo(json.dumps(state, indent=1))
    else:
        click.echo(f"{state['url']}/  home {state['home']}  releases {' '.join(state['releases']) or 'none'}")
        for name, service in services.items():
            tail = service["detail"] or service["url"]
            click.echo(
                f"{name:<10} {service['health']:<10} {service['pid'] or '-':>8}  {service['since'] or '-':<21} {tail}"
            )
        click.echo(f"labs: {state['isolation']}")
    healthy = services and all(service["health"] == "healthy" for service in services.values())
    sys.exit(0 if healthy else 1)


@click.command()
@home_option
def doctor(home: Path | None) -> None:
    """Check what this machine has and lacks for skydesk; exit 1 when it cannot start."""
    import shutil

    from skydesk_hub.account import choose_account, find_isolation_gap
    from skydesk_hub.config import load_config
    from skydesk_hub.errors import HubError
    from skydesk_hub.layout import check_version
    from skydesk_hub.supervisor.table import find_missing_module, find_proxy

    layout = find_layout(home)
    checks: list[tuple[str, bool, str]] = []

    def check(title: str, bad: str | None, good: str = "ok") -> None:
        checks.append((title, bad is None, good if bad is None else bad))

    def trial(title: str, action: object, good: str = "ok") -> None:
        try:
            result = action() if callable(action) else None
        except HubError as error:
            check(title, str(error))
            return
        check(title, None, good if result is None else str(result))

    check(
        "python",
        None if sys.version_info >= (3, 13) else f"{sys.version.split()[0]}, 3.13 needed",
        sys.version.split()[0],
    )
    trial("node and proxy", lambda: find_proxy()[0])
    trial("configuration", lambda: load_config(layout.config_file) and str(layout.config_file))
    trial("home folder", lambda: check_version(layout.root), str(layout.root))
    place = next(p for p in (layout.root, *layout.root.parents) if p.exists())
    free_gib = shutil.disk_usage(place).free / 2**30
    check("disk", None if free_gib > 5 else f"{free_gib:.1f} GiB free, 5 wanted", f"{free_gib:.0f} GiB free")
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    check("memory", None if memory_gib > 3.5 else f"{memory_gib:.1f} GiB, 4 wanted", f"{memory_gib:.0f} GiB")
    for module in (
        "skydesk_portal.api",
        "skydesk_portal.butler",
        "skydesk_portal.ui",
        "skydesk_portal.workers",
    ):
        check(module, find_missing_module(module))
    fatal = not all(ok for _, ok, _ in checks)
    account = choose_account(load_config(layout.config_file).run_as) if not fatal else None
    if account:
        check("account", None, f"root drops to {account.name} ({account.uid})")
        gap = None if shutil.which("bwrap") else "bubblewrap (bwrap) is not installed"
    else:
        gap = find_isolation_gap()
    check("isolation of labs", f"one local person only: {gap}" if gap else None, "bubblewrap")
    for title, ok, text in checks:
        click.echo(f"{'ok ' if ok else '!! '} {title:<22} {text}")
    sys.exit(1 if fatal else 0)
