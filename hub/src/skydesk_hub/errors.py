"""Errors that the hub raises on purpose; each carries a stable code and reads as one line."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["ConfigError", "HomeError", "HubError", "NotRunningError", "ServiceError", "UserError"]


class HubError(Exception):
    """Base of every error the hub raises on purpose."""

    code: ClassVar[str] = "internal"
    """Stable, documented identifier of the kind of error."""


class ConfigError(HubError):
    """A configuration file or setting cannot be used."""

    code = "config"


class HomeError(HubError):
    """The home folder cannot be used."""

    code = "home"


class NotRunningError(HubError):
    """The platform of this home folder is not running."""

    code = "not_running"


class ServiceError(HubError):
    """A process of the platform refused or failed a request."""

    code = "service"


class UserError(HubError):
    """A user name, password or account cannot be used."""

    code = "user"
