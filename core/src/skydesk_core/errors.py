"""Errors that the core raises on purpose; each carries a stable code and knows no HTTP status."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["ConfigError", "DataError", "NotFoundError", "PipelineError", "SkydeskError", "UsageError"]


class SkydeskError(Exception):
    """Base of every error the core raises on purpose."""

    code: ClassVar[str] = "internal"
    """Stable, documented identifier of the kind of error."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without a change."""


class UsageError(SkydeskError):
    """An argument or setting given by the caller is wrong."""

    code = "usage"


class ConfigError(SkydeskError):
    """A configuration file or setting cannot be used."""

    code = "config"


class DataError(SkydeskError):
    """An input file or dataset is not what it has to be."""

    code = "data"


class NotFoundError(SkydeskError):
    """Something that was asked for by name does not exist."""

    code = "not_found"


class PipelineError(SkydeskError):
    """A pipeline could not be built or some of its quanta failed."""

    code = "pipeline"
