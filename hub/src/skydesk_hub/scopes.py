"""Scopes of the platform under the names of the Rubin Science Platform, and their names inside JupyterHub."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ADMIN_SCOPES", "USER_SCOPES", "from_custom", "to_custom"]

USER_SCOPES = {
    "read:tap": "Query catalogs",
    "read:image": "Read images and cutouts",
    "read:alertdb": "Read alerts",
    "exec:notebook": "Use the notebook aspect",
    "exec:portal": "Use the portal aspect",
    "exec:batch": "Run batch jobs",
    "write:files": "Change own files",
    "user:token": "Make and revoke own tokens",
}
"""Scopes every signed-in person has, with what they allow."""

ADMIN_SCOPES = {"admin:users": "Manage users", "admin:services": "See and steer the platform"}
"""Scopes of administrators, with what they allow."""

PREFIX = "custom:skydesk:"


def to_custom(scopes: Iterable[str]) -> list[str]:
    """Return scopes under their names inside JupyterHub.

    Parameters
    ----------
    scopes
        Public names, e.g. ``read:tap``.
    """
    return [PREFIX + scope for scope in scopes]


def from_custom(scopes: Iterable[str]) -> list[str]:
    """Return the platform's scopes among JupyterHub's, under their public names, sorted.

    Parameters
    ----------
    scopes
        JupyterHub's scopes, perhaps with a ``!filter``.
    """
    return sorted({s.split("!", 1)[0].removeprefix(PREFIX) for s in scopes if s.startswith(PREFIX)})
