"""Errors that the services raise on purpose; only the renderers of ``skydesk_portal.api`` turn them into documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

__all__ = [
    "AuthenticationError",
    "BusyError",
    "ConfigError",
    "DigestError",
    "DiskFullError",
    "FileConflictError",
    "FileSpaceError",
    "ForbiddenError",
    "JobPhaseError",
    "MultiValuedError",
    "NotFoundError",
    "PortalError",
    "QueryError",
    "QueryTimeoutError",
    "QuotaError",
    "RateLimitError",
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


class MultiValuedError(UsageError):
    """A parameter was given several times to a service that takes it once."""

    code = "multi_valued"
    vo_error = "MultiValuedParamNotSupported"


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


class FileConflictError(PortalError):
    """A file or folder cannot be made, moved or removed as things are."""

    code = "file_conflict"
    status = 409
    vo_error = "DuplicateNode"


class DigestError(PortalError):
    """What arrived is not what the sender said it would send."""

    code = "digest"
    status = 412
    vo_error = "TransferFailed"


class FileSpaceError(PortalError):
    """There is no space left on the disk or in the quota."""

    code = "file_space"
    status = 507
    vo_error = "QuotaExceeded"


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


class RateLimitError(PortalError):
    """The caller asks more often, or for more at once, than the quota allows; it may try again later.

    Parameters
    ----------
    message
        What was too much.
    retry_after_s
        When to try again, in seconds from now.
    headers
        Headers that tell how much of the quota is used.
    """

    code = "rate_limit"
    status = 429
    vo_error = "ServiceUnavailable"
    retryable = True

    def __init__(
        self, message: str, retry_after_s: int = 5, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers = dict(headers or {})


class QuotaError(PortalError):
    """The caller keeps as much as the quota allows: something has to be deleted first."""

    code = "quota"
    status = 403
    vo_error = "AuthorizationError"


class DiskFullError(PortalError):
    """There is no room on the platform's disk for what was to be written."""

    code = "disk_full"
    status = 507
    vo_error = "Error"


class ConfigError(PortalError):
    """A setting cannot be used; raised at start-up only."""

    code = "config"
