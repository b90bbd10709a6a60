"""Errors that the services raise on purpose; only the renderers of ``skydesk_portal.api`` turn them into documents."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthenticationError",
    "BusyError",
    "ConfigError",
    "ForbiddenError",
    "JobPhaseError",
    "NotFoundError",
    "PortalError",
    "QueryError",
    "QueryTimeoutError",
    "TooLargeError",
    "UpstreamError",
    "UsageError",
]


class PortalError(Exception):
    """Base of every error the portal raises on purpose."""

    code: ClassVar[str] = "internal"
    """Stable, documented identifier of the kind of error."""

    status: ClassVar[int] = 500
    """HTTP status that fits the error."""

    vo_error: ClassVar[str] = "Error"
    """The word that SODA and UWS documents begin with."""

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed later without a change."""


class UsageError(PortalError):
    """A parameter of the request is wrong."""

    code = "usage"
    status = 400
    vo_error = "UsageError"


class QueryError(UsageError):
    """An ADQL query cannot be accepted.

    Parameters
    ----------
    message
        What is wrong, in one line.
    line, column
        Place of the offending word, both counted from 1; `None` if the error
        has no single place.
    """

    code = "query"

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        place = f"line {line}, column {column}: " if line is not None else ""
        super().__init__(place + message)
        self.line = line
        self.column = column


class QueryTimeoutError(PortalError):
    """A query ran longer than it may and was stopped."""

    code = "query_timeout"
    status = 400
    vo_error = "Error"


class TooLargeError(UsageError):
    """A request or an upload is larger than it may be."""

    code = "too_large"
    status = 413


class AuthenticationError(PortalError):
    """The request carries no valid token."""

    code = "unauthenticated"
    status = 401
    vo_error = "AuthenticationError"


class ForbiddenError(PortalError):
    """The token is valid but does not allow this."""

    code = "forbidden"
    status = 403
    vo_error = "AuthorizationError"


class NotFoundError(PortalError):
    """Something that was asked for by name does not exist or is not the caller's."""

    code = "not_found"
    status = 404
    vo_error = "NotFoundFault"


class JobPhaseError(PortalError):
    """A job is in a phase that does not allow what was asked."""

    code = "job_phase"
    status = 400
    vo_error = "UsageError"


class UpstreamError(PortalError):
    """Another process of the platform does not answer."""

    code = "upstream"
    status = 503
    vo_error = "ServiceUnavailable"
    retryable = True


class BusyError(PortalError):
    """Too much is running at the moment."""

    code = "busy"
    status = 503
    vo_error = "ServiceUnavailable"
    retryable = True


class ConfigError(PortalError):
    """A setting cannot be used; raised at start-up only."""

    code = "config"
