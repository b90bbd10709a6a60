"""The ``skydesk`` command: a thin group that loads each subcommand when it is used.

Subcommands come from the entry points ``skydesk.commands`` of every package.
Nothing heavy is imported for the help text or for ``skydesk status``.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["main", "skydesk"]

HELP_LINES = {
    "alerts": "Issue the alerts of a release again.",
    "calib": "Certify calibrations.",
    "camera": "Register cameras that write FITS files.",
    "demo": "Build the demo release.",
    "doctor": "Check what this machine has and lacks for skydesk.",
    "down": "Stop the platform of a home folder.",
    "group": "Put people into groups, list and remove them.",
    "ingest": "Take raw exposures into the working repository.",
    "metrics": "Show the quality figures of a release.",
    "orbits": "Load known orbits.",
    "publish": "Publish a collection as a release.",
    "refcat": "Load reference catalogs.",
    "release": "List, check or remove releases.",
    "run": "Run a pipeline.",
    "status": "Show every process with its health and address.",
    "token": "Make tokens for programs.",
    "up": "Start the platform and stay in the foreground.",
    "user": "Add, list, disable users and set their quotas.",
}
"""One line per known command, so that the overview imports none of them."""

READ_ONLY = ("up", "down", "status", "doctor", "token")
"""Commands that write nothing in the home folder as root."""

used: list[str] = []


class LazyGroup(click.Group):
    """A group whose commands are entry points, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed commands."""
        return sorted(point.name for point in importlib.metadata.entry_points(group="skydesk.commands"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None when there is none of that name."""
        for point in importlib.metadata.entry_points(group="skydesk.commands", name=cmd_name):
            command = point.load()
            used.append(cmd_name)
            if not isinstance(command, click.Command):
                raise click.ClickException(f"{point.value} is not a command")
            return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the overview of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, HELP_LINES.get(name, "")) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SKYDESK_HOME",
    help="Home folder of the platform (also SKYDESK_HOME).",
)
@click.version_option(package_name="skydesk-hub", prog_name="skydesk")
def skydesk(home: Path | None) -> None:
    """Run a science platform for survey astronomy on one machine."""
    if home is not None:
        os.environ["SKYDESK_HOME"] = str(home.absolute())


def say_error(message: str, code: str) -> None:
    """Print an error as one line.

    Parameters
    ----------
    message
        What went wrong; line breaks become spaces.
    code
        Its stable code.
    """
    click.echo(f"skydesk: {' '.join(message.split())} [{code}]", err=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and turn expected errors into one line.

    Parameters
    ----------
    arguments
        The command line; None for the process's own.
    """
    status: Any = 0
    try:
        status = skydesk.main(args=arguments, prog_name="skydesk", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        say_error(error.format_message(), "usage" if error.exit_code == 2 else "command")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        say_error(f"{error.filename}: {error.strerror}" if error.filename else str(error), "system")
        sys.exit(1)
    except Exception as error:
        if not isinstance(getattr(error, "code", None), str):
            raise
        say_error(str(error), error.code)  # type: ignore[attr-defined]  # checked the line above
        sys.exit(1)
    finally:
        give_back_home()
    sys.exit(status if isinstance(status, int) else 0)


def give_back_home() -> None:
    """After a command of root, give what it wrote in the home folder to the platform's account."""
    if os.geteuid() != 0 or not set(used) - set(READ_ONLY):
        return
    from skydesk_hub.account import hand_over_if_owned  # late: only root needs it
    from skydesk_hub.layout import default_home

    hand_over_if_owned(default_home())


if __name__ == "__main__":
    main()
