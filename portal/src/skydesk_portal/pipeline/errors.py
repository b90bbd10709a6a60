"""Turning errors of the core into the portal's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from skydesk_core.errors import NotFoundError as CoreNotFoundError
from skydesk_core.errors import SkydeskError
from skydesk_core.errors import UsageError as CoreUsageError
from skydesk_portal.exceptions import NotFoundError, PortalError, UsageError

__all__ = ["core_errors"]


@contextmanager
def core_errors() -> Iterator[None]:
    """Raise the core's errors as the portal's.

    Raises
    ------
    NotFoundError, UsageError, PortalError
        In place of the core's error of that kind.
    """
    try:
        yield
    except CoreNotFoundError as error:
        raise NotFoundError(str(error)) from error
    except CoreUsageError as error:
        raise UsageError(str(error)) from error
    except SkydeskError as error:
        raise PortalError(str(error)) from error
