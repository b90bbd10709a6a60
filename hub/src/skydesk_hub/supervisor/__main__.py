"""``python -m skydesk_hub.supervisor``: run the platform in this process until it is told to stop.

Started by ``skydesk up`` after it has given up root; all its answers to a
person are single lines on standard output.
"""

from __future__ import annotations

import asyncio
import fcntl
import getpass
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click

from skydesk_hub.account import find_isolation_gap
from skydesk_hub.config import HubConfig, load_config
from skydesk_hub.errors import ConfigError, HomeError, HubError
from skydesk_hub.identity.store import Store
from skydesk_hub.keys import load_keys
from skydesk_hub.layout import Layout, prepare_home
from skydesk_hub.supervisor.core import Supervisor, log_to
from skydesk_hub.supervisor.table import Platform, make_environment
from skydesk_hub.supervisor.tree import become_subreaper, sweep


def take_lock(layout: Layout) -> int:
    """Take the lock of a home folder, so that only one supervisor runs on it.

    Parameters
    ----------
    layout
        The home folder.

    Returns
    -------
    int
        The descriptor that holds the lock as long as it is open.

    Raises
    ------
    HomeError
        When another supervisor has it.
    """
    lock = os.open(layout.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HomeError(
            f"{layout.root}: skydesk is already running on this home folder (skydesk status)"
        ) from error
    return lock


def take_port(host: str, port: int) -> int:
    """Check that the public port is free, or find a free one.

    Parameters
    ----------
    host
        Address to listen on.
    port
        The port; 0 asks for a free one.

    Returns
    -------
    int
        The port.

    Raises
    ------
    ConfigError
        When it cannot be listened on.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise ConfigError(
                f"port {port} of {host}: {error.strerror} (setting hub.port or --port)"
            ) from error
        return int(probe.getsockname()[1])


def build_demo(platform: Platform) -> None:
    """Build the demo release with its progress on the terminal.

    A demo that cannot be built does not keep the platform from starting.

    Parameters
    ----------
    platform
        What is known.
    """
    argv = [sys.executable, "-m", "skydesk_hub.cli", "--home", str(platform.layout.root)]
    argv += ["demo", "build", "--preset", platform.config.demo_preset]
    env = os.environ | {"NUMBA_CACHE_DIR": make_environment(platform)["NUMBA_CACHE_DIR"]}
    child = subprocess.Popen(argv, env=env)
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.terminate()  # it finishes nothing more; what is done is found again at the next start
        sweep(time.monotonic() + 5)
        raise
    if code != 0:
        click.echo(
            "the demo release could not be built; starting without it (again: skydesk demo build)", err=True
        )


def make_platform(layout: Layout, config: HubConfig, config_file: Path | None) -> Platform:
    """Bring together what the supervisor has to know.

    Parameters
    ----------
    layout
        The home folder.
    config
        The settings.
    config_file
        Where they come from, None for the home folder's file.
    """
    gap = find_isolation_gap()
    return Platform(
        layout=layout,
        config=config,
        keys=load_keys(layout.secrets_file),
        port=take_port(config.host, config.port),
        single_user=find_local_name() if gap else None,
        single_reason=gap,
        config_file=config_file,
        run_id=secrets.token_hex(8),
    )


def find_local_name() -> str:
    """Return the user name of the one local person: the account's, or ``admin``."""
    name = os.environ.get("SKYDESK_LOCAL_USER") or getpass.getuser()
    return "admin" if name in ("root", "skydesk") or not Store.is_name(name) else name


def greet(platform: Platform, healthy: bool) -> None:
    """Tell the person at the terminal where the platform is and how to get in.

    Parameters
    ----------
    platform
        What is known.
    healthy
        Whether every service is up.
    """
    if platform.single_user:
        click.echo(f"serving one local person only: {platform.single_reason}")
    store = Store(platform.layout.identity_db)
    for name in store.ensure_first_user(platform.single_user or "admin"):
        click.echo(
            f"administrator {name}: set the password at {platform.url}/auth/once/{store.make_once(name)}"
        )
    click.echo(
        f"skydesk is {'ready' if healthy else 'up, but not every service is healthy'}: {platform.url}/"
    )


async def supervise(platform: Platform, ready_fd: int | None) -> None:
    """Run the supervisor.

    Parameters
    ----------
    platform
        What is known.
    ready_fd
        Descriptor told when everything is up; the terminal is left then.
    """

    def started(healthy: bool) -> None:
        greet(platform, healthy)
        if ready_fd is not None:
            leave_terminal(platform.layout.logs / "supervisor.out")
            os.write(ready_fd, b"1")
            os.close(ready_fd)

    await Supervisor(platform, lambda line: click.echo(f"  {line}")).run(started)


def leave_terminal(path: Path) -> None:
    """Send everything said from now on to a file.

    Parameters
    ----------
    path
        The file.
    """
    sys.stdout.flush()
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)


@click.command()
@click.option("--home", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int)
@click.option("--config", "config_file", type=click.Path(path_type=Path))
@click.option("--no-demo", is_flag=True)
@click.option("--ready-fd", type=int)
def main(home: Path, port: int | None, config_file: Path | None, no_demo: bool, ready_fd: int | None) -> None:
    """Run the platform of one home folder."""
    try:
        layout = prepare_home(home)
        config = load_config(config_file or layout.config_file, required=config_file is not None)
        if port is not None:
            config = config.model_copy(update={"port": port})
        take_lock(layout)
        platform = make_platform(layout, config, config_file)
        log_to(layout.logs / "supervisor.log")
        become_subreaper()
        signal.signal(
            signal.SIGTERM, signal.default_int_handler
        )  # until the services run, an end is an interruption
        if config.build_demo and not no_demo and not (layout.releases / "demo" / "manifest.json").exists():
            build_demo(platform)
        os.umask(0o077)  # what the services write is the platform's alone
        asyncio.run(supervise(platform, ready_fd))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except HubError as error:
        click.echo(f"skydesk: {error} [{error.code}]", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"skydesk: {where}{error.strerror} [system]", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
