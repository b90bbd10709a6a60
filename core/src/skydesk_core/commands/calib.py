"""``skydesk calib``: make calibrations valid."""

from __future__ import annotations

import click

__all__ = ["calib"]


@click.group()
def calib() -> None:
    """Manage calibrations."""


@calib.command("certify")
@click.argument("collection")
@click.argument("types", nargs=-1, metavar="[TYPE]…")
@click.option("--begin", metavar="TIME", help="Begin of validity, ISO 8601, TAI; unbounded if not given.")
@click.option("--end", metavar="TIME", help="End of validity, ISO 8601, TAI; unbounded if not given.")
def certify(collection: str, types: tuple[str, ...], begin: str | None, end: str | None) -> None:
    """Make the calibrations in COLLECTION those of their instrument.

    TYPE is bias, dark, flat or defects; all that COLLECTION holds if none is
    given.
    """
    from astropy.time import Time

    from skydesk_core.errors import UsageError
    from skydesk_core.home import get_home
    from skydesk_core.instrument.calibs import certify_calibrations
    from skydesk_core.repo import open_repo

    times = []
    for option, text in (("--begin", begin), ("--end", end)):
        try:
            times.append(None if text is None else Time(text, scale="tai"))
        except ValueError:
            raise UsageError(f"{option}: not a time: {text!r}") from None
    with open_repo(get_home(), writeable=True) as butler:
        counts = certify_calibrations(butler, collection, types, begin=times[0], end=times[1])
    click.echo("certified " + ", ".join(f"{n} {name}" for name, n in counts.items()))
