"""Structured logs of the portal's processes; no token ever reaches them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["configure_logging", "get_logger"]

_SECRET = re.compile(r"(?i)(bearer|basic|token|x-oauth-basic)([\s:=]+)[^\s\"',;&]+")


def _redact(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # A token in a message would let whoever reads the log act as its owner.
    for key, value in event.items():
        if key.lower() in {"token", "authorization", "password", "cookie"}:
            event[key] = "***"
        elif isinstance(value, str):
            event[key] = _SECRET.sub(r"\1\2***", value)
    return event


def configure_logging(process: str) -> None:
    """Send one JSON line per event to standard error.

    Parameters
    ----------
    process
        Name of the process, put into every line.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)


def get_logger() -> Any:
    """Return a logger with bound context.

    Returns
    -------
    structlog.BoundLogger
        A logger whose events carry the current request's or job's context.
    """
    return structlog.get_logger()
